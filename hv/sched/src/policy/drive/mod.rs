//! The driver of a pool: which calls of a [`Policy`] follow which event. The core and the simulator use the same one.
//!
//! At most one queue is locked at a time. A caller that queues a waiting unit publishes that before it looks for free
//! CPUs, and a CPU that becomes free publishes that before it looks for waiting units, so one of the two sees the
//! other.

mod moves;

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering};

use xenolith_hal::{CpuId, Time};

use super::{Decision, Next, Placed, Policy, QueueId, Unit, UnitId, View};
use crate::Cpus;
use moves::{balance, move_all_misplaced, move_misplaced, offer, steal};

/// A CPU pool (Xen's cpupool): its run queues behind their locks, and how its CPUs are reached.
pub trait Pool {
    /// The scheduling policy of the pool.
    type Policy: Policy;

    /// Returns the state that is read without a lock.
    fn view(&self) -> &View;

    /// Calls `act` with a run queue locked. None if the pool has no such queue.
    fn with<R>(&self, queue: QueueId, act: impl FnOnce(&mut Self::Policy) -> R) -> Option<R>;

    /// Returns the queue that holds a unit, or into which it is about to move.
    fn home(&self, id: UnitId) -> QueueId;

    /// Records the queue that holds a unit.
    fn set_home(&self, id: UnitId, queue: QueueId);

    /// Returns the flag of a wake-up that came while the unit was in no queue, on its way from one to another.
    fn missed(&self, id: UnitId) -> &AtomicBool;

    /// Has a CPU reschedule: it calls [`choose`] soon. By an IPI, or a flag that its run loop checks.
    fn ask(&self, cpu: CpuId);

    /// Has some CPU of the queue call [`tick`] for it at `at` or before.
    fn set_timer(&self, queue: QueueId, at: Time);
}

/// A unit of a pool, on its way into a queue.
type UnitOf<P> = Box<Unit<<<P as Pool>::Policy as Policy>::Account>>;

/// Calls `act` with a queue locked, publishes the queue's hint, sets an earlier timer, and has the CPUs of `asks`
/// reschedule.
fn with<P: Pool, R>(
    pool: &P,
    queue: QueueId,
    now: Time,
    act: impl FnOnce(&mut P::Policy, &mut Cpus) -> R,
) -> Option<R> {
    let mut asks = Cpus::NONE;
    let (result, timer) = pool.with(queue, |policy| {
        let before = policy.timer();
        let result = act(policy, &mut asks);
        pool.view().publish(queue, policy.waiting() > 0, policy.hint(now));
        let after = policy.timer();
        (result, (after < before).then_some(after))
    })?;
    if let Some(at) = timer {
        pool.set_timer(queue, at);
    }
    for cpu in asks.members() {
        pool.view().set_free(cpu, false);
        pool.ask(cpu);
    }
    Some(result)
}

/// Adds a unit to the pool.
///
/// **Errors:** no CPU of the pool is in its hard affinity, or memory is short; returns the unit.
pub fn enter<P: Pool>(pool: &P, unit: UnitOf<P>, now: Time) -> Result<(), UnitOf<P>> {
    match place(pool, &unit) {
        Some(queue) => admit(pool, unit, queue, now),
        None => Err(unit),
    }
}

/// Returns the queue for a unit that is new or has to move: one with a free CPU of its soft affinity, one with any free
/// CPU, the one with the least load for each CPU, the one with the fewest units for each CPU.
fn place<P: Pool>(pool: &P, unit: &UnitOf<P>) -> Option<QueueId> {
    let (view, free) = (pool.view(), pool.view().free());
    let (hard, preferred) = (unit.affinity().hard, unit.affinity().preferred());
    let queues = (0u32..).map(QueueId).take(view.queues());
    let key = |queue: QueueId| {
        let cpus = pool.with(queue, |policy| *policy.cpus())?.intersection(&hard);
        if cpus.is_empty() {
            return None;
        }
        let hint = view.hint(queue);
        let each = |of: u64| of.saturating_mul(1024).checked_div(u64::from(hint.cpus)).unwrap_or(u64::MAX);
        let loved = cpus.intersects(&preferred);
        let free = cpus.intersection(&free);
        let rank = (!free.intersects(&preferred), free.is_empty(), !loved);
        Some((rank, each(hint.load), each(u64::from(hint.units)), queue))
    };
    queues.filter_map(key).min().map(|(.., queue)| queue)
}

/// Puts a unit into a queue, and moves it on if only another queue has a free CPU for it.
///
/// **Errors:** memory is short; returns the unit.
fn admit<P: Pool>(pool: &P, unit: UnitOf<P>, queue: QueueId, now: Time) -> Result<(), UnitOf<P>> {
    let id = unit.id();
    let placed = with(pool, queue, now, |policy, asks| {
        let placed = policy.admit(unit, now, asks)?;
        pool.set_home(id, queue);
        show_free(pool, policy);
        Ok(placed)
    });
    match placed {
        Some(Ok(placed)) => {
            move_to_free(pool, id, queue, placed, now);
            deliver_missed_wake(pool, id, now);
            Ok(())
        }
        Some(Err(unit)) => Err(unit),
        None => Ok(()),
    }
}

