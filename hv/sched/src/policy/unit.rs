//! What a policy schedules: a vCPU, or with core scheduling the vCPUs of a virtual core.

use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use xenolith_hal::CpuId;

use super::heap::Links;
use crate::Cpus;

/// A unit's number: dense within a pool, given by the core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UnitId(pub u32);

impl UnitId {
    /// The number as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a unit may run, and where it rather runs.
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
    /// On one CPU alone.
    #[must_use]
    pub fn pinned(cpu: CpuId) -> Self {
        Self { hard: Cpus::only(cpu), soft: Cpus::ALL }
    }

    /// The CPUs that it may and rather runs on; with none that is both, all that it may run on.
    #[must_use]
    pub fn preferred(&self) -> Cpus {
        let both = self.hard.intersection(&self.soft);
        if both.is_empty() { self.hard } else { both }
    }
}

/// Where a unit stands in the run queue that holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It has nothing to do.
    Asleep,
    /// It wants a CPU.
    Waiting,
    /// It wants a CPU and may not have one yet: its cap or its budget is used up.
    Parked,
    /// It has this CPU.
    Running(CpuId),
    /// It had this CPU, and its registers may still be there; afterwards it wants one again, or not.
    Leaving { from: CpuId, wants: bool },
}

/// A unit. Not `Clone`: it is in one run queue, or on its way into one, so no two queues let it run.
#[derive(Debug)]
pub struct Unit<A> {
    id: UnitId,
    pub(crate) affinity: Affinity,
    pub(crate) standing: Standing,
    /// The CPU that it had last, if it ever had one.
    pub(crate) last: Option<CpuId>,
    /// Its class of hard affinity, within the queue that holds it.
    pub(super) class: u32,
    /// Its links in the heap of waiting units, or of running ones.
    pub(super) by_order: Links,
    /// Its links in the heap of units that have a timer.
    pub(super) by_time: Links,
    /// What the policy accounts for it.
    pub(crate) account: A,
}

impl<A> Unit<A> {
    /// One that is asleep and never ran.
    #[must_use]
    pub fn new(id: UnitId, affinity: Affinity, account: A) -> Self {
        let (by_order, by_time) = (Links::default(), Links::default());
        Self { id, affinity, standing: Standing::Asleep, last: None, class: 0, by_order, by_time, account }
    }

    /// Its number.
    #[must_use]
    pub const fn id(&self) -> UnitId {
        self.id
    }

    /// Where it may run.
    #[must_use]
    pub const fn affinity(&self) -> &Affinity {
        &self.affinity
    }

    /// Where it stands.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Changes where it stands: for the policy whose queue holds it.
    pub fn set_standing(&mut self, standing: Standing) {
        self.standing = standing;
    }

    /// What the policy accounts for it, to be changed.
    pub fn account_mut(&mut self) -> &mut A {
        &mut self.account
    }

    /// What the policy accounts for it.
    #[must_use]
    pub const fn account(&self) -> &A {
        &self.account
    }
}

/// The units that one run queue holds, by their numbers.
#[derive(Debug)]
pub struct Units<A>(Vec<Option<Box<Unit<A>>>>);

impl<A> Default for Units<A> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<A> Units<A> {
    /// Makes room for the units with numbers below `count`: a pointer each.
    ///
    /// **Errors:** memory is short.
    pub fn reserve(&mut self, count: usize) -> Result<(), TryReserveError> {
        self.0.try_reserve(count.saturating_sub(self.0.len()))?;
        while self.0.len() < count {
            self.0.push(None);
        }
        Ok(())
    }

    /// The unit with this number, if it is here.
    #[must_use]
    pub fn get(&self, id: UnitId) -> Option<&Unit<A>> {
        self.0.get(id.index())?.as_deref()
    }

    /// The unit with this number, if it is here.
    pub fn get_mut(&mut self, id: UnitId) -> Option<&mut Unit<A>> {
        self.0.get_mut(id.index())?.as_deref_mut()
    }

    /// Puts a unit in.
    ///
    /// **Errors:** gives it back if no room was made for its number.
    pub fn put(&mut self, unit: Box<Unit<A>>) -> Result<(), Box<Unit<A>>> {
        match self.0.get_mut(unit.id.index()) {
            Some(place) => {
                *place = Some(unit);
                Ok(())
            }
            None => Err(unit),
        }
    }

    /// Takes a unit out.
    pub fn take(&mut self, id: UnitId) -> Option<Box<Unit<A>>> {
        self.0.get_mut(id.index())?.take()
    }

    /// The first unit with at least this number that none of these CPUs may run, and that no CPU has.
    #[must_use]
    pub fn misplaced(&self, from: UnitId, cpus: &Cpus) -> Option<UnitId> {
        let has_cpu = |unit: &Unit<A>| matches!(unit.standing, Standing::Running(_) | Standing::Leaving { .. });
        let later = self.0.iter().skip(from.index()).filter_map(|unit| unit.as_deref());
        let mut outside = later.filter(|unit| !unit.affinity.hard.intersects(cpus) && !has_cpu(unit));
        outside.next().map(Unit::id)
    }

    /// All units that are here.
    pub fn iter(&self) -> impl Iterator<Item = &Unit<A>> {
        self.0.iter().filter_map(|unit| unit.as_deref())
    }
}
