//! RTDS: guarantees in time, by global EDF over deferrable servers.
//!
//! Each unit is a server with a period and a budget: in each period it may run for its budget, and what it does not use
//! it keeps until the period ends. Of the units with a budget left those run whose periods end first, on whatever CPUs.
//! A budget that is used up is seen at that moment, by the timer of the CPU; periods that end are kept in a queue of
//! timers, so nothing is looked at in between. All CPUs of the pool share one run queue.

mod account;
mod choice;
mod queue;

pub use account::{Account, LEAST_NS, Parameters};
pub use queue::Rtds;
