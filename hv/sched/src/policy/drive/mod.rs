//! Which calls of a policy follow which event. The core drives its pools by these functions, and so does the simulator.
//!
//! At most one queue is locked at a time. A caller that lets a unit wait publishes that before it looks for free CPUs,
//! and a CPU that becomes free publishes that before it looks for waiting units: one of the two sees the other.

mod moves;

use alloc::boxed::Box;
use core::sync::atomic::{AtomicBool, Ordering};

use xenolith_hal::{CpuId, Time};

use super::{Decision, Next, Placed, Policy, QueueId, Unit, UnitId, View};
use crate::Cpus;
use moves::{balance, move_all_misplaced, move_misplaced, offer, steal};

/// A pool of CPUs: its run queues behind their locks, and how its CPUs are reached.
pub trait Pool {
    /// The policy.
    type Policy: Policy;

    /// What queues know of each other.
    fn view(&self) -> &View;

    /// Calls `act` with a run queue locked; none if there is no such queue.
    fn with<R>(&self, queue: QueueId, act: impl FnOnce(&mut Self::Policy) -> R) -> Option<R>;

    /// The queue that holds a unit, or is about to.
    fn home(&self, id: UnitId) -> QueueId;

    /// Notes which queue holds a unit.
    fn set_home(&self, id: UnitId, queue: QueueId);

    /// Whether a unit was woken while it was in no queue, on its way from one to another.
    fn missed(&self, id: UnitId) -> &AtomicBool;

    /// Has a CPU call [`choose`] soon.
    fn ask(&self, cpu: CpuId);

    /// Has some CPU call [`tick`] for this queue by then.
    fn set_timer(&self, queue: QueueId, at: Time);
}

/// A unit of a pool, on its way into a queue.
type UnitOf<P> = Box<Unit<<<P as Pool>::Policy as Policy>::Account>>;

/// Calls `act` with a queue locked and then tells others what came of it.
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

/// Lets a unit into the pool; gives it back if no CPU of the pool may run it, or if memory is short.
///
/// **Errors:** the unit.
pub fn enter<P: Pool>(pool: &P, unit: UnitOf<P>, now: Time) -> Result<(), UnitOf<P>> {
    match place(pool, &unit) {
        Some(queue) => settle(pool, unit, queue, now),
        None => Err(unit),
    }
}

/// The queue for a unit that is new or has to move: one with a free CPU that it prefers, one with any free CPU, the one
/// with the least weight for its CPUs, the one with the fewest units.
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
        let each = |of: u64| of.saturating_mul(1024) / u64::from(hint.cpus.max(1));
        let loved = cpus.intersects(&preferred);
        let free = cpus.intersection(&free);
        let rank = (!free.intersects(&preferred), free.is_empty(), !loved);
        Some((rank, each(hint.load), each(u64::from(hint.units)), queue))
    };
    queues.filter_map(key).min().map(|(.., queue)| queue)
}

/// Puts a unit into a queue.
fn settle<P: Pool>(pool: &P, unit: UnitOf<P>, queue: QueueId, now: Time) -> Result<(), UnitOf<P>> {
    let id = unit.id();
    let placed = with(pool, queue, now, |policy, asks| {
        let placed = policy.admit(unit, now, asks)?;
        pool.set_home(id, queue);
        show_free(pool, policy);
        Ok(placed)
    });
    match placed {
        Some(Ok(placed)) => {
            seek(pool, id, queue, placed, now);
            arrived(pool, id, now);
            Ok(())
        }
        Some(Err(unit)) => Err(unit),
        None => Ok(()),
    }
}

/// Takes a unit out of the pool; none while it runs, or while its registers may be with a CPU.
pub fn leave<P: Pool>(pool: &P, id: UnitId, now: Time) -> Option<UnitOf<P>> {
    let queue = pool.home(id);
    with(pool, queue, now, |policy, _| dismiss(pool, policy, id, now))?
}

