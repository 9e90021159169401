//! The memory type range registers (MTRRs) of a vCPU: kept for the guest to read back. Nested paging on AMD takes
//! memory types from the guest's PAT and the nested tables, so they have no effect.

use super::number::{
    MTRR_CAP, MTRR_DEFAULT_TYPE, MTRR_FIXED_4K, MTRR_FIXED_4K_LAST, MTRR_FIXED_16K_80000, MTRR_FIXED_16K_A0000,
    MTRR_FIXED_64K, MTRR_VARIABLE, MTRR_VARIABLE_LAST,
};
use crate::GeneralProtection;

/// Variable ranges: 8 pairs of base and mask.
pub const VARIABLE_REGISTERS: usize = 16;
/// Fixed ranges: one register of 64 KiB ranges, two of 16 KiB, eight of 4 KiB.
pub const FIXED_REGISTERS: usize = 11;

/// Eight variable ranges, fixed ranges, write-combining.
const CAPABILITIES: u64 = 0x508;
/// Type, fixed ranges on, all on.
const DEFAULT_TYPE_BITS: u64 = 0xcff;
const BASE_RESERVED: u64 = 0xf00;
const MASK_RESERVED: u64 = 0x7ff;

/// The registers of one vCPU. **Source:** AMD manual volume 2, 7.7.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mtrr {
    default_type: u64,
    fixed: [u64; FIXED_REGISTERS],
    variable: [u64; VARIABLE_REGISTERS],
}

/// Returns whether it is a memory type: uncacheable, write-combining, write-through, write-protected or write-back.
const fn is_type(value: u8) -> bool {
    matches!(value, 0 | 1 | 4 | 5 | 6)
}

/// The register behind an MSR.
enum Place {
    Capabilities,
    DefaultType,
    Fixed(usize),
    Variable(usize),
}

#[expect(clippy::arithmetic_side_effects, reason = "from the first register of a range that has it")]
fn place(msr: u32) -> Option<Place> {
    Some(match msr {
        MTRR_CAP => Place::Capabilities,
        MTRR_DEFAULT_TYPE => Place::DefaultType,
        MTRR_FIXED_64K => Place::Fixed(0),
        MTRR_FIXED_16K_80000 => Place::Fixed(1),
        MTRR_FIXED_16K_A0000 => Place::Fixed(2),
        MTRR_FIXED_4K..=MTRR_FIXED_4K_LAST => Place::Fixed((msr - MTRR_FIXED_4K) as usize + 3),
        MTRR_VARIABLE..=MTRR_VARIABLE_LAST => Place::Variable((msr - MTRR_VARIABLE) as usize),
        _ => return None,
    })
}

impl Mtrr {
    /// Builds the control domain's registers from the machine's: `read` returns an MSR of the machine. Values that a
    /// guest could not have written become 0.
    #[must_use]
    pub fn of_machine(read: impl Fn(u32) -> u64, address_bits: u32) -> Self {
        let mut mtrr = Self::default();
        let fixed = [MTRR_FIXED_64K, MTRR_FIXED_16K_80000, MTRR_FIXED_16K_A0000];
        let ranges = (MTRR_FIXED_4K..=MTRR_FIXED_4K_LAST).chain(MTRR_VARIABLE..=MTRR_VARIABLE_LAST);
        for msr in fixed.into_iter().chain(ranges).chain([MTRR_DEFAULT_TYPE]) {
            let _ = mtrr.write(msr, read(msr), address_bits);
        }
        mtrr
    }

    /// Returns whether an MSR is one of these registers.
    #[must_use]
    pub fn has(msr: u32) -> bool {
        place(msr).is_some()
    }

    /// Reads a register.
    ///
    /// **Errors:** a general protection fault for an MSR that is none of these.
    pub fn read(&self, msr: u32) -> Result<u64, GeneralProtection> {
        let value = match place(msr).ok_or(GeneralProtection)? {
            Place::Capabilities => Some(&CAPABILITIES),
            Place::DefaultType => Some(&self.default_type),
            Place::Fixed(index) => self.fixed.get(index),
            Place::Variable(index) => self.variable.get(index),
        };
        value.copied().ok_or(GeneralProtection)
    }

    /// Writes a register. `address_bits` is the width of the guest's physical addresses.
    ///
    /// **Errors:** a general protection fault for a memory type that does not exist, a reserved bit, the register of
    /// capabilities, and an MSR that is none of these.
    pub fn write(&mut self, msr: u32, value: u64, address_bits: u32) -> Result<(), GeneralProtection> {
        let too_high = u64::MAX.checked_shl(address_bits).unwrap_or(0);
        let low_type = is_type(value as u8);
        let (slot, valid) = match place(msr).ok_or(GeneralProtection)? {
            Place::Capabilities => return Err(GeneralProtection),
            Place::DefaultType => (Some(&mut self.default_type), low_type && value & !DEFAULT_TYPE_BITS == 0),
            Place::Fixed(index) => (self.fixed.get_mut(index), value.to_le_bytes().into_iter().all(is_type)),
            Place::Variable(index) if index % 2 == 0 => {
                (self.variable.get_mut(index), low_type && value & (too_high | BASE_RESERVED) == 0)
            }
            Place::Variable(index) => (self.variable.get_mut(index), value & (too_high | MASK_RESERVED) == 0),
        };
        let slot = slot.filter(|_| valid).ok_or(GeneralProtection)?;
        *slot = value;
        Ok(())
    }

    /// Returns default type and enables, fixed registers, and variable registers (base and mask in turn), as a saved
    /// domain holds them.
    #[must_use]
    pub const fn registers(&self) -> (u64, &[u64; FIXED_REGISTERS], &[u64; VARIABLE_REGISTERS]) {
        (self.default_type, &self.fixed, &self.variable)
    }
}
