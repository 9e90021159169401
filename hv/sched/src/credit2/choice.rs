//! The scheduling decision of a CPU: preempting, picking the next unit, saving the last one.

use xenolith_hal::{CpuId, Time};

use super::queue::Credit2;
use super::{MARGIN_NS, MEMORY_NS};
use crate::Cpus;
use crate::policy::{Decision, Next, Standing, UnitId};

impl Credit2 {
    pub(super) fn decide(&mut self, cpu: CpuId, now: Time, can_run: bool, asks: &mut Cpus) -> Decision {
        self.seats.answered(cpu);
        self.charge(cpu, now);
        let last_deadline = self.seats.get(cpu).map_or(Time::NEVER, |seat| seat.deadline);
        let left = self.end_current(cpu, now, can_run);
        let busy = self.seats.get(cpu).is_some_and(|seat| seat.current.is_some());
        let next = if busy { Next::Keep } else { self.start_next(cpu, now) };
        let deadline = self.deadline(cpu, now, left);
        if let Some(seat) = self.seats.get_mut(cpu) {
            seat.deadline = deadline;
        }
        if self.ready.waiting() > 0 && (next != Next::Keep || last_deadline <= now) {
            // Other CPUs may be free, or run units further ahead of the waiting ones than the one just preempted.
            self.place_waiting(now, asks);
        }
        Decision { next, deadline, left }
    }

    /// Preempts the current unit if it blocks, may not run here, or has to yield to a waiting unit. Returns the unit
    /// that leaves.
    fn end_current(&mut self, cpu: CpuId, now: Time, can_run: bool) -> Option<UnitId> {
        let id = self.seats.get(cpu)?.current?;
        let allowed = self.seats.members().contains(cpu);
        let unit = self.units.get_mut(id)?;
        let may_run = unit.account.may_run(now);
        let stays = can_run && allowed && unit.affinity.hard.contains(cpu) && may_run.is_ok();
        if stays && !self.should_switch(cpu, id, now) {
            return None;
        }
        self.seats.vacate(cpu);
        let unit = self.units.get_mut(id)?;
        unit.standing = Standing::Leaving { from: cpu, wants: can_run };
        unit.last = Some(cpu);
        self.update_load(id, false, now);
        Some(id)
    }

    fn should_switch(&mut self, cpu: CpuId, id: UnitId, now: Time) -> bool {
        let Some(((best, _), _)) = self.ready.first_for(&self.units, cpu) else { return false };
        let (Some(unit), Some(seat)) = (self.units.get(id), self.seats.get_mut(cpu)) else { return false };
        let (own, slice) = (unit.account.virtual_ns, unit.account.slice_ns());
        let had_least = now.since_ns(seat.started) >= self.options.ratelimit_ns;
        let ahead = best.saturating_add(MARGIN_NS) < own;
        let over = now >= seat.slice_end && best <= own;
        if had_least && (over || ahead) {
            return true;
        }
        if seat.slice_end <= now {
            seat.slice_end = now.after_ns(slice);
        }
        false
    }

    /// Switches to the runnable unit with the least virtual time that may run here.
    fn start_next(&mut self, cpu: CpuId, now: Time) -> Next {
        if !self.seats.members().contains(cpu) {
            return Next::Idle;
        }
        while let Some((_, id)) = self.ready.first_for(&self.units, cpu) {
            self.ready.remove(&mut self.units, id);
            let Some(unit) = self.units.get_mut(id) else { break };
            if let Err(until) = unit.account.may_run(now) {
                self.update_load(id, false, now);
                self.park(id, until);
                continue;
            }
            unit.standing = Standing::Running(cpu);
            unit.last = Some(cpu);
            let (start, slice) = (unit.account.virtual_ns, unit.account.slice_ns());
            self.virtual_ns = self.virtual_ns.max(start);
            self.seats.occupy(cpu, id, now);
            if let Some(seat) = self.seats.get_mut(cpu) {
                seat.slice_end = now.after_ns(slice);
            }
            return Next::Switch(id);
        }
        Next::Idle
    }

    fn deadline(&self, cpu: CpuId, now: Time, left: Option<UnitId>) -> Time {
        let Some(seat) = self.seats.get(cpu) else { return Time::NEVER };
        let Some(unit) = seat.current.and_then(|id| self.units.get(id)) else { return Time::NEVER };
        let account = &unit.account;
        let first = self.ready.first_for(&self.units, cpu);
        // The one that made room will wait for this CPU as soon as it is saved.
        let left = left.and_then(|id| self.units.get(id));
        let returns = left.is_some_and(|unit| matches!(unit.standing, Standing::Leaving { wants: true, .. }));
        let least = seat.started.after_ns(self.options.ratelimit_ns);
        let slice = match first {
            Some(((best, _), _)) if best.saturating_add(MARGIN_NS) < account.virtual_ns => least.min(seat.slice_end),
            Some(_) => seat.slice_end,
            None if returns => seat.slice_end,
            None => Time::NEVER,
        };
        slice.max(least.min(slice)).min(account.runs_out(now)).max(now.after_ns(1))
    }

    /// Requeues the unit that left a CPU, once its registers are saved: it waits, is parked or sleeps.
    pub(super) fn requeue(&mut self, cpu: CpuId, now: Time, asks: &mut Cpus) -> Option<UnitId> {
        let id = self.seats.saved(cpu)?;
        let unit = self.units.get_mut(id)?;
        let wants = matches!(unit.standing, Standing::Leaving { wants: true, .. });
        unit.standing = Standing::Asleep;
        if wants {
            let _ = self.make_ready(id, now, MEMORY_NS, asks);
        } else {
            unit.account.give_back();
            self.clear_debt(id);
        }
        Some(id)
    }

    /// Moves the current unit behind all units that wait for its CPU (yield).
    pub(super) fn yield_current(&mut self, cpu: CpuId, now: Time) {
        self.charge(cpu, now);
        let first = self.ready.first_for(&self.units, cpu);
        let (Some(((first, _), _)), Some(seat)) = (first, self.seats.get_mut(cpu)) else { return };
        seat.slice_end = now;
        // It gives the rest of its time away, so it need not have had the least of it.
        seat.started = Time(seat.started.0.min(now.0.saturating_sub(self.options.ratelimit_ns)));
        if let Some(unit) = seat.current.and_then(|id| self.units.get_mut(id)) {
            unit.account.virtual_ns = unit.account.virtual_ns.max(first);
        }
    }
}
