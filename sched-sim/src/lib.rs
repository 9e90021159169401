//! Plays the hypervisor's scheduling policies on machines that do not exist: 1 to 512 CPUs, thousands of vCPUs.
//!
//! The policies are the very code that the hypervisor runs, driven by the same functions
//! (`xenolith_sched::policy::drive`); only CPUs, vCPUs and time are made up. A run is decided by its seed.
#![forbid(unsafe_code)]

pub mod chart;
pub mod check;
pub mod cost;
pub mod decision;
pub mod floor;
pub mod fluid;
pub mod machine;
pub mod measure;
pub mod per_cpu;
pub mod play;
pub mod policies;
pub mod report;
pub mod shape;
pub mod task;
pub mod vcpu;
pub mod workload;
