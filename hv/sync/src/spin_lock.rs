//! A fair spin lock (ticket lock) that owns what it protects.

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use crate::cell::{WatchedCell, WritePointer};
use crate::construct::const_unless_loom;
use crate::held;
use crate::rank::Rank;
use crate::ticket::TicketQueue;

/// A ticket lock of rank `R` around a `T`. CPUs get it in the order in which they asked.
pub struct SpinLock<T, R> {
    queue: TicketQueue,
    value: WatchedCell<T>,
    rank: PhantomData<fn() -> R>,
}

// SAFETY: the lock gives the value to one CPU at a time, so sharing the lock moves the value between CPUs (`Send`)
// but never lets two see it at once (`Sync` is not wanted).
unsafe impl<T: Send, R> Sync for SpinLock<T, R> {}
// SAFETY: the owner of the lock owns the value; the rest are atomics.
unsafe impl<T: Send, R> Send for SpinLock<T, R> {}

/// The value of a [`SpinLock`], until dropped. It stays on the CPU that took it.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct SpinGuard<'a, T, R: Rank> {
    pointer: WritePointer<T>,
    // Dropped after `pointer` (fields drop in order), so that loom sees the access end before the lock is free.
    turn: Turn<'a, R>,
}

/// The right to a lock, given back on drop. The raw pointer keeps it from being sent or shared.
struct Turn<'a, R: Rank> {
    queue: &'a TicketQueue,
    here: PhantomData<*const R>,
}

impl<R: Rank> Drop for Turn<'_, R> {
    fn drop(&mut self) {
        self.queue.release();
        held::note_released::<R>();
    }
}

impl<T, R: Rank> SpinLock<T, R> {
    const_unless_loom! {
        /// Creates a free lock around `value`.
        pub fn new(value: T) -> Self {
            Self { queue: TicketQueue::new(), value: WatchedCell::new(value), rank: PhantomData }
        }
    }

    /// Takes the lock; waits for its turn.
    ///
    /// # Panics
    ///
    /// Where the order is checked, if this CPU holds a lock that stands at or after `R`.
    #[inline]
    pub fn lock(&self) -> SpinGuard<'_, T, R> {
        held::note_taken::<R>();
        self.queue.acquire();
        self.guard()
    }

    /// Takes the lock if it is free. The lock order does not apply, since this never waits.
    #[inline]
    pub fn try_lock(&self) -> Option<SpinGuard<'_, T, R>> {
        if !self.queue.try_acquire() {
            return None;
        }
        held::note_tried::<R>();
        Some(self.guard())
    }

    /// Takes two locks of one rank, in whichever order the caller names them, without risk of a deadlock.
    ///
    /// # Panics
    ///
    /// Where the order is checked, if this CPU holds a lock that stands at or after `R`.
    pub fn lock_pair<'a>(a: &'a Self, b: &'a Self) -> PairGuard<'a, T, R> {
        let (a_address, b_address) = (core::ptr::from_ref(a), core::ptr::from_ref(b));
        if a_address == b_address {
            return PairGuard::Same(a.lock());
        }
        let (low, high) = if a_address < b_address { (a, b) } else { (b, a) };
        let low_guard = low.lock();
        // The address orders the two, where the rank cannot.
        held::note_tried::<R>();
        high.queue.acquire();
        let high_guard = high.guard();
        if a_address < b_address {
            PairGuard::Two(low_guard, high_guard)
        } else {
            PairGuard::Two(high_guard, low_guard)
        }
    }

    /// Returns whether a CPU holds the lock; outdated by the time it is returned, so only for reports.
    pub fn is_locked(&self) -> bool {
        self.queue.is_taken()
    }

    /// Takes the value out of a lock that nothing else can reach any more.
    #[cfg(not(loom))]
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }

    /// Builds the guard. Only right after the turn was acquired.
    fn guard(&self) -> SpinGuard<'_, T, R> {
        SpinGuard { pointer: self.value.write_pointer(), turn: Turn { queue: &self.queue, here: PhantomData } }
    }
}

impl<T: Default, R: Rank> Default for SpinLock<T, R> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug, R: Rank> fmt::Debug for SpinLock<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_lock() {
            Some(guard) => f.debug_tuple(R::NAME).field(&*guard).finish(),
            None => write!(f, "{}(<locked>)", R::NAME),
        }
    }
}

impl<T, R: Rank> Deref for SpinGuard<'_, T, R> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: while the guard lives nobody else has a turn, so nobody else has a pointer to the value; a mutable
        // borrow of this guard excludes this shared one.
        unsafe { self.pointer.as_ref() }
    }
}

impl<T, R: Rank> DerefMut for SpinGuard<'_, T, R> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and the guard is borrowed mutably, so this is the only reference.
        unsafe { self.pointer.as_mut() }
    }
}

impl<T: fmt::Debug, R: Rank> fmt::Debug for SpinGuard<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = &self.turn;
        (**self).fmt(f)
    }
}

/// Two locked values in the order in which the caller named them, or one if both names meant the same lock.
pub enum PairGuard<'a, T, R: Rank> {
    /// Both names meant one lock.
    Same(SpinGuard<'a, T, R>),
    /// The first and the second.
    Two(SpinGuard<'a, T, R>, SpinGuard<'a, T, R>),
}

impl<T, R: Rank> PairGuard<'_, T, R> {
    /// Returns the value of the lock named first.
    pub fn first(&mut self) -> &mut T {
        match self {
            Self::Same(first) | Self::Two(first, _) => first,
        }
    }

    /// Returns the value of the lock named second.
    pub fn second(&mut self) -> &mut T {
        match self {
            Self::Same(second) | Self::Two(_, second) => second,
        }
    }

    /// Returns both values, or `None` in the second place if both names meant one lock.
    pub fn both(&mut self) -> (&mut T, Option<&mut T>) {
        match self {
            Self::Same(only) => (only, None),
            Self::Two(first, second) => (first, Some(second)),
        }
    }
}
