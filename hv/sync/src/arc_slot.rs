//! A slot for a shared value that any CPU may look up at any moment without a lock.

use crate::arc::Arc;
use crate::atomic::{AtomicPtr, AtomicU32, Ordering};
use crate::construct::const_unless_loom;
use crate::hint;
use core::marker::PhantomData;
use core::ptr;

/// Holds an `Arc` or nothing. A lookup takes a few steps and never waits; taking the value out waits for lookups that
/// are under way.
pub struct ArcSlot<T> {
    /// From `Arc::into_raw`, or null.
    pointer: AtomicPtr<T>,
    /// The number of lookups that have read the pointer and not yet raised the count of its `Arc`.
    lookers: AtomicU32,
    owns: PhantomData<Arc<T>>,
}

// SAFETY: a slot hands out clones of its `Arc` to any thread, and drops it in any: what an `Arc` needs for that holds.
unsafe impl<T: Send + Sync> Sync for ArcSlot<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Send for ArcSlot<T> {}

impl<T> ArcSlot<T> {
    const_unless_loom! {
        /// Creates an empty slot.
        pub fn new() -> Self {
            Self { pointer: AtomicPtr::new(ptr::null_mut()), lookers: AtomicU32::new(0), owns: PhantomData }
        }
    }

    /// Returns the value, if there is one.
    pub fn get(&self) -> Option<Arc<T>> {
        // Taking the value out changes the pointer first and checks for lookers then; here it is the other way
        // round. So one of the two sees the other.
        self.lookers.fetch_add(1, Ordering::SeqCst);
        let pointer = self.pointer.load(Ordering::SeqCst);
        let found = (!pointer.is_null()).then(|| {
            // SAFETY: the pointer is from `Arc::into_raw`. The slot's own count is not given up before `lookers` was
            // seen to be 0 after the pointer was changed, so the value is alive while it is counted once more.
            unsafe {
                Arc::increment_strong_count(pointer);
                Arc::from_raw(pointer)
            }
        });
        self.lookers.fetch_sub(1, Ordering::Release);
        found
    }

    /// Puts a value in.
    ///
    /// # Errors
    /// Gives it back if there is one already.
    pub fn set(&self, value: Arc<T>) -> Result<(), Arc<T>> {
        let pointer = Arc::into_raw(value).cast_mut();
        match self.pointer.compare_exchange(ptr::null_mut(), pointer, Ordering::SeqCst, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            // SAFETY: the pointer was made above, and nobody has seen it.
            Err(_) => Err(unsafe { Arc::from_raw(pointer) }),
        }
    }

    /// Takes the value out. Earlier lookups keep their `Arc`.
    pub fn take(&self) -> Option<Arc<T>> {
        let pointer = self.pointer.swap(ptr::null_mut(), Ordering::SeqCst);
        if pointer.is_null() {
            return None;
        }
        let mut turns = 0;
        // An access that changes nothing and yet is a write: it is ordered with that of each lookup, so the later of the
        // two sees what the other did.
        while self.lookers.fetch_add(0, Ordering::SeqCst) != 0 {
            hint::spin(&mut turns);
        }
        // SAFETY: the pointer is from `Arc::into_raw`, and this is the only call that took it out. A lookup that
        // read it has counted itself by now; a later one finds another.
        Some(unsafe { Arc::from_raw(pointer) })
    }
}

impl<T> Default for ArcSlot<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for ArcSlot<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}
