//! Memory that is shared with a domain, and what may be wrong with it.

use std::fmt;

/// Memory that another domain may change at any moment. An access outside of it reads zeros and writes nothing.
pub trait Shared {
    /// Returns its length in bytes.
    fn length(&self) -> usize;
    /// Reads a `u32` at a multiple of 4, with acquire ordering.
    fn load_u32(&self, offset: usize) -> u32;
    /// Writes a `u32` at a multiple of 4, with release ordering.
    fn store_u32(&self, offset: usize, value: u32);
    /// Fills `to` from `offset` on. What the other side writes meanwhile may be seen in part.
    fn read(&self, offset: usize, to: &mut [u8]);
    /// Copies `from` to `offset`.
    fn write(&self, offset: usize, from: &[u8]);
    /// Issues a full memory barrier: earlier writes are seen before later reads are done.
    fn fence(&self);
}

macro_rules! pointed {
    ($($name:ty),*) => { $(
        impl<M: Shared + ?Sized> Shared for $name {
            fn length(&self) -> usize {
                (**self).length()
            }

            fn load_u32(&self, offset: usize) -> u32 {
                (**self).load_u32(offset)
            }

            fn store_u32(&self, offset: usize, value: u32) {
                (**self).store_u32(offset, value);
            }

            fn read(&self, offset: usize, to: &mut [u8]) {
                (**self).read(offset, to);
            }

            fn write(&self, offset: usize, from: &[u8]) {
                (**self).write(offset, from);
            }

            fn fence(&self) {
                (**self).fence();
            }
        }
    )* };
}

pointed!(&M, std::rc::Rc<M>);

#[cfg(feature = "granted")]
macro_rules! mapped {
    ($($name:ty),*) => { $(
        impl Shared for $name {
            fn length(&self) -> usize {
                mapped_memory::Mapping::length(self)
            }

            fn load_u32(&self, offset: usize) -> u32 {
                mapped_memory::Mapping::load_u32(self, offset)
            }

            fn store_u32(&self, offset: usize, value: u32) {
                mapped_memory::Mapping::store_u32(self, offset, value);
            }

            fn read(&self, offset: usize, to: &mut [u8]) {
                mapped_memory::Mapping::read(self, offset, to);
            }

            fn write(&self, offset: usize, from: &[u8]) {
                mapped_memory::Mapping::write(self, offset, from);
            }

            fn fence(&self) {
                mapped_memory::Mapping::fence(self);
            }
        }
    )* };
}

#[cfg(feature = "granted")]
mapped!(mapped_memory::Mapping, hypervisor_access::GrantMapping, hypervisor_access::Offered);

/// Why a ring cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The other side claims more entries or bytes than the ring holds.
    Index { own: u32, other: u32 },
    /// There is no room: this side has put more than the protocol lets it.
    Full,
    /// The memory is too small for the ring.
    Small { bytes: usize },
    /// A message that is shorter than its header, or longer than what was agreed on.
    Message { bytes: u32, most: usize },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index { own, other } => {
                write!(f, "the other side's index {other} does not follow ours, {own}; the device must be closed")
            }
            Self::Full => f.write_str("the ring is full; take what waits in it first"),
            Self::Message { bytes, most } => {
                write!(f, "a message of {bytes} bytes, where 7 to {most} were agreed on; the device must be closed")
            }
            Self::Small { bytes } => write!(f, "{bytes} bytes hold no ring of this kind; share more pages"),
        }
    }
}

impl std::error::Error for Broken {}
