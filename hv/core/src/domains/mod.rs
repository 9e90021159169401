//! Domains, their vCPUs, the domain table, the scheduler, and the hypervisor that holds all of it.

pub mod domain;
pub mod hypervisor;
pub mod running;
pub mod scheduler;
pub mod table;
pub mod vcpu;
pub mod vcpu_ref;
pub mod vcpus;
