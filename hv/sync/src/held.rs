//! The record of which ranks a CPU holds, against which each lock is checked.

use core::sync::atomic::{AtomicU8, Ordering};

use crate::rank::{self, Rank};

/// Whether the lock order is checked: always on a host, in debug builds on a machine.
pub(crate) const CHECKED: bool = cfg!(any(debug_assertions, not(target_os = "none")));

/// How many locks of each rank one CPU holds. Only that CPU writes it; atomics make it safe to share.
pub struct HeldRanks {
    counts: [AtomicU8; rank::COUNT],
}

impl HeldRanks {
    /// Creates a CPU that holds nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { counts: [const { AtomicU8::new(0) }; rank::COUNT] }
    }

    /// Returns the name of the innermost rank held.
    fn innermost(&self) -> Option<&'static str> {
        let held = self.counts.iter().zip(rank::NAMES).rev();
        held.filter(|(count, _)| count.load(Ordering::Relaxed) != 0).map(|(_, name)| name).next()
    }

    /// Returns the name of a held rank that stands at or after `level`.
    fn conflict(&self, level: u8) -> Option<&'static str> {
        let inner = self.counts.iter().zip(rank::NAMES).skip(usize::from(level));
        inner.filter(|(count, _)| count.load(Ordering::Relaxed) != 0).map(|(_, name)| name).next()
    }

    fn change(&self, level: u8, by: impl Fn(u8) -> u8) {
        if let Some(count) = self.counts.get(usize::from(level)) {
            // Not a read-modify-write: only this CPU writes.
            count.store(by(count.load(Ordering::Relaxed)), Ordering::Relaxed);
        }
    }
}

impl Default for HeldRanks {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(not(target_os = "none"), not(loom)))]
std::thread_local! {
    static HELD: HeldRanks = const { HeldRanks::new() };
}
#[cfg(loom)]
loom::thread_local! {
    static HELD: HeldRanks = HeldRanks::new();
}

#[cfg(not(target_os = "none"))]
fn on_this_cpu(look: impl FnOnce(&HeldRanks)) {
    // A thread that ends drops its record first; locks taken after that go unchecked.
    let _ = HELD.try_with(look);
}

#[cfg(target_os = "none")]
static THIS_CPU: crate::Once<fn() -> Option<&'static HeldRanks>> = crate::Once::new();

/// Sets the function by which locks find the calling CPU's record. Until then the order is not checked.
///
/// `of_this_cpu` returns the record of the CPU it runs on, and `None` while that CPU has none yet. The first call wins;
/// later calls change nothing.
#[cfg(target_os = "none")]
pub fn set_held_ranks_of_this_cpu(of_this_cpu: fn() -> Option<&'static HeldRanks>) {
    let _ = THIS_CPU.set(of_this_cpu);
}

#[cfg(target_os = "none")]
fn on_this_cpu(look: impl FnOnce(&HeldRanks)) {
    if let Some(held) = THIS_CPU.get().and_then(|of_this_cpu| of_this_cpu()) {
        look(held);
    }
}

/// Notes that a lock of rank `R` is about to be waited for.
///
/// # Panics
/// If a lock is held that stands at or after `R` in the order: two CPUs doing so could wait for each other for ever.
pub(crate) fn note_taken<R: Rank>() {
    if CHECKED {
        on_this_cpu(|held| {
            if let Some(conflict) = held.conflict(R::LEVEL) {
                panic!("lock order: {} may not be taken while {conflict} is held", R::NAME);
            }
            held.change(R::LEVEL, |count| count.saturating_add(1));
        });
    }
}

/// Notes that a lock of rank `R` was taken without waiting, which no order forbids.
pub(crate) fn note_tried<R: Rank>() {
    if CHECKED {
        on_this_cpu(|held| held.change(R::LEVEL, |count| count.saturating_add(1)));
    }
}

/// Notes that a lock of rank `R` was released. Locks may be released in any order.
pub(crate) fn note_released<R: Rank>() {
    if CHECKED {
        on_this_cpu(|held| held.change(R::LEVEL, |count| count.saturating_sub(1)));
    }
}

/// Asserts that this CPU holds no lock: at the points where a guest is entered and where interrupts are enabled.
///
/// # Panics
///
/// Where the order is checked, if a lock is held.
pub fn assert_no_lock_held() {
    if CHECKED {
        on_this_cpu(|held| {
            if let Some(name) = held.innermost() {
                panic!("lock order: {name} is held where no lock may be");
            }
        });
    }
}
