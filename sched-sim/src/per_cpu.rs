//! The scheduler that the core drives, a run queue for each CPU, as a policy to be compared with the others.
//!
//! A vCPU that wakes up goes to its last CPU or to a free one. The core would also look for the CPU with the least
//! weight, which makes no difference with one CPU or with vCPUs that never sleep.

use std::collections::TryReserveError;
use std::sync::Arc;

use xenolith_hal::{CpuId, Time};
use xenolith_sched::policy::{
    Affinity, Decision, Hint, Next, Placed, Policy, Seats, Sharing, Standing, Topology, Unit, UnitId, Units,
};
use xenolith_sched::{CpuSet, Cpus, Entity, RunQueue, Settings, Wake};

use crate::machine::Simulated;
use crate::task::Spec;

/// The accounting state of a vCPU: its entity, while that is in no run queue.
#[derive(Debug)]
pub struct Account {
    settings: Settings,
    entity: Option<Entity<UnitId>>,
}

/// The run queue of one CPU.
pub struct PerCpu {
    queue: RunQueue<UnitId>,
    seats: Seats,
    units: Units<Account>,
    count: u32,
}

type Boxed = Box<Unit<Account>>;

impl PerCpu {
    fn insert(&mut self, id: UnitId, now: Time, asks: &mut Cpus) -> Placed {
        let Some(unit) = self.units.get_mut(id) else { return Placed::Well };
        let settings = unit.account().settings;
        let entity = unit.account_mut().entity.take().unwrap_or_else(|| Entity::new(id, settings));
        let Some(cpu) = self.seats.members().lowest() else { return Placed::Waits };
        let idle = self.seats.is_idle(cpu);
        match self.queue.insert(entity, now) {
            Ok(Wake::Now) => self.seats.ask(cpu, asks),
            Ok(Wake::At(time)) => self.seats.ask_by(cpu, time, asks),
            Ok(Wake::Later) => {}
            Err(entity) => {
                if let Some(unit) = self.units.get_mut(id) {
                    unit.account_mut().entity = Some(entity);
                }
            }
        }
        if idle { Placed::Well } else { Placed::Waits }
    }

    fn stand(&mut self, id: UnitId, standing: Standing) {
        if let Some(unit) = self.units.get_mut(id) {
            unit.set_standing(standing);
        }
    }

    fn stands(&self, id: UnitId) -> Option<Standing> {
        self.units.get(id).map(Unit::standing)
    }
}

impl Policy for PerCpu {
    type Account = Account;
    type Parameters = Settings;
    type Options = ();

    fn groups(topology: &Topology, cpus: &Cpus, (): &()) -> Result<Vec<Cpus>, TryReserveError> {
        topology.groups(cpus, Sharing::Cpu, 1)
    }

    fn new(_: Arc<Topology>, (): &()) -> Self {
        let (seats, units) = (Seats::default(), Units::default());
        Self { queue: RunQueue::new(CpuId(0)), seats, units, count: 0 }
    }

    fn account(settings: &Settings) -> Account {
        Account { settings: *settings, entity: None }
    }

    fn reserve(&mut self, units: usize) -> Result<(), TryReserveError> {
        self.units.reserve(units)
    }

    fn add_cpu(&mut self, cpu: CpuId, now: Time) -> Result<(), TryReserveError> {
        self.queue = RunQueue::new(cpu);
        self.seats.add(cpu, now)
    }

    fn remove_cpu(&mut self, cpu: CpuId, _: Time, asks: &mut Cpus) {
        self.seats.remove(cpu);
        self.seats.ask(cpu, asks);
    }

    fn cpus(&self) -> &Cpus {
        self.seats.members()
    }

    fn admit(&mut self, unit: Boxed, now: Time, asks: &mut Cpus) -> Result<Placed, Boxed> {
        let (id, waits) = (unit.id(), unit.standing() == Standing::Waiting);
        self.units.put(unit)?;
        self.count += 1;
        Ok(if waits { self.insert(id, now, asks) } else { Placed::Well })
    }

    fn dismiss(&mut self, id: UnitId, now: Time) -> Option<Boxed> {
        match self.stands(id)? {
            Standing::Running(_) | Standing::Leaving { .. } => return None,
            Standing::Waiting => {
                let entity = self.queue.remove(&id, now);
                self.units.get_mut(id)?.account_mut().entity = entity;
            }
            Standing::Asleep | Standing::Parked => {}
        }
        self.count -= 1;
        self.units.take(id)
    }

