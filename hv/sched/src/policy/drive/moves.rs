//! Migration of units between run queues.

use xenolith_hal::{CpuId, Time};

use super::{Pool, admit_here, dismiss, enter, with};
use crate::Cpus;
use crate::policy::{Policy, QueueId, UnitId};

/// The most queues that one load-balancing step looks at.
const LOOKED_AT: u32 = 8;

/// Has free CPUs of other queues look for work here, at most one for each unit that waits.
pub(super) fn offer<P: Pool>(pool: &P, queue: QueueId, waiting: usize) {
    let free = if waiting > 0 { pool.view().free() } else { Cpus::NONE };
    let wanted = free.members().filter(|cpu| pool.with(queue, |policy| policy.has_for(*cpu)).unwrap_or(false));
    for cpu in wanted.take(waiting) {
        pool.view().call(cpu);
        pool.ask(cpu);
    }
}

/// Steals a unit that waits in another queue for an idle CPU. Returns whether one was found.
pub(super) fn steal<P: Pool>(pool: &P, queue: QueueId, cpu: CpuId, now: Time) -> bool {
    let wanted = pool.with(queue, |policy| policy.cpus().contains(cpu) && policy.is_free(cpu)).unwrap_or(false);
    if !wanted {
        return false;
    }
    for from in pool.view().waiting_after(queue) {
        if let Some(Some(unit)) = with(pool, from, now, |policy, _| policy.give(cpu, now)) {
            return match admit_here(pool, unit, queue, now) {
                Ok(()) => true,
                Err(unit) => {
                    let _ = admit_here(pool, unit, from, now);
                    false
                }
            };
        }
    }
    false
}

/// Balances: gives one waiting unit to the queue with the greatest gain, of [`LOOKED_AT`] that are looked at in turn.
pub(super) fn balance<P: Pool>(pool: &P, queue: QueueId, now: Time) {
    let view = pool.view();
    let count = u32::try_from(view.queues()).unwrap_or(u32::MAX);
    let own = view.hint(queue);
    let Some(slack) = pool.with(queue, |policy| policy.slack()) else { return };
    // Another part of the queues each time: the clock's digits, well mixed, are as good as dice.
    let dice = (now.0.wrapping_add(u64::from(queue.0)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
    let turn = if count > LOOKED_AT { dice.checked_rem(count).unwrap_or(0) } else { 0 };
    let looked_at = (0..count.min(LOOKED_AT)).filter_map(|step| turn.wrapping_add(step).checked_rem(count));
    let others = looked_at.map(QueueId).filter(|other| *other != queue);
    let gain = |to: &QueueId| P::Policy::gain(&own, &view.hint(*to), slack, now);
    let Some(target) = others.filter(|other| gain(other) > 0).max_by_key(gain) else { return };
    let hint = view.hint(target);
    let Some(cpus) = pool.with(target, |policy| *policy.cpus()) else { return };
    if let Some(Some(unit)) = with(pool, queue, now, |policy, _| policy.push(&hint, &cpus, now))
        && let Err(unit) = admit_here(pool, unit, target, now)
    {
        let _ = admit_here(pool, unit, queue, now);
    }
}

/// Moves a unit if its queue has no CPU of its hard affinity.
pub(super) fn move_misplaced<P: Pool>(pool: &P, queue: QueueId, id: UnitId, now: Time) {
    let unit = with(pool, queue, now, |policy, _| {
        let there = policy.unit(id)?.affinity().hard.intersects(policy.cpus());
        if there { None } else { dismiss(pool, policy, id, now) }
    });
    if let Some(Some(unit)) = unit
        && let Err(unit) = enter(pool, unit, now)
    {
        // No CPU that may run it is there: it waits for one, or for another affinity.
        let _ = admit_here(pool, unit, queue, now);
    }
}

/// Moves all units of a queue that has no CPU of their hard affinity.
pub(super) fn move_all_misplaced<P: Pool>(pool: &P, queue: QueueId, now: Time) {
    let mut from = UnitId(0);
    while let Some(Some(id)) = pool.with(queue, |policy| policy.misplaced(from)) {
        move_misplaced(pool, queue, id, now);
        from = UnitId(id.0.saturating_add(1));
    }
}
