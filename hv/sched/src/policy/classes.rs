//! The waiting units of a run queue, in one heap for each hard affinity (affinity class).
//!
//! The first unit that may run on a CPU is found among the heads of the heaps whose affinity has the CPU, however many
//! other units wait. Most pools have one class for all units, or one for each CPU.

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
    /// Number of units of the queue with this affinity, waiting or not.
    members: u32,
}

/// The waiting units of one run queue.
#[derive(Debug, Default)]
pub struct Classes {
    classes: Vec<Class>,
    waiting: usize,
}

impl Classes {
    /// Returns the number of waiting units.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Adds a unit that has entered the queue to its affinity class. It does not wait yet.
    ///
    /// **Errors:** memory is short for a new class; the unit is in no class.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn join<A>(&mut self, units: &mut Units<A>, id: UnitId) -> Result<(), TryReserveError> {
        let Some(unit) = units.get_mut(id) else { return Ok(()) };
        let same = self.classes.iter().position(|class| class.hard == unit.affinity.hard);
        let free = same.or_else(|| self.classes.iter().position(|class| class.members == 0));
        let index = match free {
            Some(index) => index,
            None => {
                let new = self.classes.len();
                self.classes.try_reserve(1)?;
                self.classes.push(Class { hard: Cpus::NONE, heap: Heap::default(), members: 0 });
                new
            }
        };
        if let Some(class) = self.classes.get_mut(index) {
            class.hard = unit.affinity.hard;
            class.members = class.members.saturating_add(1);
        }
        unit.class = u32::try_from(index).unwrap_or(u32::MAX);
        Ok(())
    }

    /// Changes the affinity of a unit that does not wait, and moves it to the class for it.
    ///
    /// **Errors:** memory is short for a new class; affinity and class are unchanged.
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

    /// Returns the first waiting unit of class `index`: Some(None) if none waits, None past the last class.
    #[must_use]
    pub fn first_of_class<A>(&self, units: &Units<A>, index: usize) -> Option<Option<(Order, UnitId)>> {
        self.classes.get(index).map(|class| class.heap.least(units))
    }

    /// Removes a unit that does not wait from its class, because it leaves the queue.
    pub fn part<A>(&mut self, units: &Units<A>, id: UnitId) {
        if let Some(class) = units.get(id).and_then(|unit| self.classes.get_mut(unit.class as usize)) {
            class.members = class.members.saturating_sub(1);
        }
    }

    /// Adds a unit to the waiting units, at the place that `order` gives it.
    pub fn insert<A>(&mut self, units: &mut Units<A>, id: UnitId, order: Order) {
        let class = units.get(id).map(|unit| unit.class as usize);
        if let Some(class) = class.and_then(|class| self.classes.get_mut(class)) {
            class.heap.insert(units, id, order);
            self.waiting = self.waiting.saturating_add(1);
        }
    }

    /// Removes a unit from the waiting units.
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
