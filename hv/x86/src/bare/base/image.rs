//! The sections of the image: the symbols of the linker script.

use xenolith_bootinfo::MachineRange;

use crate::plain::layout::KERNEL_BASE;

// Only the addresses mean anything.
#[allow(improper_ctypes, reason = "nothing is passed: the symbols have no type")]
unsafe extern "C" {
    static image_load_start: ();
    static image_bss_end: ();
    static image_text_start: ();
    static image_text_end: ();
    static image_rodata_start: ();
    static image_rodata_end: ();
    static image_data_start: ();
    static image_data_end: ();
    static boot_stack_start: ();
    static boot_stack_end: ();
    static symbol_table_start: u8;
    static symbol_table_end: u8;
}

/// A range of link addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkRange {
    /// The first byte.
    pub start: u64,
    /// The byte after the last.
    pub end: u64,
}

impl LinkRange {
    fn between(start: *const (), end: *const ()) -> Self {
        Self { start: start as u64, end: end as u64 }
    }

    /// Returns true if the address lies in the range.
    #[must_use]
    pub const fn holds(self, address: u64) -> bool {
        self.start <= address && address < self.end
    }

    /// Returns the machine addresses of the range.
    #[must_use]
    pub fn loaded(self) -> MachineRange {
        MachineRange { start: self.start.wrapping_sub(KERNEL_BASE), end: self.end.wrapping_sub(KERNEL_BASE) }
    }
}

/// Returns the whole image as loaded, bss included.
#[must_use]
pub fn loaded() -> MachineRange {
    let (start, end) = (&raw const image_load_start, &raw const image_bss_end);
    MachineRange { start: start as u64, end: end as u64 }
}

/// Returns the code section (.text).
#[must_use]
pub fn text() -> LinkRange {
    LinkRange::between(&raw const image_text_start, &raw const image_text_end)
}

/// Returns the constants (.rodata).
#[must_use]
pub fn rodata() -> LinkRange {
    LinkRange::between(&raw const image_rodata_start, &raw const image_rodata_end)
}

/// Returns the variables (.data, .bss).
#[must_use]
pub fn data() -> LinkRange {
    LinkRange::between(&raw const image_data_start, &raw const image_data_end)
}

/// Returns the stack that the boot CPU starts on.
#[must_use]
pub fn boot_stack() -> LinkRange {
    LinkRange::between(&raw const boot_stack_start, &raw const boot_stack_end)
}

/// Returns the symbol table, as the build has filled it in.
#[must_use]
pub fn symbol_table() -> &'static [u8] {
    let (start, end) = (&raw const symbol_table_start, &raw const symbol_table_end);
    // SAFETY: the two symbols enclose one object in read-only memory of the image, which nobody ever writes while it
    // runs; it is defined in assembly, so the compiler knows nothing about its bytes.
    unsafe { core::slice::from_raw_parts(start, (end as usize).saturating_sub(start as usize)) }
}
