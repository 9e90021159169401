//! The run queue of one CPU.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use xenolith_hal::{CpuId, Time};

use crate::balance::Load;
use crate::{Entity, RATELIMIT_NS, Settings, WAKE_MARGIN_NS};

/// The entity that has the CPU.
#[derive(Debug)]
struct Current<K> {
    entity: Entity<K>,
    /// When it got the CPU.
    started: Time,
    /// Up to when its time is accounted for.
    accounted: Time,
    slice_end: Time,
}

impl<K> Current<K> {
    /// It ran for as long as anybody may before it loses the CPU.
    fn had_its_least(&self, now: Time) -> bool {
        now.since_ns(self.started) >= RATELIMIT_NS
    }
}

/// What the CPU does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Goes on with the entity that it runs.
    Keep,
    /// Switches to another entity: [`RunQueue::current`].
    Switch,
    /// Has nothing to run.
    Idle,
}

/// An answer of the policy. With `Switch` and `Idle`, the entity that had the CPU is either in the queue again or in
/// `left`.
#[must_use]
#[derive(PartialEq, Eq, Debug)]
pub struct Decision<K> {
    pub next: Next,
    /// When to ask again at the latest; [`Time::NEVER`] if nothing but an event can change the answer.
    pub deadline: Time,
    /// The entity that had the CPU and cannot run any more: it is the core's now.
    pub left: Option<Entity<K>>,
}

/// What a wake-up means for the CPU whose queue it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wake {
    /// It must ask again now.
    Now,
    /// It must ask again at this time: [`RunQueue::choose`] would say so, but it was told a later deadline.
    At(Time),
    /// Nothing changes for it.
    Later,
}

/// What can run on one CPU.
#[derive(Debug)]
pub struct RunQueue<K> {
    cpu: CpuId,
    current: Option<Current<K>>,
    ready: Vec<Entity<K>>,
    /// Capped entities that wait for their next share.
    parked: Vec<Entity<K>>,
    /// The virtual time of the queue: it never goes back, and new entities start near it.
    floor: i64,
    /// One that woke up should take the CPU as soon as the current entity has had its least time.
    preempt: bool,
}

impl<K: PartialEq> RunQueue<K> {
    /// An empty queue.
    #[must_use]
    pub const fn new(cpu: CpuId) -> Self {
        Self { cpu, current: None, ready: Vec::new(), parked: Vec::new(), floor: 0, preempt: false }
    }

    /// Makes room for `entities` in all, so that no call needs memory later.
    ///
    /// **Errors:** memory is short.
    pub fn reserve(&mut self, entities: usize) -> Result<(), TryReserveError> {
        self.ready.try_reserve(entities.saturating_sub(self.ready.len()))?;
        self.parked.try_reserve(entities.saturating_sub(self.parked.len()))
    }

    /// The entity that has the CPU.
    pub fn current(&self) -> Option<&Entity<K>> {
        self.current.as_ref().map(|current| &current.entity)
    }

    /// Those that wait for the CPU, the one that has waited longest first.
    pub fn ready(&self) -> impl Iterator<Item = &Entity<K>> {
        self.ready.iter()
    }

    /// Those that wait for their next share.
    pub fn parked(&self) -> impl Iterator<Item = &Entity<K>> {
        self.parked.iter()
    }

