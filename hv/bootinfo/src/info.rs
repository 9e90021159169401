//! Boot information, in the one form that every boot protocol is read into.

use arrayvec::{ArrayString, ArrayVec};

use crate::fault::{BootFault, Table};
use crate::memory_map::MemoryMap;
use crate::physical::PhysicalMemory;
use crate::range::MachineRange;

/// The most modules that a loader may pass.
const MODULES: usize = 16;
/// The room for all texts together, in bytes.
const TEXT: usize = 8192;

/// The protocol that the hypervisor was started by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Multiboot 0.6.96.
    Multiboot1,
    /// Multiboot2.
    Multiboot2,
    /// Xen's PVH entry.
    Pvh,
}

/// The kind of boot loader, as far as it changes what the command lines mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loader {
    /// Puts the file's name before each command line.
    NamesTheFile,
    /// Passes the arguments alone.
    ArgumentsOnly,
    /// Not known to do either.
    Unknown,
}

/// Where the firmware's ACPI root pointer (RSDP) is. **Source:** ACPI 6.5, 5.2.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RsdpSource {
    /// At this machine address.
    At(u64),
    /// The loader copied it; the first 20 bytes count for revision 0, all 36 for later ones.
    Copy([u8; 36]),
}

/// A linear framebuffer that the loader left on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framebuffer {
    /// Its machine address.
    pub address: u64,
    /// Bytes from one line to the next.
    pub pitch: u32,
    /// Width in pixels; of a text screen in characters.
    pub width: u32,
    /// Height in pixels; of a text screen in lines.
    pub height: u32,
    /// Bits of a pixel.
    pub bits_per_pixel: u8,
    /// Its kind: 0 indexed, 1 RGB, 2 EGA text. **Source:** Multiboot2 specification 2.0, 3.6.12.
    pub kind: u8,
}

/// A range of [`BootInfo`]'s text, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TextSpan {
    start: usize,
    end: usize,
}

/// A file that the boot loader put into memory: dom0's kernel is the first, its initial RAM disk the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module {
    /// Where its bytes lie.
    pub range: MachineRange,
    command_line: TextSpan,
}

/// All that the boot loader said, copied out of its memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootInfo {
    /// The protocol it came by.
    pub protocol: Protocol,
    /// The memory map.
    pub memory: MemoryMap,
    /// The ACPI root, where the protocol passes one.
    pub rsdp: Option<RsdpSource>,
    /// The framebuffer, where the loader left one on.
    pub framebuffer: Option<Framebuffer>,
    /// The machine address of EFI's system table; none on BIOS.
    pub efi_system_table: Option<u64>,
    pub(crate) modules: ArrayVec<Module, MODULES>,
    pub(crate) command_line: TextSpan,
    pub(crate) loader_name: TextSpan,
    text: ArrayString<TEXT>,
}

impl BootInfo {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            memory: MemoryMap::new(),
            rsdp: None,
            framebuffer: None,
            efi_system_table: None,
            modules: ArrayVec::new(),
            command_line: TextSpan::default(),
            loader_name: TextSpan::default(),
            text: ArrayString::new(),
        }
    }

    /// Copies the text at `address` (at most `limit` bytes) into the store.
    pub(crate) fn copy_text(
        &mut self,
        memory: &impl PhysicalMemory,
        table: Table,
        address: u64,
        limit: u64,
    ) -> Result<TextSpan, BootFault> {
        let start = self.text.len();
        memory.append_text(table, address, limit, &mut self.text)?;
        Ok(TextSpan { start, end: self.text.len() })
    }

    /// Adds a module of `start..end`.
    pub(crate) fn add_module(&mut self, start: u64, end: u64, command_line: TextSpan) -> Result<(), BootFault> {
        let index = self.modules.len();
        if start == end {
            return Err(BootFault::ZeroLength { table: Table::Modules, index, start });
        }
        let range =
            MachineRange::between(start, end).ok_or(BootFault::WrapAround { table: Table::Modules, index, start })?;
        self.modules
            .try_push(Module { range, command_line })
            .map_err(|_| BootFault::TooManyEntries { table: Table::Modules, limit: MODULES })
    }

    fn text(&self, span: TextSpan) -> &str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// Returns the boot loader's name, empty when it gave none.
    #[must_use]
    pub fn loader_name(&self) -> &str {
        self.text(self.loader_name)
    }

    /// Returns what the loader is known to do with command lines.
    #[must_use]
    pub fn loader(&self) -> Loader {
        let name = self.loader_name();
        if self.protocol == Protocol::Pvh || name.starts_with("GRUB 2") {
            Loader::ArgumentsOnly
        } else if name.starts_with("qemu") || name.starts_with("GNU GRUB 0") || name.starts_with("GRUB 0") {
            Loader::NamesTheFile
        } else {
            Loader::Unknown
        }
    }

    /// Returns the hypervisor's options, without the name of its file.
    #[must_use]
    pub fn command_line(&self) -> &str {
        without_file_name(self.loader(), self.text(self.command_line))
    }

    /// Returns the modules, in the loader's order.
    #[must_use]
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// Returns a module's arguments, without the name of its file.
    #[must_use]
    pub fn module_command_line(&self, module: &Module) -> &str {
        without_file_name(self.loader(), self.text(module.command_line))
    }
}

/// Removes the first word when it is the file's name and not an argument.
///
/// Some loaders put the name there always, some never, so the loader decides where it is known. Where it is not, a
/// first word that looks like a path and not like an option goes. GRUB's own script for Xen writes the word
/// `placeholder` first, for loaders that drop a word: it means nothing and goes too.
fn without_file_name(loader: Loader, line: &str) -> &str {
    let line = line.trim();
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    let is_name = match loader {
        Loader::NamesTheFile => true,
        Loader::ArgumentsOnly => first == "placeholder",
        Loader::Unknown => first == "placeholder" || (first.contains('/') && !first.contains('=')),
    };
    if is_name { rest.trim_start() } else { line }
}
