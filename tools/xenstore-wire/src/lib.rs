//! The xenstore protocol: the messages between clients and the daemon, over a socket or a shared ring.
//!
//! All of it converts between bytes and values, within the protocol's limits; it does no input or output.
//!
//! ```
//! use xenstore_wire::{Assembler, Kind, Message};
//!
//! let request = Message::new(Kind::Read, 7, 0, b"/local/domain/0/name\0".to_vec());
//! let bytes = request.to_bytes();
//! let mut assembler = Assembler::new();
//! let (first, second) = bytes.split_at(9);
//! assert_eq!(assembler.push(first), Ok(9));
//! assert_eq!(assembler.push(second), Ok(second.len()));
//! assert_eq!(assembler.take(), Some(request));
//! ```
//!
//! **Source:** `io/xs_wire.h`, `docs/misc/xenstore.txt`.
#![forbid(unsafe_code)]

mod body;
mod error_name;
mod kind;
mod message;
mod path;
mod permission;

pub use body::Strings;
pub use error_name::ErrorName;
pub use kind::Kind;
pub use message::{Assembler, HEADER, Header, Malformed, Message, PAYLOAD_MAX};
pub use path::{ABSOLUTE_MAX, BadPath, RELATIVE_MAX, StorePath};
pub use permission::{Access, Permission};
