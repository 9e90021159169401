//! Domains, vCPUs, their table and the scheduler: joins the parts, does nothing by itself.

pub mod domain;
pub mod hypervisor;
pub mod scheduler;
pub mod table;
pub mod vcpu;
