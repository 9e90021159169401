//! The interface of a scheduling policy, and what all policies use: units, affinity classes, heaps, CPU topology.
//!
//! A pool of CPUs has one policy and as many run queues as [`Policy::groups`] returns. Each run queue holds units,
//! serves CPUs, and is behind a lock of the caller. What queues know of each other is in the pool's [`View`], which
//! needs no lock. [`drive`] makes the calls that follow an event, for the core and the simulator alike.
//!
//! ```
//! use std::sync::Arc;
//! use xenolith_hal::{CpuId, Time};
//! use xenolith_sched::policy::{Affinity, CpuPlace, Next, Placed, Topology, Unit, UnitId};
//! use xenolith_sched::{Cpus, Null, Policy};
//!
//! let topology = Arc::new(Topology::new(vec![CpuPlace { core: 0, socket: 0, node: 0 }]).unwrap());
//! let mut queue = Null::new(topology, &());
//! let mut asks = Cpus::NONE;
//! queue.add_cpu(CpuId(0), Time(0)).unwrap();
//! assert_eq!(queue.choose(CpuId(0), Time(0), false, &mut asks).next, Next::Idle);
//!
//! // Two vCPUs come. The first one owns the CPU, the second one waits for a CPU of its own.
//! queue.reserve(2).unwrap();
//! for id in [UnitId(0), UnitId(1)] {
//!     let unit = Unit::new(id, Affinity::default(), Null::account(&()));
//!     let _ = queue.admit(Box::new(unit), Time(1), &mut asks).unwrap();
//! }
//! assert_eq!(queue.wake(UnitId(0), Time(2), &mut asks), Placed::Well);
//! assert_eq!(queue.wake(UnitId(1), Time(2), &mut asks), Placed::Waits);
//! assert!(asks.contains(CpuId(0)), "the CPU must reschedule");
//!
//! let decision = queue.choose(CpuId(0), Time(2), false, &mut asks);
//! assert_eq!((decision.next, decision.deadline), (Next::Switch(UnitId(0)), Time::NEVER));
//! ```

mod classes;
pub mod drive;
mod heap;
mod seats;
mod topology;
mod unit;
mod view;

pub use classes::Classes;
pub use heap::{ByOrder, ByTime, Heap, Order};
pub use seats::{Seat, Seats};
pub use topology::{CpuPlace, Sharing, Topology};
pub use unit::{Affinity, Standing, Unit, UnitId, Units};
pub use view::{Hint, QueueId, View};

use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::sync::Arc;
use alloc::vec::Vec;
use xenolith_hal::{CpuId, Time};

use crate::Cpus;

/// What a CPU does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Continues with its current unit.
    Keep,
    /// Switches to this unit.
    Switch(UnitId),
    /// Idles.
    Idle,
}

/// A scheduling decision for a CPU.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    pub next: Next,
    /// When the CPU must call [`Policy::choose`] again at the latest; [`Time::NEVER`] if only an event can change the
    /// decision.
    pub deadline: Time,
    /// The unit that loses the CPU. No other CPU may run it until [`Policy::saved`] is called.
    pub left: Option<UnitId>,
}

/// How a runnable unit was placed.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placed {
    /// A CPU of its soft affinity reschedules for it, or it needs none.
    Well,
    /// A CPU outside its soft affinity reschedules for it.
    Poorly,
    /// It waits: no CPU of this queue is free.
    Waits,
}

/// The run queue of a policy: the state of the CPUs that share it and of the units in it.
///
/// It reads no clock and takes no lock. `now` does not go back from call to call. CPUs that must reschedule because of
/// a call are added to `asks` (Xen: they are tickled). The number of a unit that is not in this queue is ignored.
pub trait Policy: Sized {
    /// Accounting state of a unit.
    type Account: core::fmt::Debug;
    /// Scheduling parameters of a unit, set by the toolstack.
    type Parameters: Clone;
    /// Options of a pool.
    type Options: Clone;

    /// Returns the sets of CPUs that share a run queue.
    ///
    /// **Errors:** memory is short.
    fn groups(topology: &Topology, cpus: &Cpus, options: &Self::Options) -> Result<Vec<Cpus>, TryReserveError>;

    /// Makes a run queue without CPUs and units.
    fn new(topology: Arc<Topology>, options: &Self::Options) -> Self;

    /// Makes the accounting state of a unit that never ran.
    fn account(parameters: &Self::Parameters) -> Self::Account;

    /// Reserves memory for units with numbers below `units`.
    ///
    /// **Errors:** memory is short.
    fn reserve(&mut self, units: usize) -> Result<(), TryReserveError>;

    /// Adds a CPU to this queue. It must call [`Policy::choose`] next.
    ///
    /// **Errors:** memory is short; the CPU was not added.
    fn add_cpu(&mut self, cpu: CpuId, now: Time) -> Result<(), TryReserveError>;

