//! A fair spin lock for many readers or one writer.

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use crate::atomic::{AtomicU32, Ordering};
use crate::cell::{ReadPointer, WatchedCell, WritePointer};
use crate::construct::const_unless_loom;
use crate::held;
use crate::hint;
use crate::rank::Rank;
use crate::ticket::TicketQueue;

/// Set in `holders` while a writer holds the lock; the rest counts readers (at most one for each CPU).
const WRITER: u32 = 1 << 31;

/// A lock of rank `R` around a `T`. Readers and writers wait in one queue, so neither starves.
///
/// Taking it for reading twice on one CPU is an error of order: a writer that queues in between would stop both.
pub struct RwSpinLock<T, R> {
    queue: TicketQueue,
    holders: AtomicU32,
    value: WatchedCell<T>,
    rank: PhantomData<fn() -> R>,
}

// SAFETY: readers on several CPUs see the value at once (`Sync`), and a writer moves it to its CPU (`Send`).
unsafe impl<T: Send + Sync, R> Sync for RwSpinLock<T, R> {}
// SAFETY: the owner of the lock owns the value; the rest are atomics.
unsafe impl<T: Send, R> Send for RwSpinLock<T, R> {}

/// The value for reading, until dropped. It stays on the CPU that took it.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct ReadGuard<'a, T, R: Rank> {
    pointer: ReadPointer<T>,
    // Dropped after `pointer` (fields drop in order), so that loom sees the access end before the lock is free.
    share: Share<'a, R>,
}

/// The value for writing, until dropped. It stays on the CPU that took it.
#[must_use = "the lock is given back when the guard is dropped"]
pub struct WriteGuard<'a, T, R: Rank> {
    pointer: WritePointer<T>,
    share: Share<'a, R>,
}

/// The right to a lock, given back on drop. The raw pointer keeps it from being sent or shared.
struct Share<'a, R: Rank> {
    holders: &'a AtomicU32,
    weight: u32,
    here: PhantomData<*const R>,
}

impl<R: Rank> Drop for Share<'_, R> {
    fn drop(&mut self) {
        self.holders.fetch_sub(self.weight, Ordering::Release);
        held::note_released::<R>();
    }
}

impl<T, R: Rank> RwSpinLock<T, R> {
    const_unless_loom! {
        /// Creates a free lock around `value`.
        pub fn new(value: T) -> Self {
            Self {
                queue: TicketQueue::new(),
                holders: AtomicU32::new(0),
                value: WatchedCell::new(value),
                rank: PhantomData,
            }
        }
    }

    /// Takes the lock for reading; waits until no writer holds it or is ahead in the queue.
    ///
    /// # Panics
    ///
    /// Where the order is checked, if this CPU holds a lock that stands at or after `R`.
    #[inline]
    pub fn read(&self) -> ReadGuard<'_, T, R> {
        held::note_taken::<R>();
        // With nobody in the queue there is nobody to overtake.
        if self.queue.is_taken() || !self.try_share() {
            self.queue.acquire();
            let mut turns = 0;
            while !self.try_share() {
                hint::spin(&mut turns);
            }
            self.queue.release();
        }
        self.read_guard()
    }

    /// Takes the lock for reading if no writer holds it or waits. The lock order does not apply, since this never
    /// waits.
    #[inline]
    pub fn try_read(&self) -> Option<ReadGuard<'_, T, R>> {
        if self.queue.is_taken() || !self.try_share() {
            return None;
        }
        held::note_tried::<R>();
        Some(self.read_guard())
    }

    /// Takes the lock for writing; waits until it is free.
    ///
    /// # Panics
    ///
    /// Where the order is checked, if this CPU holds a lock that stands at or after `R`.
    #[inline]
    pub fn write(&self) -> WriteGuard<'_, T, R> {
        held::note_taken::<R>();
        self.queue.acquire();
        let mut turns = 0;
        while !self.try_own() {
            hint::spin(&mut turns);
        }
        self.queue.release();
        self.write_guard()
    }

    /// Takes the lock for writing if it is free and no CPU waits. The lock order does not apply, since this never
    /// waits.
    #[inline]
    pub fn try_write(&self) -> Option<WriteGuard<'_, T, R>> {
        if !self.queue.try_acquire() {
            return None;
        }
        let owned = self.try_own();
        self.queue.release();
        owned.then(|| {
            held::note_tried::<R>();
            self.write_guard()
        })
    }

    /// Takes the value out of a lock that nothing else can reach any more.
    #[cfg(not(loom))]
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }

    fn try_share(&self) -> bool {
        let mut seen = self.holders.load(Ordering::Relaxed);
        while seen & WRITER == 0 {
            match self.holders.compare_exchange_weak(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    fn try_own(&self) -> bool {
        self.holders.compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn read_guard(&self) -> ReadGuard<'_, T, R> {
        let share = Share { holders: &self.holders, weight: 1, here: PhantomData };
        ReadGuard { pointer: self.value.read_pointer(), share }
    }

    fn write_guard(&self) -> WriteGuard<'_, T, R> {
        let share = Share { holders: &self.holders, weight: WRITER, here: PhantomData };
        WriteGuard { pointer: self.value.write_pointer(), share }
    }
}

impl<T: Default, R: Rank> Default for RwSpinLock<T, R> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug, R: Rank> fmt::Debug for RwSpinLock<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.try_read() {
            Some(guard) => f.debug_tuple(R::NAME).field(&*guard).finish(),
            None => write!(f, "{}(<locked>)", R::NAME),
        }
    }
}

impl<T, R: Rank> Deref for ReadGuard<'_, T, R> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        let _ = &self.share;
        // SAFETY: while this share is held no writer can own the lock, so nobody writes.
        unsafe { self.pointer.as_ref() }
    }
}

impl<T, R: Rank> Deref for WriteGuard<'_, T, R> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        let _ = &self.share;
        // SAFETY: the writer owns the lock alone; a mutable borrow of this guard excludes this shared one.
        unsafe { self.pointer.as_ref() }
    }
}

impl<T, R: Rank> DerefMut for WriteGuard<'_, T, R> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the writer owns the lock alone, and the guard is borrowed mutably, so this is the only reference.
        unsafe { self.pointer.as_mut() }
    }
}
