//! The run queue: its state, and the calls that are not scheduling decisions.

use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::sync::Arc;
use alloc::vec::Vec;

use xenolith_hal::{CpuId, Time};

use super::account::{Account, START};
use super::balance::Load;
use super::options::{Options, Parameters};
use crate::Cpus;
use crate::policy::{
    Affinity, ByTime, Classes, Decision, Heap, Hint, Placed, Policy, Seats, Standing, Topology, Unit, UnitId, Units,
};

/// A run queue of credit2.
#[derive(Debug)]
pub struct Credit2 {
    pub(super) topology: Arc<Topology>,
    pub(super) options: Options,
    pub(super) seats: Seats,
    pub(super) units: Units<Account>,
    /// Number of units in the queue, asleep or not.
    pub(super) count: u32,
    pub(super) ready: Classes,
    /// Parked units: they wait for the replenishment of their domain's cap.
    pub(super) parked: Heap<ByTime>,
    /// Virtual time of the queue. It never goes back; units that wake up start near it.
    pub(super) virtual_ns: u64,
    /// Added to virtual times of this queue to make them comparable with other queues'.
    pub(super) offset_ns: u64,
    /// Migration debt: lag of units that migrated here and have to catch up, in virtual nanoseconds times weight.
    pub(super) debt: u128,
    /// Sequence number that orders units of equal virtual time first come, first served.
    pub(super) turn: u64,
    pub(super) load: Load,
    pub(super) next_balance: Time,
}

impl Policy for Credit2 {
    type Account = Account;
    type Parameters = Parameters;
    type Options = Options;

    fn groups(topology: &Topology, cpus: &Cpus, options: &Options) -> Result<Vec<Cpus>, TryReserveError> {
        topology.groups(cpus, options.sharing, options.most_cpus.max(1) as usize)
    }

    fn new(topology: Arc<Topology>, options: &Options) -> Self {
        Self {
            topology,
            options: *options,
            seats: Seats::default(),
            units: Units::default(),
            count: 0,
            ready: Classes::default(),
            parked: Heap::default(),
            virtual_ns: START,
            offset_ns: 0,
            debt: 0,
            turn: 0,
            load: Load::default(),
            next_balance: Time(0),
        }
    }

    fn account(parameters: &Parameters) -> Account {
        Account::new(parameters)
    }

    fn reserve(&mut self, units: usize) -> Result<(), TryReserveError> {
        self.units.reserve(units)
    }

    fn add_cpu(&mut self, cpu: CpuId, now: Time) -> Result<(), TryReserveError> {
        self.seats.add(cpu, now)
    }

    fn remove_cpu(&mut self, cpu: CpuId, now: Time, asks: &mut Cpus) {
        self.charge(cpu, now);
        self.seats.remove(cpu);
        self.seats.ask(cpu, asks);
        self.place_waiting(now, asks);
    }

    fn cpus(&self) -> &Cpus {
        self.seats.members()
    }

    fn admit(&mut self, unit: Box<Unit<Account>>, now: Time, asks: &mut Cpus) -> Result<Placed, Box<Unit<Account>>> {
        let id = unit.id();
        self.units.put(unit)?;
        if self.ready.join(&mut self.units, id).is_err() {
            return match self.units.take(id) {
                Some(unit) => Err(unit),
                None => Ok(Placed::Well),
            };
        }
        self.count = self.count.saturating_add(1);
        let spare = !self.seats.free().is_empty();
        let (clock, brought) = (self.virtual_ns.saturating_add(self.offset_ns), self.units.get(id));
        if let Some(ahead) = brought.map(|unit| unit.account.virtual_ns.saturating_sub(clock))
            && spare
        {
            // The clock of a queue that has not enough to do says nothing.
            self.offset_ns = self.offset_ns.saturating_add(ahead);
        }
        let offset = self.offset_ns;
        let Some(unit) = self.units.get_mut(id) else { return Ok(Placed::Well) };
        // What a unit brings along is in the time that queues have in common.
        unit.account.virtual_ns = unit.account.virtual_ns.saturating_sub(offset);
        match unit.standing {
            Standing::Waiting | Standing::Parked => {
                unit.standing = Standing::Asleep;
                let placed = self.make_ready(id, now, super::MEMORY_NS, asks);
                self.add_debt(id);
                Ok(placed)
            }
            _ => Ok(Placed::Well),
        }
    }

    fn dismiss(&mut self, id: UnitId, now: Time) -> Option<Box<Unit<Account>>> {
        match self.units.get(id)?.standing {
            Standing::Running(_) | Standing::Leaving { .. } => return None,
            Standing::Waiting => {
                self.ready.remove(&mut self.units, id);
                self.update_load(id, false, now);
            }
            Standing::Parked => self.parked.remove(&mut self.units, id),
            Standing::Asleep => {}
        }
        self.ready.part(&self.units, id);
        self.count = self.count.saturating_sub(1);
        self.clear_debt(id);
        let mut unit = self.units.take(id)?;
        unit.account.virtual_ns = unit.account.virtual_ns.saturating_add(self.offset_ns);
        Some(unit)
    }

