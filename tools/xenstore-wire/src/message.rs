//! Messages: a header of 16 bytes and a body; assembling them from a stream.

use xen_abi::io::xenstore as wire;

use crate::{ErrorName, Kind};

/// Length of a header in bytes.
pub const HEADER: usize = 16;
/// Length of the longest body in bytes.
pub const PAYLOAD_MAX: usize = wire::XENSTORE_PAYLOAD_MAX;

/// Header of a message. The type is kept as received, since it may be none of [`Kind`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub kind: u32,
    /// ID chosen by the client, repeated in the response.
    pub request: u32,
    /// ID of the transaction; 0 for none.
    pub transaction: u32,
    /// Length of the body in bytes.
    pub length: u32,
}

impl Header {
    /// Parses a header; little-endian.
    #[must_use]
    pub fn from_bytes(bytes: [u8; HEADER]) -> Self {
        let word = |at: usize| {
            let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>());
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        Self { kind: word(0), request: word(4), transaction: word(8), length: word(12) }
    }

    /// Serializes the header; little-endian.
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

/// A message. The body of one from an [`Assembler`] is at most [`PAYLOAD_MAX`] bytes long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Number of a [`Kind`], or any other number.
    pub kind: u32,
    pub request: u32,
    pub transaction: u32,
    pub body: Vec<u8>,
}

impl Message {
    /// Makes a message.
    #[must_use]
    pub const fn new(kind: Kind, request: u32, transaction: u32, body: Vec<u8>) -> Self {
        Self { kind: kind.number(), request, transaction, body }
    }

    /// Makes the response to this message.
    #[must_use]
    pub const fn answer(&self, body: Vec<u8>) -> Self {
        Self { kind: self.kind, request: self.request, transaction: self.transaction, body }
    }

    /// Makes the error response to this message.
    #[must_use]
    pub fn refuse(&self, error: ErrorName) -> Self {
        let body = [error.name().as_bytes(), &[0]].concat();
        Self::new(Kind::Error, self.request, self.transaction, body)
    }

    /// Makes a watch event.
    #[must_use]
    pub fn event(path: &[u8], token: &[u8]) -> Self {
        Self::new(Kind::WatchEvent, 0, 0, [path, &[0], token, &[0]].concat())
    }

    /// Serializes header and body. A body longer than `u32::MAX` bytes is cut.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        let header =
            Header { kind: self.kind, request: self.request, transaction: self.transaction, length }.to_bytes();
        [&header[..], &self.body].concat()
    }
}

/// A violation of the protocol: the next message of a stream is too long. The stream cannot be continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Length in the header, in bytes.
    pub length: u32,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "a message claims {} bytes, at most {PAYLOAD_MAX} are allowed", self.length)
    }
}

impl std::error::Error for Malformed {}

/// Assembles messages from pieces of a stream, one at a time.
#[derive(Clone, Debug, Default)]
pub struct Assembler {
    held: Vec<u8>,
}

impl Assembler {
    /// Makes an empty assembler.
    #[must_use]
    pub const fn new() -> Self {
        Self { held: Vec::new() }
    }

    /// Returns the number of bytes that are missing from the current message, as far as known; 0 if it is complete.
    ///
    /// **Errors:** [`Malformed`] if the message is longer than [`PAYLOAD_MAX`].
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

    /// Consumes bytes of the stream until the current message is complete. Returns the number of bytes consumed.
    ///
    /// **Errors:** [`Malformed`] if the message is longer than [`PAYLOAD_MAX`].
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

    /// Returns the current message if it is complete, and starts the next one.
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
