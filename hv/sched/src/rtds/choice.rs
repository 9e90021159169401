//! The scheduling decision: of the units with budget, those with the earliest deadlines run (EDF).

use xenolith_hal::{CpuId, Time};

use super::queue::Rtds;
use crate::Cpus;
use crate::policy::{Decision, Next, Order, Placed, Standing, UnitId};

/// Reverses a sort key, for the heap of running units: the one with the latest deadline is preempted first.
const fn reversed(order: Order) -> Order {
    (!order.0, !order.1)
}

impl Rtds {
    /// Adds a running unit to the heap of units that can be preempted.
    fn mark_preemptible(&mut self, id: UnitId) {
        let Some(unit) = self.units.get_mut(id) else { return };
        unit.account.preemptible = true;
        let order = reversed(unit.account.order());
        self.running.insert(&mut self.units, id, order);
    }

    fn unmark_preemptible(&mut self, id: UnitId) {
        if let Some(unit) = self.units.get_mut(id)
            && core::mem::take(&mut unit.account.preemptible)
        {
            self.running.remove(&mut self.units, id);
        }
    }

    /// Has a CPU reschedule, and removes its unit from the heap of units that can be preempted.
    pub(super) fn reschedule(&mut self, cpu: CpuId, asks: &mut Cpus) {
        if let Some(id) = self.seats.get(cpu).and_then(|seat| seat.current) {
            self.unmark_preemptible(id);
        }
        self.seats.ask(cpu, asks);
    }

    /// Queues a runnable unit as waiting and finds a CPU for it. A unit without budget is parked until its next period.
    pub(super) fn make_ready(&mut self, id: UnitId, asks: &mut Cpus) -> Placed {
        let Some(unit) = self.units.get_mut(id) else { return Placed::Well };
        if !unit.account.may_run() {
            unit.standing = Standing::Parked;
            return Placed::Well;
        }
        unit.standing = Standing::Waiting;
        let order = unit.account.order();
        self.ready.insert(&mut self.units, id, order);
        self.find_cpu(id, asks)
    }

    /// Has a CPU reschedule for a waiting unit: the best free one, or the one whose unit has the latest deadline, if
    /// that is later than its own.
    fn find_cpu(&mut self, id: UnitId, asks: &mut Cpus) -> Placed {
        let Some(unit) = self.units.get(id) else { return Placed::Well };
        if let Some((cpu, loved)) = self.seats.best_free(&self.topology, unit) {
            self.seats.ask(cpu, asks);
            return if loved { Placed::Well } else { Placed::Poorly };
        }
        let (own, hard) = (unit.account.order(), unit.affinity.hard);
        if let Some(cpu) = self.latest(&hard, own) {
            self.reschedule(cpu, asks);
        }
        Placed::Waits
    }

    /// Returns the CPU of `cpus` whose unit is preempted first for a unit with the sort key `own`.
    fn latest(&self, cpus: &Cpus, own: Order) -> Option<CpuId> {
        let (_, id) = self.running.least(&self.units).filter(|(order, _)| *order < reversed(own))?;
        let Some(Standing::Running(cpu)) = self.units.get(id).map(|unit| unit.standing) else { return None };
        if cpus.contains(cpu) {
            return Some(cpu);
        }
        // It may not run there: of its own CPUs each has to be looked at.
        let busy = self.seats.busy().intersection(cpus);
        let preemptible = busy.members().filter_map(|cpu| {
            let unit = self.units.get(self.seats.get(cpu)?.current?)?;
            (unit.account.preemptible && unit.account.order() > own).then_some((unit.account.order(), cpu))
        });
        preemptible.max().map(|(_, cpu)| cpu)
    }

    fn charge(&mut self, cpu: CpuId, now: Time) {
        let Some(seat) = self.seats.get_mut(cpu) else { return };
        let ran = now.since_ns(seat.accounted);
        seat.accounted = seat.accounted.max(now);
        if let Some(unit) = seat.current.and_then(|id| self.units.get_mut(id)) {
            unit.account.charge(ran);
        }
    }

