//! Units that wait, by the CPUs that they may run on: a heap for each set of CPUs.
//!
//! So the first that may run on a CPU is found among the firsts of the sets that hold it, however many units wait that
//! may not. Most pools have one set for all, or one for each CPU.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use xenolith_hal::CpuId;

use super::heap::{ByOrder, Heap, Order};
use super::unit::{Affinity, UnitId, Units};
use crate::Cpus;

#[derive(Debug)]
struct Class {
    hard: Cpus,
    heap: Heap<ByOrder>,
    /// Units of the queue that belong here, waiting or not.
    members: u32,
}

/// The units of one run queue that wait.
#[derive(Debug, Default)]
pub struct Classes {
    classes: Vec<Class>,
    waiting: usize,
}

impl Classes {
    /// How many units wait.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Gives a unit that has come into the queue its class.
    ///
    /// **Errors:** memory is short, for a set of CPUs that no other unit here has.
    pub fn join<A>(&mut self, units: &mut Units<A>, id: UnitId) -> Result<(), TryReserveError> {
        let Some(unit) = units.get_mut(id) else { return Ok(()) };
        let same = self.classes.iter().position(|class| class.hard == unit.affinity.hard);
        let free = same.or_else(|| self.classes.iter().position(|class| class.members == 0));
        let index = match free {
            Some(index) => index,
            None => {
                self.classes.try_reserve(1)?;
                self.classes.push(Class { hard: Cpus::NONE, heap: Heap::default(), members: 0 });
                self.classes.len() - 1
            }
        };
        if let Some(class) = self.classes.get_mut(index) {
            class.hard = unit.affinity.hard;
            class.members += 1;
        }
        unit.class = u32::try_from(index).unwrap_or(u32::MAX);
        Ok(())
    }

    /// Gives a unit that does not wait another affinity, and the class for it.
    ///
    /// **Errors:** memory is short; its affinity is the old one.
    pub fn rejoin<A>(&mut self, units: &mut Units<A>, id: UnitId, affinity: Affinity) -> Result<(), TryReserveError> {
        self.part(units, id);
        let Some(unit) = units.get_mut(id) else { return Ok(()) };
        let before = core::mem::replace(&mut unit.affinity, affinity);
        let done = self.join(units, id);
        if done.is_err() {
            if let Some(unit) = units.get_mut(id) {
                unit.affinity = before;
            }
            // Its old class is still there.
            self.join(units, id)?;
        }
        done
    }

    /// The first of the units of one set that wait; none past the last set.
    #[must_use]
    pub fn first_of_class<A>(&self, units: &Units<A>, index: usize) -> Option<Option<(Order, UnitId)>> {
        self.classes.get(index).map(|class| class.heap.least(units))
    }

    /// Takes its class from a unit that leaves the queue; it does not wait.
    pub fn part<A>(&mut self, units: &Units<A>, id: UnitId) {
        if let Some(class) = units.get(id).and_then(|unit| self.classes.get_mut(unit.class as usize)) {
            class.members = class.members.saturating_sub(1);
        }
    }

    /// Lets a unit wait.
    pub fn insert<A>(&mut self, units: &mut Units<A>, id: UnitId, order: Order) {
        let class = units.get(id).map(|unit| unit.class as usize);
        if let Some(class) = class.and_then(|class| self.classes.get_mut(class)) {
            class.heap.insert(units, id, order);
            self.waiting += 1;
        }
    }

    /// Takes a unit that waits out.
    pub fn remove<A>(&mut self, units: &mut Units<A>, id: UnitId) {
        let class = units.get(id).map(|unit| unit.class as usize);
        if let Some(class) = class.and_then(|class| self.classes.get_mut(class)) {
            class.heap.remove(units, id);
            self.waiting = self.waiting.saturating_sub(1);
        }
    }

    /// Returns the first waiting unit that may run on a CPU.
    #[must_use]
    pub fn first_for<A>(&self, units: &Units<A>, cpu: CpuId) -> Option<(Order, UnitId)> {
        let there = self.classes.iter().filter(|class| class.heap.first().is_some() && class.hard.contains(cpu));
        there.filter_map(|class| class.heap.least(units)).min()
    }

    /// Returns the first waiting unit.
    #[must_use]
    pub fn first<A>(&self, units: &Units<A>) -> Option<(Order, UnitId)> {
        self.classes.iter().filter_map(|class| class.heap.least(units)).min()
    }

    /// Returns whether a unit waits that may run on a CPU.
    #[must_use]
    pub fn any_for(&self, cpu: CpuId) -> bool {
        self.classes.iter().any(|class| class.heap.first().is_some() && class.hard.contains(cpu))
    }
}
