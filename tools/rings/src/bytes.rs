//! Rings of bytes, as the console has two.

use std::mem::offset_of;

use xen_abi::io::byte_ring;
use xen_abi::io::console::XenconsInterface;

use crate::{Broken, Shared};

/// Where a ring of bytes lies in its page, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRing {
    /// The first byte of the data.
    pub data: usize,
    /// How many bytes of data: a power of two.
    pub size: u32,
    /// The index of the side that writes.
    pub produced: usize,
    /// The index of the side that reads.
    pub consumed: usize,
}

impl ByteRing {
    /// What a domain writes to its console.
    pub const CONSOLE_OUTPUT: Self = Self {
        data: offset_of!(XenconsInterface, output),
        size: 2048,
        produced: offset_of!(XenconsInterface, out_prod),
        consumed: offset_of!(XenconsInterface, out_cons),
    };
    /// What a domain reads from its console.
    pub const CONSOLE_INPUT: Self = Self {
        data: offset_of!(XenconsInterface, input),
        size: 1024,
        produced: offset_of!(XenconsInterface, in_prod),
        consumed: offset_of!(XenconsInterface, in_cons),
    };

    /// Splits `length` bytes from `index` on at the end of the data: offset and length of both parts.
    fn parts(&self, index: u32, length: usize) -> [(usize, usize); 2] {
        let position = byte_ring::position(self.size, index);
        let first = length.min((self.size as usize).saturating_sub(position));
        [(self.data.saturating_add(position), first), (self.data, length.saturating_sub(first))]
    }

    const fn end(&self) -> usize {
        let (data, indexes) = (self.data.saturating_add(self.size as usize), self.produced.saturating_add(4));
        let consumed = self.consumed.saturating_add(4);
        let indexes = if indexes > consumed { indexes } else { consumed };
        if data > indexes { data } else { indexes }
    }
}

/// The side that reads a ring of bytes.
#[derive(Debug)]
pub struct ByteReader<M> {
    memory: M,
    ring: ByteRing,
    consumed: u32,
    broken: Option<Broken>,
}

/// The side that writes a ring of bytes.
#[derive(Debug)]
pub struct ByteWriter<M> {
    memory: M,
    ring: ByteRing,
    produced: u32,
    broken: Option<Broken>,
}

fn checked<M: Shared>(memory: &M, ring: &ByteRing) -> Option<Broken> {
    (memory.length() < ring.end()).then(|| Broken::Small { bytes: memory.length() })
}

impl<M: Shared> ByteReader<M> {
    /// Begins to read where the page says that the reader before had come to.
    #[must_use]
    pub fn attach(memory: M, ring: ByteRing) -> Self {
        let (consumed, broken) = (memory.load_u32(ring.consumed), checked(&memory, &ring));
        Self { memory, ring, consumed, broken }
    }

    /// Returns how many bytes the ring holds.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.ring.size as usize
    }

    /// Returns how many bytes wait.
    ///
    /// **Errors:** [`Broken`], now and from now on.
    pub fn waiting(&mut self) -> Result<usize, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let produced = self.memory.load_u32(self.ring.produced);
        let Some(waiting) = byte_ring::waiting(self.ring.size, produced, self.consumed) else {
            let broken = Broken::Index { own: self.consumed, other: produced };
            self.broken = Some(broken);
            return Err(broken);
        };
        Ok(waiting as usize)
    }

    /// Copies bytes that wait into `to`, and returns how many. They stay in the ring until [`ByteReader::consume`], and
    /// until then the writer may change them.
    ///
    /// **Errors:** [`Broken`], now and from now on.
    pub fn peek(&mut self, to: &mut [u8]) -> Result<usize, Broken> {
        let length = to.len().min(self.waiting()?);
        let mut rest = to.get_mut(..length).unwrap_or_default();
        for (offset, part) in self.ring.parts(self.consumed, length) {
            let (now, later) = rest.split_at_mut_checked(part).unwrap_or_default();
            self.memory.read(offset, now);
            rest = later;
        }
        Ok(length)
    }

    /// Takes `length` bytes out of the ring, as many as the last [`ByteReader::peek`] returned or fewer. The writer is to
    /// be notified: it may have waited for room.
    pub fn consume(&mut self, length: usize) {
        // Both sides' counts wrap; a length is at most the ring's size.
        self.consumed = self.consumed.wrapping_add(u32::try_from(length).unwrap_or(0));
        self.memory.fence();
        self.memory.store_u32(self.ring.consumed, self.consumed);
    }

    /// Moves bytes that wait into `to`, and returns how many. The writer is to be notified if there were some: it may
    /// have waited for room.
    ///
    /// **Errors:** [`Broken`], now and from now on.
    pub fn read(&mut self, to: &mut [u8]) -> Result<usize, Broken> {
        let length = self.peek(to)?;
        self.consume(length);
        Ok(length)
    }
}

impl<M: Shared> ByteWriter<M> {
    /// Begins to write where the page says that the writer before had come to.
    #[must_use]
    pub fn attach(memory: M, ring: ByteRing) -> Self {
        let (produced, broken) = (memory.load_u32(ring.produced), checked(&memory, &ring));
        Self { memory, ring, produced, broken }
    }

    /// Returns how many bytes there is room for.
    ///
    /// **Errors:** [`Broken`], now and from now on.
    pub fn free(&mut self) -> Result<usize, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let consumed = self.memory.load_u32(self.ring.consumed);
        let Some(free) = byte_ring::free(self.ring.size, self.produced, consumed) else {
            let broken = Broken::Index { own: self.produced, other: consumed };
            self.broken = Some(broken);
            return Err(broken);
        };
        Ok(free as usize)
    }

    /// Writes as many bytes of `from` as there is room for, and returns how many. The reader is to be notified if there
    /// were some.
    ///
    /// **Errors:** [`Broken`], now and from now on.
    pub fn write(&mut self, from: &[u8]) -> Result<usize, Broken> {
        let length = from.len().min(self.free()?);
        let mut rest = from.get(..length).unwrap_or_default();
        for (offset, part) in self.ring.parts(self.produced, length) {
            let (now, later) = rest.split_at_checked(part).unwrap_or_default();
            self.memory.write(offset, now);
            rest = later;
        }
        self.produced = self.produced.wrapping_add(u32::try_from(length).unwrap_or(0));
        self.memory.fence();
        self.memory.store_u32(self.ring.produced, self.produced);
        Ok(length)
    }
}
