//! A cell that is written once and then only read.

use core::fmt;
use core::mem::MaybeUninit;

use crate::atomic::{AtomicU8, Ordering};
use crate::cell::{ReadPointer, WatchedCell};
use crate::construct::const_unless_loom;
use crate::hint;

const EMPTY: u8 = 0;
const BUSY: u8 = 1;
const READY: u8 = 2;

/// A value that is set at most once. Reading costs one load.
pub struct Once<T> {
    state: AtomicU8,
    value: WatchedCell<MaybeUninit<T>>,
}

// SAFETY: the value is written by one CPU (so it must be `Send` to be dropped by another) and then only read, by
// many at once (so `Sync`).
unsafe impl<T: Send + Sync> Sync for Once<T> {}
// SAFETY: the owner of the cell owns the value.
unsafe impl<T: Send> Send for Once<T> {}

/// Empties the cell again if the function that makes the value unwinds, as in tests.
struct Busy<'a>(&'a AtomicU8);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(EMPTY, Ordering::Release);
    }
}

impl<T> Once<T> {
    const_unless_loom! {
        /// Creates an empty cell.
        pub fn new() -> Self {
            Self { state: AtomicU8::new(EMPTY), value: WatchedCell::new(MaybeUninit::uninit()) }
        }
    }

    /// Returns the value, if it has been set.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        (self.state.load(Ordering::Acquire) == READY).then(|| self.ready())
    }

    /// Sets the value.
    ///
    /// # Errors
    /// Gives the value back if the cell is set already, or is being set by another CPU.
    pub fn set(&self, value: T) -> Result<&T, T> {
        if self.state.compare_exchange(EMPTY, BUSY, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return Err(value);
        }
        self.fill(value);
        Ok(self.ready())
    }

    /// Returns the value, made by `make` if the cell is empty. If another CPU is making it, waits for that CPU.
    ///
    /// `make` must not use this cell: it would wait for itself.
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        let mut turns = 0;
        loop {
            match self.state.compare_exchange(EMPTY, BUSY, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => {
                    let busy = Busy(&self.state);
                    let value = make();
                    core::mem::forget(busy);
                    self.fill(value);
                    return self.ready();
                }
                Err(READY) => return self.ready(),
                Err(_) => hint::spin(&mut turns),
            }
        }
    }

    /// Stores the value. Only the CPU that moved the state from empty to busy may call it.
    fn fill(&self, value: T) {
        {
            let pointer = self.value.write_pointer();
            // SAFETY: the state is busy and this CPU made it so: nobody else writes, nobody reads before it is ready.
            unsafe { pointer.as_mut() }.write(value);
        }
        self.state.store(READY, Ordering::Release);
    }

    /// Returns the value. Only after the state was seen to be ready.
    fn ready(&self) -> &T {
        let pointer: ReadPointer<MaybeUninit<T>> = self.value.read_pointer();
        // SAFETY: the state is ready, so the value was written before and is never written again while the cell is
        // shared. The reference is to the cell's own memory, so it lives as long as `self`, not as long as `pointer`.
        unsafe { &*pointer.as_ref().as_ptr() }
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for Once<T> {
    fn drop(&mut self) {
        if self.state.load(Ordering::Acquire) == READY {
            let pointer = self.value.write_pointer();
            // SAFETY: the value was written, the cell is owned by this drop alone, and nobody looks at it afterwards.
            unsafe { pointer.as_mut().assume_init_drop() };
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Once<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
