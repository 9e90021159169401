//! Null: a static assignment of units to CPUs, without a scheduler. Stands for Xen's null scheduler.
//!
//! Each CPU has a run queue of its own. It holds the unit that owns the CPU, asleep or not, and a wait list of units
//! that found no free CPU: these do not run until a CPU becomes free. No time slice ends and no timer is set, so a unit
//! that computes is never interrupted by the scheduler.

use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::sync::Arc;
use alloc::vec::Vec;

use xenolith_hal::{CpuId, Time};

use crate::Cpus;
use crate::policy::{
    Affinity, Classes, Decision, Hint, Next, Placed, Policy, Seats, Sharing, Standing, Topology, Unit, UnitId, Units,
};

/// The accounting state of a unit.
#[derive(Debug, Default)]
pub struct Account {
    /// Whether it is in the wait list.
    listed: bool,
}

/// The run queue of one CPU.
#[derive(Debug, Default)]
pub struct Null {
    seats: Seats,
    units: Units<Account>,
    count: u32,
    /// The unit to which the CPU is assigned.
    owner: Option<UnitId>,
    /// The wait list, first come first served.
    listed: Classes,
    turn: u64,
}

impl Null {
    fn cpu(&self) -> Option<CpuId> {
        self.seats.members().lowest()
    }

    fn list(&mut self, id: UnitId) {
        self.turn = self.turn.wrapping_add(1);
        if let Some(unit) = self.units.get_mut(id)
            && !core::mem::replace(&mut unit.account.listed, true)
        {
            self.listed.insert(&mut self.units, id, (self.turn, 0));
        }
    }

    fn unlist(&mut self, id: UnitId) {
        if let Some(unit) = self.units.get_mut(id)
            && core::mem::take(&mut unit.account.listed)
        {
            self.listed.remove(&mut self.units, id);
        }
    }

    /// Assigns the CPU to the first unit of the wait list, if it has no owner.
    fn fill(&mut self) {
        if self.owner.is_none()
            && let Some(cpu) = self.cpu()
            && let Some((_, id)) = self.listed.first_for(&self.units, cpu)
        {
            self.unlist(id);
            self.owner = Some(id);
        }
    }

    /// Takes the CPU from its owner, which joins the wait list.
    fn disown(&mut self) {
        if let Some(id) = self.owner.take() {
            self.list(id);
        }
    }

    fn standing(&self, id: UnitId) -> Option<Standing> {
        self.units.get(id).map(|unit| unit.standing)
    }

    fn set_standing(&mut self, id: UnitId, standing: Standing) {
        if let Some(unit) = self.units.get_mut(id) {
            unit.standing = standing;
        }
    }

    /// Returns how a unit was placed: [`Placed::Well`] if it owns a CPU of its soft affinity.
    fn served(&self, id: UnitId) -> Placed {
        let preferred = self.units.get(id).map(|unit| unit.affinity.preferred());
        match (self.owner == Some(id), self.cpu(), preferred) {
            (true, Some(cpu), Some(preferred)) if !preferred.contains(cpu) => Placed::Poorly,
            (true, ..) => Placed::Well,
            (false, ..) => Placed::Waits,
        }
    }

    fn ask(&mut self, asks: &mut Cpus) {
        if let Some(cpu) = self.cpu() {
            self.seats.ask(cpu, asks);
        }
    }
}

impl Policy for Null {
    type Account = Account;
    type Parameters = ();
    type Options = ();

    fn groups(topology: &Topology, cpus: &Cpus, (): &()) -> Result<Vec<Cpus>, TryReserveError> {
        topology.groups(cpus, Sharing::Cpu, 1)
    }

    fn new(_topology: Arc<Topology>, (): &()) -> Self {
        Self::default()
    }

    fn account((): &()) -> Account {
        Account::default()
    }

    fn reserve(&mut self, units: usize) -> Result<(), TryReserveError> {
        self.units.reserve(units)
    }

    fn add_cpu(&mut self, cpu: CpuId, now: Time) -> Result<(), TryReserveError> {
        self.seats.add(cpu, now)?;
        self.fill();
        Ok(())
    }

    fn remove_cpu(&mut self, cpu: CpuId, _now: Time, asks: &mut Cpus) {
        self.seats.remove(cpu);
        self.disown();
        self.seats.ask(cpu, asks);
    }

    fn cpus(&self) -> &Cpus {
        self.seats.members()
    }

    fn admit(&mut self, unit: Box<Unit<Account>>, _now: Time, asks: &mut Cpus) -> Result<Placed, Box<Unit<Account>>> {
        let id = unit.id();
        self.units.put(unit)?;
        if self.listed.join(&mut self.units, id).is_err() {
            return self.units.take(id).map_or(Ok(Placed::Well), Err);
        }
        self.count = self.count.saturating_add(1);
        self.list(id);
        self.fill();
        if self.owner == Some(id) && self.standing(id) == Some(Standing::Waiting) {
            self.ask(asks);
        }
        Ok(self.served(id))
    }

