//! What a scheduling policy is, and how the core drives one.
//!
//! A pool of CPUs has one policy and as many run queues of it as [`Policy::groups`] says; each queue holds units and
//! serves CPUs, and lies behind a lock of the core's. What queues know of each other is in the pool's [`View`], which
//! needs no lock. [`drive`] says which calls follow which event, for the core and the simulator alike.

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
    /// Goes on with the unit that it runs.
    Keep,
    /// Runs this one.
    Switch(UnitId),
    /// Has nothing to run.
    Idle,
}

/// What a policy decides for a CPU.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    pub next: Next,
    /// When the CPU is to ask again at the latest; [`Time::NEVER`] if nothing but an event can change the answer.
    pub deadline: Time,
    /// The unit that had the CPU and has it no more. No other CPU gets it until [`Policy::saved`] is called.
    pub left: Option<UnitId>,
}

/// How a unit that wants a CPU was served.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placed {
    /// A CPU that it prefers was asked to take it, or there is nothing to do.
    Well,
    /// A CPU was asked to take it, but it prefers others.
    Poorly,
    /// No CPU of this queue is free.
    Waits,
}

/// The run queue of a policy: the state of the CPUs that share it and of the units that are in it.
///
/// It reads no clock and takes no lock. Time goes forward from call to call. The CPUs that must ask again because of a
/// call are put into `asks`. A unit's number that is not here does no harm.
pub trait Policy: Sized {
    /// What is accounted for a unit.
    type Account: core::fmt::Debug;
    /// What a toolstack sets of a unit.
    type Parameters: Clone;
    /// What is set for a pool.
    type Options: Clone;

    /// Which CPUs share a run queue.
    fn groups(topology: &Topology, cpus: &Cpus, options: &Self::Options) -> Vec<Cpus>;

    /// A run queue without CPUs and units.
    fn new(topology: Arc<Topology>, options: &Self::Options) -> Self;

    /// The account of a unit that never ran.
    fn account(parameters: &Self::Parameters) -> Self::Account;

    /// Makes room for units with numbers below `units`.
    ///
    /// **Errors:** memory is short.
    fn reserve(&mut self, units: usize) -> Result<(), TryReserveError>;

    /// A CPU comes to this queue. It is to ask next.
    ///
    /// **Errors:** memory is short.
    fn add_cpu(&mut self, cpu: CpuId, now: Time) -> Result<(), TryReserveError>;

    /// A CPU leaves this queue. It is to ask next, and gets [`Next::Idle`].
    fn remove_cpu(&mut self, cpu: CpuId, now: Time, asks: &mut Cpus);

    /// The CPUs that share this queue.
    fn cpus(&self) -> &Cpus;

    /// Takes a unit in; one that [`Standing::Waiting`] says of wants a CPU at once.
    ///
    /// **Errors:** gives the unit back if memory is short.
    fn admit(
        &mut self,
        unit: Box<Unit<Self::Account>>,
        now: Time,
        asks: &mut Cpus,
    ) -> Result<Placed, Box<Unit<Self::Account>>>;

    /// Gives a unit up, unless it runs or its registers may still be with a CPU.
    fn dismiss(&mut self, id: UnitId, now: Time) -> Option<Box<Unit<Self::Account>>>;

    /// A unit that is here.
    fn unit(&self, id: UnitId) -> Option<&Unit<Self::Account>>;

    /// The first unit with at least this number that no CPU of this queue may run, and that can be dismissed.
    fn misplaced(&self, from: UnitId) -> Option<UnitId>;

    /// A unit wants a CPU. Harmless for one that does already.
    fn wake(&mut self, id: UnitId, now: Time, asks: &mut Cpus) -> Placed;

    /// A unit wants no CPU any more. One that runs leaves by [`Policy::choose`]; its CPU is asked.
    fn sleep(&mut self, id: UnitId, now: Time, asks: &mut Cpus);

    /// Changes where a unit may run and what is set of it, at once.
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

    /// The unit that has the CPU lets others go first. The CPU is to ask next.
    fn yield_cpu(&mut self, cpu: CpuId, now: Time);

    /// Decides what a CPU does next. `can_run` says whether the unit that it has still wants it. To be asked at the
    /// deadline given last, and when a call put the CPU into `asks`; asking more often does no harm.
    fn choose(&mut self, cpu: CpuId, now: Time, can_run: bool, asks: &mut Cpus) -> Decision;

    /// The unit that left a CPU is wholly in memory now: others may run it. Says which it was.
    fn saved(&mut self, cpu: CpuId, now: Time, asks: &mut Cpus) -> Option<UnitId>;

    /// The unit that has a CPU.
    fn current(&self, cpu: CpuId) -> Option<UnitId>;

    /// Whether a CPU would take one more unit at once.
    fn is_free(&self, cpu: CpuId) -> bool;

    /// How many units wait for a CPU.
    fn waiting(&self) -> usize;

    /// Whether a unit waits that a CPU of any queue may run.
    fn has_for(&self, cpu: CpuId) -> bool;

    /// What other queues may know of this one.
    fn hint(&self, now: Time) -> Hint;

    /// When [`Policy::tick`] is to be called next; [`Time::NEVER`] for not before something happens.
    fn timer(&self) -> Time;

    /// Does what is due.
    fn tick(&mut self, now: Time, asks: &mut Cpus);

    /// Gives up a unit that waits for a CPU of another queue that has nothing to run, if one may run there.
    fn give(&mut self, to: CpuId, now: Time) -> Option<Box<Unit<Self::Account>>>;

    /// Whether it is time to look for a queue that has less to do; starts the time until the next look.
    fn is_balance_due(&mut self, _now: Time) -> bool {
        false
    }

    /// How different this queue and another one may be before a unit is moved; of the policy's own measure.
    fn slack(&self) -> u64 {
        u64::MAX
    }

    /// How much better it were if one unit went from a queue to another one; 0 for not at all, or within `slack`.
    fn gain(_from: &Hint, _to: &Hint, _slack: u64, _now: Time) -> u64 {
        0
    }

    /// Gives up a unit that waits, for a queue of which only this is known and whose CPUs these are.
    fn push(&mut self, _to: &Hint, _cpus: &Cpus, _now: Time) -> Option<Box<Unit<Self::Account>>> {
        None
    }
}
