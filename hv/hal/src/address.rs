//! Addresses of the three kinds, and page orders.

use core::fmt;
use xen_abi::{Gfn, Mfn};

/// Bits of an address that lie inside a page.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes of a page.
pub const PAGE_SIZE: usize = 1 << PAGE_SHIFT;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Returns the offset of the address in its page, in bytes.
            #[must_use]
            pub const fn page_offset(self) -> usize {
                (self.0 as usize) & (PAGE_SIZE - 1)
            }

            /// Returns the address `bytes` further on; None past the end of the number space.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

address! {
    /// A guest physical address (GPA): what a guest's page tables hold.
    Gpa
}
address! {
    /// A machine physical address (host physical address): what the memory bus sees.
    Mpa
}
address! {
    /// A guest virtual (linear) address (GVA).
    Gva
}

impl Gpa {
    /// Returns the guest frame number (GFN) of the address.
    #[must_use]
    pub const fn gfn(self) -> Gfn {
        Gfn(self.0 >> PAGE_SHIFT)
    }

    /// Returns the first address of a frame; bits that do not fit are lost.
    #[must_use]
    pub const fn from_gfn(gfn: Gfn) -> Self {
        Self(gfn.0 << PAGE_SHIFT)
    }
}

impl Mpa {
    /// Returns the machine frame number (MFN) of the address.
    #[must_use]
    pub const fn mfn(self) -> Mfn {
        Mfn(self.0 >> PAGE_SHIFT)
    }

    /// Returns the first address of a frame; bits that do not fit are lost.
    #[must_use]
    pub const fn from_mfn(mfn: Mfn) -> Self {
        Self(mfn.0 << PAGE_SHIFT)
    }
}

/// The size of a page or of a run of pages, as a power of two of 4 KiB pages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(transparent)]
pub struct PageOrder(pub u8);

impl PageOrder {
    /// 4 KiB.
    pub const SIZE_4K: Self = Self(0);
    /// 2 MiB.
    pub const SIZE_2M: Self = Self(9);
    /// 1 GiB.
    pub const SIZE_1G: Self = Self(18);

    /// Returns the number of 4 KiB pages; orders of 63 and above read as 2^63.
    #[must_use]
    pub const fn pages(self) -> u64 {
        1 << if self.0 > 63 { 63 } else { self.0 }
    }

    /// Returns true if `frame` is a multiple of the size.
    #[must_use]
    pub const fn aligned(self, frame: u64) -> bool {
        frame & (self.pages() - 1) == 0
    }
}
