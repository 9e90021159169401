//! Wake-up, blocking and changes of units, and the CPUs that must reschedule because of them.

use alloc::collections::TryReserveError;

use xenolith_hal::{CpuId, Time};

use super::options::Parameters;
use super::queue::Credit2;
use super::{MARGIN_NS, MEMORY_NS, WAKE_BONUS_NS};
use crate::Cpus;
use crate::policy::{Affinity, Placed, Standing, UnitId};

impl Credit2 {
    pub(super) fn wake_up(&mut self, id: UnitId, now: Time, asks: &mut Cpus) -> Placed {
        let Some(unit) = self.units.get_mut(id) else { return Placed::Well };
        match unit.standing {
            Standing::Asleep => self.make_ready(id, now, WAKE_BONUS_NS, asks),
            Standing::Leaving { from, .. } => {
                unit.standing = Standing::Leaving { from, wants: true };
                Placed::Well
            }
            Standing::Running(_) | Standing::Waiting | Standing::Parked => Placed::Well,
        }
    }

    pub(super) fn block(&mut self, id: UnitId, now: Time, asks: &mut Cpus) {
        let Some(unit) = self.units.get_mut(id) else { return };
        match unit.standing {
            Standing::Waiting => {
                self.ready.remove(&mut self.units, id);
                self.update_load(id, false, now);
            }
            Standing::Parked => self.parked.remove(&mut self.units, id),
            Standing::Running(cpu) => return self.seats.ask(cpu, asks),
            Standing::Leaving { from, .. } => {
                unit.standing = Standing::Leaving { from, wants: false };
                return;
            }
            Standing::Asleep => return,
        }
        self.clear_debt(id);
        if let Some(unit) = self.units.get_mut(id) {
            unit.standing = Standing::Asleep;
            unit.account.give_back();
        }
    }

    /// Queues a unit as waiting and finds a CPU for it. Its virtual time is clamped: at most `behind` nanoseconds of
    /// CPU time behind the queue's, at most [`MEMORY_NS`] ahead of it. A unit without budget is parked instead.
    pub(super) fn make_ready(&mut self, id: UnitId, now: Time, behind: u64, asks: &mut Cpus) -> Placed {
        if self.ready.waiting() == 0 {
            // While no unit waited virtual time stood still: bring it up to the running units'.
            let busy = self.seats.busy();
            busy.members().for_each(|cpu| self.charge(cpu, now));
        }
        self.turn = self.turn.wrapping_add(1);
        let now_virtual = self.virtual_ns;
        let Some(unit) = self.units.get_mut(id) else { return Placed::Well };
        let (behind, ahead) = (unit.account.to_virtual(behind), unit.account.to_virtual(MEMORY_NS));
        let (least, most) = (now_virtual.saturating_sub(behind), now_virtual.saturating_add(ahead));
        unit.account.virtual_ns = unit.account.virtual_ns.clamp(least, most);
        if let Err(until) = unit.account.may_run(now) {
            self.park(id, until);
            return Placed::Well;
        }
        unit.standing = Standing::Waiting;
        let order = (unit.account.virtual_ns, self.turn);
        self.ready.insert(&mut self.units, id, order);
        self.update_load(id, true, now);
        self.find_cpu(id, now, asks)
    }

    /// Parks a unit until the replenishment of its domain's cap.
    pub(super) fn park(&mut self, id: UnitId, until: Time) {
        if let Some(unit) = self.units.get_mut(id) {
            unit.standing = Standing::Parked;
            self.parked.insert(&mut self.units, id, (until.0, u64::from(id.0)));
        }
    }

    pub(super) fn unpark(&mut self, now: Time, asks: &mut Cpus) {
        while let Some(((at, _), id)) = self.parked.least(&self.units)
            && at <= now.0
        {
            self.parked.remove(&mut self.units, id);
            let _ = self.make_ready(id, now, WAKE_BONUS_NS, asks);
        }
    }

    /// Has a CPU reschedule for a waiting unit (Xen: tickles it): the best idle CPU, or the one whose unit is furthest
    /// ahead.
    fn find_cpu(&mut self, id: UnitId, now: Time, asks: &mut Cpus) -> Placed {
        let Some(unit) = self.units.get(id) else { return Placed::Well };
        if let Some((cpu, loved)) = self.seats.best_free(&self.topology, unit) {
            self.seats.ask(cpu, asks);
            return if loved { Placed::Well } else { Placed::Poorly };
        }
        let own = unit.account.virtual_ns;
        let hard = unit.affinity.hard;
        let busy = self.seats.members().intersection(&hard);
        let ahead = busy.members().filter_map(|cpu| {
            // One that is about to choose takes who comes first anyway.
            let known = if self.seats.is_asked(cpu) { None } else { self.virtual_of(cpu, now) };
            known.map(|ahead| (ahead.saturating_sub(self.resistance(id, cpu)), cpu))
        });
        if let Some((ahead, cpu)) = ahead.max()
            && let Some(seat) = self.seats.get(cpu)
        {
            let least = seat.started.after_ns(self.options.ratelimit_ns);
            let by = if ahead > own.saturating_add(MARGIN_NS) { least } else { seat.slice_end.max(least) };
            self.seats.ask_by(cpu, by.max(now), asks);
        }
        Placed::Waits
    }

    /// Returns the migration resistance of a unit on a CPU, in virtual nanoseconds; 0 on its last CPU.
    fn resistance(&self, id: UnitId, cpu: CpuId) -> u64 {
        let elsewhere = self.units.get(id).and_then(|unit| unit.last).is_some_and(|last| last != cpu);
        if elsewhere { self.options.migrate_resist_ns } else { 0 }
    }

    /// Finds CPUs for the first waiting unit of each affinity class.
    pub(super) fn place_waiting(&mut self, now: Time, asks: &mut Cpus) {
        for index in 0usize.. {
            let Some(first) = self.ready.first_of_class(&self.units, index) else { break };
            if let Some((_, id)) = first {
                let _ = self.find_cpu(id, now, asks);
            }
        }
    }

    pub(super) fn change(
        &mut self,
        id: UnitId,
        affinity: Affinity,
        parameters: &Parameters,
        now: Time,
        asks: &mut Cpus,
    ) -> Result<(), TryReserveError> {
        let Some(standing) = self.units.get(id).map(|unit| unit.standing) else { return Ok(()) };
        if let Standing::Running(cpu) = standing {
            self.charge(cpu, now);
            self.seats.ask(cpu, asks);
        }
        if standing == Standing::Waiting {
            self.ready.remove(&mut self.units, id);
        }
        let carried = !matches!(standing, Standing::Asleep | Standing::Parked);
        if carried {
            self.update_load(id, false, now);
        }
        self.clear_debt(id);
        let done = self.ready.rejoin(&mut self.units, id, affinity);
        if done.is_ok()
            && let Some(unit) = self.units.get_mut(id)
        {
            unit.account.set(parameters);
        }
        if carried {
            self.update_load(id, true, now);
        }
        match standing {
            Standing::Waiting => {
                self.update_load(id, false, now);
                let _ = self.make_ready(id, now, MEMORY_NS, asks);
            }
            Standing::Parked => {
                self.parked.remove(&mut self.units, id);
                let _ = self.make_ready(id, now, 0, asks);
            }
            _ => {}
        }
        done
    }
}