/// Takes a unit out of a queue. A CPU that it had for itself is to look for another one.
fn dismiss<P: Pool>(pool: &P, policy: &mut P::Policy, id: UnitId, now: Time) -> Option<UnitOf<P>> {
    let unit = policy.dismiss(id, now)?;
    let before = pool.view().free();
    let free = show_free(pool, policy);
    free.without(&before).members().for_each(|cpu| pool.ask(cpu));
    Some(unit)
}

/// Shows which CPUs of a queue are free, and says which.
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

/// A unit wants a CPU.
pub fn wake<P: Pool>(pool: &P, id: UnitId, now: Time) {
    loop {
        let queue = pool.home(id);
        let placed =
            with(pool, queue, now, |policy, asks| policy.unit(id).is_some().then(|| policy.wake(id, now, asks)));
        match placed {
            Some(Some(placed)) => return seek(pool, id, queue, placed, now),
            // It has just moved.
            _ if pool.home(id) != queue => {}
            // It moves now. The mover looks for this when it has arrived; perhaps it has, so look once more.
            _ if !pool.missed(id).swap(true, Ordering::SeqCst) => {}
            _ => return,
        }
    }
}

/// Looks for a free CPU in other queues, for one that waits or would rather be elsewhere.
fn seek<P: Pool>(pool: &P, id: UnitId, queue: QueueId, placed: Placed, now: Time) {
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
        let refused = settle_once(pool, unit, target, now);
        if let Err(unit) = refused {
            let _ = settle_once(pool, unit, queue, now);
        }
    }
}

/// Puts a unit into a queue without looking for a better one.
fn settle_once<P: Pool>(pool: &P, unit: UnitOf<P>, queue: QueueId, now: Time) -> Result<(), UnitOf<P>> {
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
            arrived(pool, id, now);
            Ok(())
        }
        None => Ok(()),
    }
}

/// Wakes a unit that was woken on its way here.
fn arrived<P: Pool>(pool: &P, id: UnitId, now: Time) {
    if pool.missed(id).swap(false, Ordering::SeqCst) {
        wake(pool, id, now);
    }
}

/// A unit wants no CPU any more.
pub fn sleep<P: Pool>(pool: &P, id: UnitId, now: Time) {
    with(pool, pool.home(id), now, |policy, asks| policy.sleep(id, now, asks));
}

/// Changes how a unit is scheduled; moves it if no CPU of its queue may run it any more.
///
/// **Errors:** none if memory is short, or while the unit moves to another queue; nothing was changed.
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
    seek(pool, id, pool.home(id), if waits { Placed::Waits } else { Placed::Poorly }, now);
    Some(())
}

/// The unit that has a CPU lets others go first. The CPU is to call [`choose`] next.
pub fn yield_cpu<P: Pool>(pool: &P, cpu: CpuId, now: Time) {
    if let Some(queue) = pool.view().queue_of(cpu) {
        with(pool, queue, now, |policy, _| policy.yield_cpu(cpu, now));
    }
}

/// What a CPU does next. `can_run` says whether the unit that it has still wants it.
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
        // Those that wait here may have counted on this CPU.
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

/// The unit that left a CPU is wholly in memory now.
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
        seek(pool, id, queue, Placed::Waits, now);
    }
    if due {
        balance(pool, queue, now);
    }
}

/// Does what is due in a queue, and says when something is due next.
pub fn tick<P: Pool>(pool: &P, queue: QueueId, now: Time) -> Time {
    let next = with(pool, queue, now, |policy, asks| {
        policy.tick(now, asks);
        (policy.timer(), policy.waiting())
    });
    let (next, waiting) = next.unwrap_or((Time::NEVER, 0));
    offer(pool, queue, waiting);
    next
}

/// A CPU comes to the pool.
///
/// **Errors:** false if memory is short.
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

/// A CPU leaves the pool: it is to call [`choose`], which gives [`Next::Idle`], and [`saved`], before it is gone. The
/// units that may run on no other CPU of its queue move.
pub fn remove_cpu<P: Pool>(pool: &P, cpu: CpuId, now: Time) {
    let Some(queue) = pool.view().queue_of(cpu) else { return };
    with(pool, queue, now, |policy, asks| policy.remove_cpu(cpu, now, asks));
    pool.view().set_free(cpu, false);
    move_all_misplaced(pool, queue, now);
}
