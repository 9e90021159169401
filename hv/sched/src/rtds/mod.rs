//! RTDS: real-time guarantees by global EDF over deferrable servers. Stands for Xen's RTDS.
//!
//! Each unit is a deferrable server with a period and a budget: it may run for its budget in each period, and keeps
//! unused budget until the period ends. Of the units with budget, those with the earliest deadlines (ends of periods)
//! run, on whatever CPUs. The timer of the CPU is set to the moment at which the budget is used up; replenishments are
//! in a heap of timers, so nothing is polled in between. All CPUs of the pool share one run queue.
//!
//! **Source:** xl(1), `sched-rtds`; Xi and others, "Real-time multi-core virtual machine scheduling in Xen" (2014).

mod account;
mod choice;
mod queue;

pub use account::{Account, LEAST_NS, Parameters};
pub use queue::Rtds;
