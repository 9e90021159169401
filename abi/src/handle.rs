//! Addresses that a guest hands over inside its arguments.

use core::fmt;
use core::marker::PhantomData;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A guest's pointer to one `T` or an array of them (`XEN_GUEST_HANDLE`): an address in the caller's address space.
///
/// It is a claim of the guest's and nothing else: it may be null, unaligned, wrap around, or point at nothing.
/// Without a parameter it is a pointer to bytes. **Source:** `arch-x86/xen.h`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct GuestHandle<T = u8> {
    /// The guest virtual address.
    pub address: u64,
    element: PhantomData<T>,
}

impl<T> GuestHandle<T> {
    /// The handle that points nowhere; many operations take it for "only tell me the size".
    pub const NULL: Self = Self::new(0);

    /// Creates a handle of this guest virtual address.
    #[must_use]
    pub const fn new(address: u64) -> Self {
        Self { address, element: PhantomData }
    }

    /// Returns true if the guest gave no address.
    #[must_use]
    pub const fn is_null(self) -> bool {
        self.address == 0
    }

    /// Returns the same address, taken to point at another type.
    #[must_use]
    pub const fn cast<U>(self) -> GuestHandle<U> {
        GuestHandle::new(self.address)
    }
}

impl GuestHandle<u8> {
    /// Returns the handle of the byte `count` bytes further on; None past the end of the address space. How far it is
    /// to the next element of another type depends on the guest.
    #[must_use]
    pub const fn checked_add(self, count: u64) -> Option<Self> {
        match self.address.checked_add(count) {
            Some(address) => Some(Self::new(address)),
            None => None,
        }
    }
}

impl<T> Clone for GuestHandle<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for GuestHandle<T> {}

impl<T> PartialEq for GuestHandle<T> {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

impl<T> Eq for GuestHandle<T> {}

impl<T> Default for GuestHandle<T> {
    fn default() -> Self {
        Self::NULL
    }
}

impl<T> fmt::Debug for GuestHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestHandle({:#x})", self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::GuestHandle;

    #[test]
    fn a_handle_of_bytes_counts_in_bytes() {
        assert_eq!(GuestHandle::<u8>::new(0x1000).checked_add(3), Some(GuestHandle::new(0x1003)));
    }

    #[test]
    fn a_handle_does_not_wrap_around() {
        assert_eq!(GuestHandle::<u8>::new(8).checked_add(u64::MAX - 8), Some(GuestHandle::new(u64::MAX)));
        assert_eq!(GuestHandle::<u8>::new(8).checked_add(u64::MAX - 7), None);
    }
}
