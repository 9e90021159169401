//! The scheduled entity: a vCPU as the run queue of a CPU sees it.

use xenolith_hal::{CpuId, Time};

use crate::cap::Budget;
use crate::{CpuSet, RATELIMIT_NS, SLICE_NS, WAKE_BONUS_NS};

/// Weight of an entity for which the toolstack sets none.
///
/// **Source:** xl(1), `sched-credit2`.
pub const WEIGHT_DEFAULT: u16 = 256;

/// Scheduling parameters that are not valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SettingsError {
    /// The weight is 0; the entity would never run.
    ZeroWeight,
    /// The hard affinity is empty.
    NoCpu,
}

/// Scheduling parameters that the toolstack sets: weight, cap and affinity.
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
    /// Makes scheduling parameters.
    ///
    /// - `weight`: share of the CPU relative to other entities; twice the weight is twice the time.
    /// - `cap_percent`: the most of one CPU that the entity gets, in percent; 0 for no cap. 100 or more is no cap
    ///   either, since an entity runs on one CPU at a time.
    /// - `hard`: hard affinity, the CPUs on which it may run.
    /// - `soft`: soft affinity, the CPUs on which it should run if one of them is idle.
    ///
    /// **Errors:** [`SettingsError::ZeroWeight`] for a weight of 0, [`SettingsError::NoCpu`] for an empty hard
    /// affinity.
    pub fn new(weight: u16, cap_percent: u16, hard: CpuSet, soft: CpuSet) -> Result<Self, SettingsError> {
        if weight == 0 {
            return Err(SettingsError::ZeroWeight);
        }
        if hard.is_empty() {
            return Err(SettingsError::NoCpu);
        }
        Ok(Self { weight, cap_percent, hard, soft })
    }

    /// Replaces the hard affinity by `hard`.
    #[must_use]
    pub const fn only_on(self, hard: CpuSet) -> Self {
        Self { hard, ..self }
    }

    /// Returns the hard affinity.
    #[must_use]
    pub const fn hard(&self) -> CpuSet {
        self.hard
    }

    /// Returns the soft affinity.
    #[must_use]
    pub const fn soft(&self) -> CpuSet {
        self.soft
    }

    /// Returns the cap in percent of one CPU; 0 for no cap.
    #[must_use]
    pub const fn cap_percent(&self) -> u16 {
        self.cap_percent
    }

    /// Returns the weight, at least 1.
    #[must_use]
    pub const fn weight(&self) -> u16 {
        self.weight
    }

    /// Returns the budget of one period in nanoseconds; None without a cap.
    #[must_use]
    pub(crate) fn quota_ns(&self) -> Option<u64> {
        matches!(self.cap_percent, 1..=99).then(|| crate::CAP_PERIOD_NS / 100 * u64::from(self.cap_percent))
    }

    /// Returns whether the hard affinity allows a CPU.
    #[must_use]
    pub fn allows(&self, cpu: CpuId) -> bool {
        self.hard.contains(cpu)
    }

    /// Returns whether a CPU is in both affinities. If the two have no CPU in common, soft affinity is ignored: every
    /// CPU of the hard affinity is preferred.
    #[must_use]
    #[inline]
    pub fn prefers(&self, cpu: CpuId) -> bool {
        let both = self.hard.intersection(&self.soft);
        self.allows(cpu) && (both.is_empty() || both.contains(cpu))
    }
}

/// Lead, in virtual time, of an entity that enters a run queue with the whole wake bonus: the least that there is.
const MOST_BEHIND_NS: i64 = -(WAKE_BONUS_NS as i64);

/// A scheduled entity: one vCPU. `K` is the core's key for it, which the policy never looks at.
///
/// Not `Clone`: the owner of the value is the only one that may run the vCPU.
#[derive(PartialEq, Eq, Debug)]
pub struct Entity<K> {
    key: K,
    settings: Settings,
    /// In a run queue: its virtual time. Elsewhere: how far it was ahead of the virtual time of the queue that it left.
    pub(crate) virtual_ns: i64,
    /// When it left its last run queue.
    pub(crate) left: Time,
    pub(crate) budget: Budget,
}

impl<K> Entity<K> {
    /// Makes an entity that never ran.
    #[must_use]
    pub fn new(key: K, settings: Settings) -> Self {
        Self { key, settings, virtual_ns: 0, left: Time(0), budget: Budget::new() }
    }

    /// Returns the core's key for it.
    pub const fn key(&self) -> &K {
        &self.key
    }

    /// Returns the entity with another key.
    pub fn with_key<L>(self, key: L) -> Entity<L> {
        let Self { key: _, settings, virtual_ns, left, budget } = self;
        Entity { key, settings, virtual_ns, left, budget }
    }

    /// Returns the scheduling parameters.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Replaces the scheduling parameters of an entity that is in no run queue. [`crate::RunQueue::change`] does it for
    /// one that is.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
        self.budget = Budget::new();
    }

    /// Converts time on a CPU to virtual time.
    #[expect(clippy::arithmetic_side_effects, reason = "64 bits by 16 in 128, divided by 1 at least")]
    pub(crate) fn to_virtual(&self, ns: u64) -> i64 {
        let weight = self.settings.weight.max(1);
        // What a CPU runs for at a time fits in 64 bits by far; division by more is long.
        if let Some(scaled) = ns.checked_mul(WEIGHT_DEFAULT.into()) {
            return i64::try_from(scaled / u64::from(weight)).unwrap_or(i64::MAX);
        }
        let scaled = u128::from(ns) * u128::from(WEIGHT_DEFAULT) / u128::from(weight);
        i64::try_from(scaled).unwrap_or(i64::MAX)
    }

    /// Returns its time slice in nanoseconds; shorter below the default weight, so that it waits less long for the next
    /// one.
    #[expect(clippy::arithmetic_side_effects, reason = "a constant times a weight of at most the default")]
    pub(crate) fn slice_ns(&self) -> u64 {
        let weight = u64::from(self.settings.weight.min(WEIGHT_DEFAULT));
        (SLICE_NS * weight / u64::from(WEIGHT_DEFAULT)).max(RATELIMIT_NS)
    }

    /// Enters a run queue whose virtual time is `floor`, after a wake-up or a migration. A lead shrinks by the time
    /// that it was away; a lag is kept up to [`WAKE_BONUS_NS`].
    pub(crate) fn enter(&mut self, floor: i64, now: Time) {
        let away = i64::try_from(now.since_ns(self.left)).unwrap_or(i64::MAX);
        let ahead = self.virtual_ns.saturating_sub(away).max(MOST_BEHIND_NS);
        self.virtual_ns = floor.saturating_add(ahead);
    }

    /// Leaves a run queue whose virtual time is `floor`.
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
