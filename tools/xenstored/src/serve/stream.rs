//! Messages from and to a socket or a ring, through a mailbox.

use std::io;
use std::os::fd::BorrowedFd;

use xen_abi::io::xenstore::{XENSTORE_ERROR_COMM, XENSTORE_ERROR_PROTO, XENSTORE_ERROR_RINGIDX};
use xenstore_wire::{Assembler, Message};

use super::mailbox::{MESSAGE_MAX, Mailbox};
use super::ring::Ring;

/// A socket or a ring.
pub enum Stream<'a> {
    Socket(BorrowedFd<'a>),
    Ring(&'a mut Ring),
}

/// Result of receiving.
pub enum Arrived {
    /// An incomplete message.
    Part,
    /// A message, with the sequence number of the request.
    Message(u64, Message),
    /// The end of the stream.
    End,
}

/// Why a connection has failed: an `XENSTORE_ERROR_*`.
pub type Broken = u32;

impl Stream<'_> {
    /// Returns the number of bytes taken in all.
    fn taken(&self, mailbox: Mailbox<'_>) -> u64 {
        match self {
            Self::Socket(_) => mailbox.count_received(),
            Self::Ring(ring) => u64::from(ring.taken()),
        }
    }

    /// Returns the number of bytes put in all.
    pub fn sent(&self, mailbox: Mailbox<'_>) -> u64 {
        match self {
            Self::Socket(_) => mailbox.count_sent(),
            Self::Ring(ring) => u64::from(ring.given()),
        }
    }

    /// Returns the distance between two positions in the stream. Positions of a ring are modulo 2^32.
    fn distance(&self, from: u64, to: u64) -> usize {
        match self {
            Self::Socket(_) => usize::try_from(to.wrapping_sub(from)).unwrap_or(usize::MAX),
            Self::Ring(_) => (to as u32).wrapping_sub(from as u32) as usize,
        }
    }

    /// Sends as much of the outgoing message as there is room for. Returns true when nothing is outgoing any more.
    ///
    /// **Errors:** the other side is gone or broke the protocol.
    pub fn send(&mut self, mailbox: Mailbox<'_>, notifies: &mut bool) -> Result<bool, Broken> {
        while let Some((length, start)) = mailbox.going() {
            let sent = self.distance(start, self.sent(mailbox));
            let left = length.saturating_sub(sent);
            if left == 0 {
                mailbox.gone();
                return Ok(true);
            }
            let now = match self {
                Self::Socket(socket) => match mailbox.send(*socket, sent, left) {
                    Ok(now) => now,
                    Err(error) if is_for_now(&error) => 0,
                    Err(_) => return Err(XENSTORE_ERROR_COMM),
                },
                Self::Ring(ring) => {
                    let mut bytes = vec![0; left];
                    mailbox.outbox(sent, &mut bytes);
                    ring.give(&bytes).map_err(|_| XENSTORE_ERROR_RINGIDX)?
                }
            };
            *notifies |= now > 0;
            if now == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Receives as much of the next message as has arrived.
    ///
    /// **Errors:** the other side is gone or broke the protocol.
    pub fn receive(&mut self, mailbox: Mailbox<'_>, notifies: &mut bool) -> Result<Arrived, Broken> {
        let (serial, start) = mailbox.coming().unwrap_or_else(|| {
            mailbox.begin(self.taken(mailbox));
            mailbox.coming().unwrap_or_default()
        });
        loop {
            let there = self.distance(start, self.taken(mailbox));
            // A count that cannot be is one that a domain wrote into its own page while nobody was serving it.
            if there > MESSAGE_MAX {
                return Err(XENSTORE_ERROR_RINGIDX);
            }
            let mut assembler = Assembler::new();
            assembler.push(&mailbox.inbox(there)).map_err(|_| XENSTORE_ERROR_PROTO)?;
            let wanted = assembler.wanted().map_err(|_| XENSTORE_ERROR_PROTO)?;
            if let Some(message) = assembler.take() {
                return Ok(Arrived::Message(serial, message));
            }
            let now = match self {
                Self::Socket(socket) => match mailbox.receive(*socket, there, wanted) {
                    Ok(0) => return Ok(Arrived::End),
                    Ok(now) => now,
                    Err(error) if is_for_now(&error) => 0,
                    Err(_) => return Ok(Arrived::End),
                },
                Self::Ring(ring) => {
                    let bytes = ring.peek(wanted).map_err(|_| XENSTORE_ERROR_RINGIDX)?;
                    mailbox.put(there, &bytes);
                    ring.take(bytes.len());
                    bytes.len()
                }
            };
            *notifies |= now > 0;
            if now == 0 {
                return Ok(Arrived::Part);
            }
        }
    }
}

fn is_for_now(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