    /// Removes a CPU from this queue. It must call [`Policy::choose`] next, which returns [`Next::Idle`].
    fn remove_cpu(&mut self, cpu: CpuId, now: Time, asks: &mut Cpus);

    /// Returns the CPUs that share this queue.
    fn cpus(&self) -> &Cpus;

    /// Adds a unit. It is runnable at once if it comes as [`Standing::Waiting`] or [`Standing::Parked`].
    ///
    /// **Errors:** memory is short; returns the unit.
    fn admit(
        &mut self,
        unit: Box<Unit<Self::Account>>,
        now: Time,
        asks: &mut Cpus,
    ) -> Result<Placed, Box<Unit<Self::Account>>>;

    /// Removes a unit. None while it runs or its registers are not saved yet.
    fn dismiss(&mut self, id: UnitId, now: Time) -> Option<Box<Unit<Self::Account>>>;

    /// Returns a unit of this queue.
    fn unit(&self, id: UnitId) -> Option<&Unit<Self::Account>>;

    /// Returns the first unit with a number of at least `from` that no CPU of this queue may run and that can be
    /// removed.
    fn misplaced(&self, from: UnitId) -> Option<UnitId>;

    /// Wakes a unit: it is runnable. Does nothing for a unit that is runnable already.
    fn wake(&mut self, id: UnitId, now: Time, asks: &mut Cpus) -> Placed;

    /// Blocks a unit: it is not runnable. If it runs, its CPU reschedules, and the unit leaves by [`Policy::choose`].
    fn sleep(&mut self, id: UnitId, now: Time, asks: &mut Cpus);

    /// Changes affinity and parameters of a unit.
    ///
    /// **Errors:** memory is short; nothing was changed.
    fn set(
        &mut self,
        id: UnitId,
        affinity: Affinity,
        parameters: &Self::Parameters,
        now: Time,
        asks: &mut Cpus,
    ) -> Result<(), TryReserveError>;

    /// Yields: the current unit of a CPU lets waiting units run first. The CPU must call [`Policy::choose`] next.
    fn yield_cpu(&mut self, cpu: CpuId, now: Time);

    /// Decides what a CPU does next. `can_run` says whether its current unit is still runnable. A CPU must call this at
    /// the deadline of its last decision and when it is added to `asks`; calling more often does no harm.
    fn choose(&mut self, cpu: CpuId, now: Time, can_run: bool, asks: &mut Cpus) -> Decision;

    /// Records that the registers of the unit that left a CPU are saved, so that other CPUs may run it. Returns that
    /// unit.
    fn saved(&mut self, cpu: CpuId, now: Time, asks: &mut Cpus) -> Option<UnitId>;

    /// Returns the unit that has a CPU.
    fn current(&self, cpu: CpuId) -> Option<UnitId>;

    /// Returns whether a CPU of this queue would take one more unit at once.
    fn is_free(&self, cpu: CpuId) -> bool;

    /// Returns the number of units that wait for a CPU; parked ones are not counted.
    fn waiting(&self) -> usize;

    /// Returns whether a unit waits whose hard affinity has a CPU, which may be of another queue.
    fn has_for(&self, cpu: CpuId) -> bool;

    /// Returns what the queue publishes to others.
    fn hint(&self, now: Time) -> Hint;

    /// Returns when [`Policy::tick`] must be called next; [`Time::NEVER`] if no timer is set.
    fn timer(&self) -> Time;

    /// Does what the timer was set for: replenishes budgets, starts periods.
    fn tick(&mut self, now: Time, asks: &mut Cpus);

    /// Removes and returns a waiting unit for `to`, an idle CPU of another queue (work stealing). None if no waiting
    /// unit may run there.
    fn give(&mut self, to: CpuId, now: Time) -> Option<Box<Unit<Self::Account>>>;

    /// Returns whether load balancing is due, and starts the next interval if it is.
    fn is_balance_due(&mut self, _now: Time) -> bool {
        false
    }

    /// Returns the difference to another queue that is tolerated before a unit migrates, in the policy's own unit.
    fn slack(&self) -> u64 {
        u64::MAX
    }

    /// Returns the gain of moving one unit from a queue to another one, in the policy's own unit; 0 if it is within
    /// `slack`.
    fn gain(_from: &Hint, _to: &Hint, _slack: u64, _now: Time) -> u64 {
        0
    }

    /// Removes and returns a waiting unit for another queue that serves `cpus` and published `to` (load balancing).
    /// None if no waiting unit may run there.
    fn push(&mut self, _to: &Hint, _cpus: &Cpus, _now: Time) -> Option<Box<Unit<Self::Account>>> {
        None
    }
}
