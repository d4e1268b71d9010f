//! A rate limit: how often Weir answers what nobody has to prove.

/// A token bucket over milliseconds; it fills once a second's share per millisecond.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RateLimit {
    per_second: u32,
    /// Thousandths of an answer that are left.
    left: u32,
    last_ms: u32,
}

impl RateLimit {
    /// Allows `per_second` answers a second, and as many at once after a quiet second.
    pub(crate) const fn new(per_second: u32, now_ms: u32) -> Self {
        Self {
            per_second,
            left: per_second * 1000,
            last_ms: now_ms,
        }
    }

    /// Says whether one more answer is allowed, and counts it.
    pub(crate) fn allow(&mut self, now_ms: u32) -> bool {
        let passed = now_ms.wrapping_sub(self.last_ms).min(1000);
        self.last_ms = now_ms;
        self.left = (self.left + passed * self.per_second).min(self.per_second * 1000);
        let Some(left) = self.left.checked_sub(1000) else {
            return false;
        };
        self.left = left;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_answers_than_its_share_and_one_burst() {
        let mut limit = RateLimit::new(100, 0);
        let allowed = (0..10_000u32).filter(|i| limit.allow(i / 10)).count();
        assert_eq!(allowed, 100 + 99);
        assert!(limit.allow(u32::MAX), "time wraps");
    }
}
