//! The CPUs of a run queue: who has which, and which have been asked to choose anew.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use xenolith_hal::{CpuId, Time};

use super::{Topology, Unit, UnitId};
use crate::Cpus;

/// One CPU.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    pub cpu: CpuId,
    pub current: Option<UnitId>,
    /// The unit that had it last, while its registers may still be there.
    pub leaving: Option<UnitId>,
    /// When the current one got it.
    pub started: Time,
    /// Up to when the current one's time is accounted for.
    pub accounted: Time,
    /// When the current one is to make room for others that wait.
    pub slice_end: Time,
    /// When it asks again, as it was told.
    pub told: Time,
}

/// The CPUs of a run queue.
#[derive(Debug, Default)]
pub struct Seats {
    /// In the order of their numbers; CPUs that have gone stay.
    seats: Vec<Seat>,
    members: Cpus,
    /// Members that nobody has.
    idle: Cpus,
    /// CPUs that were asked to choose anew, and have not yet.
    asked: Cpus,
}

impl Seats {
    /// Lets a CPU in.
    ///
    /// **Errors:** memory is short.
    pub fn add(&mut self, cpu: CpuId, now: Time) -> Result<(), TryReserveError> {
        if let Err(index) = self.find(cpu) {
            self.seats.try_reserve(1)?;
            let (current, leaving, told) = (None, None, Time::NEVER);
            self.seats
                .insert(index, Seat { cpu, current, leaving, started: now, accounted: now, slice_end: now, told });
        }
        self.members.insert(cpu);
        if self.get(cpu).is_some_and(|seat| seat.current.is_none()) {
            self.idle.insert(cpu);
        }
        Ok(())
    }

    /// Lets no unit have a CPU any more. The current one keeps it until the CPU chooses.
    pub fn remove(&mut self, cpu: CpuId) {
        self.members.remove(cpu);
        self.idle.remove(cpu);
    }

    fn find(&self, cpu: CpuId) -> Result<usize, usize> {
        // CPUs that share a queue mostly have numbers without gaps.
        let first = self.seats.first().map_or(0, |seat| seat.cpu.0);
        let guess = cpu.0.wrapping_sub(first) as usize;
        if self.seats.get(guess).is_some_and(|seat| seat.cpu == cpu) {
            return Ok(guess);
        }
        self.seats.binary_search_by_key(&cpu, |seat| seat.cpu)
    }

    /// A CPU's seat.
    #[must_use]
    pub fn get(&self, cpu: CpuId) -> Option<&Seat> {
        self.seats.get(self.find(cpu).ok()?)
    }

    /// A CPU's seat.
    pub fn get_mut(&mut self, cpu: CpuId) -> Option<&mut Seat> {
        let index = self.find(cpu).ok()?;
        self.seats.get_mut(index)
    }

    /// All seats, those of CPUs that have gone included.
    pub fn iter(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter()
    }

    /// The CPUs that are here.
    #[must_use]
    pub const fn members(&self) -> &Cpus {
        &self.members
    }

    /// Whether nobody has a CPU that is here.
    #[must_use]
    pub fn is_idle(&self, cpu: CpuId) -> bool {
        self.idle.contains(cpu)
    }

    /// Returns the CPUs that run a unit.
    #[must_use]
    pub fn busy(&self) -> Cpus {
        self.members.without(&self.idle)
    }

    /// Returns the CPUs that run nothing and were not asked to choose.
    #[must_use]
    pub fn free(&self) -> Cpus {
        self.idle.without(&self.asked)
    }

    /// Gives a CPU to a unit.
    pub fn occupy(&mut self, cpu: CpuId, id: UnitId, now: Time) {
        self.idle.remove(cpu);
        if let Some(seat) = self.get_mut(cpu) {
            (seat.current, seat.started, seat.accounted) = (Some(id), now, now);
        }
    }

    /// Takes a CPU from the unit that has it, which has it until [`Seats::saved`] in part.
    pub fn vacate(&mut self, cpu: CpuId) -> Option<UnitId> {
        let seat = self.get_mut(cpu)?;
        let left = seat.current.take();
        // One that left before may not be saved yet.
        seat.leaving = left.or(seat.leaving);
        if self.members.contains(cpu) {
            self.idle.insert(cpu);
        }
        left
    }

    /// Nothing of the unit that left is with the CPU any more.
    pub fn saved(&mut self, cpu: CpuId) -> Option<UnitId> {
        self.get_mut(cpu).and_then(|seat| seat.leaving.take())
    }

    /// Has a CPU choose anew, if it is not about to.
    pub fn ask(&mut self, cpu: CpuId, asks: &mut Cpus) {
        if !self.asked.contains(cpu) {
            self.asked.insert(cpu);
            asks.insert(cpu);
        }
    }

    /// Has a CPU choose anew by a certain time, if it would not anyway.
    pub fn ask_by(&mut self, cpu: CpuId, time: Time, asks: &mut Cpus) {
        if self.get(cpu).is_some_and(|seat| seat.told > time) {
            self.ask(cpu, asks);
        }
    }

    /// Whether a CPU is about to choose anew.
    #[must_use]
    pub fn is_asked(&self, cpu: CpuId) -> bool {
        self.asked.contains(cpu)
    }

    /// A CPU chooses.
    pub fn answered(&mut self, cpu: CpuId) {
        self.asked.remove(cpu);
    }

    /// Returns the best free CPU for a unit, and whether the unit prefers it: its last CPU if that core is idle, a CPU of
    /// another idle core, its last CPU, any.
    #[must_use]
    pub fn best_free<A>(&self, topology: &Topology, unit: &Unit<A>) -> Option<(CpuId, bool)> {
        let free = self.free().intersection(&unit.affinity.hard);
        if free.is_empty() {
            return None;
        }
        let preferred = free.intersection(&unit.affinity.preferred());
        let (set, loved) = if preferred.is_empty() { (free, false) } else { (preferred, true) };
        let last = unit.last.filter(|last| set.contains(*last));
        let is_whole = |cpu: &CpuId| self.core_is_idle(topology, *cpu);
        let whole = last.filter(is_whole).or_else(|| set.members().find(is_whole));
        whole.or(last).or_else(|| set.lowest()).map(|cpu| (cpu, loved))
    }

    /// Nobody runs on any thread of a CPU's core, and nobody was promised one.
    fn core_is_idle(&self, topology: &Topology, cpu: CpuId) -> bool {
        let threads = topology.siblings(cpu).intersection(&self.members);
        threads.without(&self.idle).is_empty() && !threads.intersects(&self.asked)
    }
}
