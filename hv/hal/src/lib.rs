//! What the core may ask of a machine: traits and plain types.
//!
//! The machine is a thing that the core calls; it never calls up. The core is generic over [`Machine`], so that the
//! real one (`hv/x86`) and the one made of vectors (`hv/fake`) run the same hypervisor.
//!
//! The traits are [`Machine`] (CPUs, time, console, power), [`Devices`] (PCI and interrupts of the machine),
//! [`GuestCpu`] (a vCPU: enter, exit, registers), [`NestedSpace`] (a domain's p2m) and [`FrameSource`] (its pool of
//! page-table pages). Guest memory is only ever seen as [`PageWords`]:
//!
//! ```
//! use xenolith_hal::PageWords;
//!
//! let page = PageWords::new();
//! assert_eq!(page.store_u32(8, 7), Some(()));
//! assert_eq!(page.load_u32(8), Some(7));
//! assert_eq!(page.fetch_or_u32(8, 8), Some(7));
//! assert_eq!(page.load_u32(6), None, "not aligned");
//! assert_eq!(page.load_u32(4096), None, "outside the page");
//! ```
#![no_std]
#![forbid(unsafe_code)]

mod address;
mod cpu;
mod devices;
mod event;
mod exit;
mod machine;
mod nested;
mod page;
mod registers;
mod time;

pub use address::{Gpa, Gva, Mpa, PAGE_SHIFT, PAGE_SIZE, PageOrder};
pub use cpu::{CpuId, CpuidRegisters, HostEvents};
pub use devices::{Devices, HostInterrupt, IoApicPlace, LineMode, MessageAddress, PciFunction};
pub use event::{EventInFlight, EventKind};
pub use exit::{Access, Exception, Exit, IoAccess, IoSize, vector};
pub use machine::{
    ConsoleInput, GuestCpu, HardwareMsr, InvalidState, LogLevel, Machine, PowerAction, RunControl, ShortAnswers,
    Unconfined,
};
pub use nested::{FrameSource, MapError, Mapping, NestedSpace, PageKind, Rights, WRITTEN_WORDS, mark};
pub use page::PageWords;
pub use registers::{CpuState, DescriptorTable, PagingRegisters, Registers, Segment, SegmentAttributes, SegmentName};
pub use time::{Time, TimeBase, WallClock};
pub use xen_abi::{DomId, Gfn, GrantHandle, GrantRef, Mfn, Port, VcpuId};
