//! Load balancing: the CPU for an entity that wakes up, and the CPU from which an idle one takes work.

use xenolith_hal::CpuId;

use crate::Settings;

/// The load of one CPU's run queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    pub cpu: CpuId,
    /// Sum of the weights of the entities that run or wait there.
    pub weight: u64,
    /// Number of entities that wait there, parked ones not counted.
    pub waiting: usize,
    /// Whether nothing runs or waits there.
    pub idle: bool,
}

/// Returns the CPU for an entity that becomes runnable. `last` is the CPU on which it ran last, whose caches may still
/// hold its data; None if it never ran.
///
/// The order of preference is: an idle CPU of the soft affinity, an idle CPU, a CPU of the soft affinity, the least
/// weight, `last`, the lowest number. None if the hard affinity allows no CPU of `loads`.
#[must_use]
pub fn place(settings: &Settings, last: Option<CpuId>, loads: impl IntoIterator<Item = Load>) -> Option<CpuId> {
    let allowed = loads.into_iter().filter(|load| settings.allows(load.cpu));
    // For the least key, so the wishes are negated.
    let key = |load: &Load| {
        let preferred = settings.prefers(load.cpu);
        let same = last == Some(load.cpu);
        // Work waits for no preference: an idle CPU beats a preferred one that is busy.
        (!(load.idle && preferred), !load.idle, !preferred, load.weight, !same)
    };
    let best = allowed.min_by_key(|load| {
        let (idle_preferred, idle, preferred, weight, same) = key(load);
        // Among idle CPUs the last one wins whatever the weights, which are all 0.
        (idle_preferred, idle, preferred, weight, same, load.cpu)
    });
    best.map(|load| load.cpu)
}

/// Returns the CPU from which an idle one steals work: of the CPUs where entities wait, the one with the most weight.
/// None if nothing waits anywhere.
///
/// If nothing can be had from that CPU, because affinity binds its waiting entities to it, the caller calls again with
/// `waiting` 0 for it.
#[must_use]
pub fn busiest(idle: CpuId, loads: impl IntoIterator<Item = Load>) -> Option<CpuId> {
    let others = loads.into_iter().filter(|load| load.cpu != idle && load.waiting > 0);
    others.max_by_key(|load| (load.weight, load.waiting)).map(|load| load.cpu)
}

/// Returns the CPU to which `from` gives an entity of weight `moving`: the one with the least weight. None if nothing
/// waits at `from`, or if the move would not make the two loads more alike, which takes a difference greater than
/// `moving`.
#[must_use]
pub fn underloaded(from: Load, moving: u64, loads: impl IntoIterator<Item = Load>) -> Option<CpuId> {
    let others = loads.into_iter().filter(|load| load.cpu != from.cpu);
    let least = others.min_by_key(|load| (load.weight, load.waiting))?;
    (from.waiting > 0 && from.weight.saturating_sub(least.weight) > moving).then_some(least.cpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CpuSet;

    fn load(cpu: u32, weight: u64) -> Load {
        Load { cpu: CpuId(cpu), weight, waiting: (weight / 256).saturating_sub(1) as usize, idle: weight == 0 }
    }

    fn on(hard: CpuSet, soft: CpuSet) -> Settings {
        Settings::new(256, 0, hard, soft).unwrap()
    }

    #[test]
    fn an_idle_cpu_comes_before_a_busy_one_and_the_last_before_other_idle_ones() {
        let settings = on(CpuSet::ALL, CpuSet::ALL);
        let loads = [load(0, 256), load(1, 0), load(2, 0)];
        assert_eq!(place(&settings, Some(CpuId(0)), loads), Some(CpuId(1)));
        assert_eq!(place(&settings, Some(CpuId(2)), loads), Some(CpuId(2)));
        assert_eq!(place(&settings, None, loads), Some(CpuId(1)));
    }

    #[test]
    fn a_preferred_cpu_comes_first_unless_it_is_busy_and_another_idle() {
        let settings = on(CpuSet::ALL, CpuSet::only(CpuId(2)));
        assert_eq!(place(&settings, None, [load(0, 0), load(1, 0), load(2, 0)]), Some(CpuId(2)));
        assert_eq!(place(&settings, None, [load(0, 256), load(1, 0), load(2, 256)]), Some(CpuId(1)));
        assert_eq!(place(&settings, None, [load(0, 256), load(1, 256), load(2, 512)]), Some(CpuId(2)));
    }

    #[test]
    fn no_cpu_outside_the_hard_set_is_ever_chosen() {
        let settings = on(CpuSet::only(CpuId(1)), CpuSet::ALL);
        assert_eq!(place(&settings, Some(CpuId(0)), [load(0, 0), load(1, 9000)]), Some(CpuId(1)));
        assert_eq!(place(&settings, None, [load(0, 0)]), None);
    }

    #[test]
    fn an_idle_cpu_takes_from_where_most_waits() {
        let loads = [load(0, 0), load(1, 512), load(2, 1024), load(3, 256)];
        assert_eq!(busiest(CpuId(0), loads), Some(CpuId(2)));
        assert_eq!(busiest(CpuId(0), [load(0, 0), load(3, 256)]), None);
    }

    #[test]
    fn work_moves_only_if_that_makes_the_two_more_alike() {
        let loads = [load(0, 1024), load(1, 512)];
        assert_eq!(underloaded(loads[0], 256, loads), Some(CpuId(1)));
        assert_eq!(underloaded(loads[0], 512, loads), None);
        assert_eq!(underloaded(loads[1], 1, loads), None);
    }
}