    pub(super) fn decide(&mut self, cpu: CpuId, now: Time, can_run: bool, asks: &mut Cpus) -> Decision {
        self.seats.answered(cpu);
        self.charge(cpu, now);
        let left = self.end_current(cpu, can_run);
        let current = self.current_of(cpu);
        let next = match current {
            Some(id) => {
                self.mark_preemptible(id);
                Next::Keep
            }
            None => self.start_next(cpu, now),
        };
        let unit = self.current_of(cpu).and_then(|id| self.units.get(id));
        let deadline = unit.map_or(Time::NEVER, |unit| unit.account.runs_out(now));
        if let Some((_, first)) = self.ready.first(&self.units) {
            // It may have counted on this CPU.
            let _ = self.find_cpu(first, asks);
        }
        Decision { next, deadline: deadline.max(now.after_ns(1)), left }
    }

    fn current_of(&self, cpu: CpuId) -> Option<UnitId> {
        self.seats.get(cpu).and_then(|seat| seat.current)
    }

    fn end_current(&mut self, cpu: CpuId, can_run: bool) -> Option<UnitId> {
        let id = self.current_of(cpu)?;
        self.unmark_preemptible(id);
        let member = self.seats.members().contains(cpu);
        let unit = self.units.get_mut(id)?;
        let stays = can_run && member && unit.affinity.hard.contains(cpu) && unit.account.may_run();
        let own = unit.account.order();
        let first = self.ready.first_for(&self.units, cpu);
        if stays && first.is_none_or(|(order, _)| own <= order) {
            return None;
        }
        self.seats.vacate(cpu);
        let unit = self.units.get_mut(id)?;
        unit.standing = Standing::Leaving { from: cpu, wants: can_run };
        unit.last = Some(cpu);
        Some(id)
    }

    fn start_next(&mut self, cpu: CpuId, now: Time) -> Next {
        if !self.seats.members().contains(cpu) {
            return Next::Idle;
        }
        let Some((_, id)) = self.ready.first_for(&self.units, cpu) else { return Next::Idle };
        self.ready.remove(&mut self.units, id);
        if let Some(unit) = self.units.get_mut(id) {
            unit.standing = Standing::Running(cpu);
            unit.last = Some(cpu);
        }
        self.seats.occupy(cpu, id, now);
        self.mark_preemptible(id);
        Next::Switch(id)
    }

    /// Requeues the unit that left a CPU, once its registers are saved: it waits, is parked or sleeps.
    pub(super) fn requeue(&mut self, cpu: CpuId, asks: &mut Cpus) -> Option<UnitId> {
        let id = self.seats.saved(cpu)?;
        let standing = self.units.get(id)?.standing;
        if matches!(standing, Standing::Leaving { wants: true, .. }) {
            let _ = self.make_ready(id, asks);
        } else {
            self.periods.remove(&mut self.units, id);
            self.units.get_mut(id)?.standing = Standing::Asleep;
        }
        Some(id)
    }

    /// Starts a unit's next period: replenishes its budget and moves it to its new place in the queue.
    pub(super) fn begin_period(&mut self, id: UnitId, now: Time, asks: &mut Cpus) {
        self.periods.remove(&mut self.units, id);
        let Some(standing) = self.units.get(id).map(|unit| unit.standing) else { return };
        match standing {
            Standing::Waiting => self.ready.remove(&mut self.units, id),
            Standing::Running(cpu) => {
                self.charge(cpu, now);
                self.unmark_preemptible(id);
            }
            _ => {}
        }
        let Some(unit) = self.units.get_mut(id) else { return };
        unit.account.next_period(now);
        let end = unit.account.deadline;
        self.periods.insert(&mut self.units, id, (end.0, u64::from(id.0)));
        match standing {
            Standing::Waiting | Standing::Parked => {
                let _ = self.make_ready(id, asks);
            }
            // It may have to make room now, and its budget lasts longer than the deadline of its CPU.
            Standing::Running(cpu) => self.reschedule(cpu, asks),
            _ => {}
        }
    }
}
