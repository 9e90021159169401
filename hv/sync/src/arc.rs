//! A value that many share, whose memory may be missing.
//!
//! **Why not `alloc`'s.** Its `Arc` ends the program where memory is short, and so the host; the one that does not is
//! unstable, in all kept crates too. This one is made in two steps: first the memory, which may be missing, then the
//! value: parts that must not be lost are used up only when there is room for what they become.

extern crate alloc;

use crate::atomic::{AtomicUsize, Ordering, fence};
use alloc::alloc::{Layout, alloc, dealloc};
use core::fmt;
use core::marker::PhantomData;
use core::mem::offset_of;
use core::ops::Deref;
use core::ptr::NonNull;

/// What all handles point to.
#[repr(C)]
struct Inner<T> {
    /// Handles that keep the value.
    strong: AtomicUsize,
    /// Handles that keep the memory; all of `strong` together count as one.
    weak: AtomicUsize,
    value: T,
}

/// Keeps the value alive.
pub struct Arc<T> {
    pointer: NonNull<Inner<T>>,
    owns: PhantomData<Inner<T>>,
}

/// Knows the value as long as others keep it.
pub struct Weak<T> {
    pointer: NonNull<Inner<T>>,
}

/// Memory for a value that many will share.
pub struct Room<T> {
    pointer: NonNull<Inner<T>>,
    owns: PhantomData<Inner<T>>,
}

// SAFETY: handles give `&T` to any thread (so `Sync`), and whichever is dropped last drops the value (so `Send`).
unsafe impl<T: Send + Sync> Send for Arc<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Arc<T> {}
// SAFETY: a weak handle becomes an `Arc` wherever it is; for that, what an `Arc` needs holds.
unsafe impl<T: Send + Sync> Send for Weak<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Weak<T> {}
// SAFETY: nobody else knows the memory, and there is no value in it.
unsafe impl<T> Send for Room<T> {}

impl<T> Room<T> {
    /// Memory for one value; none if memory is short.
    #[must_use]
    pub fn try_new() -> Option<Self> {
        let layout = Layout::new::<Inner<T>>();
        // SAFETY: the layout is not empty: it holds two counts.
        let memory = unsafe { alloc(layout) };
        Some(Self { pointer: NonNull::new(memory.cast())?, owns: PhantomData })
    }

    /// Puts the value in.
    #[must_use]
    pub fn fill(self, value: T) -> Arc<T> {
        self.fill_cyclic(|_| value)
    }

    /// Puts a value in that knows itself. Until it is there, the handle that `make` is given leads nowhere.
    #[must_use]
    pub fn fill_cyclic(self, make: impl FnOnce(&Weak<T>) -> T) -> Arc<T> {
        let pointer = self.pointer;
        core::mem::forget(self);
        let inner = pointer.as_ptr();
        // SAFETY: the memory is large enough, aligned and nobody else's. Only the two counts are written.
        unsafe {
            (&raw mut (*inner).strong).write(AtomicUsize::new(0));
            (&raw mut (*inner).weak).write(AtomicUsize::new(1));
        }
        // This handle stands for the one that all strong ones count as. If `make` unwinds, it gives the memory back.
        let weak = Weak { pointer };
        let value = make(&weak);
        // SAFETY: as above; while `strong` is 0 nobody looks at the value.
        unsafe { (&raw mut (*inner).value).write(value) };
        weak.strong().store(1, Ordering::Release);
        core::mem::forget(weak);
        Arc { pointer, owns: PhantomData }
    }
}

impl<T> Drop for Room<T> {
    fn drop(&mut self) {
        // SAFETY: the memory is from `alloc` with this layout, and nothing else was told of it.
        unsafe { dealloc(self.pointer.as_ptr().cast(), Layout::new::<Inner<T>>()) };
    }
}

impl<T> Arc<T> {
    /// Shares a value.
    ///
    /// # Errors
    /// Gives the value back if memory is short.
    pub fn try_new(value: T) -> Result<Self, T> {
        match Room::try_new() {
            Some(room) => Ok(room.fill(value)),
            None => Err(value),
        }
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: this handle is counted in `strong`, so memory and value are there as long as it is.
        unsafe { self.pointer.as_ref() }
    }

