//! A shared value whose memory may be missing, on threads of the host.
#![cfg(not(loom))]

use std::cell::OnceCell;
use std::sync::atomic::{AtomicU32, Ordering};
use xenolith_sync::{Arc, Room, Weak};

/// Counts how many of it were dropped.
struct Counted<'a>(&'a AtomicU32);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn the_value_is_dropped_once_by_whoever_lets_go_last() {
    for _ in 0..200 {
        let drops = AtomicU32::new(0);
        let value = Arc::try_new(Counted(&drops)).ok().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let mine = Arc::clone(&value);
                scope.spawn(move || drop(Arc::clone(&mine)));
            }
            drop(value);
        });
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn a_weak_handle_finds_the_value_as_long_as_somebody_keeps_it() {
    struct Node {
        this: Weak<Node>,
        number: u32,
    }
    let early = OnceCell::new();
    let node = Room::try_new().unwrap().fill_cyclic(|this: &Weak<Node>| {
        assert!(this.upgrade().is_none(), "there is no value yet");
        let _ = early.set(this.clone());
        Node { this: this.clone(), number: 7 }
    });
    let again = node.this.upgrade().unwrap();
    assert!(Arc::ptr_eq(&node, &again) && Arc::strong_count(&node) == 2 && again.number == 7);
    drop(node);
    assert_eq!(early.get().unwrap().upgrade().map(|node| node.number), Some(7));
    drop(again);
    assert!(early.get().unwrap().upgrade().is_none());
}

#[test]
fn weak_handles_and_the_last_strong_one_meet_in_any_order() {
    for _ in 0..200 {
        let drops = AtomicU32::new(0);
        let known = OnceCell::new();
        let value = Room::try_new().unwrap().fill_cyclic(|this| {
            let _ = known.set(this.clone());
            Counted(&drops)
        });
        let weak = known.into_inner().unwrap();
        std::thread::scope(|scope| {
            let other = weak.clone();
            scope.spawn(move || drop(other.upgrade()));
            scope.spawn(move || drop(value));
            drop(weak);
        });
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn memory_without_a_value_goes_back_and_a_maker_that_unwinds_leaves_none() {
    drop(Room::<[u64; 100]>::try_new().unwrap());
    let made = std::panic::catch_unwind(|| Room::<u32>::try_new().unwrap().fill_cyclic(|_| panic!("no value")));
    assert!(made.is_err());
}

#[test]
fn a_handle_comes_back_from_its_pointer() {
    #[repr(align(64))]
    struct Aligned(u8);
    let value = Arc::try_new(Aligned(3)).ok().unwrap();
    let raw = Arc::into_raw(Arc::clone(&value));
    assert_eq!(Arc::strong_count(&value), 2);
    // SAFETY: the pointer is from `into_raw`, and `value` keeps the value.
    let back = unsafe {
        Arc::increment_strong_count(raw);
        Arc::from_raw(raw)
    };
    assert_eq!((Arc::strong_count(&value), back.0), (3, 3));
    // SAFETY: for the handle that was counted above.
    drop(unsafe { Arc::from_raw(raw) });
    drop(back);
    assert_eq!(Arc::strong_count(&value), 1);
}