    fn dismiss(&mut self, id: UnitId, _now: Time) -> Option<Box<Unit<Account>>> {
        if matches!(self.standing(id)?, Standing::Running(_) | Standing::Leaving { .. }) {
            return None;
        }
        self.unlist(id);
        if self.owner == Some(id) {
            self.owner = None;
            self.fill();
        }
        self.listed.part(&self.units, id);
        self.count = self.count.saturating_sub(1);
        self.units.take(id)
    }

    fn unit(&self, id: UnitId) -> Option<&Unit<Account>> {
        self.units.get(id)
    }

    fn misplaced(&self, from: UnitId) -> Option<UnitId> {
        self.units.misplaced(from, self.seats.members())
    }

    fn wake(&mut self, id: UnitId, _now: Time, asks: &mut Cpus) -> Placed {
        match self.standing(id) {
            Some(Standing::Asleep) => self.set_standing(id, Standing::Waiting),
            Some(Standing::Leaving { from, .. }) => self.set_standing(id, Standing::Leaving { from, wants: true }),
            _ => return Placed::Well,
        }
        if self.owner == Some(id) {
            self.ask(asks);
            return Placed::Well;
        }
        Placed::Waits
    }

    fn sleep(&mut self, id: UnitId, _now: Time, asks: &mut Cpus) {
        match self.standing(id) {
            Some(Standing::Waiting) => self.set_standing(id, Standing::Asleep),
            Some(Standing::Running(cpu)) => self.seats.ask(cpu, asks),
            Some(Standing::Leaving { from, .. }) => self.set_standing(id, Standing::Leaving { from, wants: false }),
            _ => {}
        }
    }

    fn set(
        &mut self,
        id: UnitId,
        affinity: Affinity,
        (): &(),
        _now: Time,
        asks: &mut Cpus,
    ) -> Result<(), TryReserveError> {
        self.unlist(id);
        let done = self.listed.rejoin(&mut self.units, id, affinity);
        let fits = self.units.get(id).zip(self.cpu()).is_some_and(|(unit, cpu)| unit.affinity.hard.contains(cpu));
        if self.owner == Some(id) {
            if !fits {
                self.disown();
                self.fill();
                self.ask(asks);
            }
        } else if self.units.get(id).is_some() {
            self.list(id);
            self.fill();
            self.ask(asks);
        }
        done
    }

    fn yield_cpu(&mut self, _cpu: CpuId, _now: Time) {}

    fn choose(&mut self, cpu: CpuId, now: Time, can_run: bool, _asks: &mut Cpus) -> Decision {
        self.seats.answered(cpu);
        self.fill();
        let current = self.current(cpu);
        let owner = self.owner.filter(|_| self.seats.members().contains(cpu));
        if current.is_some() && current == owner && can_run {
            return Decision { next: Next::Keep, deadline: Time::NEVER, left: None };
        }
        let left = self.seats.vacate(cpu);
        if let Some(id) = left {
            self.set_standing(id, Standing::Leaving { from: cpu, wants: can_run });
        }
        let next = match owner.filter(|id| self.standing(*id) == Some(Standing::Waiting)) {
            Some(id) => {
                self.set_standing(id, Standing::Running(cpu));
                self.seats.occupy(cpu, id, now);
                Next::Switch(id)
            }
            None => Next::Idle,
        };
        Decision { next, deadline: Time::NEVER, left }
    }

    fn saved(&mut self, cpu: CpuId, _now: Time, asks: &mut Cpus) -> Option<UnitId> {
        let id = self.seats.saved(cpu)?;
        let wants = matches!(self.standing(id), Some(Standing::Leaving { wants: true, .. }));
        self.set_standing(id, if wants { Standing::Waiting } else { Standing::Asleep });
        if wants && self.owner == Some(id) {
            self.ask(asks);
        }
        Some(id)
    }

    fn current(&self, cpu: CpuId) -> Option<UnitId> {
        self.seats.get(cpu)?.current
    }

    fn is_free(&self, cpu: CpuId) -> bool {
        self.seats.members().contains(cpu) && self.owner.is_none()
    }

    fn waiting(&self) -> usize {
        self.listed.waiting()
    }

    fn has_for(&self, cpu: CpuId) -> bool {
        self.listed.any_for(cpu)
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
        Time::NEVER
    }

    fn tick(&mut self, _now: Time, _asks: &mut Cpus) {}

    fn give(&mut self, to: CpuId, now: Time) -> Option<Box<Unit<Account>>> {
        let (_, id) = self.listed.first_for(&self.units, to)?;
        self.dismiss(id, now)
    }
}
