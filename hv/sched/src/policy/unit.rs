//! The scheduling unit: a vCPU; with core scheduling, the vCPUs of a virtual core.

use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use xenolith_hal::CpuId;

use super::heap::Links;
use crate::Cpus;

/// Number of a unit: dense within a pool, given by the core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UnitId(pub u32);

impl UnitId {
    /// Returns the number as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Hard affinity, where a unit may run, and soft affinity, where it should run if a CPU is idle there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Affinity {
    pub hard: Cpus,
    pub soft: Cpus,
}

impl Default for Affinity {
    fn default() -> Self {
        Self { hard: Cpus::ALL, soft: Cpus::ALL }
    }
}

impl Affinity {
    /// Makes the affinity of a unit that is pinned to one CPU.
    #[must_use]
    pub fn pinned(cpu: CpuId) -> Self {
        Self { hard: Cpus::only(cpu), soft: Cpus::ALL }
    }

    /// Returns the CPUs that are in both affinities, or all of the hard affinity if there are none.
    #[must_use]
    pub fn preferred(&self) -> Cpus {
        let both = self.hard.intersection(&self.soft);
        if both.is_empty() { self.hard } else { both }
    }
}

/// State of a unit in its run queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Blocked.
    Asleep,
    /// Runnable, waiting for a CPU.
    Waiting,
    /// Runnable, but throttled: its cap or its budget is used up.
    Parked,
    /// Running on this CPU.
    Running(CpuId),
    /// It lost this CPU and its registers are not saved yet; `wants` says whether it is still runnable.
    Leaving { from: CpuId, wants: bool },
}

/// A scheduling unit. Not `Clone`: it is in one run queue, or on its way into one, so no two queues can run it.
#[derive(Debug)]
pub struct Unit<A> {
    id: UnitId,
    pub(crate) affinity: Affinity,
    pub(crate) standing: Standing,
    /// CPU on which it ran last; None if it never ran.
    pub(crate) last: Option<CpuId>,
    /// Index of its affinity class in the queue that holds it.
    pub(super) class: u32,
    /// Links in the heap of waiting units, or of running ones.
    pub(super) by_order: Links,
    /// Links in the heap of timers.
    pub(super) by_time: Links,
    /// Accounting state of the policy.
    pub(crate) account: A,
}

impl<A> Unit<A> {
    /// Makes a unit that is asleep and never ran.
    #[must_use]
    pub fn new(id: UnitId, affinity: Affinity, account: A) -> Self {
        let (by_order, by_time) = (Links::default(), Links::default());
        Self { id, affinity, standing: Standing::Asleep, last: None, class: 0, by_order, by_time, account }
    }

    /// Returns its number.
    #[must_use]
    pub const fn id(&self) -> UnitId {
        self.id
    }

    /// Returns its affinity.
    #[must_use]
    pub const fn affinity(&self) -> &Affinity {
        &self.affinity
    }

    /// Returns its state.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Sets its state. Only for the policy whose queue holds the unit.
    pub fn set_standing(&mut self, standing: Standing) {
        self.standing = standing;
    }

    /// Returns the policy's accounting state, to be changed.
    pub fn account_mut(&mut self) -> &mut A {
        &mut self.account
    }

    /// Returns the policy's accounting state.
    #[must_use]
    pub const fn account(&self) -> &A {
        &self.account
    }
}

/// The units of one run queue, indexed by their numbers.
#[derive(Debug)]
pub struct Units<A>(Vec<Option<Box<Unit<A>>>>);

impl<A> Default for Units<A> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<A> Units<A> {
    /// Reserves memory for units with numbers below `count`: a pointer for each.
    ///
    /// **Errors:** memory is short.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn reserve(&mut self, count: usize) -> Result<(), TryReserveError> {
        self.0.try_reserve(count.saturating_sub(self.0.len()))?;
        while self.0.len() < count {
            self.0.push(None);
        }
        Ok(())
    }

    /// Returns the unit with this number, if it is in this queue.
    #[must_use]
    pub fn get(&self, id: UnitId) -> Option<&Unit<A>> {
        self.0.get(id.index())?.as_deref()
    }

    /// Returns the unit with this number, if it is in this queue, to be changed.
    pub fn get_mut(&mut self, id: UnitId) -> Option<&mut Unit<A>> {
        self.0.get_mut(id.index())?.as_deref_mut()
    }

    /// Adds a unit.
    ///
    /// **Errors:** no memory was reserved for its number; returns the unit. A unit that has the number already is
    /// dropped.
    pub fn put(&mut self, unit: Box<Unit<A>>) -> Result<(), Box<Unit<A>>> {
        match self.0.get_mut(unit.id.index()) {
            Some(place) => {
                *place = Some(unit);
                Ok(())
            }
            None => Err(unit),
        }
    }

    /// Removes and returns a unit.
    pub fn take(&mut self, id: UnitId) -> Option<Box<Unit<A>>> {
        self.0.get_mut(id.index())?.take()
    }

    /// Returns the first unit with a number of at least `from` whose hard affinity has none of `cpus` and that has no
    /// CPU.
    #[must_use]
    pub fn misplaced(&self, from: UnitId, cpus: &Cpus) -> Option<UnitId> {
        let has_cpu = |unit: &Unit<A>| matches!(unit.standing, Standing::Running(_) | Standing::Leaving { .. });
        let later = self.0.iter().skip(from.index()).filter_map(|unit| unit.as_deref());
        let mut outside = later.filter(|unit| !unit.affinity.hard.intersects(cpus) && !has_cpu(unit));
        outside.next().map(Unit::id)
    }

    /// Iterates over the units in rising order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Unit<A>> {
        self.0.iter().filter_map(|unit| unit.as_deref())
    }
}
