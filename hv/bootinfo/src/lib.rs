//! Boot information: reads what the boot loader and the firmware say about the machine, once, into one form.
//!
//! Three boot protocols (multiboot1, multiboot2, PVH) become one [`BootInfo`]; the command line as typed [`Options`];
//! the firmware's ACPI tables as far as a hypervisor needs them. All of it is parsed from bytes that [`PhysicalMemory`]
//! hands out, and none of those bytes is trusted: every fault has a name ([`BootFault`]), nothing panics.
//!
//! ```
//! use xenolith_bootinfo::{BootFault, ByteSlice, Dom0Amount, Options, Table, magic, parse};
//!
//! let mut complaints = Vec::new();
//! let options = Options::parse("dom0_mem=1G maxcpus=4 colour", &mut |one| complaints.push(one.to_string()));
//! assert_eq!(options.dom0_memory.amount, Some(Dom0Amount::Of { bytes: 1 << 30, percent: 0 }));
//! assert_eq!(options.max_cpus, Some(4));
//! assert_eq!(complaints, ["parameter \"colour\" unknown!"]);
//!
//! // A structure that lies where no memory is.
//! let memory = ByteSlice { base: 0, bytes: &[0; 64] };
//! let fault = BootFault::Unreadable { table: Table::Information, address: 0x9000 };
//! assert_eq!(parse(&memory, magic::MULTIBOOT2, 0x9000), Err(fault));
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::disallowed_macros,
        clippy::disallowed_methods,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

extern crate alloc;

pub mod acpi;
mod complaint;
mod fault;
mod info;
pub mod kernel_file;
mod memory_map;
mod memory_plan;
mod multiboot1;
mod multiboot2;
mod option_console;
mod option_dom0;
mod option_kinds;
mod option_machine;
mod option_names;
mod option_values;
mod option_word;
mod options;
mod physical;
mod pvh;
mod range;
mod validate;

pub use complaint::Complaint;
pub use fault::{BootFault, Table};
pub use info::{BootInfo, Framebuffer, Loader, Module, Protocol, RsdpSource};
pub use memory_map::{MAP_ENTRIES, MemoryKind, MemoryMap, MemoryRegion};
pub use memory_plan::{MemoryPlan, heap_bytes};
pub use option_kinds::{ConsoleTarget, CrashTest, Dom0Iommu, RebootMethod, Timestamps};
pub use option_values::{ComPort, Dom0Amount, Dom0Memory, GrantLimits, Thresholds, VcpuCount, parse_size};
pub use options::Options;
pub use physical::{ByteSlice, PhysicalMemory};
pub use range::MachineRange;
pub use validate::validate;

/// The magic number that the entry code gives for each protocol, in `eax` or in its place.
pub mod magic {
    /// Multiboot1 (its `eax`).
    pub const MULTIBOOT1: u32 = 0x2bad_b002;
    /// Multiboot2 (its `eax`).
    pub const MULTIBOOT2: u32 = 0x36d7_6289;
    /// PVH: the first word of `hvm_start_info`.
    pub const PVH: u32 = 0x336e_c578;
}

/// Reads what the boot loader left at `info`, in the protocol that `magic` names.
///
/// The result is normalised, not yet checked against the image: call [`validate`] next.
///
/// **Errors:** any [`BootFault`] but those about the image.
pub fn parse(memory: &impl PhysicalMemory, magic: u32, info: u64) -> Result<BootInfo, BootFault> {
    match magic {
        magic::MULTIBOOT1 => multiboot1::parse(memory, info),
        magic::MULTIBOOT2 => multiboot2::parse(memory, info),
        magic::PVH => pvh::parse(memory, info),
        _ => Err(BootFault::UnknownLoader { magic }),
    }
}
