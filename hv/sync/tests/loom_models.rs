//! Every interleaving of a few threads: `RUSTFLAGS="--cfg loom" cargo test -p xenolith-sync --test loom_models`.
#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use xenolith_sync::atomic::{AtomicU32, Ordering};
use xenolith_sync::rank::{EventPorts, RunQueue};
use xenolith_sync::{ArcSlot, Once, RwSpinLock, SpinLock};

#[test]
fn the_spin_lock_excludes() {
    loom::model(|| {
        let lock = Arc::new(SpinLock::<u32, RunQueue>::new(0));
        let other = Arc::clone(&lock);
        let thread = thread::spawn(move || *other.lock() += 1);
        *lock.lock() += 1;
        thread.join().unwrap();
        assert_eq!(*lock.lock(), 2);
    });
}

#[test]
fn what_try_lock_gets_is_what_the_last_holder_left() {
    loom::model(|| {
        let lock = Arc::new(SpinLock::<(u32, u32), RunQueue>::new((0, 0)));
        let other = Arc::clone(&lock);
        let thread = thread::spawn(move || {
            let mut pair = other.lock();
            pair.0 = 1;
            pair.1 = 1;
        });
        if let Some(pair) = lock.try_lock() {
            assert_eq!(pair.0, pair.1);
        }
        thread.join().unwrap();
    });
}

#[test]
fn pairs_named_crosswise_do_not_deadlock() {
    loom::model(|| {
        // One allocation, so that the order of the addresses is the same in every execution.
        let pair = Arc::new((SpinLock::<u32, EventPorts>::new(0), SpinLock::<u32, EventPorts>::new(0)));
        let other = Arc::clone(&pair);
        let thread = thread::spawn(move || *SpinLock::lock_pair(&other.0, &other.1).first() += 1);
        *SpinLock::lock_pair(&pair.1, &pair.0).first() += 1;
        thread.join().unwrap();
        assert_eq!(*pair.0.lock(), 1);
        assert_eq!(*pair.1.lock(), 1);
    });
}

#[test]
fn a_writer_excludes_readers_and_a_reader_sees_whole_writes() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let lock = Arc::new(RwSpinLock::<(u32, u32), RunQueue>::new((0, 0)));
        let writer = Arc::clone(&lock);
        let thread = thread::spawn(move || {
            let mut pair = writer.write();
            pair.0 += 1;
            pair.1 += 1;
        });
        {
            let pair = lock.read();
            assert_eq!(pair.0, pair.1);
        }
        thread.join().unwrap();
        assert_eq!(*lock.read(), (1, 1));
    });
}

#[test]
fn two_writers_do_not_lose_a_write() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let lock = Arc::new(RwSpinLock::<u32, RunQueue>::new(0));
        let other = Arc::clone(&lock);
        let thread = thread::spawn(move || *other.write() += 1);
        *lock.write() += 1;
        thread.join().unwrap();
        assert_eq!(*lock.read(), 2);
    });
}

#[test]
fn a_once_is_made_once_and_seen_whole() {
    loom::model(|| {
        let made = Arc::new(AtomicU32::new(0));
        let cell = Arc::new(Once::<(u32, u32)>::new());
        let (other_made, other) = (Arc::clone(&made), Arc::clone(&cell));
        let make = |made: &AtomicU32| {
            made.fetch_add(1, Ordering::Relaxed);
            (5, 5)
        };
        let thread = thread::spawn(move || assert_eq!(*other.get_or_init(|| make(&other_made)), (5, 5)));
        assert_eq!(*cell.get_or_init(|| make(&made)), (5, 5));
        thread.join().unwrap();
        assert_eq!(made.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_once_is_empty_or_whole() {
    loom::model(|| {
        let cell = Arc::new(Once::<(u32, u32)>::new());
        let other = Arc::clone(&cell);
        let thread = thread::spawn(move || assert!(other.set((1, 2)).is_ok()));
        if let Some(value) = cell.get() {
            assert_eq!(*value, (1, 2));
        }
        thread.join().unwrap();
        assert_eq!(cell.get(), Some(&(1, 2)));
    });
}

#[test]
fn a_shared_value_is_alive_while_it_is_looked_up_and_gone_when_all_let_go() {
    struct Counted(std::sync::Arc<std::sync::atomic::AtomicU32>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }

    loom::model(|| {
        let drops = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let dropped = || drops.load(std::sync::atomic::Ordering::SeqCst);
        let slot = Arc::new(ArcSlot::new());
        assert!(slot.set(xenolith_sync::Arc::try_new(Counted(drops.clone())).ok().unwrap()).is_ok());
        let other = Arc::clone(&slot);
        let thread = thread::spawn(move || {
            let found = other.get();
            if let Some(found) = &found {
                assert_eq!(found.0.load(std::sync::atomic::Ordering::SeqCst), 0);
            }
            found
        });
        drop(slot.take());
        let found = thread.join().unwrap();
        assert_eq!(dropped(), u32::from(found.is_none()));
        drop(found);
        assert_eq!(dropped(), 1);
        assert!(slot.get().is_none());
    });
}

#[test]
fn a_weak_handle_finds_the_value_or_its_end_and_the_memory_goes_back_once() {
    loom::model(|| {
        let known = std::cell::OnceCell::new();
        let value = xenolith_sync::Room::try_new().unwrap().fill_cyclic(|this| {
            let _ = known.set(this.clone());
            AtomicU32::new(7)
        });
        let weak = known.into_inner().unwrap();
        let thread = thread::spawn(move || weak.upgrade().map(|value| value.load(Ordering::Relaxed)));
        drop(value);
        assert!(thread.join().unwrap().is_none_or(|seen| seen == 7));
    });
}
