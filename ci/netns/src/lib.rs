//! A lab of network namespaces: clients, Weir and real servers on veth.