    fn unit(&self, id: UnitId) -> Option<&Unit<Account>> {
        self.units.get(id)
    }

    fn misplaced(&self, from: UnitId) -> Option<UnitId> {
        self.units.misplaced(from, self.seats.members())
    }

    fn wake(&mut self, id: UnitId, now: Time, asks: &mut Cpus) -> Placed {
        match self.stands(id) {
            Some(Standing::Asleep) => {
                self.stand(id, Standing::Waiting);
                self.insert(id, now, asks)
            }
            Some(Standing::Leaving { from, .. }) => {
                self.stand(id, Standing::Leaving { from, wants: true });
                Placed::Well
            }
            _ => Placed::Well,
        }
    }

    fn sleep(&mut self, _: UnitId, _: Time, _: &mut Cpus) {}

    fn set(&mut self, _: UnitId, _: Affinity, _: &Settings, _: Time, _: &mut Cpus) -> Result<(), TryReserveError> {
        Ok(())
    }

    fn yield_cpu(&mut self, _: CpuId, now: Time) {
        self.queue.yield_current(now);
    }

    fn choose(&mut self, cpu: CpuId, now: Time, can_run: bool, _: &mut Cpus) -> Decision {
        self.seats.answered(cpu);
        let before = self.current(cpu);
        let decision = self.queue.choose(now, can_run);
        let after = self.queue.current().map(|entity| *entity.key());
        if let Some(seat) = self.seats.get_mut(cpu) {
            seat.deadline = decision.deadline;
        }
        if after == before && before.is_some() {
            return Decision { next: Next::Keep, deadline: decision.deadline, left: None };
        }
        let left = self.seats.vacate(cpu);
        if let (Some(id), entity) = (left, decision.left) {
            self.stand(id, Standing::Leaving { from: cpu, wants: entity.is_none() });
            if let Some(unit) = self.units.get_mut(id) {
                unit.account_mut().entity = entity;
            }
        }
        let next = after.map_or(Next::Idle, |id| {
            self.stand(id, Standing::Running(cpu));
            self.seats.occupy(cpu, id, now);
            Next::Switch(id)
        });
        Decision { next, deadline: decision.deadline, left }
    }

    fn saved(&mut self, cpu: CpuId, now: Time, asks: &mut Cpus) -> Option<UnitId> {
        let id = self.seats.saved(cpu)?;
        let wants = matches!(self.stands(id), Some(Standing::Leaving { wants: true, .. }));
        self.stand(id, if wants { Standing::Waiting } else { Standing::Asleep });
        if wants && self.units.get(id)?.account().entity.is_some() {
            // It woke up meanwhile.
            let _ = self.insert(id, now, asks);
        }
        Some(id)
    }

    fn current(&self, cpu: CpuId) -> Option<UnitId> {
        self.seats.get(cpu)?.current
    }

    fn is_free(&self, cpu: CpuId) -> bool {
        self.seats.is_idle(cpu) && !self.seats.is_asked(cpu)
    }

    fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    fn has_for(&self, _: CpuId) -> bool {
        self.queue.waiting() > 0
    }

    fn hint(&self, now: Time) -> Hint {
        let weight = self.queue.load().weight;
        let cpus = self.seats.members().count();
        Hint { cpus, units: self.count, weight, load: weight, since: now, ..Hint::default() }
    }

    fn timer(&self) -> Time {
        Time::NEVER
    }

    fn tick(&mut self, _: Time, _: &mut Cpus) {}

    fn give(&mut self, to: CpuId, now: Time) -> Option<Boxed> {
        let units = &self.units;
        let waits = |id: &UnitId| units.get(*id).map(Unit::standing) == Some(Standing::Waiting);
        let entity = self.queue.give(to, now, waits)?;
        let id = *entity.key();
        let unit = self.units.get_mut(id)?;
        unit.account_mut().entity = Some(entity);
        self.count -= 1;
        self.units.take(id)
    }
}

impl Simulated for PerCpu {
    const NAME: &'static str = "per-cpu";

    fn parameters(specs: &[Spec]) -> Vec<Settings> {
        let of = |spec: &Spec| Settings::new(spec.weight, 0, CpuSet::ALL, CpuSet::ALL).unwrap_or_default();
        specs.iter().map(of).collect()
    }
}
