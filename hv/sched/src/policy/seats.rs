//! The CPUs of a run queue: which unit each runs, and which were asked to reschedule.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use xenolith_hal::{CpuId, Time};

use super::{Topology, Unit, UnitId};
use crate::Cpus;

/// State of one CPU in a run queue.
#[derive(Clone, Copy, Debug)]
pub struct Seat {
    pub cpu: CpuId,
    pub current: Option<UnitId>,
    /// The unit that ran last, until its registers are saved.
    pub leaving: Option<UnitId>,
    /// When the current unit got the CPU.
    pub started: Time,
    /// Up to when the current unit's time is charged.
    pub accounted: Time,
    /// When the time slice of the current unit ends.
    pub slice_end: Time,
    /// Deadline of the last decision: when the CPU reschedules by itself.
    pub deadline: Time,
}

/// The CPUs of a run queue.
#[derive(Debug, Default)]
pub struct Seats {
    /// In rising order of CPU numbers; removed CPUs stay.
    seats: Vec<Seat>,
    members: Cpus,
    /// Members that run no unit.
    idle: Cpus,
    /// CPUs that were asked to reschedule and have not done so yet.
    asked: Cpus,
}

impl Seats {
    /// Adds a CPU.
    ///
    /// **Errors:** memory is short; the CPU was not added.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn add(&mut self, cpu: CpuId, now: Time) -> Result<(), TryReserveError> {
        if let Err(index) = self.find(cpu) {
            self.seats.try_reserve(1)?;
            let (current, leaving, deadline) = (None, None, Time::NEVER);
            self.seats
                .insert(index, Seat { cpu, current, leaving, started: now, accounted: now, slice_end: now, deadline });
        }
        self.members.insert(cpu);
        if self.get(cpu).is_some_and(|seat| seat.current.is_none()) {
            self.idle.insert(cpu);
        }
        Ok(())
    }

    /// Removes a CPU. Its current unit keeps it until the CPU reschedules.
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

    /// Returns a CPU's state.
    #[must_use]
    pub fn get(&self, cpu: CpuId) -> Option<&Seat> {
        self.seats.get(self.find(cpu).ok()?)
    }

    /// Returns a CPU's state, to be changed.
    pub fn get_mut(&mut self, cpu: CpuId) -> Option<&mut Seat> {
        let index = self.find(cpu).ok()?;
        self.seats.get_mut(index)
    }

    /// Iterates over the states of all CPUs, removed ones included.
    pub fn iter(&self) -> impl Iterator<Item = &Seat> {
        self.seats.iter()
    }

    /// Returns the CPUs of this queue.
    #[must_use]
    pub const fn members(&self) -> &Cpus {
        &self.members
    }

    /// Returns whether a CPU of this queue runs no unit.
    #[must_use]
    pub fn is_idle(&self, cpu: CpuId) -> bool {
        self.idle.contains(cpu)
    }

    /// Returns the CPUs that run a unit.
    #[must_use]
    pub fn busy(&self) -> Cpus {
        self.members.without(&self.idle)
    }

    /// Returns the CPUs that run no unit and were not asked to reschedule.
    #[must_use]
    pub fn free(&self) -> Cpus {
        self.idle.without(&self.asked)
    }

    /// Makes a unit the current one of a CPU.
    pub fn occupy(&mut self, cpu: CpuId, id: UnitId, now: Time) {
        self.idle.remove(cpu);
        if let Some(seat) = self.get_mut(cpu) {
            (seat.current, seat.started, seat.accounted) = (Some(id), now, now);
        }
    }

    /// Takes the CPU from its current unit, which is leaving until [`Seats::saved`].
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

    /// Records that the registers of the leaving unit are saved, and returns that unit.
    pub fn saved(&mut self, cpu: CpuId) -> Option<UnitId> {
        self.get_mut(cpu).and_then(|seat| seat.leaving.take())
    }

    /// Has a CPU reschedule, if it was not asked yet.
    pub fn ask(&mut self, cpu: CpuId, asks: &mut Cpus) {
        if !self.asked.contains(cpu) {
            self.asked.insert(cpu);
            asks.insert(cpu);
        }
    }

    /// Has a CPU reschedule by `time`, if its deadline is later.
    pub fn ask_by(&mut self, cpu: CpuId, time: Time, asks: &mut Cpus) {
        if self.get(cpu).is_some_and(|seat| seat.deadline > time) {
            self.ask(cpu, asks);
        }
    }

    /// Returns whether a CPU was asked to reschedule.
    #[must_use]
    pub fn is_asked(&self, cpu: CpuId) -> bool {
        self.asked.contains(cpu)
    }

    /// Clears the request to reschedule, because the CPU does.
    pub fn answered(&mut self, cpu: CpuId) {
        self.asked.remove(cpu);
    }

    /// Returns the best free CPU for a unit, and whether it is in the unit's soft affinity. The order is: the unit's
    /// last CPU if all threads of that core are idle, a CPU of another idle core, the last CPU, any.
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

    /// Returns whether no thread of a CPU's core runs a unit or was asked to reschedule.
    fn core_is_idle(&self, topology: &Topology, cpu: CpuId) -> bool {
        let threads = topology.siblings(cpu).intersection(&self.members);
        threads.without(&self.idle).is_empty() && !threads.intersects(&self.asked)
    }
}
