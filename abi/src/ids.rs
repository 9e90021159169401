//! The small numbers that Xen's interface passes about, each as a type of its own.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(&self.0, f)
            }
        }

        impl core::fmt::LowerHex for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// A domain (`domid_t`). **Source:** `xen.h`.
    DomId(u16)
}
number! {
    /// A virtual CPU of one domain, counted from 0.
    VcpuId(u32)
}
number! {
    /// An event channel port (`evtchn_port_t`). **Source:** `event_channel.h`.
    Port(u32)
}
number! {
    /// A grant reference (`grant_ref_t`). **Source:** `grant_table.h`.
    GrantRef(u32)
}
number! {
    /// A grant mapping's handle (`grant_handle_t`). **Source:** `grant_table.h`.
    GrantHandle(u32)
}
number! {
    /// A guest frame number: a guest physical address divided by 4096.
    Gfn(u64)
}
number! {
    /// A machine frame number: a machine address divided by 4096.
    Mfn(u64)
}

impl DomId {
    /// The first identifier that no ordinary domain can have.
    pub const FIRST_RESERVED: Self = Self(0x7ff0);
    /// The caller itself.
    pub const SELF: Self = Self(0x7ff0);
    /// Memory that devices decode.
    pub const IO: Self = Self(0x7ff1);
    /// The hypervisor's own memory that a domain may be shown.
    pub const XEN: Self = Self(0x7ff2);
    /// Shared copy-on-write pages.
    pub const COW: Self = Self(0x7ff3);
    /// No domain at all; also the mask of the identifiers.
    pub const INVALID: Self = Self(0x7ff4);
    /// The hypervisor when it idles.
    pub const IDLE: Self = Self(0x7fff);
    /// The control domain.
    pub const DOM0: Self = Self(0);

    /// Returns true for an identifier that an ordinary domain may carry.
    #[must_use]
    pub const fn is_ordinary(self) -> bool {
        self.0 < Self::FIRST_RESERVED.0
    }
}

impl Mfn {
    /// The largest value, which Xen's interface uses for "none".
    pub const INVALID: Self = Self(u64::MAX);
}

impl Gfn {
    /// The largest value, which Xen's interface uses for "none".
    pub const INVALID: Self = Self(u64::MAX);

    /// Returns the frame `count` frames further on, or none past the end of the number space.
    #[must_use]
    pub const fn checked_add(self, count: u64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}

impl Mfn {
    /// Returns the frame `count` frames further on, or none past the end of the number space.
    #[must_use]
    pub const fn checked_add(self, count: u64) -> Option<Self> {
        match self.0.checked_add(count) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}
