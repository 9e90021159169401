//! PCI configuration space: decoding accesses to it, and the registers of a function that are virtualised for a guest.
//!
//! What a guest writes to BARs, MSI and MSI-X is kept here and read back from here; the hypervisor programs the device
//! itself. **Source:** PCI Local Bus specification 3.0; PCI Express base specification 3.0, 7.2.2.

mod access;
mod bar;
mod capability;
mod command;
mod ecam;
mod msi;
mod msix;
mod ports;

pub use access::{ConfigAccess, PciAddress};
pub use bar::{Bar, BarKind, Bars};
pub use capability::{Capability, capabilities};
pub use command::{Command, MemoryRange};
pub use ecam::Ecam;
pub use msi::Msi;
pub use msix::MsiX;
pub use ports::{ConfigPorts, PortUse};
