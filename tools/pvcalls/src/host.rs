//! What the engine asks of the machine around it: the guest's memory and events, and the host's sockets.

use std::net::{Ipv4Addr, SocketAddrV4};

use rings::Shared;
use rustix::io::Errno;

/// The engine's name for a socket; none is used twice.
pub type Token = u64;

/// The guest, as far as its back end reaches it.
pub trait Guest {
    /// Pages of the guest; unmapped when the value is dropped.
    type Memory: Shared;

    /// Maps granted pages one after another.
    ///
    /// **Errors:** the guest has not granted them; there is no memory.
    fn map(&mut self, grants: &[u32]) -> Result<Self::Memory, Errno>;

    /// Binds to an event channel that the guest offers, and returns the local port.
    ///
    /// **Errors:** it offers no such port.
    fn bind(&mut self, port: u32) -> Result<u32, Errno>;

    /// Closes a local port.
    fn unbind(&mut self, port: u32);

    /// Sends an event through a local port.
    fn notify(&mut self, port: u32);
}

/// The host's sockets. None of the calls waits.
pub trait Sockets {
    /// An open socket, closed when the value is dropped.
    type Socket;

    /// Returns whether an address is one of the host's own.
    fn is_own(&mut self, address: Ipv4Addr) -> bool;

    /// Begins to connect. Events of the socket carry `token` from now on. Returns also whether it is connected already.
    ///
    /// **Errors:** those of `connect`, but not `EINPROGRESS`.
    fn connect(&mut self, token: Token, to: SocketAddrV4) -> Result<(Self::Socket, bool), Errno>;

    /// Returns whether a socket that began to connect is connected now.
    ///
    /// **Errors:** it will never be; why.
    fn outcome(&mut self, socket: &Self::Socket) -> Result<bool, Errno>;

    /// Makes a socket with an address. An address on which another socket listens is refused.
    ///
    /// **Errors:** those of `bind`.
    fn bind(&mut self, at: SocketAddrV4) -> Result<Self::Socket, Errno>;

    /// Lets a socket listen, or changes how many connections may wait. Its events carry `token`.
    ///
    /// **Errors:** those of `listen`.
    fn listen(&mut self, token: Token, socket: &Self::Socket, backlog: u32) -> Result<(), Errno>;

    /// Returns whether there is a connection to take.
    fn has_waiting(&mut self, socket: &Self::Socket) -> bool;

    /// Takes a connection, whose events carry `token`, with its peer; None if there is none.
    ///
    /// **Errors:** those of `accept`, but not those of a connection that is gone already.
    fn accept(&mut self, socket: &Self::Socket, token: Token) -> Result<Option<(Self::Socket, SocketAddrV4)>, Errno>;

    /// Sends bytes, and returns how many; None if there is no room.
    ///
    /// **Errors:** those of `send`.
    fn send(&mut self, socket: &Self::Socket, bytes: &[u8]) -> Result<Option<usize>, Errno>;

    /// Receives bytes, and returns how many, 0 at the end of the stream; None if nothing has arrived.
    ///
    /// **Errors:** those of `recv`.
    fn receive(&mut self, socket: &Self::Socket, bytes: &mut [u8]) -> Result<Option<usize>, Errno>;
}

/// What a socket may have come to be able to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// There may be bytes, an end, an error or a connection to take.
    pub readable: bool,
    /// There may be room, or a connection was made or failed.
    pub writable: bool,
}
