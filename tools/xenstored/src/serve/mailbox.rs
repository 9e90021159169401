//! Mailboxes: the incoming and the outgoing message of each connection, in a file that outlives the program. Another
//! instance continues in the middle of either.
//!
//! Each step is committed by one store:
//!
//! | step | what commits it |
//! |---|---|
//! | bytes were taken from a ring or a socket | the ring's consumer index; the count that the kernel writes |
//! | a request with changes was executed | its record in the journal, with the response |
//! | any request was executed, and its response is outgoing | the word `committed` |
//! | bytes were put into a ring or a socket | the ring's producer index; the count that the kernel writes |
//! | a message was sent | the word `committed` |

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;

use mapped_memory::{Counted, Mapping};
use xenstore_wire::{HEADER, PAYLOAD_MAX};

/// Length of the longest message in bytes.
pub const MESSAGE_MAX: usize = HEADER + PAYLOAD_MAX;

/// Offsets in a mailbox, in bytes.
mod at {
    /// `u32`: one more than the number of the connection; 0 for a free mailbox.
    pub const OWNER: usize = 0;
    /// `u64`: sequence number of the incoming request.
    pub const REQUEST: usize = 8;
    /// `u64`: sequence number of the last executed request, times 2^16, plus the length of the outgoing message.
    pub const COMMITTED: usize = 16;
    /// `u64`: position in the stream at which the incoming message started.
    pub const IN_START: usize = 32;
    /// `u64`: position in the stream at which the outgoing message started.
    pub const OUT_START: usize = 40;
    /// Counts of bytes received from and sent to a socket.
    pub const RECEIVED: usize = 64;
    pub const SENT: usize = 256;
    pub const INBOX: usize = 448;
    pub const OUTBOX: usize = 4608;
}

/// Length of a mailbox in bytes.
const SLOT: usize = 8768;
/// Number of mailboxes by which the file grows.
const MORE: usize = 64;

const _: () = assert!(
    at::RECEIVED + Counted::LENGTH <= at::SENT
        && at::SENT + Counted::LENGTH <= at::INBOX
        && at::INBOX + MESSAGE_MAX <= at::OUTBOX
        && at::OUTBOX + MESSAGE_MAX <= SLOT
        && SLOT.is_multiple_of(64)
);

/// The mailboxes of all connections.
#[derive(Debug)]
pub struct Mailboxes {
    file: File,
    chunks: Vec<Mapping>,
    free: Vec<usize>,
    owned: HashMap<u32, usize>,
}

/// The mailbox of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Mailbox<'a> {
    chunk: &'a Mapping,
    start: usize,
}

impl Mailboxes {
    /// Opens the file, and creates it if it does not exist.
    ///
    /// **Errors:** it cannot be opened or mapped.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut all = Self { file, chunks: Vec::new(), free: Vec::new(), owned: HashMap::new() };
        let chunks = usize::try_from(all.file.metadata()?.len()).unwrap_or(0) / chunk_length();
        for _ in 0..chunks {
            all.map_next()?;
        }
        for slot in (0..chunks * MORE).rev() {
            match all.slot(slot).map_or(0, Mailbox::owner) {
                0 => all.free.push(slot),
                owner => drop(all.owned.insert(owner.wrapping_sub(1), slot)),
            }
        }
        Ok(all)
    }

    fn map_next(&mut self) -> io::Result<()> {
        let offset = self.chunks.len().saturating_mul(chunk_length()) as u64;
        self.chunks.push(Mapping::of_file(&self.file, offset, chunk_length())?);
        Ok(())
    }

    fn slot(&self, slot: usize) -> Option<Mailbox<'_>> {
        let chunk = self.chunks.get(slot / MORE)?;
        Some(Mailbox { chunk, start: (slot % MORE).saturating_mul(SLOT) })
    }

    /// Returns the mailbox of a connection.
    #[must_use]
    pub fn of(&self, connection: u32) -> Option<Mailbox<'_>> {
        self.slot(*self.owned.get(&connection)?)
    }

    /// Returns the connections that have a mailbox.
    #[must_use]
    pub fn owners(&self) -> Vec<u32> {
        self.owned.keys().copied().collect()
    }

    /// Allocates an empty mailbox for a connection, whose streams start at these positions.
    ///
    /// **Errors:** the file cannot be extended.
    pub fn give(&mut self, connection: u32, in_start: u64, out_start: u64) -> io::Result<()> {
        if self.free.is_empty() {
            let slots = self.chunks.len().saturating_mul(MORE);
            let length = self.chunks.len().saturating_add(1).saturating_mul(chunk_length());
            self.file.set_len(length as u64)?;
            self.map_next()?;
            self.free.extend((slots..slots.saturating_add(MORE)).rev());
        }
        let Some(slot) = self.free.pop() else { return Err(io::ErrorKind::OutOfMemory.into()) };
        if let Some(mailbox) = self.slot(slot) {
            mailbox.clear(in_start, out_start);
            mailbox.chunk.store_u32(mailbox.start + at::OWNER, connection.wrapping_add(1));
        }
        self.owned.insert(connection, slot);
        Ok(())
    }

    /// Frees the mailbox of a connection.
    pub fn take(&mut self, connection: u32) {
        let Some(slot) = self.owned.remove(&connection) else { return };
        if let Some(mailbox) = self.slot(slot) {
            mailbox.chunk.store_u32(mailbox.start + at::OWNER, 0);
        }
        self.free.push(slot);
    }
}

