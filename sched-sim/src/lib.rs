//! A discrete-event simulator of the hypervisor's scheduling policies, for machines of 1 to 512 CPUs and thousands of
//! vCPUs.
//!
//! The policies are the hypervisor's own code, called by the same driver ([`xenolith_sched::policy::drive`]); only
//! CPUs, vCPUs and time are simulated. A run is determined by its seed.
//!
//! | module | what it is |
//! |---|---|
//! | [`shape`], [`task`], [`workload`] | the machine's topology, what a vCPU does, sets of vCPUs |
//! | [`machine`], [`vcpu`], [`pool`] | the simulated machine, its vCPUs and its run queues |
//! | [`policies`], [`per_cpu`] | the policies with their parameters; the scheduler that the core drives |
//! | [`play`], [`measure`], [`fluid`] | simulating a workload, counting, the ideal to compare with |
//! | [`report`], [`chart`] | tables and charts |
//! | [`check`] | properties that must hold of each policy |
//! | [`cost`], [`decision`] | the instructions that a decision costs |
#![forbid(unsafe_code)]

pub mod chart;
pub mod check;
pub mod cost;
pub mod decision;
pub mod fluid;
pub mod machine;
pub mod measure;
pub mod per_cpu;
pub mod play;
pub mod policies;
pub mod pool;
pub mod report;
pub mod shape;
pub mod task;
pub mod vcpu;
pub mod workload;
