//! A lab of network namespaces: clients, Weir and real servers on veth.
//!
//! ```text
//!   client               load balancer                  lan switch        real servers
//!   10.80.0.11..18       10.80.0.1   10.81.0.1                            10.81.0.11, .12
//!   [c0]--------------[wan]  weir  [lan]--------------[up0 br0 p1]--------[eth0] nginx
//!                      VIP 10.80.0.100                        [p2]--------[eth0] nginx
//!                             LIP 10.81.0.200..
//! ```
//!
//! Everything that a [`Lab`] makes is named `weir-<pid>-...` and goes away when it is dropped, also
//! on a panic; [`Lab::sweep`] removes what killed runs left. The real servers have no route to the
//! clients: what they answer, they answer to a local address of the load balancer.

pub mod attack;
pub mod bench;
pub mod capture;
pub mod client;
pub mod command;
pub mod cores;
pub mod haproxy;
pub mod inside;
pub mod janitor;
pub mod kernel_nat;
pub mod kernel_synproxy;
pub mod lab;
pub mod ledger;
pub mod machine;
pub mod metrics;
pub mod namespace;
pub mod patience;
pub mod plain;
pub mod process;
pub mod rsyslog;
pub mod scenario;
pub mod secure_shell;
pub mod server;
pub mod tmux;
pub mod took;
pub mod weir;
pub mod weir_conf;

pub use kernel_nat::KernelNat;
pub use kernel_synproxy::KernelSynproxy;
pub use lab::{Lab, Offloads, Topology};
pub use weir::WeirProcess;
pub use weir_conf::{Service, WeirConf};
