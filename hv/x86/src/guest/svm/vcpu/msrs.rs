//! The MSRs that are in the VMCB.

use super::SvmVcpu;
use crate::guest::frame_access::FrameAccess;
use crate::guest::svm::processor::Processor;
use crate::guest::svm::state;
use crate::guest::svm::vmcb::{Field, clean};
use xenolith_hal::{HardwareMsr, InvalidState};

const fn field_of(msr: HardwareMsr) -> (Field, u64) {
    match msr {
        HardwareMsr::Efer => (Field::EFER, clean::CONTROL_REGISTERS),
        HardwareMsr::Pat => (Field::G_PAT, clean::NESTED_PAGING),
        HardwareMsr::SysenterCs => (Field::SYSENTER_CS, 0),
        HardwareMsr::SysenterEsp => (Field::SYSENTER_ESP, 0),
        HardwareMsr::SysenterEip => (Field::SYSENTER_EIP, 0),
        HardwareMsr::DebugControl => (Field::DEBUG_CONTROL, clean::LAST_BRANCH),
    }
}

impl<P: Processor, A: FrameAccess + 'static> SvmVcpu<P, A> {
    /// Returns true if EFER may be set to this value.
    fn efer_fits(&self, value: u64) -> bool {
        let paging = self.vmcb.get(Field::CR0) & state::cr0::PG != 0;
        let changed = value ^ self.vmcb.get(Field::EFER);
        value & !self.features.efer == 0 && !(paging && changed & state::efer::LME != 0)
    }

    /// Returns what the guest reads.
    pub(super) fn read_msr(&self, msr: HardwareMsr) -> u64 {
        let value = self.vmcb.get(field_of(msr).0);
        match msr {
            HardwareMsr::Efer => value & !state::efer::SVME,
            HardwareMsr::Pat => self.page_attributes(),
            _ => value,
        }
    }

    /// Writes it, if the value is one that the CPU accepts.
    ///
    /// **Errors:** the CPU has no such value for this register.
    pub(super) fn write_msr(&mut self, msr: HardwareMsr, value: u64) -> Result<(), InvalidState> {
        let (field, part) = field_of(msr);
        let value = match msr {
            HardwareMsr::Efer if self.efer_fits(value) => {
                let active = self.vmcb.get(Field::EFER) & state::efer::LMA;
                (value & !state::efer::LMA) | active | state::efer::SVME
            }
            HardwareMsr::Pat if state::pat_is_valid(value) => value,
            HardwareMsr::SysenterCs => value,
            HardwareMsr::SysenterEsp | HardwareMsr::SysenterEip if state::canonical(value) => value,
            // Kept, and without effect: branch records are not virtualised.
            HardwareMsr::DebugControl => value,
            _ => return Err(InvalidState),
        };
        self.change(field, value, part);
        if msr == HardwareMsr::Pat {
            self.page_attributes_changed();
        }
        Ok(())
    }
}
