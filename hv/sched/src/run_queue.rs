//! The run queue of one CPU, with proportional share by virtual time.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use xenolith_hal::{CpuId, Time};

use crate::balance::Load;
use crate::{Entity, RATELIMIT_NS, Settings, WAKE_MARGIN_NS};

/// The current entity of the CPU.
#[derive(Debug)]
struct Current<K> {
    entity: Entity<K>,
    /// When it got the CPU.
    started: Time,
    /// Up to when its time is charged.
    accounted: Time,
    slice_end: Time,
}

impl<K> Current<K> {
    /// Returns whether it has run for the rate limit, so that it may be preempted.
    fn is_past_ratelimit(&self, now: Time) -> bool {
        now.since_ns(self.started) >= RATELIMIT_NS
    }
}

/// What the CPU does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Continues with its current entity.
    Keep,
    /// Switches to another entity: [`RunQueue::current`].
    Switch,
    /// Idles.
    Idle,
}

/// A scheduling decision. With `Switch` and `Idle`, the entity that had the CPU is either in the queue again or in
/// `left`.
#[must_use]
#[derive(PartialEq, Eq, Debug)]
pub struct Decision<K> {
    pub next: Next,
    /// When to call [`RunQueue::choose`] again at the latest; [`Time::NEVER`] if only an event can change the decision.
    pub deadline: Time,
    /// The entity that had the CPU and is no longer runnable. The core owns it now.
    pub left: Option<Entity<K>>,
}

/// What a wake-up means for the CPU of the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wake {
    /// It must reschedule now.
    Now,
    /// It must reschedule at this time, which is before the deadline of its last decision.
    At(Time),
    /// It need not reschedule.
    Later,
}

/// The run queue of one CPU.
#[derive(Debug)]
pub struct RunQueue<K> {
    cpu: CpuId,
    current: Option<Current<K>>,
    ready: Vec<Entity<K>>,
    /// Throttled entities: they wait for the replenishment of their cap.
    parked: Vec<Entity<K>>,
    /// Virtual time of the queue. It never goes back; entities that enter start near it.
    floor: i64,
    /// Whether an entity that woke up preempts the current one once that has run for the rate limit.
    preempt: bool,
}

impl<K: PartialEq> RunQueue<K> {
    /// Makes an empty run queue.
    #[must_use]
    pub const fn new(cpu: CpuId) -> Self {
        Self { cpu, current: None, ready: Vec::new(), parked: Vec::new(), floor: 0, preempt: false }
    }

    /// Reserves memory for `entities` in all, so that no later call allocates any.
    ///
    /// **Errors:** memory is short.
    pub fn reserve(&mut self, entities: usize) -> Result<(), TryReserveError> {
        self.ready.try_reserve(entities.saturating_sub(self.ready.len()))?;
        self.parked.try_reserve(entities.saturating_sub(self.parked.len()))
    }

    /// Returns the current entity; None if the CPU idles.
    pub fn current(&self) -> Option<&Entity<K>> {
        self.current.as_ref().map(|current| &current.entity)
    }

    /// Iterates over the entities that wait for the CPU, the one that has waited longest first.
    pub fn ready(&self) -> impl Iterator<Item = &Entity<K>> {
        self.ready.iter()
    }

    /// Iterates over the throttled entities.
    pub fn parked(&self) -> impl Iterator<Item = &Entity<K>> {
        self.parked.iter()
    }

    /// Returns the number of entities that wait for the CPU; throttled ones are not counted.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.ready.len()
    }

    /// Returns the load of the queue, for placing and balancing.
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

    /// Adds a runnable entity, which woke up or was moved from another CPU. Returns whether the CPU must reschedule.
    ///
    /// **Errors:** its hard affinity forbids this CPU; returns the entity.
    #[expect(clippy::disallowed_methods, reason = "`RunQueue::reserve` made room for every entity there is")]
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

    /// Decides what the CPU does next. `can_run` says whether the current entity is still runnable; if not, the
    /// decision returns it in `left`. To be called at the deadline of the last decision and when [`RunQueue::insert`]
    /// says so; calling more often does no harm.
    #[expect(clippy::disallowed_methods, reason = "`RunQueue::reserve` made room for every entity there is")]
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
                if current.is_past_ratelimit(now) {
                    // The entity that was to preempt is gone, perhaps to another CPU.
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
        slice_over || (self.preempt && current.is_past_ratelimit(now) && best < current.entity.virtual_ns)
    }

    /// Returns the waiting entity with the least virtual time; of several, the one that has waited longest.
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

    /// Charges the current entity for the time since the last charge.
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

    #[inline]
    fn raise_floor(&mut self) {
        let all = self.ready.iter().chain(self.current()).map(|entity| entity.virtual_ns);
        if let Some(least) = all.min() {
            self.floor = self.floor.max(least);
        }
    }

    /// Requeues throttled entities whose replenishment is due.
    #[expect(clippy::disallowed_methods, reason = "`RunQueue::reserve` made room for every entity there is")]
    fn unpark(&mut self, now: Time) {
        let mut index = 0;
        while let Some(entity) = self.parked.get_mut(index) {
            match entity.settings().quota_ns() {
                Some(quota) => entity.budget.refresh(quota, now),
                None => entity.budget = crate::cap::Budget::new(),
            }
            if entity.settings().quota_ns().is_some() && entity.budget.is_spent() {
                index = index.wrapping_add(1);
                continue;
            }
            let mut entity = self.parked.swap_remove(index);
            // It stood aside, it did not sleep: it starts level with the others, at best.
            entity.virtual_ns = entity.virtual_ns.max(self.floor);
            self.ready.push(entity);
        }
    }

    /// Yields: moves the current entity behind all that wait. Call [`RunQueue::choose`] next.
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

    /// Removes and returns an entity that waits or is throttled, because it was paused, ends or moves. None if it does
    /// not wait here; the current entity leaves by [`RunQueue::choose`].
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

    /// Changes the parameters of an entity in this queue. Removes and returns it if it waits and its new hard affinity
    /// forbids this CPU.
    ///
    /// If the current entity may not run here any more ([`Settings::allows`]), the core calls [`RunQueue::choose`] with
    /// `can_run` false and inserts the entity elsewhere.
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

    /// Removes and returns a waiting entity for the CPU `to` (work stealing): one that may run there and that `may`
    /// accepts. An entity with `to` in its soft affinity comes first, then the one that would run here last.
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
