//! What can be wrong with the tables of a boot loader, each with a name of its own.

use core::fmt;

use crate::range::MachineRange;

/// Which table a fault is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// The protocol's main structure.
    Information,
    /// The hypervisor's command line.
    CommandLine,
    /// The boot loader's name.
    LoaderName,
    /// The list of modules.
    Modules,
    /// The command line of a module.
    ModuleCommandLine,
    /// The memory map.
    MemoryMap,
    /// The firmware's ACPI tables.
    Acpi,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Information => "boot information",
            Self::CommandLine => "command line",
            Self::LoaderName => "boot loader name",
            Self::Modules => "module list",
            Self::ModuleCommandLine => "module command line",
            Self::MemoryMap => "memory map",
            Self::Acpi => "ACPI tables",
        })
    }
}

/// Why the machine cannot be started from what the boot loader passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootFault {
    /// No protocol has this magic number.
    UnknownLoader {
        /// What stood where the magic number belongs.
        magic: u32,
    },
    /// The structure does not start with its own magic number, or its size is nonsense.
    BadStructure {
        /// Which one.
        table: Table,
        /// Where it lies.
        address: u64,
    },
    /// A pointer leads to memory that cannot be read.
    Unreadable {
        /// Which table the pointer leads to.
        table: Table,
        /// Where it leads.
        address: u64,
    },
    /// A table has more entries than there is room for.
    TooManyEntries {
        /// Which one.
        table: Table,
        /// How many there is room for.
        limit: usize,
    },
    /// A text is longer than there is room for.
    TextTooLong {
        /// Which one.
        table: Table,
        /// Where it starts.
        address: u64,
    },
    /// An entry describes no bytes at all.
    ZeroLength {
        /// In which table.
        table: Table,
        /// Its place in the table, from 0.
        index: usize,
        /// Where it would start.
        start: u64,
    },
    /// An entry runs past the end of the address space, or ends before it starts.
    WrapAround {
        /// In which table.
        table: Table,
        /// Its place in the table, from 0.
        index: usize,
        /// Where it starts.
        start: u64,
    },
    /// The loader passed no memory map.
    NoMemoryMap,
    /// The memory map holds no RAM.
    NoRam,
    /// No piece of RAM is large enough for what the hypervisor needs.
    TooLittleRam,
    /// Two entries of the memory map claim the same bytes.
    MapOverlap {
        /// The one that starts first.
        first: MachineRange,
        /// The one that starts inside it.
        second: MachineRange,
    },
    /// Two modules lie on each other.
    ModuleOverlap {
        /// The place of one in the list.
        first: usize,
        /// The place of the other.
        second: usize,
    },
    /// A module lies, in part or whole, where the map has no RAM.
    ModuleOutsideRam {
        /// Its place in the list.
        index: usize,
        /// Where it lies.
        range: MachineRange,
    },
    /// A module lies on the hypervisor's own image.
    ModuleOnImage {
        /// Its place in the list.
        index: usize,
        /// Where it lies.
        range: MachineRange,
        /// Where the image lies.
        image: MachineRange,
    },
    /// The image itself lies where the map has no RAM.
    ImageOutsideRam {
        /// Where the image lies.
        image: MachineRange,
    },
}

impl fmt::Display for BootFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UnknownLoader { magic } => write!(f, "started by an unknown boot protocol (magic {magic:#010x})"),
            Self::BadStructure { table, address } => write!(f, "malformed {table} at {address:#x}"),
            Self::Unreadable { table, address } => write!(f, "{table} at {address:#x} cannot be read"),
            Self::TooManyEntries { table, limit } => write!(f, "{table} has more than {limit} entries"),
            Self::TextTooLong { table, address } => write!(f, "{table} at {address:#x} is too long"),
            Self::ZeroLength { table, index, start } => {
                write!(f, "entry {index} of the {table} has zero length (at {start:#x})")
            }
            Self::WrapAround { table, index, start } => {
                write!(f, "entry {index} of the {table} wraps around the address space (from {start:#x})")
            }
            Self::NoMemoryMap => f.write_str("the boot loader passed no memory map"),
            Self::NoRam => f.write_str("the memory map holds no RAM"),
            Self::TooLittleRam => f.write_str("the machine has too little RAM for the hypervisor; give it more"),
            Self::MapOverlap { first, second } => write!(f, "memory map entries {first} and {second} overlap"),
            Self::ModuleOverlap { first, second } => write!(f, "modules {first} and {second} overlap"),
            Self::ModuleOutsideRam { index, range } => {
                write!(
                    f,
                    "module {index} at {range} lies outside RAM: the boot loader put it there, or mem= leaves it out"
                )
            }
            Self::ModuleOnImage { index, range, image } => {
                write!(f, "module {index} at {range} lies on top of the hypervisor's image at {image}")
            }
            Self::ImageOutsideRam { image } => write!(f, "the hypervisor's image at {image} lies outside RAM"),
        }
    }
}

impl core::error::Error for BootFault {}
