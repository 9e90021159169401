//! 9P messages out of a ring of bytes: whole ones, of at most the agreed length, however slowly they come.

use xen_abi::io::ninepfs::NINEPFS_HEADER_SIZE;

use crate::{Broken, ByteReader, ByteWriter, Shared};

/// The messages of one ring, on the side that reads it.
#[derive(Debug)]
pub struct MessageReader<M> {
    ring: ByteReader<M>,
    /// The longest message, in bytes.
    most: usize,
    message: Vec<u8>,
    broken: Option<Broken>,
}

impl<M: Shared> MessageReader<M> {
    /// Begins to read messages of at most `most` bytes with their headers; a message is never longer than its ring.
    #[must_use]
    pub fn new(ring: ByteReader<M>, most: usize) -> Self {
        let most = most.min(ring.size()).max(NINEPFS_HEADER_SIZE);
        Self { ring, most, message: Vec::new(), broken: None }
    }

    /// Takes the next message with its header; None if it is not all there yet. The writer is to be notified: it may have
    /// waited for room.
    ///
    /// **Errors:** [`Broken`], now and from now on.
    pub fn take(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let outcome = self.gather();
        self.broken = outcome.as_ref().err().copied();
        outcome
    }

    fn gather(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        if !self.filled_to(NINEPFS_HEADER_SIZE)? {
            return Ok(None);
        }
        // The size was copied with the header: the writer cannot change it any more.
        let size = self.message.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        if length < NINEPFS_HEADER_SIZE || length > self.most {
            return Err(Broken::Message { bytes: size, most: self.most });
        }
        Ok(self.filled_to(length)?.then(|| std::mem::take(&mut self.message)))
    }

    /// Reads until the message has `length` bytes, and returns whether it has.
    fn filled_to(&mut self, length: usize) -> Result<bool, Broken> {
        let had = self.message.len();
        if had < length {
            self.message.resize(length, 0);
            let read = self.ring.read(self.message.get_mut(had..).unwrap_or_default());
            self.message.truncate(had.saturating_add(*read.as_ref().unwrap_or(&0)));
            read?;
        }
        Ok(self.message.len() >= length)
    }
}

/// The messages of one ring, on the side that writes it.
#[derive(Debug)]
pub struct MessageWriter<M> {
    ring: ByteWriter<M>,
    waiting: Vec<u8>,
}

impl<M: Shared> MessageWriter<M> {
    /// Begins to write messages.
    #[must_use]
    pub const fn new(ring: ByteWriter<M>) -> Self {
        Self { ring, waiting: Vec::new() }
    }

    /// Puts a message with its header behind what waits; [`MessageWriter::flush`] writes it.
    pub fn put(&mut self, message: &[u8]) {
        self.waiting.extend_from_slice(message);
    }

    /// Writes what there is room for, and returns whether nothing waits any more. The reader is to be notified.
    ///
    /// **Errors:** [`Broken`], now and from now on.
    pub fn flush(&mut self) -> Result<bool, Broken> {
        let written = self.ring.write(&self.waiting)?;
        self.waiting.drain(..written.min(self.waiting.len()));
        Ok(self.waiting.is_empty())
    }
}