const fn chunk_length() -> usize {
    // A multiple of the page size, as mappings are.
    (SLOT * MORE).next_multiple_of(4096)
}

impl Mailbox<'_> {
    fn owner(self) -> u32 {
        self.chunk.load_u32(self.start + at::OWNER)
    }

    /// Empties the mailbox: no message is incoming or outgoing.
    pub fn clear(self, in_start: u64, out_start: u64) {
        let put = |at, value| self.chunk.store_u64(self.start + at, value);
        put(at::REQUEST, 0);
        put(at::COMMITTED, 0);
        put(at::IN_START, in_start);
        put(at::OUT_START, out_start);
        self.received().set(self.chunk, in_start);
        self.sent().set(self.chunk, out_start);
    }

    fn long(self, at: usize) -> u64 {
        self.chunk.load_u64(self.start + at)
    }

    fn received(self) -> Counted {
        Counted::at(self.start + at::RECEIVED)
    }

    fn sent(self) -> Counted {
        Counted::at(self.start + at::SENT)
    }

    /// Returns the sequence number of the last executed request.
    pub fn executed(self) -> u64 {
        self.long(at::COMMITTED) >> 16
    }

    /// Returns the sequence number of the incoming request, and the position in the stream at which it started. None if
    /// the last one was executed and no other has started.
    pub fn coming(self) -> Option<(u64, u64)> {
        let request = self.long(at::REQUEST);
        (request > self.executed()).then(|| (request, self.long(at::IN_START)))
    }

    /// Starts the next request, at this position in the stream.
    pub fn begin(self, start: u64) {
        self.chunk.store_u64(self.start + at::IN_START, start);
        self.chunk.store_u64(self.start + at::REQUEST, self.executed().wrapping_add(1));
    }

    /// Copies bytes of a ring into the incoming message.
    pub fn put(self, at: usize, bytes: &[u8]) {
        let room = MESSAGE_MAX.saturating_sub(at).min(bytes.len());
        self.chunk.write(self.start + at::INBOX + at.min(MESSAGE_MAX), bytes.get(..room).unwrap_or_default());
    }

    /// Returns the first `length` bytes of the incoming message.
    pub fn inbox(self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length.min(MESSAGE_MAX)];
        self.chunk.read(self.start + at::INBOX, &mut bytes);
        bytes
    }

    /// Receives up to `more` bytes from a socket into the incoming message, after the `there` bytes that it has.
    ///
    /// **Errors:** as [`Counted::receive`].
    pub fn receive(self, socket: std::os::fd::BorrowedFd<'_>, there: usize, more: usize) -> io::Result<usize> {
        let more = more.min(MESSAGE_MAX.saturating_sub(there));
        self.received().receive(self.chunk, socket, self.start + at::INBOX + there.min(MESSAGE_MAX), more)
    }

    /// Returns the number of bytes received from a socket in all.
    pub fn count_received(self) -> u64 {
        self.received().count(self.chunk)
    }

    /// Returns the number of bytes sent to a socket in all.
    pub fn count_sent(self) -> u64 {
        self.sent().count(self.chunk)
    }

    /// Sets the outgoing message, which starts at this position in the stream. `request` is the sequence number of the
    /// request that it responds to, which counts as executed from now on.
    pub fn commit(self, message: &[u8], start: u64, request: Option<u64>) {
        let message = message.get(..MESSAGE_MAX).unwrap_or(message);
        self.chunk.write(self.start + at::OUTBOX, message);
        self.chunk.store_u64(self.start + at::OUT_START, start);
        let executed = request.unwrap_or_else(|| self.executed());
        self.chunk.store_u64(self.start + at::COMMITTED, (executed << 16) | message.len() as u64);
    }

    /// Returns the length of the outgoing message, and the position in the stream at which it started; None if there is
    /// none.
    pub fn going(self) -> Option<(usize, u64)> {
        let length = (self.long(at::COMMITTED) & 0xffff) as usize;
        (length > 0).then(|| (length.min(MESSAGE_MAX), self.long(at::OUT_START)))
    }

    /// Marks the outgoing message as sent.
    pub fn gone(self) {
        self.chunk.store_u64(self.start + at::COMMITTED, self.executed() << 16);
    }

    /// Copies bytes out of the outgoing message, for a ring.
    pub fn outbox(self, at: usize, to: &mut [u8]) {
        self.chunk.read(self.start + at::OUTBOX + at.min(MESSAGE_MAX), to);
    }

    /// Sends bytes of the outgoing message to a socket.
    ///
    /// **Errors:** as [`Counted::send`].
    pub fn send(self, socket: std::os::fd::BorrowedFd<'_>, from: usize, length: usize) -> io::Result<usize> {
        let length = length.min(MESSAGE_MAX.saturating_sub(from));
        self.sent().send(self.chunk, socket, self.start + at::OUTBOX + from.min(MESSAGE_MAX), length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_instance_finds_each_mailbox_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mailboxes");
        let mut one = Mailboxes::open(&path).unwrap();
        for connection in 0..200 {
            one.give(connection, u64::from(connection), 7).unwrap();
        }
        one.take(100);
        let mailbox = one.of(150).unwrap();
        mailbox.begin(150);
        mailbox.put(0, b"half");
        mailbox.commit(b"an event", 7, None);
        let other = Mailboxes::open(&path).unwrap();
        let mailbox = other.of(150).unwrap();
        assert_eq!(
            (mailbox.coming(), mailbox.inbox(4), mailbox.going()),
            (Some((1, 150)), b"half".to_vec(), Some((8, 7)))
        );
        assert!(other.of(100).is_none() && other.of(199).is_some() && other.owners().len() == 199);
    }

    #[test]
    fn a_request_is_executed_when_its_answer_goes_out() {
        let directory = tempfile::tempdir().unwrap();
        let mut all = Mailboxes::open(&directory.path().join("mailboxes")).unwrap();
        all.give(5, 0, 0).unwrap();
        let mailbox = all.of(5).unwrap();
        assert_eq!(mailbox.coming(), None);
        mailbox.begin(0);
        assert_eq!((mailbox.coming(), mailbox.executed()), (Some((1, 0)), 0));
        mailbox.commit(b"answer", 0, Some(1));
        assert_eq!((mailbox.coming(), mailbox.executed(), mailbox.going()), (None, 1, Some((6, 0))));
        mailbox.gone();
        assert_eq!((mailbox.executed(), mailbox.going()), (1, None));
        // A mailbox that is given again is empty.
        all.take(5);
        all.give(6, 9, 9).unwrap();
        assert_eq!(all.of(6).unwrap().executed(), 0);
    }
}