    /// How many wait for the CPU, those that wait for their share not counted.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.ready.len()
    }

    /// What the queue carries, for placing and balancing.
    #[must_use]
    pub fn load(&self) -> Load {
        let all = self.ready.iter().chain(self.current());
        Load {
            cpu: self.cpu,
            weight: all.map(|entity| u64::from(entity.settings().weight())).sum(),
            waiting: self.ready.len(),
            idle: self.current.is_none() && self.ready.is_empty(),
        }
    }

    /// An entity becomes able to run here: it woke up, or was moved from another CPU.
    ///
    /// **Errors:** gives the entity back if its hard affinity forbids this CPU.
    pub fn insert(&mut self, mut entity: Entity<K>, now: Time) -> Result<Wake, Entity<K>> {
        if !entity.settings().allows(self.cpu) {
            return Err(entity);
        }
        self.account(now);
        entity.enter(self.floor, now);
        if let Some(quota) = entity.settings().quota_ns() {
            entity.budget.refresh(quota, now);
            if entity.budget.is_spent() {
                let wake = Wake::At(entity.budget.next());
                self.parked.push(entity);
                return Ok(wake);
            }
        }
        let wake = self.effect_of(&entity, now);
        self.ready.push(entity);
        Ok(wake)
    }

    fn effect_of(&mut self, entity: &Entity<K>, now: Time) -> Wake {
        let Some(current) = &mut self.current else { return Wake::Now };
        let behind = entity.virtual_ns.saturating_add(WAKE_MARGIN_NS as i64) < current.entity.virtual_ns;
        let alone = self.ready.is_empty();
        if alone {
            // It ran without an end to its slice; from now on it has one.
            current.slice_end = now.after_ns(current.entity.slice_ns());
        }
        self.preempt |= behind;
        let least = current.started.after_ns(RATELIMIT_NS);
        match (behind, alone) {
            (true, _) if least <= now => Wake::Now,
            (true, _) => Wake::At(least),
            (false, true) => Wake::At(current.slice_end),
            (false, false) => Wake::Later,
        }
    }

    /// Decides what the CPU does next. `can_run` says whether the current entity still can: if not, the decision gives
    /// it back to the core. To be asked at the deadline that it gave last, and when a wake-up says so; asking more often
    /// does no harm.
    pub fn choose(&mut self, now: Time, can_run: bool) -> Decision<K> {
        self.account(now);
        self.unpark(now);
        let mut left = None;
        let mut next = Next::Keep;
        if let Some(mut current) = self.current.take() {
            if !can_run {
                current.entity.leave(self.floor, now);
                left = Some(current.entity);
            } else if current.entity.settings().quota_ns().is_some() && current.entity.budget.is_spent() {
                self.parked.push(current.entity);
            } else if self.should_switch(&current, now) {
                self.ready.push(current.entity);
            } else {
                if current.slice_end <= now {
                    current.slice_end = now.after_ns(current.entity.slice_ns());
                }
                if current.had_its_least(now) {
                    // Whoever should have had the CPU is gone, to another one perhaps.
                    self.preempt = false;
                }
                self.current = Some(current);
            }
        }
        if self.current.is_none() {
            next = self.start_next(now);
        }
        Decision { next, deadline: self.deadline(now), left }
    }

    fn should_switch(&self, current: &Current<K>, now: Time) -> bool {
        let Some(first) = self.first() else { return false };
        let best = first.1.virtual_ns;
        let slice_over = now >= current.slice_end && best <= current.entity.virtual_ns;
        slice_over || (self.preempt && current.had_its_least(now) && best < current.entity.virtual_ns)
    }

    /// The one that is furthest behind; of several, the one that has waited longest.
    fn first(&self) -> Option<(usize, &Entity<K>)> {
        self.ready.iter().enumerate().min_by_key(|(_, entity)| entity.virtual_ns)
    }

    fn start_next(&mut self, now: Time) -> Next {
        self.preempt = false;
        let Some((index, _)) = self.first() else { return Next::Idle };
        // Keeps the order of the others, which says who has waited longest.
        let is_last = index.wrapping_add(1) == self.ready.len();
        let taken = if is_last { self.ready.pop() } else { Some(self.ready.remove(index)) };
        let Some(entity) = taken else { return Next::Idle };
        let slice_end = now.after_ns(entity.slice_ns());
        self.current = Some(Current { entity, started: now, accounted: now, slice_end });
        self.raise_floor();
        Next::Switch
    }

    fn deadline(&self, now: Time) -> Time {
        let share = self.parked.iter().map(|entity| entity.budget.next()).min().unwrap_or(Time::NEVER);
        let Some(current) = &self.current else { return share };
        let slice = match (self.ready.is_empty(), self.preempt) {
            (true, _) => Time::NEVER,
            (false, false) => current.slice_end,
            (false, true) => current.slice_end.min(current.started.after_ns(RATELIMIT_NS)),
        };
        let capped = current.entity.settings().quota_ns().is_some();
        let budget = if capped { current.entity.budget.runs_out(now) } else { Time::NEVER };
        share.min(slice).min(budget)
    }

    /// Charges the current entity for the time since the last account.
    fn account(&mut self, now: Time) {
        if let Some(current) = &mut self.current {
            let ran = now.since_ns(current.accounted);
            current.accounted = current.accounted.max(now);
            let entity = &mut current.entity;
            entity.virtual_ns = entity.virtual_ns.saturating_add(entity.to_virtual(ran));
            if let Some(quota) = entity.settings().quota_ns() {
                entity.budget.spend(ran);
                entity.budget.refresh(quota, now);
            }
        }
        self.raise_floor();
    }

    fn raise_floor(&mut self) {
        let all = self.ready.iter().chain(self.current()).map(|entity| entity.virtual_ns);
        if let Some(least) = all.min() {
            self.floor = self.floor.max(least);
        }
    }

    /// Brings back capped entities whose next share is due.
    fn unpark(&mut self, now: Time) {
        let mut index = 0;
        while let Some(entity) = self.parked.get_mut(index) {
            match entity.settings().quota_ns() {
                Some(quota) => entity.budget.refresh(quota, now),
                None => entity.budget = crate::cap::Budget::new(),
            }
            if entity.settings().quota_ns().is_some() && entity.budget.is_spent() {
                index += 1;
                continue;
            }
            let mut entity = self.parked.swap_remove(index);
            // It stood aside, it did not sleep: it starts level with the others, at best.
            entity.virtual_ns = entity.virtual_ns.max(self.floor);
            self.ready.push(entity);
        }
    }

    /// The current entity gives the CPU away: it comes after all that wait. Ask [`RunQueue::choose`] next.
    pub fn yield_current(&mut self, now: Time) {
        self.account(now);
        let last = self.ready.iter().map(|entity| entity.virtual_ns).max();
        if let (Some(current), Some(last)) = (&mut self.current, last) {
            // Not further back than a slice: one who yields often must not fall behind for ever.
            let limit = current.entity.virtual_ns.saturating_add(current.entity.to_virtual(current.entity.slice_ns()));
            current.entity.virtual_ns = current.entity.virtual_ns.max(last.min(limit));
            current.slice_end = now;
        }
    }

    /// Takes an entity that waits out of the queue: it was paused, or ends, or is to move. None if it is not waiting
    /// here; the current entity leaves by [`RunQueue::choose`].
    pub fn remove(&mut self, key: &K, now: Time) -> Option<Entity<K>> {
        self.account(now);
        let mut entity = match self.ready.iter().position(|entity| entity.key() == key) {
            Some(index) => self.ready.remove(index),
            None => {
                let index = self.parked.iter().position(|entity| entity.key() == key)?;
                self.parked.remove(index)
            }
        };
        entity.leave(self.floor, now);
        Some(entity)
    }

    /// Changes the settings of an entity that waits or runs here. Gives it back if it waits and may not be here any
    /// more. If it runs and may not be here any more, the core asks [`RunQueue::choose`] with `can_run` false and
    /// inserts what it gets back elsewhere: [`Settings::allows`] of [`RunQueue::current`] tells.
    pub fn change(&mut self, key: &K, settings: Settings, now: Time) -> Option<Entity<K>> {
        self.account(now);
        let all = self.ready.iter_mut().chain(&mut self.parked);
        let all = all.chain(self.current.as_mut().map(|current| &mut current.entity));
        for entity in all.filter(|entity| entity.key() == key) {
            entity.set_settings(settings);
            if let Some(quota) = settings.quota_ns() {
                entity.budget.refresh(quota, now);
            }
        }
        if settings.allows(self.cpu) { None } else { self.remove(key, now) }
    }

    /// Gives up an entity that waits, for another CPU that has less to do: one that may run there and that `may` agrees
    /// to, by preference one that rather runs there, and of those the one that would run here last.
    pub fn give(&mut self, to: CpuId, now: Time, may: impl Fn(&K) -> bool) -> Option<Entity<K>> {
        self.account(now);
        let candidates = self.ready.iter().enumerate();
        let candidates = candidates.filter(|(_, entity)| entity.settings().allows(to) && may(entity.key()));
        let chosen = candidates.max_by_key(|(_, entity)| {
            let (here, there) = (entity.settings().prefers(self.cpu), entity.settings().prefers(to));
            (there, !here, entity.virtual_ns)
        });
        let (index, _) = chosen?;
        let mut entity = self.ready.remove(index);
        entity.leave(self.floor, now);
        Some(entity)
    }
}
