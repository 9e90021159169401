//! Spin locks with a rank, once-cells and per-CPU cells.
//!
//! **Interrupts.** The hypervisor runs with interrupts off except at a few fixed points, and no lock is held at those
//! points. So an interrupt handler never finds a lock held by the code it interrupted, and nothing here saves or
//! restores the interrupt flag. NMI and machine-check handlers come at any point: they may use `try_lock` alone.
//!
//! **Order.** Every lock carries a rank in its type ([`rank`]). A CPU may take a lock only if its rank stands after the
//! rank of every lock that it holds. Debug builds, and all builds for a host, panic if that is broken.
//!
//! **Model checking.** With `--cfg loom`, [`atomic`], [`hint`] and [`cell`] are loom's, here and in every crate that
//! takes its atomics from here; constructors are then not `const`. Otherwise they are core's.
//!
//! **Why no kept crate.** `spin` has neither ranks nor a way to put loom's atomics below it, and lets guards cross
//! threads. `lock_api` wants a constant initial state, which loom's atomics cannot give, and keeps the data in a cell
//! that loom does not track, so a model would not see a lock that fails to exclude.
//!
//! ```
//! use xenolith_sync::{SpinLock, rank};
//!
//! static NEXT_PORT: SpinLock<u32, rank::EventPorts> = SpinLock::new(1);
//! static QUEUE: SpinLock<Vec<u32>, rank::RunQueue> = SpinLock::new(Vec::new());
//!
//! // `RunQueue` stands after `EventPorts`; the other way round would panic here.
//! let port = NEXT_PORT.lock();
//! QUEUE.lock().push(*port);
//! ```
#![no_std]

#[cfg(not(target_os = "none"))]
extern crate std;

mod arc;
mod arc_slot;
pub mod atomic;
pub mod cell;
mod construct;
mod held;
pub mod hint;
mod once;
mod padded;
mod per_cpu;
pub mod rank;
#[cfg(all(not(target_os = "none"), not(loom)))]
pub mod refusing;
mod rw_spin_lock;
mod spin_lock;
mod ticket;
mod try_box;

pub use arc::{Arc, Room, Weak};
pub use arc_slot::ArcSlot;
#[cfg(target_os = "none")]
pub use held::set_held_ranks_of_this_cpu;
pub use held::{HeldRanks, assert_no_lock_held};
pub use once::Once;
pub use padded::Padded;
pub use per_cpu::{CpuIndex, CurrentCpu, MAX_CPUS, PerCpu, PerCpuLocal};
pub use rank::Rank;
pub use rw_spin_lock::{ReadGuard, RwSpinLock, WriteGuard};
pub use spin_lock::{PairGuard, SpinGuard, SpinLock};
pub use try_box::try_box;
