//! The commands of PV Calls, checked: what a front end asks for is a command that there is, with an address that is one.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use xen_abi::io::pvcalls::{
    PVCALLS_ACCEPT, PVCALLS_BIND, PVCALLS_CONNECT, PVCALLS_LISTEN, PVCALLS_NOT_SUPPORTED, PVCALLS_POLL,
    PVCALLS_RELEASE, PVCALLS_SOCKET, PvcallsRequest, PvcallsResponse,
};

/// Numbers of Linux's: IPv4, streams, TCP.
const IPV4: u16 = 2;
const STREAM: u32 = 1;
const TCP: u32 = 6;
/// Bytes of an IPv4 address with its port, as Linux lays it out.
const IPV4_BYTES: u32 = 16;
/// Error numbers of Linux's: invalid argument, address family not supported.
const INVALID: i32 = -22;
const NO_FAMILY: i32 = -97;

/// The name that the front end chose for a socket: opaque, and repeated as it is.
pub type SocketId = u64;

/// The data rings of a connection, as the front end offers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRings {
    /// The reference of the page of indexes.
    pub grant: u32,
    /// The front end's event channel.
    pub port: u32,
}

/// A command that can be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Makes a TCP socket.
    Socket { id: SocketId },
    /// Connects it.
    Connect { id: SocketId, to: SocketAddrV4, rings: DataRings },
    /// Lets go of it; `reuse`: the mappings of its rings may serve another.
    Release { id: SocketId, reuse: bool },
    /// Gives it an address.
    Bind { id: SocketId, at: SocketAddrV4 },
    /// Waits for connections.
    Listen { id: SocketId, backlog: u32 },
    /// Takes a connection, which is called `new`.
    Accept { id: SocketId, new: SocketId, rings: DataRings },
    /// Asks to be told when there is a connection to take.
    Poll { id: SocketId },
}

/// Why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// A command that is not offered.
    Unknown(u32),
    /// An address of another family, or a socket that is no TCP socket over IPv4.
    Family { domain: u32, kind: u32, protocol: u32 },
    /// An address of another length.
    Address { bytes: u32 },
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(command) => write!(f, "command {command} is not offered"),
            Self::Family { domain, kind, protocol } => {
                write!(f, "family {domain}, type {kind}, protocol {protocol} are not TCP over IPv4")
            }
            Self::Address { bytes } => write!(f, "{bytes} bytes are no address of IPv4"),
        }
    }
}

impl std::error::Error for CommandError {}

impl CommandError {
    /// Returns the error number that the front end is to be told.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Unknown(_) => PVCALLS_NOT_SUPPORTED,
            Self::Family { .. } => NO_FAMILY,
            Self::Address { .. } => INVALID,
        }
    }
}

impl Command {
    /// Checks a command, of which a copy was taken.
    ///
    /// **Errors:** [`CommandError`]; [`answer`] with its number is what the front end is to be told.
    pub fn check(request: &PvcallsRequest) -> Result<Self, CommandError> {
        match request.cmd {
            PVCALLS_SOCKET => {
                let told = request.socket();
                let (domain, kind, protocol) = (told.domain, told.kind, told.protocol);
                if domain == u32::from(IPV4) && kind == STREAM && matches!(protocol, 0 | TCP) {
                    return Ok(Self::Socket { id: told.id });
                }
                Err(CommandError::Family { domain, kind, protocol })
            }
            PVCALLS_CONNECT => {
                let told = request.connect();
                let rings = DataRings { grant: told.gref.0, port: told.evtchn };
                Ok(Self::Connect { id: told.id, to: address(&told.addr, told.len)?, rings })
            }
            PVCALLS_RELEASE => Ok(Self::Release { id: request.release().id, reuse: request.release().reuse != 0 }),
            PVCALLS_BIND => {
                let told = request.bind();
                Ok(Self::Bind { id: told.id, at: address(&told.addr, told.len)? })
            }
            PVCALLS_LISTEN => Ok(Self::Listen { id: request.listen().id, backlog: request.listen().backlog }),
            PVCALLS_ACCEPT => {
                let told = request.accept();
                let rings = DataRings { grant: told.gref.0, port: told.evtchn };
                Ok(Self::Accept { id: told.id, new: told.id_new, rings })
            }
            PVCALLS_POLL => Ok(Self::Poll { id: request.poll().id }),
            other => Err(CommandError::Unknown(other)),
        }
    }
}

fn address(bytes: &[u8; 28], length: u32) -> Result<SocketAddrV4, CommandError> {
    // Linux's own front end tells the length of what the program passed, which may be longer than the family needs.
    let [f0, f1, p0, p1, a, b, c, d, ..] = *bytes;
    if length < IPV4_BYTES || usize::try_from(length).is_ok_and(|length| length > bytes.len()) {
        return Err(CommandError::Address { bytes: length });
    }
    match u16::from_le_bytes([f0, f1]) {
        IPV4 => Ok(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([p0, p1]))),
        other => Err(CommandError::Family { domain: other.into(), kind: STREAM, protocol: 0 }),
    }
}

/// Returns the answer to a request. Every command begins with the socket that it is about, also one that is unknown.
#[must_use]
pub fn answer(request: &PvcallsRequest, ret: i32) -> PvcallsResponse {
    let PvcallsRequest { req_id, cmd, .. } = *request;
    PvcallsResponse { req_id, cmd, ret, id: request.poll().id, ..PvcallsResponse::default() }
}
