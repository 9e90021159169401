//! The APIC_BASE MSR and the three modes: off, xAPIC, x2APIC.

use xen_abi::VcpuId;
use xenolith_hal::Gpa;

use super::Lapic;
use crate::GeneralProtection;

const ADDRESS: u64 = super::XAPIC_PAGE.0;
const BOOT_CPU: u64 = 1 << 8;
const X2APIC: u64 = 1 << 10;
const ENABLE: u64 = 1 << 11;
/// The address bits, 12 to 51.
const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;

pub(super) const fn at_reset(vcpu: VcpuId) -> u64 {
    ADDRESS | ENABLE | if vcpu.0 == 0 { BOOT_CPU } else { 0 }
}

/// Returns whether a guest could have set the MSR to this value.
pub(super) const fn is_valid_base(value: u64) -> bool {
    value & !(ADDRESS_MASK | ENABLE | BOOT_CPU | X2APIC) == 0 && value & (ENABLE | X2APIC) != X2APIC
}

impl Lapic {
    /// Returns whether the local APIC is enabled in the APIC_BASE MSR, in either mode.
    #[must_use]
    pub const fn is_hardware_enabled(&self) -> bool {
        self.base & ENABLE != 0
    }

    /// Returns whether it is in x2APIC mode: registers are MSRs.
    #[must_use]
    pub const fn is_x2apic(&self) -> bool {
        self.base & (ENABLE | X2APIC) == ENABLE | X2APIC
    }

    /// Returns whether it is in xAPIC mode: registers are in the page that [`Lapic::page`] names.
    #[must_use]
    pub const fn is_xapic(&self) -> bool {
        self.base & (ENABLE | X2APIC) == ENABLE
    }

    /// Reads the APIC_BASE MSR.
    #[must_use]
    pub const fn base_msr(&self) -> u64 {
        self.base
    }

    /// Returns the page of the registers in xAPIC mode; None in the other modes.
    #[must_use]
    pub const fn page(&self) -> Option<Gpa> {
        if self.is_xapic() { Some(Gpa(self.base & ADDRESS_MASK)) } else { None }
    }

    /// Writes the APIC_BASE MSR.
    ///
    /// The page may move: see [`Lapic::page`].
    ///
    /// **Errors:** a general protection fault for a reserved bit, and for every change of mode except off to xAPIC,
    /// xAPIC to x2APIC, and either of them to off.
    ///
    /// **Source:** AMD manual volume 2, 16.9.1.
    pub fn write_base_msr(&mut self, value: u64) -> Result<(), GeneralProtection> {
        if value & !(ADDRESS_MASK | ENABLE | BOOT_CPU | X2APIC) != 0 {
            return Err(GeneralProtection);
        }
        let change = self.base ^ value;
        if change & ENABLE != 0 {
            if value & X2APIC != 0 {
                return Err(GeneralProtection);
            }
            if value & ENABLE != 0 {
                self.reset();
            }
        } else if change & X2APIC != 0 && !self.is_xapic() {
            return Err(GeneralProtection);
        }
        self.base = value;
        Ok(())
    }
}
