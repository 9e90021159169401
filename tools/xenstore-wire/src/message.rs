//! Messages: a header of 16 bytes, and a body; and putting them together from pieces of a stream.

use xen_abi::io::xenstore as wire;

use crate::{ErrorName, Kind};

/// Length of a header in bytes.
pub const HEADER: usize = 16;
/// The longest body in bytes.
pub const PAYLOAD_MAX: usize = wire::XENSTORE_PAYLOAD_MAX;

/// What stands before each body. The kind is kept as it came, as there may be no such kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub kind: u32,
    /// Chosen by the client and repeated in the answer.
    pub request: u32,
    /// 0 outside of transactions.
    pub transaction: u32,
    /// Length of the body in bytes.
    pub length: u32,
}

impl Header {
    /// Reads it from its bytes, which are little-endian.
    #[must_use]
    pub fn from_bytes(bytes: [u8; HEADER]) -> Self {
        let word = |at: usize| {
            let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        Self { kind: word(0), request: word(4), transaction: word(8), length: word(12) }
    }

    /// Writes it to bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let words = [self.kind, self.request, self.transaction, self.length];
        for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// One message. Its body is at most [`PAYLOAD_MAX`] long where it came from an [`Assembler`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// A [`Kind`]'s number, or any other.
    pub kind: u32,
    pub request: u32,
    pub transaction: u32,
    pub body: Vec<u8>,
}

impl Message {
    /// Makes one of a kind that there is.
    #[must_use]
    pub const fn new(kind: Kind, request: u32, transaction: u32, body: Vec<u8>) -> Self {
        Self { kind: kind.number(), request, transaction, body }
    }

    /// Answers this message with a body.
    #[must_use]
    pub const fn answer(&self, body: Vec<u8>) -> Self {
        Self { kind: self.kind, request: self.request, transaction: self.transaction, body }
    }

    /// Answers this message with an error.
    #[must_use]
    pub fn refuse(&self, error: ErrorName) -> Self {
        let body = [error.name().as_bytes(), &[0]].concat();
        Self::new(Kind::Error, self.request, self.transaction, body)
    }

    /// Makes the event of a watch.
    #[must_use]
    pub fn event(path: &[u8], token: &[u8]) -> Self {
        Self::new(Kind::WatchEvent, 0, 0, [path, &[0], token, &[0]].concat())
    }

    /// Writes header and body. A body that is longer than a `u32` can say is cut.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        let header =
            Header { kind: self.kind, request: self.request, transaction: self.transaction, length }.to_bytes();
        [&header[..], &self.body].concat()
    }
}

/// A stream that breaks the protocol: its next message is longer than any may be. There is no way to go on after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The length that the header claims, in bytes.
    pub length: u32,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "a message claims {} bytes, at most {PAYLOAD_MAX} are allowed", self.length)
    }
}

impl std::error::Error for Malformed {}

/// Puts one message after the other together from pieces of a stream. It never holds more than one message.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    held: Vec<u8>,
}

impl Assembler {
    /// Makes one that holds nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { held: Vec::new() }
    }

    /// Says how many bytes more the message in hand wants, as far as is known; 0 where it is complete.
    ///
    /// **Errors:** the message is longer than any may be.
    pub fn wanted(&self) -> Result<usize, Malformed> {
        let Some(header) = self.held.first_chunk::<HEADER>() else {
            return Ok(HEADER.saturating_sub(self.held.len()));
        };
        let length = Header::from_bytes(*header).length;
        let body = usize::try_from(length).unwrap_or(usize::MAX);
        if body > PAYLOAD_MAX {
            return Err(Malformed { length });
        }
        Ok(body.saturating_add(HEADER).saturating_sub(self.held.len()))
    }

    /// Takes bytes of the stream until one message is complete, and says how many it took.
    ///
    /// **Errors:** the message is longer than any may be.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<usize, Malformed> {
        let before = bytes.len();
        loop {
            let wanted = self.wanted()?.min(bytes.len());
            if wanted == 0 {
                return Ok(before.saturating_sub(bytes.len()));
            }
            let (taken, left) = bytes.split_at_checked(wanted).unwrap_or((bytes, &[]));
            self.held.extend_from_slice(taken);
            bytes = left;
        }
    }

    /// Gives the message in hand if it is complete, and begins the next.
    pub fn take(&mut self) -> Option<Message> {
        if self.wanted() != Ok(0) {
            return None;
        }
        let header = Header::from_bytes(*self.held.first_chunk::<HEADER>()?);
        let body = self.held.split_off(HEADER);
        self.held.clear();
        Some(Message { kind: header.kind, request: header.request, transaction: header.transaction, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_of_more_than_the_limit_is_refused_as_soon_as_its_header_is_there() {
        let mut assembler = Assembler::new();
        let header = Header { length: 4097, ..Header::default() };
        assert_eq!(assembler.push(&header.to_bytes()), Err(Malformed { length: 4097 }));
        assert_eq!(assembler.take(), None);
    }

    #[test]
    fn errors_and_events_say_whose_they_are() {
        let request = Message::new(Kind::Read, 3, 9, vec![]);
        let refused = request.refuse(ErrorName::Missing);
        assert_eq!((refused.kind, refused.request, refused.transaction), (Kind::Error.number(), 3, 9));
        assert_eq!(refused.body, b"ENOENT\0");
        assert_eq!(Message::event(b"/a", b"t").body, b"/a\0t\0");
    }

    proptest! {
        #[test]
        fn messages_come_out_as_they_went_in_however_the_stream_is_cut(
            messages in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..300)), 1..8),
            cut in 1_usize..400,
        ) {
            let messages: Vec<Message> = messages
                .into_iter()
                .map(|(kind, request, transaction, body)| Message { kind, request, transaction, body })
                .collect();
            let stream: Vec<u8> = messages.iter().flat_map(Message::to_bytes).collect();
            let (mut assembler, mut found) = (Assembler::new(), vec![]);
            for mut piece in stream.chunks(cut) {
                while !piece.is_empty() {
                    let taken = assembler.push(piece).unwrap();
                    piece = &piece[taken..];
                    found.extend(assembler.take());
                }
            }
            prop_assert_eq!(found, messages);
        }

        #[test]
        fn any_bytes_are_taken_or_refused_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut assembler = Assembler::new();
            let mut left = &bytes[..];
            while !left.is_empty() {
                let Ok(taken) = assembler.push(left) else { break };
                left = &left[taken..];
                if assembler.take().is_none() {
                    break;
                }
            }
        }
    }
}
