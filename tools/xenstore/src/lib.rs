//! A client of xenstore, over the daemon's socket in dom0 or the kernel's device in any domain.
//!
//! ```no_run
//! use xenstore::{Error, Store, StorePath};
//!
//! # fn main() -> Result<(), Error> {
//! let mut store = Store::connect()?;
//! let domain = StorePath::of_domain(5);
//! println!("it is called {}", store.read_text(&domain.child("name")?)?);
//!
//! // Both nodes are written, or none; it is tried again while others get in the way.
//! store.transaction(|transaction| {
//!     let memory = domain.child("memory")?;
//!     let target: u64 = transaction.read_text(&memory.child("target")?)?.parse().unwrap_or(0);
//!     transaction.write(&memory.child("target")?, (target / 2).to_string().as_bytes())?;
//!     transaction.write(&memory.child("videoram")?, b"0")
//! })?;
//!
//! // What happens below the domain's directory from now on; the first event comes at once.
//! store.watch(domain.as_str(), "mine")?;
//! while let Some(event) = store.next_event(None)? {
//!     println!("{} changed", event.path);
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod error;
mod requests;
mod store;
mod transaction;

pub use error::Error;
pub use store::{Event, Store};
pub use transaction::{NewNode, Transaction};
pub use xenstore_wire::{Access, BadPath, ErrorName, Permission, StorePath};

/// The examples of the document, which are compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/control-plane.md")]
struct Document;
