//! What domains say to each other by shared pages: the hypervisor itself takes no part in it.

pub mod blkif;
pub mod byte_ring;
pub mod console;
pub mod netif;
pub mod ninepfs;
pub mod pvcalls;
pub mod ring;
pub mod xenbus;
pub mod xenstore;