    /// True if both are handles of the same value.
    #[must_use]
    pub fn ptr_eq(this: &Self, other: &Self) -> bool {
        this.pointer == other.pointer
    }

    /// How many handles keep the value at this moment.
    #[must_use]
    pub fn strong_count(this: &Self) -> usize {
        this.inner().strong.load(Ordering::SeqCst)
    }

    /// Where the value lies. The handle is not given up by that, but must be by [`Arc::from_raw`].
    #[must_use]
    pub fn into_raw(this: Self) -> *const T {
        // SAFETY: the pointer is to memory that this handle keeps.
        let value = unsafe { &raw const (*this.pointer.as_ptr()).value };
        core::mem::forget(this);
        value
    }

    /// The handle that [`Arc::into_raw`] took.
    ///
    /// # Safety
    /// The pointer is from `into_raw`, and stands for one handle that was not given up since.
    #[must_use]
    pub const unsafe fn from_raw(value: *const T) -> Self {
        // SAFETY: the value is a field of an `Inner` (promised), so what lies before it is of the same allocation.
        let inner = unsafe { value.byte_sub(offset_of!(Inner<T>, value)) }.cast::<Inner<T>>().cast_mut();
        // SAFETY: it is the address of an allocation, which is not null.
        Self { pointer: unsafe { NonNull::new_unchecked(inner) }, owns: PhantomData }
    }

    /// One handle more of what [`Arc::into_raw`] gave.
    ///
    /// # Safety
    /// The pointer is from `into_raw`, and some handle keeps the value during the call.
    pub unsafe fn increment_strong_count(value: *const T) {
        // SAFETY: as promised; the handle made here is not dropped, as it is not this function's own.
        let kept = core::mem::ManuallyDrop::new(unsafe { Self::from_raw(value) });
        core::mem::forget(Self::clone(&kept));
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        // Each handle takes memory, so the count cannot come round.
        self.inner().strong.fetch_add(1, Ordering::Relaxed);
        Self { pointer: self.pointer, owns: PhantomData }
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T: fmt::Debug> fmt::Debug for Arc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        if self.inner().strong.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // What others did with the value comes before it is dropped.
        fence(Ordering::Acquire);
        // The handle that all strong ones count as; it gives the memory back, even if dropping the value unwinds.
        let _memory = Weak { pointer: self.pointer };
        // SAFETY: this was the last handle, and none can be made any more: `Weak::upgrade` needs another one. So nobody
        // else looks at the value.
        unsafe { (&raw mut (*self.pointer.as_ptr()).value).drop_in_place() };
    }
}

impl<T> Weak<T> {
    fn strong(&self) -> &AtomicUsize {
        // SAFETY: this handle is counted in `weak`, so the memory is there, and the counts were written before any handle
        // was made. The value is not touched.
        unsafe { &(*self.pointer.as_ptr()).strong }
    }

    fn weak(&self) -> &AtomicUsize {
        // SAFETY: as above.
        unsafe { &(*self.pointer.as_ptr()).weak }
    }

    /// The value, if others still keep it.
    #[must_use]
    pub fn upgrade(&self) -> Option<Arc<T>> {
        let one_more = |count: usize| (count != 0).then(|| count.wrapping_add(1));
        self.strong().fetch_update(Ordering::Acquire, Ordering::Relaxed, one_more).ok()?;
        Some(Arc { pointer: self.pointer, owns: PhantomData })
    }
}

impl<T> Clone for Weak<T> {
    fn clone(&self) -> Self {
        self.weak().fetch_add(1, Ordering::Relaxed);
        Self { pointer: self.pointer }
    }
}

impl<T> Drop for Weak<T> {
    fn drop(&mut self) {
        if self.weak().fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        // SAFETY: this was the last handle of any kind. The memory is from `alloc` with this layout; the value was dropped,
        // or never put in.
        unsafe { dealloc(self.pointer.as_ptr().cast(), Layout::new::<Inner<T>>()) };
    }
}
