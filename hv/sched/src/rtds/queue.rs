//! The run queue: its state, and the calls that are not scheduling decisions.

use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::sync::Arc;
use alloc::vec::Vec;

use xenolith_hal::{CpuId, Time};

use super::account::{Account, Parameters};
use crate::Cpus;
use crate::policy::{
    Affinity, ByOrder, ByTime, Classes, Decision, Heap, Hint, Placed, Policy, Seats, Standing, Topology, Unit, UnitId,
    Units,
};

/// A run queue of RTDS.
#[derive(Debug)]
pub struct Rtds {
    pub(super) topology: Arc<Topology>,
    pub(super) seats: Seats,
    pub(super) units: Units<Account>,
    count: u32,
    pub(super) ready: Classes,
    /// Running units that can be preempted, the latest deadline first.
    pub(super) running: Heap<ByOrder>,
    /// Replenishment timers: the ends of the periods of runnable units.
    pub(super) periods: Heap<ByTime>,
}

impl Policy for Rtds {
    type Account = Account;
    type Parameters = Parameters;
    type Options = ();

    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    fn groups(_topology: &Topology, cpus: &Cpus, (): &()) -> Result<Vec<Cpus>, TryReserveError> {
        let mut groups = Vec::new();
        groups.try_reserve_exact(1)?;
        groups.push(*cpus);
        Ok(groups)
    }

    fn new(topology: Arc<Topology>, (): &()) -> Self {
        Self {
            topology,
            seats: Seats::default(),
            units: Units::default(),
            count: 0,
            ready: Classes::default(),
            running: Heap::default(),
            periods: Heap::default(),
        }
    }

    fn account(parameters: &Parameters) -> Account {
        Account::new(*parameters)
    }

    fn reserve(&mut self, units: usize) -> Result<(), TryReserveError> {
        self.units.reserve(units)
    }

    fn add_cpu(&mut self, cpu: CpuId, now: Time) -> Result<(), TryReserveError> {
        self.seats.add(cpu, now)
    }

    fn remove_cpu(&mut self, cpu: CpuId, _now: Time, asks: &mut Cpus) {
        self.seats.remove(cpu);
        self.reschedule(cpu, asks);
    }

    fn cpus(&self) -> &Cpus {
        self.seats.members()
    }

    fn admit(&mut self, unit: Box<Unit<Account>>, now: Time, asks: &mut Cpus) -> Result<Placed, Box<Unit<Account>>> {
        let id = unit.id();
        self.units.put(unit)?;
        if self.ready.join(&mut self.units, id).is_err() {
            return self.units.take(id).map_or(Ok(Placed::Well), Err);
        }
        self.count = self.count.saturating_add(1);
        let Some(unit) = self.units.get_mut(id) else { return Ok(Placed::Well) };
        match unit.standing {
            Standing::Waiting | Standing::Parked => {
                unit.standing = Standing::Asleep;
                Ok(self.wake(id, now, asks))
            }
            _ => Ok(Placed::Well),
        }
    }

    fn dismiss(&mut self, id: UnitId, _now: Time) -> Option<Box<Unit<Account>>> {
        match self.units.get(id)?.standing {
            Standing::Running(_) | Standing::Leaving { .. } => return None,
            Standing::Waiting => {
                self.ready.remove(&mut self.units, id);
                self.periods.remove(&mut self.units, id);
            }
            Standing::Parked => self.periods.remove(&mut self.units, id),
            Standing::Asleep => {}
        }
        self.ready.part(&self.units, id);
        self.count = self.count.saturating_sub(1);
        self.units.take(id)
    }

    fn unit(&self, id: UnitId) -> Option<&Unit<Account>> {
        self.units.get(id)
    }

    fn misplaced(&self, from: UnitId) -> Option<UnitId> {
        self.units.misplaced(from, self.seats.members())
    }

    fn wake(&mut self, id: UnitId, now: Time, asks: &mut Cpus) -> Placed {
        let Some(unit) = self.units.get_mut(id) else { return Placed::Well };
        match unit.standing {
            Standing::Asleep => {
                unit.account.wake(now);
                let end = unit.account.deadline;
                self.periods.insert(&mut self.units, id, (end.0, u64::from(id.0)));
                self.make_ready(id, asks)
            }
            Standing::Leaving { from, .. } => {
                unit.standing = Standing::Leaving { from, wants: true };
                Placed::Well
            }
            Standing::Running(_) | Standing::Waiting | Standing::Parked => Placed::Well,
        }
    }

    fn sleep(&mut self, id: UnitId, _now: Time, asks: &mut Cpus) {
        let Some(unit) = self.units.get_mut(id) else { return };
        match unit.standing {
            Standing::Waiting => self.ready.remove(&mut self.units, id),
            Standing::Parked => {}
            Standing::Running(cpu) => return self.reschedule(cpu, asks),
            Standing::Leaving { from, .. } => {
                unit.standing = Standing::Leaving { from, wants: false };
                return;
            }
            Standing::Asleep => return,
        }
        self.periods.remove(&mut self.units, id);
        if let Some(unit) = self.units.get_mut(id) {
            unit.standing = Standing::Asleep;
        }
    }

    fn set(
        &mut self,
        id: UnitId,
        affinity: Affinity,
        parameters: &Parameters,
        _now: Time,
        asks: &mut Cpus,
    ) -> Result<(), TryReserveError> {
        let Some(standing) = self.units.get(id).map(|unit| unit.standing) else { return Ok(()) };
        match standing {
            Standing::Running(cpu) => self.reschedule(cpu, asks),
            Standing::Waiting => self.ready.remove(&mut self.units, id),
            _ => {}
        }
        let done = self.ready.rejoin(&mut self.units, id, affinity);
        if done.is_ok()
            && let Some(unit) = self.units.get_mut(id)
        {
            unit.account.set(*parameters);
        }
        if standing == Standing::Waiting {
            let _ = self.make_ready(id, asks);
        }
        done
    }

    fn yield_cpu(&mut self, _cpu: CpuId, _now: Time) {}

    fn choose(&mut self, cpu: CpuId, now: Time, can_run: bool, asks: &mut Cpus) -> Decision {
        self.decide(cpu, now, can_run, asks)
    }

    fn saved(&mut self, cpu: CpuId, _now: Time, asks: &mut Cpus) -> Option<UnitId> {
        self.requeue(cpu, asks)
    }

    fn current(&self, cpu: CpuId) -> Option<UnitId> {
        self.seats.get(cpu)?.current
    }

    fn is_free(&self, cpu: CpuId) -> bool {
        self.seats.is_idle(cpu) && !self.seats.is_asked(cpu)
    }

    fn waiting(&self) -> usize {
        self.ready.waiting()
    }

    fn has_for(&self, cpu: CpuId) -> bool {
        self.ready.any_for(cpu)
    }

    fn hint(&self, now: Time) -> Hint {
        let weight = u64::from(self.count);
        Hint {
            cpus: self.seats.members().count(),
            units: self.count,
            weight,
            load: weight,
            since: now,
            ..Hint::default()
        }
    }

    fn timer(&self) -> Time {
        self.periods.least(&self.units).map_or(Time::NEVER, |((at, _), _)| Time(at))
    }

    fn tick(&mut self, now: Time, asks: &mut Cpus) {
        while let Some(((at, _), id)) = self.periods.least(&self.units)
            && at <= now.0
        {
            self.begin_period(id, now, asks);
        }
    }

    fn give(&mut self, to: CpuId, now: Time) -> Option<Box<Unit<Account>>> {
        let (_, id) = self.ready.first_for(&self.units, to)?;
        self.dismiss(id, now)
    }
}
