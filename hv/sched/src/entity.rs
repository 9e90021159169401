//! What can run: a vCPU as the policy sees it.

use xenolith_hal::{CpuId, Time};

use crate::cap::Budget;
use crate::{CpuSet, RATELIMIT_NS, SLICE_NS, WAKE_BONUS_NS};

/// The weight of an entity that nobody gave another.
pub const WEIGHT_DEFAULT: u16 = 256;

/// Settings that make no sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SettingsError {
    /// A weight of 0: it would never run.
    ZeroWeight,
    /// No CPU is allowed.
    NoCpu,
}

/// What the toolstack sets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    weight: u16,
    cap_percent: u16,
    hard: CpuSet,
    soft: CpuSet,
}

impl Default for Settings {
    fn default() -> Self {
        Self { weight: WEIGHT_DEFAULT, cap_percent: 0, hard: CpuSet::ALL, soft: CpuSet::ALL }
    }
}

impl Settings {
    /// `weight`: twice as much means twice the time. `cap_percent`: of one CPU at most, 0 for no cap; a cap of 100 or
    /// more is none either, since an entity runs on one CPU at a time. `hard`: the CPUs that it may run on. `soft`: those
    /// of them that it rather runs on.
    ///
    /// **Errors:** [`SettingsError`] for a weight of 0 or an empty hard set.
    pub fn new(weight: u16, cap_percent: u16, hard: CpuSet, soft: CpuSet) -> Result<Self, SettingsError> {
        if weight == 0 {
            return Err(SettingsError::ZeroWeight);
        }
        if hard.is_empty() {
            return Err(SettingsError::NoCpu);
        }
        Ok(Self { weight, cap_percent, hard, soft })
    }

    /// The same, but on these CPUs alone.
    #[must_use]
    pub const fn only_on(self, hard: CpuSet) -> Self {
        Self { hard, ..self }
    }

    /// The CPUs that it may run on.
    #[must_use]
    pub const fn hard(&self) -> CpuSet {
        self.hard
    }

    /// The CPUs that it rather runs on.
    #[must_use]
    pub const fn soft(&self) -> CpuSet {
        self.soft
    }

    /// The most of one CPU that it gets, in percent; 0 for no limit.
    #[must_use]
    pub const fn cap_percent(&self) -> u16 {
        self.cap_percent
    }

    /// The weight, at least 1.
    #[must_use]
    pub const fn weight(&self) -> u16 {
        self.weight
    }

    /// The nanoseconds of a period that it may run, if it is capped.
    #[must_use]
    pub(crate) fn quota_ns(&self) -> Option<u64> {
        matches!(self.cap_percent, 1..=99).then(|| crate::CAP_PERIOD_NS / 100 * u64::from(self.cap_percent))
    }

    /// Whether it may run on a CPU.
    #[must_use]
    pub fn allows(&self, cpu: CpuId) -> bool {
        self.hard.contains(cpu)
    }

    /// Whether it may and rather runs on a CPU. Without a CPU that is both, none is better than the others.
    #[must_use]
    pub fn prefers(&self, cpu: CpuId) -> bool {
        let both = self.hard.intersection(&self.soft);
        self.allows(cpu) && (both.is_empty() || both.contains(cpu))
    }
}

/// One thing that can run. `K` is what the core knows it by; the policy never looks at it.
///
/// Not `Clone`: whoever has the value may let it run, and nobody else.
#[derive(PartialEq, Eq, Debug)]
pub struct Entity<K> {
    key: K,
    settings: Settings,
    /// In a run queue: its virtual time. Elsewhere: how far it is ahead of the queue that it left.
    pub(crate) virtual_ns: i64,
    /// When it left its last run queue.
    pub(crate) left: Time,
    pub(crate) budget: Budget,
}

impl<K> Entity<K> {
    /// One that never ran.
    #[must_use]
    pub fn new(key: K, settings: Settings) -> Self {
        Self { key, settings, virtual_ns: 0, left: Time(0), budget: Budget::new() }
    }

    /// What the core knows it by.
    pub const fn key(&self) -> &K {
        &self.key
    }

    /// The same under another key.
    pub fn with_key<L>(self, key: L) -> Entity<L> {
        let Self { key: _, settings, virtual_ns, left, budget } = self;
        Entity { key, settings, virtual_ns, left, budget }
    }

    /// What the toolstack set.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Replaces the settings. If the entity is in a run queue that it may not be in any more, the core takes it out and
    /// places it anew: [`crate::RunQueue::change`] does so.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
        self.budget = Budget::new();
    }

    /// Virtual time for this much time on a CPU.
    pub(crate) fn to_virtual(&self, ns: u64) -> i64 {
        let scaled = u128::from(ns) * u128::from(WEIGHT_DEFAULT) / u128::from(self.settings.weight.max(1));
        i64::try_from(scaled).unwrap_or(i64::MAX)
    }

    /// How long it runs at a stretch: one of less weight than usual runs shorter, so that it need not wait as long.
    pub(crate) fn slice_ns(&self) -> u64 {
        let weight = u64::from(self.settings.weight.min(WEIGHT_DEFAULT));
        (SLICE_NS * weight / u64::from(WEIGHT_DEFAULT)).max(RATELIMIT_NS)
    }

    /// It comes into a run queue whose virtual time is `floor`, because it woke up or moved. What it was ahead shrinks
    /// by the time that it was away; what it was behind counts up to a limit.
    pub(crate) fn enter(&mut self, floor: i64, now: Time) {
        let away = i64::try_from(now.since_ns(self.left)).unwrap_or(i64::MAX);
        let ahead = self.virtual_ns.saturating_sub(away).max(-(WAKE_BONUS_NS as i64));
        self.virtual_ns = floor.saturating_add(ahead);
    }

    /// It leaves a run queue whose virtual time is `floor`.
    pub(crate) fn leave(&mut self, floor: i64, now: Time) {
        self.virtual_ns = self.virtual_ns.saturating_sub(floor);
        self.left = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_without_weight_or_cpu_are_refused() {
        assert_eq!(Settings::new(0, 0, CpuSet::ALL, CpuSet::ALL), Err(SettingsError::ZeroWeight));
        assert_eq!(Settings::new(1, 0, CpuSet::NONE, CpuSet::ALL), Err(SettingsError::NoCpu));
    }

    #[test]
    fn a_soft_set_outside_the_hard_one_prefers_nothing() {
        let settings = Settings::new(256, 0, CpuSet::first(2), CpuSet::only(CpuId(5))).unwrap();
        assert!(settings.prefers(CpuId(0)) && settings.prefers(CpuId(1)) && !settings.prefers(CpuId(5)));
        let settings = Settings::new(256, 0, CpuSet::first(2), CpuSet::only(CpuId(1))).unwrap();
        assert!(!settings.prefers(CpuId(0)) && settings.prefers(CpuId(1)));
    }

    #[test]
    fn twice_the_weight_halves_virtual_time() {
        let heavy = Entity::new(0, Settings::new(512, 0, CpuSet::ALL, CpuSet::ALL).unwrap());
        let light = Entity::new(0, Settings::new(1, 0, CpuSet::ALL, CpuSet::ALL).unwrap());
        assert_eq!(heavy.to_virtual(1000), 500);
        assert_eq!(light.to_virtual(1000), 256_000);
        assert_eq!((heavy.slice_ns(), light.slice_ns()), (SLICE_NS, RATELIMIT_NS));
        assert_eq!(light.to_virtual(u64::MAX), i64::MAX);
    }
}
