//! The protocol between keeper and worker: messages of a letter, a number, words, and at most one descriptor.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};

/// Length of the longest message in bytes.
const LENGTH: usize = 8192;

/// Type of a message. The keeper sends all descriptors that it holds and then [`What::Ready`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A connection, new or held, with its number and its socket.
    Connection,
    /// The listening socket.
    Listener,
    /// All descriptors were sent.
    Ready,
    /// A connection was closed.
    Closed,
    /// The store is served.
    Serving,
    /// The next worker is another program: its path and command line.
    Update,
    /// The worker is to end: at the end of the keeper, or because the next worker's program is known.
    Quit,
}

const LETTERS: [(What, u8); 7] = [
    (What::Connection, b'C'),
    (What::Listener, b'L'),
    (What::Ready, b'R'),
    (What::Closed, b'D'),
    (What::Serving, b'S'),
    (What::Update, b'U'),
    (What::Quit, b'Q'),
];

/// A message.
#[derive(Debug)]
pub struct Note {
    pub what: What,
    pub number: u32,
    pub words: Vec<String>,
    pub descriptor: Option<OwnedFd>,
}

/// Creates the socket pair between keeper and worker.
///
/// **Errors:** too many descriptors are open.
pub fn line() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends a message, and blocks while the other program has too many to read.
///
/// **Errors:** the other program is gone.
pub fn send(
    line: BorrowedFd<'_>,
    what: What,
    number: u32,
    words: &[String],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    send_with(line, SendFlags::NOSIGNAL, (what, number), words, descriptor)
}

/// Sends a message without a descriptor, and does not block.
///
/// **Errors:** `WouldBlock` if the other program has too many to read; the other program is gone.
pub fn send_now(line: BorrowedFd<'_>, what: What, number: u32, words: &[String]) -> io::Result<()> {
    send_with(line, SendFlags::NOSIGNAL | SendFlags::DONTWAIT, (what, number), words, None)
}

fn send_with(
    line: BorrowedFd<'_>,
    flags: SendFlags,
    (what, number): (What, u32),
    words: &[String],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let letter = LETTERS.iter().find(|(known, _)| *known == what).map_or(0, |(_, letter)| *letter);
    let mut bytes = vec![letter];
    bytes.extend_from_slice(&number.to_le_bytes());
    words.iter().for_each(|word| bytes.extend(word.bytes().chain([0])));
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    rustix::net::sendmsg(line, &[IoSlice::new(&bytes)], &mut control, flags)?;
    Ok(())
}

/// Receives a message, and blocks if `waits`; None if none has arrived.
///
/// **Errors:** `UnexpectedEof` if the other program is gone; `InvalidData` for a malformed message.
pub fn receive(line: BorrowedFd<'_>, waits: bool) -> io::Result<Option<Note>> {
    let mut bytes = vec![0; LENGTH];
    let flags = RecvFlags::CMSG_CLOEXEC | if waits { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
    let (received, descriptor) = loop {
        match receive_bytes(line, &mut bytes, flags) {
            // The other program ended before it read all that it was sent. What it had said itself comes after that.
            Err(rustix::io::Errno::CONNRESET | rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(received) => break received,
        }
    };
    bytes.truncate(received);
    let Some((letter, rest)) = bytes.split_first() else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    let what = LETTERS.iter().find(|(_, known)| known == letter).map(|(what, _)| *what);
    let (Some(what), Some((number, words))) = (what, rest.split_first_chunk::<4>()) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let words = words.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let mut words: Vec<String> = words.collect();
    words.pop();
    Ok(Some(Note { what, number: u32::from_le_bytes(*number), words, descriptor }))
}

fn receive_bytes(
    line: BorrowedFd<'_>,
    bytes: &mut [u8],
    flags: RecvFlags,
) -> rustix::io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(line, &mut [IoSliceMut::new(bytes)], &mut control, flags)?.bytes;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((received, descriptor))
}

/// Returns the socket to the other program, which is the standard input of this one.
///
/// **Errors:** there is none.
pub fn inherited() -> io::Result<OwnedFd> {
    let line = rustix::stdio::stdin().try_clone_to_owned()?;
    let nothing = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(nothing.as_fd())?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn descriptors_and_words_arrive_and_the_end_is_seen() {
        let (one, other) = line().unwrap();
        assert!(receive(other.as_fd(), false).unwrap().is_none());
        let (mut near, far) = UnixStream::pair().unwrap();
        let words = ["/bin/x".to_owned(), String::new(), "-N".to_owned()];
        send(one.as_fd(), What::Connection, 70_000, &words, Some(far.as_fd())).unwrap();
        let note = receive(other.as_fd(), true).unwrap().unwrap();
        assert_eq!((note.what, note.number, &note.words[..]), (What::Connection, 70_000, &words[..]));
        UnixStream::from(note.descriptor.unwrap()).write_all(b"x").unwrap();
        let mut byte = [0];
        near.read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"x");
        drop(one);
        assert_eq!(receive(other.as_fd(), true).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_a_program_said_is_heard_though_it_ended_before_it_read_all() {
        let (one, other) = line().unwrap();
        send(other.as_fd(), What::Connection, 1, &[], None).unwrap();
        send(one.as_fd(), What::Update, 0, &["/bin/next".to_owned()], None).unwrap();
        drop(one);
        let note = receive(other.as_fd(), false).unwrap().unwrap();
        assert_eq!((note.what, &note.words[..]), (What::Update, &["/bin/next".to_owned()][..]));
        assert_eq!(receive(other.as_fd(), false).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
