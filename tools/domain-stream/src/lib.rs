//! The form in which `xl save` writes a domain without a device model, and in which `xl restore` reads it.
//!
//! It is three forms in one: `xl`'s header with the domain's configuration, libxl's records, and among these libxc's records:
//! the memory and the state. **Source:** Xen's `docs/specs/libxl-migration-stream.pandoc` (version 2) and
//! `docs/specs/libxc-migration-stream.pandoc` (version 3); the header of `xl` is that of files it wrote.
//!
//! A file is a claim: lengths are bounded before anything is allocated, and a record that is cut, doubled, missing or in
//! another form is an error that names it and says where it lies.
//!
//! ```
//! use domain_stream::{Item, Reader, Writer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut writer = Writer::begin(Vec::new(), b"{}\0")?;
//! writer.policy(&[], &[])?;
//! writer.pages(&[5], &[7; 4096])?;
//! writer.state(&Default::default(), b"context", &[(1, 0xfeffc)])?;
//! let file = writer.end()?;
//!
//! let mut reader = Reader::begin(&file[..])?;
//! assert_eq!(reader.config(), b"{}\0");
//! while let Some(item) = reader.next()? {
//!     if let Item::Pages(pages) = item {
//!         assert_eq!(pages.iter().next(), Some((5, Some(&[7; 4096][..]))));
//!     }
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod error;
mod form;
mod pages;
mod reader;
mod writer;

pub use error::{Cause, StreamError};
pub use form::Tsc;
pub use pages::Pages;
pub use reader::{Item, Reader};
pub use writer::Writer;

/// The most pages in one record.
pub const PAGES_MAX: usize = 1024;
