//! x2APIC mode: registers as MSRs 0x800 to 0x8ff.

use xenolith_hal::TimeBase;

use super::register::{COMMAND_MASK, COMMAND_SELF, DIVIDE_MASK, Lvt, Register, SPURIOUS_MASK, TASK_PRIORITY_MASK};
use super::{Effect, Lapic};
use crate::GeneralProtection;

/// The MSRs that belong to the local APIC in x2APIC mode.
pub const MSRS: core::ops::RangeInclusive<u32> = 0x800..=0x8ff;

/// Returns the register behind an MSR of [`MSRS`].
fn register_of(msr: u32) -> Result<Register, GeneralProtection> {
    msr.checked_sub(*MSRS.start()).and_then(|index| Register::at(index << 4)).ok_or(GeneralProtection)
}

impl Lapic {
    /// Reads an MSR of [`MSRS`].
    ///
    /// **Errors:** a general protection fault outside x2APIC mode, and for MSRs that do not exist or are write-only.
    pub fn read_msr(&self, msr: u32, now: TimeBase) -> Result<u64, GeneralProtection> {
        if !self.is_x2apic() {
            return Err(GeneralProtection);
        }
        let value = match register_of(msr)? {
            Register::EndOfInterrupt | Register::SelfIpi | Register::DestinationFormat | Register::CommandHigh => {
                return Err(GeneralProtection);
            }
            Register::Id => self.apic_id(),
            Register::LogicalDestination => self.x2apic_logical_id(),
            Register::CommandLow => return Ok(u64::from(self.command_high) << 32 | u64::from(self.command_low)),
            register => self.read_register(register, now),
        };
        Ok(u64::from(value))
    }

    /// Writes an MSR of [`MSRS`].
    ///
    /// **Errors:** a general protection fault outside x2APIC mode, for MSRs that do not exist or are read-only, and for
    /// reserved bits.
    pub fn write_msr(&mut self, msr: u32, value: u64, now: TimeBase) -> Result<Effect, GeneralProtection> {
        if !self.is_x2apic() {
            return Err(GeneralProtection);
        }
        let register = register_of(msr)?;
        let Some(mask) = writable_bits(register) else { return Err(GeneralProtection) };
        if value & !mask != 0 {
            return Err(GeneralProtection);
        }
        let low = value as u32;
        Ok(match register {
            Register::CommandLow => {
                self.command_high = (value >> 32) as u32;
                self.write_register(register, low, now)
            }
            Register::SelfIpi => self.write_register(Register::CommandLow, COMMAND_SELF | low, now),
            _ => self.write_register(register, low, now),
        })
    }
}

/// Returns the bits that a guest may set; None if the MSR is read-only.
const fn writable_bits(register: Register) -> Option<u64> {
    let low = match register {
        Register::TaskPriority => TASK_PRIORITY_MASK,
        Register::EndOfInterrupt | Register::ErrorStatus => 0,
        Register::SpuriousVector => SPURIOUS_MASK,
        Register::CorrectedMachineCheck => Lvt::Thermal.mask(),
        Register::Local(entry) => entry.mask(),
        // The upper half is dropped, not refused.
        Register::InitialCount => return Some(u64::MAX),
        Register::DivideConfiguration => DIVIDE_MASK,
        Register::SelfIpi => 0xff,
        Register::CommandLow => return Some((u32::MAX as u64) << 32 | COMMAND_MASK as u64),
        _ => return None,
    };
    Some(low as u64)
}
