//! The locks and cells under ordinary threads.
#![cfg(not(loom))]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use xenolith_sync::rank::{Console, DomainControl, EventPorts, P2m, RunQueue};
use xenolith_sync::{ArcSlot, CpuIndex, CurrentCpu, MAX_CPUS, Once, Padded, PerCpu, PerCpuLocal, RwSpinLock, SpinLock};

fn panics(work: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(work)).expect_err("it should have panicked");
    payload.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn no_increment_is_lost_between_threads() {
    let lock = Arc::new(SpinLock::<u64, RunQueue>::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let lock = Arc::clone(&lock);
            thread::spawn(move || (0..20_000).for_each(|_| *lock.lock() += 1))
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(*lock.lock(), 80_000);
}

#[test]
fn readers_never_see_half_a_write() {
    let lock = Arc::new(RwSpinLock::<(u64, u64), P2m>::new((0, 0)));
    let writers = (0..2).map(|_| {
        let lock = Arc::clone(&lock);
        thread::spawn(move || {
            for _ in 0..5_000 {
                let mut pair = lock.write();
                pair.0 += 1;
                pair.1 += 1;
            }
        })
    });
    let readers = (0..2).map(|_| {
        let lock = Arc::clone(&lock);
        thread::spawn(move || {
            for _ in 0..5_000 {
                let pair = lock.read();
                assert_eq!(pair.0, pair.1);
            }
        })
    });
    let all: Vec<_> = writers.chain(readers).collect();
    all.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(*lock.read(), (10_000, 10_000));
}

#[test]
fn a_held_lock_is_not_had_by_trying() {
    let lock = SpinLock::<(), RunQueue>::new(());
    let guard = lock.lock();
    assert!(lock.is_locked());
    assert!(lock.try_lock().is_none());
    drop(guard);
    assert!(lock.try_lock().is_some());
}

#[test]
fn a_reader_keeps_a_writer_out_but_not_another_reader() {
    let lock = RwSpinLock::<(), P2m>::new(());
    let guard = lock.read();
    assert!(lock.try_write().is_none());
    assert!(lock.try_read().is_some());
    drop(guard);
    let guard = lock.try_write().unwrap();
    assert!(lock.try_read().is_none());
    drop(guard);
    assert!(lock.try_read().is_some());
}

#[test]
fn locks_are_taken_from_the_outer_rank_to_the_inner() {
    let outer = SpinLock::<u8, EventPorts>::new(1);
    let inner = SpinLock::<u8, RunQueue>::new(2);
    {
        let (mut first, mut second) = (outer.lock(), inner.lock());
        assert!(outer.is_locked() && inner.is_locked());
        core::mem::swap(&mut *first, &mut *second);
    }
    assert!(!outer.is_locked() && !inner.is_locked());
    // Neither rank is left on the list of what this CPU holds, so each may be taken again.
    assert_eq!((*outer.lock(), *inner.lock()), (2, 1));
}

#[test]
fn an_outer_rank_may_not_be_taken_inside_an_inner_one() {
    let outer = SpinLock::<(), EventPorts>::new(());
    let inner = SpinLock::<(), RunQueue>::new(());
    let message = panics(|| {
        let _inner = inner.lock();
        let _outer = outer.lock();
    });
    assert_eq!(message, "lock order: EventPorts may not be taken while RunQueue is held");
    // Unwinding gave the inner lock back, so the right order works again.
    let (_outer, _inner) = (outer.lock(), inner.lock());
}

#[test]
fn one_rank_may_not_be_taken_twice_except_as_a_pair() {
    let (a, b) = (SpinLock::<u8, EventPorts>::new(1), SpinLock::<u8, EventPorts>::new(2));
    let message = panics(|| {
        let _a = a.lock();
        let _b = b.lock();
    });
    assert_eq!(message, "lock order: EventPorts may not be taken while EventPorts is held");

    let mut pair = SpinLock::lock_pair(&b, &a);
    assert_eq!((*pair.first(), *pair.second()), (2, 1));
    let (first, second) = pair.both();
    core::mem::swap(first, second.unwrap());
    drop(pair);
    assert_eq!(*a.lock(), 2);
    assert_eq!(*b.lock(), 1);
}

#[test]
fn a_pair_of_one_lock_with_itself_takes_it_once() {
    let lock = SpinLock::<u8, EventPorts>::new(1);
    let mut pair = SpinLock::lock_pair(&lock, &lock);
    *pair.first() += 1;
    *pair.second() += 1;
    assert!(pair.both().1.is_none());
    drop(pair);
    assert_eq!(*lock.lock(), 3);
}

#[test]
fn two_threads_that_name_a_pair_the_other_way_round_do_not_deadlock() {
    let locks = Arc::new((SpinLock::<u32, EventPorts>::new(0), SpinLock::<u32, EventPorts>::new(0)));
    let threads: Vec<_> = [false, true]
        .into_iter()
        .map(|swapped| {
            let locks = Arc::clone(&locks);
            thread::spawn(move || {
                for _ in 0..5_000 {
                    let (a, b) = if swapped { (&locks.1, &locks.0) } else { (&locks.0, &locks.1) };
                    *SpinLock::lock_pair(a, b).first() += 1;
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    assert_eq!(*locks.0.lock(), 5_000);
    assert_eq!(*locks.1.lock(), 5_000);
}

#[test]
fn reading_twice_on_one_cpu_is_refused() {
    let lock = RwSpinLock::<(), P2m>::new(());
    let message = panics(|| {
        let _one = lock.read();
        let _two = lock.read();
    });
    assert_eq!(message, "lock order: P2m may not be taken while P2m is held");
}

#[test]
fn trying_is_not_bound_by_the_order_but_is_remembered() {
    let outer = SpinLock::<(), DomainControl>::new(());
    let console = SpinLock::<(), Console>::new(());
    let message = panics(|| {
        let _console = console.try_lock().unwrap();
        let _outer = outer.lock();
    });
    assert_eq!(message, "lock order: DomainControl may not be taken while Console is held");
    let _inner = console.lock();
    assert!(outer.try_lock().is_some());
}

#[test]
fn a_guest_may_not_be_entered_with_a_lock_held() {
    let lock = SpinLock::<(), RunQueue>::new(());
    xenolith_sync::assert_no_lock_held();
    let message = panics(|| {
        let _guard = lock.lock();
        xenolith_sync::assert_no_lock_held();
    });
    assert_eq!(message, "lock order: RunQueue is held where no lock may be");
    xenolith_sync::assert_no_lock_held();
}

#[test]
fn the_first_to_set_a_once_wins() {
    let cell = Once::new();
    assert_eq!(cell.get(), None);
    assert_eq!(cell.set(1), Ok(&1));
    assert_eq!(cell.set(2), Err(2));
    assert_eq!(*cell.get_or_init(|| 3), 1);
}

#[test]
fn a_once_is_made_by_one_thread_and_seen_by_all() {
    let made = AtomicU32::new(0);
    let cell = Once::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let value = cell.get_or_init(|| {
                    made.fetch_add(1, Ordering::Relaxed);
                    String::from("made")
                });
                assert_eq!(value, "made");
            });
        }
    });
    assert_eq!(made.load(Ordering::Relaxed), 1);
}

#[test]
fn a_once_whose_maker_unwinds_is_empty_again() {
    let cell = Once::<u8>::new();
    let message = panics(|| {
        cell.get_or_init(|| panic!("{}", "no value"));
    });
    assert_eq!(message, "no value");
    assert_eq!(*cell.get_or_init(|| 7), 7);
}

#[test]
fn a_once_drops_its_value_exactly_if_it_has_one() {
    let value = Arc::new(());
    let full = Once::new();
    full.set(Arc::clone(&value)).unwrap();
    assert_eq!(Arc::strong_count(&value), 2);
    drop(full);
    drop(Once::<Arc<()>>::new());
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn there_is_no_cpu_past_the_last() {
    assert_eq!(CpuIndex::new(MAX_CPUS as u32), None);
    assert_eq!(CpuIndex::new(u32::MAX), None);
    assert_eq!(CpuIndex::new(255).map(CpuIndex::as_usize), Some(255));
    assert_eq!(CpuIndex::all().count(), MAX_CPUS);
}

#[test]
fn each_cpu_has_its_own_value() {
    static COUNTS: PerCpu<AtomicU32> = PerCpu::new([const { Padded(AtomicU32::new(0)) }; MAX_CPUS]);
    for cpu in CpuIndex::all() {
        COUNTS.with(cpu, |count| count.store(cpu.as_u32(), Ordering::Relaxed));
    }
    assert!(CpuIndex::all().all(|cpu| COUNTS.with(cpu, |count| count.load(Ordering::Relaxed)) == cpu.as_u32()));
    let named = PerCpu::from_fn(|cpu| cpu.as_u32() * 2);
    assert_eq!(named.with(CpuIndex::new(9).unwrap(), |n| *n), 18);
}

#[test]
fn a_local_value_needs_no_atomics() {
    static DEPTH: PerCpuLocal<core::cell::Cell<u32>> =
        PerCpuLocal::new([const { Padded(core::cell::Cell::new(0)) }; MAX_CPUS]);
    // SAFETY: the static belongs to this test, which plays CPU 3 on its one thread.
    let here = unsafe { CurrentCpu::new(CpuIndex::new(3).unwrap()) };
    DEPTH.with(&here, |depth| {
        depth.set(depth.get() + 1);
        DEPTH.with(&here, |inner| inner.set(inner.get() + 1));
        assert_eq!(depth.get(), 2);
    });
    assert_eq!(here.index().as_u32(), 3);
}

#[test]
fn a_slot_is_looked_up_while_it_is_filled_and_emptied() {
    let slot = ArcSlot::new();
    let value = xenolith_sync::Arc::try_new(7).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..10_000).for_each(|_| assert!(slot.get().is_none_or(|found| *found == 7))));
        }
        for _ in 0..1000 {
            assert!(slot.set(xenolith_sync::Arc::clone(&value)).is_ok());
            assert!(slot.get().is_some() && slot.set(xenolith_sync::Arc::clone(&value)).is_err());
            assert_eq!(slot.take().as_deref(), Some(&7));
            assert!(slot.take().is_none());
        }
    });
    assert_eq!(xenolith_sync::Arc::strong_count(&value), 1);
    slot.set(xenolith_sync::Arc::clone(&value)).unwrap();
    drop(slot);
    assert_eq!(xenolith_sync::Arc::strong_count(&value), 1);
}