/// Removes a unit from the pool. None while it runs or its registers are not saved yet.
pub fn leave<P: Pool>(pool: &P, id: UnitId, now: Time) -> Option<UnitOf<P>> {
    let queue = pool.home(id);
    with(pool, queue, now, |policy, _| dismiss(pool, policy, id, now))?
}

/// Removes a unit from a queue. A CPU that thereby becomes free reschedules.
fn dismiss<P: Pool>(pool: &P, policy: &mut P::Policy, id: UnitId, now: Time) -> Option<UnitOf<P>> {
    let unit = policy.dismiss(id, now)?;
    let before = pool.view().free();
    let free = show_free(pool, policy);
    free.without(&before).members().for_each(|cpu| pool.ask(cpu));
    Some(unit)
}

/// Publishes which CPUs of a queue are free, and returns them.
fn show_free<P: Pool>(pool: &P, policy: &P::Policy) -> Cpus {
    let mut free = Cpus::NONE;
    for cpu in policy.cpus().members() {
        let is_free = policy.is_free(cpu);
        pool.view().set_free(cpu, is_free);
        if is_free {
            free.insert(cpu);
        }
    }
    free
}

/// Wakes a unit: it is runnable. Does nothing for a unit that is runnable already.
pub fn wake<P: Pool>(pool: &P, id: UnitId, now: Time) {
    loop {
        let queue = pool.home(id);
        let placed =
            with(pool, queue, now, |policy, asks| policy.unit(id).is_some().then(|| policy.wake(id, now, asks)));
        match placed {
            Some(Some(placed)) => return move_to_free(pool, id, queue, placed, now),
            // It has just moved.
            _ if pool.home(id) != queue => {}
            // It moves now. The mover looks for this when it has arrived; perhaps it has, so look once more.
            _ if !pool.missed(id).swap(true, Ordering::SeqCst) => {}
            _ => return,
        }
    }
}

/// Moves a unit to a free CPU of another queue, if it waits, or if that CPU is in its soft affinity.
fn move_to_free<P: Pool>(pool: &P, id: UnitId, queue: QueueId, placed: Placed, now: Time) {
    if placed == Placed::Well {
        return;
    }
    let free = pool.view().free();
    if free.is_empty() {
        return;
    }
    let moved = with(pool, queue, now, |policy, _| {
        let unit = policy.unit(id)?;
        let others = free.without(policy.cpus());
        let preferred = others.intersection(&unit.affinity().preferred());
        let any = if placed == Placed::Waits { others.intersection(&unit.affinity().hard) } else { Cpus::NONE };
        let cpu = preferred.lowest().or_else(|| any.lowest())?;
        Some((dismiss(pool, policy, id, now)?, cpu))
    });
    if let Some(Some((unit, cpu))) = moved {
        let target = pool.view().queue_of(cpu).unwrap_or(queue);
        let refused = admit_here(pool, unit, target, now);
        if let Err(unit) = refused {
            let _ = admit_here(pool, unit, queue, now);
        }
    }
}

/// Puts a unit into a queue and leaves it there.
///
/// **Errors:** memory is short; returns the unit.
fn admit_here<P: Pool>(pool: &P, unit: UnitOf<P>, queue: QueueId, now: Time) -> Result<(), UnitOf<P>> {
    let id = unit.id();
    let done = with(pool, queue, now, |policy, asks| {
        let placed = policy.admit(unit, now, asks)?;
        pool.set_home(id, queue);
        show_free(pool, policy);
        Ok(placed)
    });
    match done {
        Some(Err(unit)) => Err(unit),
        Some(Ok(_)) => {
            deliver_missed_wake(pool, id, now);
            Ok(())
        }
        None => Ok(()),
    }
}

/// Wakes a unit that was woken on its way into this queue.
fn deliver_missed_wake<P: Pool>(pool: &P, id: UnitId, now: Time) {
    if pool.missed(id).swap(false, Ordering::SeqCst) {
        wake(pool, id, now);
    }
}

/// Blocks a unit: it is not runnable. If it runs, its CPU reschedules.
pub fn sleep<P: Pool>(pool: &P, id: UnitId, now: Time) {
    with(pool, pool.home(id), now, |policy, asks| policy.sleep(id, now, asks));
}

/// Changes affinity and parameters of a unit, and moves it if its queue has no CPU of the new hard affinity.
///
/// **Errors:** None if memory is short or the unit is on its way to another queue; nothing was changed.
pub fn set<P: Pool>(
    pool: &P,
    id: UnitId,
    affinity: super::Affinity,
    parameters: &<P::Policy as Policy>::Parameters,
    now: Time,
) -> Option<()> {
    let queue = pool.home(id);
    let waits = with(pool, queue, now, |policy, asks| {
        policy.set(id, affinity, parameters, now, asks).ok()?;
        policy.unit(id).map(|unit| unit.standing == super::Standing::Waiting)
    });
    let waits = waits??;
    move_misplaced(pool, queue, id, now);
    move_to_free(pool, id, pool.home(id), if waits { Placed::Waits } else { Placed::Poorly }, now);
    Some(())
}

