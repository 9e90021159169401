//! The host's TCP sockets, and epoll.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use crate::{Readiness, Sockets, Token};

/// Events that are taken at once.
const EVENTS: usize = 256;

/// TCP sockets whose events are taken by one epoll descriptor. Each event is told once (edge-triggered).
pub struct Tcp {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Tcp {
    /// Makes the epoll descriptor.
    ///
    /// **Errors:** those of `epoll_create1`.
    pub fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS) })
    }

    /// Waits for events, at most for `limit`, or without a limit, and returns them.
    ///
    /// **Errors:** those of `epoll_wait`, but not `EINTR`.
    pub fn wait(&mut self, limit: Option<Timespec>) -> Result<Vec<(Token, Readiness)>, Errno> {
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let told = self.events.iter().map(|event| {
            let flags = event.flags;
            let ended = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
            let readable = ended || flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP);
            let writable = ended || flags.contains(epoll::EventFlags::OUT);
            (event.data.u64(), Readiness { readable, writable })
        });
        Ok(told.collect())
    }

    fn add(&self, socket: &OwnedFd, token: Token) -> Result<(), Errno> {
        use epoll::EventFlags as Flags;
        let flags = Flags::IN | Flags::OUT | Flags::RDHUP | Flags::ET;
        epoll::add(&self.epoll, socket, epoll::EventData::new_u64(token), flags)
    }
}

fn socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
}

/// What a guest puts into its ring together goes out together; it has no way to ask for more delay.
fn send_at_once(socket: &OwnedFd) {
    // Without it, it is only slower.
    let _ = sockopt::set_tcp_nodelay(socket, true);
}

impl Sockets for Tcp {
    type Socket = OwnedFd;

    fn is_own(&mut self, address: Ipv4Addr) -> bool {
        // Addresses come and go; Linux lets a socket have its own alone. Where that cannot be found out, it counts as one.
        let flags = SocketFlags::CLOEXEC;
        let Ok(socket) = net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None) else { return true };
        !matches!(net::bind(&socket, &SocketAddrV4::new(address, 0)), Err(Errno::ADDRNOTAVAIL))
    }

    fn connect(&mut self, token: Token, to: SocketAddrV4) -> Result<(OwnedFd, bool), Errno> {
        let socket = socket()?;
        send_at_once(&socket);
        let connected = match net::connect(&socket, &to) {
            Ok(()) => true,
            Err(Errno::INPROGRESS) => false,
            Err(error) => return Err(error),
        };
        self.add(&socket, token)?;
        Ok((socket, connected))
    }

    fn outcome(&mut self, socket: &OwnedFd) -> Result<bool, Errno> {
        sockopt::socket_error(socket)??;
        match net::getpeername(socket) {
            Ok(_) => Ok(true),
            Err(Errno::NOTCONN) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn bind(&mut self, at: SocketAddrV4) -> Result<OwnedFd, Errno> {
        let socket = socket()?;
        // Only for connections that linger after their end: where another socket listens, Linux refuses it all the same.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        net::bind(&socket, &at)?;
        Ok(socket)
    }

    fn listen(&mut self, token: Token, socket: &OwnedFd, backlog: u32) -> Result<(), Errno> {
        net::listen(socket, i32::try_from(backlog).unwrap_or(i32::MAX))?;
        match self.add(socket, token) {
            Err(Errno::EXIST) => Ok(()),
            outcome => outcome,
        }
    }

    fn has_waiting(&mut self, socket: &OwnedFd) -> bool {
        let mut polled = [PollFd::new(socket, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec::default())).is_ok_and(|count| count > 0)
    }

    fn accept(&mut self, socket: &OwnedFd, token: Token) -> Result<Option<(OwnedFd, SocketAddrV4)>, Errno> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match net::acceptfrom_with(socket, flags) {
                Ok((socket, peer)) => {
                    send_at_once(&socket);
                    self.add(&socket, token)?;
                    let unnamed = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
                    let peer = peer.and_then(|peer| SocketAddrV4::try_from(peer).ok());
                    return Ok(Some((socket, peer.unwrap_or(unnamed))));
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                // What befell one connection is no matter of the next.
                Err(Errno::CONNABORTED | Errno::PROTO | Errno::NETDOWN | Errno::NETUNREACH | Errno::HOSTUNREACH) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&mut self, socket: &OwnedFd, bytes: &[u8]) -> Result<Option<usize>, Errno> {
        match net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(count) => Ok(Some(count)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn receive(&mut self, socket: &OwnedFd, bytes: &mut [u8]) -> Result<Option<usize>, Errno> {
        match net::recv(socket, bytes, RecvFlags::DONTWAIT) {
            Ok((count, _)) => Ok(Some(count)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The descriptor that becomes readable when events wait.
impl AsFd for Tcp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
