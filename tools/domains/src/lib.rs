//! PVH domains without libxl: made, ended, and cleaned up after a toolstack that was killed.
//!
//! A domain that is made here has the nodes and files of one that `xl` makes, so `xl list`, `xl console`, `xl pause` and
//! `xl destroy` take it for one of theirs. What is asked of the hypervisor, of xenstore and of Linux stands behind
//! traits ([`Hypervisor`], [`Registry`], [`Host`]), so all of it is tested without any of them.
//!
//! ```no_run
//! use domains::{Config, Linux, NamedFile, Places, Tools, Uuid};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kernel = NamedFile { path: "/boot/vmlinuz".into(), bytes: std::fs::read("/boot/vmlinuz")? };
//! let config = Config {
//!     name: "web".into(),
//!     uuid: Uuid::random()?,
//!     memory_mib: 256,
//!     vcpus: 1,
//!     kernel,
//!     ramdisk: None,
//!     command_line: "console=hvc0".into(),
//!     tsc: domains::TscMode::Default,
//!     disks: Vec::new(),
//!     cards: Vec::new(),
//! };
//! let mut tools = Tools {
//!     hypervisor: &hypervisor_access::Hypercalls::open()?,
//!     registry: &mut xenstore::Store::connect()?,
//!     host: &Linux,
//!     places: &Places::default(),
//! };
//! println!("it is domain {}", tools.create(&config, false)?.domain);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unreachable, clippy::unwrap_used)
)]

mod acpi;
mod config;
mod create;
mod destroy;
mod devices;
mod doctor;
mod error;
mod host;
mod hypervisor;
mod kernel;
mod layout;
mod names;
mod nodes;
mod policy;
mod records;
mod registers;
mod registry;
mod restore;
mod save;
mod start_info;
mod uuid;

pub use config::{Config, NamedFile, TscMode, VCPUS_MAX};
pub use create::{Created, Tools};
pub use destroy::destroy;
pub use devices::{Card, Disk, Place};
pub use doctor::{Finding, examine, unnamed};
pub use error::{Error, Step};
pub use host::{Host, Linux};
pub use hypervisor::Hypervisor;
pub use kernel::{Kernel, KernelError, Segment};
pub use nodes::{Node, Nodes};
pub use records::{Interrupted, Places, Record, interrupted};
pub use registry::{DOMAINS, Registry, RegistryError, named};
pub use save::save;
pub use uuid::Uuid;
