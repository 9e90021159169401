//! A cell whose accesses loom tracks: under `--cfg loom` two accesses that no lock orders fail the model.

use crate::construct::const_unless_loom;

/// `UnsafeCell` whose pointers loom tracks for as long as a guard lives.
#[cfg(not(loom))]
pub struct WatchedCell<T: ?Sized>(core::cell::UnsafeCell<T>);
/// `UnsafeCell` whose pointers loom tracks for as long as a guard lives.
#[cfg(loom)]
pub struct WatchedCell<T>(loom::cell::UnsafeCell<T>);

/// A pointer for reading, tracked until it is dropped.
#[cfg(not(loom))]
pub(crate) struct ReadPointer<T: ?Sized>(*const T);
#[cfg(loom)]
pub(crate) struct ReadPointer<T>(loom::cell::ConstPtr<T>);

/// A pointer for reading and writing, tracked until it is dropped.
#[cfg(not(loom))]
pub(crate) struct WritePointer<T: ?Sized>(*mut T);
#[cfg(loom)]
pub(crate) struct WritePointer<T>(loom::cell::MutPtr<T>);

impl<T> WatchedCell<T> {
    const_unless_loom! {
        /// Creates a cell that holds `value`.
        pub fn new(value: T) -> Self {
            #[cfg(not(loom))]
            return Self(core::cell::UnsafeCell::new(value));
            #[cfg(loom)]
            return Self(loom::cell::UnsafeCell::new(value));
        }
    }

    /// Takes the value out; the caller owns the cell, so no reference to it exists.
    #[cfg(not(loom))]
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }

    pub(crate) fn read_pointer(&self) -> ReadPointer<T> {
        #[cfg(not(loom))]
        return ReadPointer(self.0.get().cast_const());
        #[cfg(loom)]
        return ReadPointer(self.0.get());
    }

    pub(crate) fn write_pointer(&self) -> WritePointer<T> {
        #[cfg(not(loom))]
        return WritePointer(self.0.get());
        #[cfg(loom)]
        return WritePointer(self.0.get_mut());
    }
}

impl<T> ReadPointer<T> {
    /// # Safety
    /// For as long as the reference lives, nobody writes the cell.
    pub(crate) unsafe fn as_ref(&self) -> &T {
        #[cfg(not(loom))]
        // SAFETY: the pointer comes from a live cell that the owner of `self` borrows, and the caller keeps writers
        // away.
        return unsafe { &*self.0 };
        #[cfg(loom)]
        // SAFETY: as above; loom checks it.
        return unsafe { self.0.deref() };
    }
}

impl<T> WritePointer<T> {
    /// # Safety
    /// For as long as the reference lives, nobody else writes the cell.
    pub(crate) unsafe fn as_ref(&self) -> &T {
        #[cfg(not(loom))]
        // SAFETY: the pointer comes from a live cell that the owner of `self` borrows, and the caller keeps writers
        // away.
        return unsafe { &*self.0 };
        #[cfg(loom)]
        // SAFETY: as above; loom checks it.
        return unsafe { self.0.deref() };
    }

    /// # Safety
    /// For as long as the reference lives, nobody else reads or writes the cell.
    #[allow(
        clippy::mut_from_ref,
        reason = "the pointer belongs to one guard, which hands out one reference: the exclusive borrow is the guard's"
    )]
    pub(crate) unsafe fn as_mut(&self) -> &mut T {
        #[cfg(not(loom))]
        // SAFETY: the pointer comes from a live cell that the owner of `self` borrows, and the caller keeps everyone
        // else away.
        return unsafe { &mut *self.0 };
        #[cfg(loom)]
        // SAFETY: as above; loom checks it.
        return unsafe { self.0.deref() };
    }
}