/// Yields: the current unit of a CPU lets waiting units run first. The CPU must call [`choose`] next.
pub fn yield_cpu<P: Pool>(pool: &P, cpu: CpuId, now: Time) {
    if let Some(queue) = pool.view().queue_of(cpu) {
        with(pool, queue, now, |policy, _| policy.yield_cpu(cpu, now));
    }
}

/// Decides what a CPU does next, with work stealing and load balancing. `can_run` says whether its current unit is
/// still runnable.
pub fn choose<P: Pool>(pool: &P, cpu: CpuId, now: Time, can_run: bool) -> Decision {
    let nothing = Decision { next: Next::Idle, deadline: Time::NEVER, left: None };
    let Some(queue) = pool.view().queue_of(cpu) else { return nothing };
    let decide = |can_run| {
        let decision = with(pool, queue, now, |policy, asks| {
            let decision = policy.choose(cpu, now, can_run, asks);
            pool.view().set_free(cpu, policy.is_free(cpu));
            (decision, policy.waiting(), policy.is_balance_due(now))
        });
        decision.unwrap_or((nothing, 0, false))
    };
    let called = pool.view().take_call(cpu);
    let (mut decision, waiting, due) = decide(can_run);
    if decision.next != Next::Keep {
        // Waiting units of this queue may have counted on this CPU.
        offer(pool, queue, waiting);
    }
    if decision.next == Next::Idle && steal(pool, queue, cpu, now) {
        let (again, ..) = decide(true);
        decision = Decision { left: decision.left, ..again };
    }
    if called && decision.next != Next::Idle {
        // It has found work, perhaps not that for which it was called: others are to look in its place.
        let queues = pool.view().waiting_after(queue);
        queues.for_each(|other| offer(pool, other, pool.with(other, |policy| policy.waiting()).unwrap_or(0)));
    }
    if due {
        balance(pool, queue, now);
    }
    decision
}

/// Reports that the registers of the unit that left a CPU are saved, so that other CPUs may run it.
pub fn saved<P: Pool>(pool: &P, cpu: CpuId, now: Time) {
    let Some(queue) = pool.view().queue_of(cpu) else { return };
    let done = with(pool, queue, now, |policy, asks| {
        let id = policy.saved(cpu, now, asks)?;
        let unit = policy.unit(id)?;
        let waits = unit.standing == super::Standing::Waiting;
        let fits = unit.affinity().hard.intersects(policy.cpus());
        Some((id, waits, fits, policy.is_balance_due(now)))
    });
    let Some(Some((id, waits, fits, due))) = done else { return };
    if !fits {
        move_misplaced(pool, queue, id, now);
    } else if waits {
        move_to_free(pool, id, queue, Placed::Waits, now);
    }
    if due {
        balance(pool, queue, now);
    }
}

/// Does what the queue's timer was set for, and returns the time of the next call; [`Time::NEVER`] for none.
pub fn tick<P: Pool>(pool: &P, queue: QueueId, now: Time) -> Time {
    let next = with(pool, queue, now, |policy, asks| {
        policy.tick(now, asks);
        (policy.timer(), policy.waiting())
    });
    let (next, waiting) = next.unwrap_or((Time::NEVER, 0));
    offer(pool, queue, waiting);
    next
}

/// Adds a CPU to the pool, and moves units there that had no CPU to run on.
///
/// **Errors:** false if the pool has no queue for the CPU or memory is short.
pub fn add_cpu<P: Pool>(pool: &P, cpu: CpuId, now: Time) -> bool {
    let Some(queue) = pool.view().queue_of(cpu) else { return false };
    let done = with(pool, queue, now, |policy, _| {
        let done = policy.add_cpu(cpu, now).is_ok();
        pool.view().set_free(cpu, policy.is_free(cpu));
        done
    });
    pool.ask(cpu);
    // Units that no CPU could run may have one now.
    let queues = (0u32..).map(QueueId).take(pool.view().queues());
    for other in queues.filter(|other| pool.view().hint(*other).units > 0) {
        move_all_misplaced(pool, other, now);
    }
    done.unwrap_or(false)
}

/// Removes a CPU from the pool, and moves the units of its queue that have no other CPU there. The CPU must still call
/// [`choose`], which returns [`Next::Idle`], and [`saved`].
pub fn remove_cpu<P: Pool>(pool: &P, cpu: CpuId, now: Time) {
    let Some(queue) = pool.view().queue_of(cpu) else { return };
    with(pool, queue, now, |policy, asks| policy.remove_cpu(cpu, now, asks));
    pool.view().set_free(cpu, false);
    move_all_misplaced(pool, queue, now);
}
