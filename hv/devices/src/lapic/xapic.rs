//! xAPIC mode: registers in a page of guest physical memory.

use xenolith_hal::{Gpa, TimeBase};

use super::register::Register;
use super::{Effect, Lapic};

/// The page of the registers after reset.
pub const PAGE: Gpa = Gpa(0xfee0_0000);

/// Returns ones in the bytes that an access covers, the lowest ones.
const fn covered(bytes: u32) -> u32 {
    match bytes {
        0 => 0,
        1 => 0xff,
        2 => 0xffff,
        3 => 0xff_ffff,
        _ => u32::MAX,
    }
}

/// Returns by how many bits an access is shifted from the start of its register.
const fn shift(offset: u32) -> u32 {
    (offset & 3) << 3
}

/// Clears the part of `value` that the access does not cover and shifts it into its place in the register.
const fn part(value: u32, shift: u32, bytes: u32) -> (u32, u32) {
    let mask = covered(bytes);
    (mask << shift, (value & mask) << shift)
}

impl Lapic {
    /// Reads `bytes` (1, 2 or 4) at an offset of the page. All ones while the page is disabled (off or x2APIC mode), 0
    /// where no register is.
    #[must_use]
    pub fn read_page(&self, offset: u32, bytes: u32, now: TimeBase) -> u32 {
        let mask = covered(bytes);
        if !self.is_xapic() {
            return mask;
        }
        match Register::at(offset & !3) {
            Some(register) => (self.read_register(register, now) >> shift(offset)) & mask,
            None => 0,
        }
    }

    /// Writes `bytes` (1, 2 or 4) at an offset of the page. Writes where no register is, or while the page is disabled,
    /// are dropped; one narrower than a register leaves the rest of it unchanged.
    pub fn write_page(&mut self, offset: u32, bytes: u32, value: u32, now: TimeBase) -> Effect {
        if !self.is_xapic() {
            return Effect::None;
        }
        let Some(register) = Register::at(offset & !3) else { return Effect::None };
        let (mask, placed) = part(value, shift(offset), bytes);
        let whole = (self.read_register(register, now) & !mask) | placed;
        match register {
            Register::CommandHigh => self.write_register(register, whole & 0xff00_0000, now),
            // Only x2APICs have these.
            Register::SelfIpi | Register::CorrectedMachineCheck => Effect::None,
            _ => self.write_register(register, whole, now),
        }
    }
}
