//! Prefetch: the only unsafe lines outside the drivers.
