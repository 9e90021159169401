//! Which units run: of the units with a budget left, those with the earliest deadlines (EDF).

use xenolith_hal::{CpuId, Time};

use super::queue::Rtds;
use crate::Cpus;
use crate::policy::{Decision, Next, Order, Placed, Standing, UnitId};

/// Reverses an order: of the running units the last is preempted first.
const fn reversed(order: Order) -> Order {
    (u64::MAX - order.0, u64::MAX - order.1)
}

impl Rtds {
    /// Puts a running unit into the heap of units that can be preempted.
    fn expose(&mut self, id: UnitId) {
        let Some(unit) = self.units.get_mut(id) else { return };
        unit.account.exposed = true;
        let order = reversed(unit.account.order());
        self.running.insert(&mut self.units, id, order);
    }

    fn cover(&mut self, id: UnitId) {
        if let Some(unit) = self.units.get_mut(id)
            && core::mem::take(&mut unit.account.exposed)
        {
            self.running.remove(&mut self.units, id);
        }
    }

    /// Has a CPU choose anew. Nobody else is to count on what it has.
    pub(super) fn press(&mut self, cpu: CpuId, asks: &mut Cpus) {
        if let Some(id) = self.seats.get(cpu).and_then(|seat| seat.current) {
            self.cover(id);
        }
        self.seats.ask(cpu, asks);
    }

    /// Lets a unit that is awake wait for a CPU and finds one, or stand aside until its next period.
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

    /// Asks the best free CPU for a unit that waits, or the one whose unit has the latest deadline, if that is later.
    fn find_cpu(&mut self, id: UnitId, asks: &mut Cpus) -> Placed {
        let Some(unit) = self.units.get(id) else { return Placed::Well };
        if let Some((cpu, loved)) = self.seats.best_free(&self.topology, unit) {
            self.seats.ask(cpu, asks);
            return if loved { Placed::Well } else { Placed::Poorly };
        }
        let (own, hard) = (unit.account.order(), unit.affinity.hard);
        if let Some(cpu) = self.latest(&hard, own) {
            self.press(cpu, asks);
        }
        Placed::Waits
    }

    /// The CPU of these whose unit is to make room first for one of this order.
    fn latest(&self, cpus: &Cpus, own: Order) -> Option<CpuId> {
        let (_, id) = self.running.least(&self.units).filter(|(order, _)| *order < reversed(own))?;
        let Some(Standing::Running(cpu)) = self.units.get(id).map(|unit| unit.standing) else { return None };
        if cpus.contains(cpu) {
            return Some(cpu);
        }
        // It may not run there: of its own CPUs each has to be looked at.
        let busy = self.seats.busy().intersection(cpus);
        let exposed = busy.members().filter_map(|cpu| {
            let unit = self.units.get(self.seats.get(cpu)?.current?)?;
            (unit.account.exposed && unit.account.order() > own).then_some((unit.account.order(), cpu))
        });
        exposed.max().map(|(_, cpu)| cpu)
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
                self.expose(id);
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
        self.cover(id);
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
        self.expose(id);
        Next::Switch(id)
    }

    /// The unit that left a CPU is in memory: it waits, stands aside or sleeps.
    pub(super) fn bring_back(&mut self, cpu: CpuId, asks: &mut Cpus) -> Option<UnitId> {
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

    /// A unit's period has ended: its budget is renewed, and its place among the others changes.
    pub(super) fn begin_period(&mut self, id: UnitId, now: Time, asks: &mut Cpus) {
        self.periods.remove(&mut self.units, id);
        let Some(standing) = self.units.get(id).map(|unit| unit.standing) else { return };
        match standing {
            Standing::Waiting => self.ready.remove(&mut self.units, id),
            Standing::Running(cpu) => {
                self.charge(cpu, now);
                self.cover(id);
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
            // It may have to make room now, and its budget lasts longer than its CPU was told.
            Standing::Running(cpu) => self.press(cpu, asks),
            _ => {}
        }
    }
}