    fn unit(&self, id: UnitId) -> Option<&Unit<Account>> {
        self.units.get(id)
    }

    fn misplaced(&self, from: UnitId) -> Option<UnitId> {
        self.units.misplaced(from, self.seats.members())
    }

    fn wake(&mut self, id: UnitId, now: Time, asks: &mut Cpus) -> Placed {
        self.wake_up(id, now, asks)
    }

    fn sleep(&mut self, id: UnitId, now: Time, asks: &mut Cpus) {
        self.block(id, now, asks);
    }

    fn set(
        &mut self,
        id: UnitId,
        affinity: Affinity,
        parameters: &Parameters,
        now: Time,
        asks: &mut Cpus,
    ) -> Result<(), TryReserveError> {
        self.change(id, affinity, parameters, now, asks)
    }

    fn yield_cpu(&mut self, cpu: CpuId, now: Time) {
        self.yield_current(cpu, now);
    }

    fn choose(&mut self, cpu: CpuId, now: Time, can_run: bool, asks: &mut Cpus) -> Decision {
        self.decide(cpu, now, can_run, asks)
    }

    fn saved(&mut self, cpu: CpuId, now: Time, asks: &mut Cpus) -> Option<UnitId> {
        self.requeue(cpu, now, asks)
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
        let (cpus, weight) = (self.seats.members().count(), self.load.weight());
        Hint {
            cpus,
            units: self.count,
            weight,
            load: self.load.average_at(now, &self.options),
            speed: self.speed(cpus, weight),
            clock: self.clock(weight),
            since: now,
        }
    }

    fn timer(&self) -> Time {
        self.parked.least(&self.units).map_or(Time::NEVER, |((at, _), _)| Time(at))
    }

    fn tick(&mut self, now: Time, asks: &mut Cpus) {
        self.unpark(now, asks);
    }

    fn give(&mut self, to: CpuId, now: Time) -> Option<Box<Unit<Account>>> {
        let (_, id) = self.ready.first_for(&self.units, to)?;
        self.dismiss(id, now)
    }

    fn is_balance_due(&mut self, now: Time) -> bool {
        let due = self.ready.waiting() > 0 && now >= self.next_balance;
        if due {
            self.next_balance = now.after_ns(super::BALANCE_NS);
        }
        due
    }

    fn slack(&self) -> u64 {
        self.lag_allowed()
    }

    fn gain(from: &Hint, to: &Hint, slack: u64, now: Time) -> u64 {
        super::balance::gain(from, to, slack, now)
    }

    fn push(&mut self, to: &Hint, cpus: &Cpus, now: Time) -> Option<Box<Unit<Account>>> {
        self.hand_over(to, cpus, now)
    }
}

impl Credit2 {
    /// Charges the current unit of a CPU for the time since the last charge.
    pub(super) fn charge(&mut self, cpu: CpuId, now: Time) {
        let Some(seat) = self.seats.get_mut(cpu) else { return };
        let ran = now.since_ns(seat.accounted);
        seat.accounted = seat.accounted.max(now);
        let Some(unit) = seat.current.and_then(|id| self.units.get_mut(id)) else { return };
        let owed = unit.account.debt();
        unit.account.charge(ran);
        self.debt = self.debt.saturating_sub(owed.saturating_sub(unit.account.debt()));
        if self.ready.waiting() == 0 {
            // No unit waits, so the running one is at no other's expense.
            self.virtual_ns = self.virtual_ns.max(unit.account.virtual_ns);
        }
        let least = self.virtual_ns.saturating_sub(unit.account.to_virtual(super::MEMORY_NS));
        unit.account.virtual_ns = unit.account.virtual_ns.max(least);
    }

    /// Returns the virtual time of the current unit of a CPU at `now`; None if the CPU is idle.
    pub(super) fn virtual_of(&self, cpu: CpuId, now: Time) -> Option<u64> {
        let seat = self.seats.get(cpu)?;
        let account = &self.units.get(seat.current?)?.account;
        Some(account.virtual_ns.saturating_add(account.to_virtual(now.since_ns(seat.accounted))))
    }

    /// Adds a unit's weight to the queue's load when it becomes runnable (`wants`), or subtracts it.
    pub(super) fn update_load(&mut self, id: UnitId, wants: bool, now: Time) {
        if let Some(unit) = self.units.get(id) {
            self.load.change(unit.account.weight(), wants, now, &self.options);
        }
    }
}
