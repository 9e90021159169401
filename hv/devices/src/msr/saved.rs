//! MSRs as records of a saved domain. **Source:** `arch-x86/hvm/save.h`, `hvm_hw_mtrr` and `hvm_msr`.

use xen_abi::hvm_save::HvmHwMtrr;

use super::number::{
    MISC_FEATURES_ENABLES, MTRR_CAP, MTRR_DEFAULT_TYPE, MTRR_FIXED_4K, MTRR_FIXED_16K_80000, MTRR_FIXED_16K_A0000,
    MTRR_FIXED_64K, MTRR_VARIABLE,
};
use super::{ENABLE_CPUID_FAULTING, MsrState, Mtrr};
use crate::GeneralProtection;

impl Mtrr {
    /// Builds the record, with the page attribute table (PAT), which the CPU keeps.
    #[must_use]
    pub fn save(&self, pat: u64) -> HvmHwMtrr {
        let (default_type, fixed, variable) = self.registers();
        HvmHwMtrr {
            msr_pat_cr: pat,
            msr_mtrr_var: *variable,
            msr_mtrr_fixed: *fixed,
            msr_mtrr_cap: self.read(MTRR_CAP).unwrap_or(0),
            msr_mtrr_def_type: default_type,
        }
    }

    /// Builds the registers from a record, which is not trusted. The caller takes the PAT; the capabilities in the
    /// record are ignored.
    ///
    /// **Errors:** a value that a guest could not have written.
    pub fn load(record: &HvmHwMtrr, address_bits: u32) -> Result<Self, GeneralProtection> {
        let mut mtrr = Self::default();
        let fixed = [MTRR_FIXED_64K, MTRR_FIXED_16K_80000, MTRR_FIXED_16K_A0000].into_iter().chain(MTRR_FIXED_4K..);
        for (msr, value) in fixed.zip(record.msr_mtrr_fixed) {
            mtrr.write(msr, value, address_bits)?;
        }
        for (msr, value) in (MTRR_VARIABLE..).zip(record.msr_mtrr_var) {
            mtrr.write(msr, value, address_bits)?;
        }
        mtrr.write(MTRR_DEFAULT_TYPE, record.msr_mtrr_def_type, address_bits)?;
        Ok(mtrr)
    }
}

impl MsrState {
    /// Returns the MSR, by number and value, that a saved vCPU keeps in a list of its own; none while it is as after a
    /// reset. There is no other.
    #[must_use]
    pub const fn listed(&self) -> Option<(u32, u64)> {
        match self.misc_features {
            0 => None,
            value => Some((MISC_FEATURES_ENABLES, value)),
        }
    }

    /// Loads an MSR of such a list, which is not trusted.
    ///
    /// **Errors:** an MSR that is not saved in a list, or a value that a guest could not have written.
    pub const fn load_listed(&mut self, msr: u32, value: u64) -> Result<(), GeneralProtection> {
        if msr != MISC_FEATURES_ENABLES || value & !ENABLE_CPUID_FAULTING != 0 {
            return Err(GeneralProtection);
        }
        self.misc_features = value;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> HvmHwMtrr {
        let mut mtrr = Mtrr::default();
        for (msr, value) in [(0x2ff, 0x806), (0x250, 0x0606_0606_0606_0606), (0x26f, 5), (0x20f, 0x800)] {
            mtrr.write(msr, value, 40).unwrap();
        }
        mtrr.save(0x0007_0406_0007_0406)
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let record = record();
        assert_eq!(
            (record.msr_mtrr_cap, record.msr_mtrr_def_type, record.msr_pat_cr),
            (0x508, 0x806, 0x0007_0406_0007_0406)
        );
        assert_eq!((record.msr_mtrr_fixed[10], record.msr_mtrr_var[15]), (5, 0x800));
        assert_eq!(Mtrr::load(&record, 40).map(|mtrr| mtrr.save(record.msr_pat_cr)), Ok(record));
    }

    #[test]
    fn a_record_with_an_impossible_type_or_address_is_refused() {
        let bad = [
            HvmHwMtrr { msr_mtrr_def_type: 2, ..record() },
            HvmHwMtrr { msr_mtrr_fixed: [2; 11], ..record() },
            HvmHwMtrr { msr_mtrr_var: [1 << 40; 16], ..record() },
        ];
        for record in bad {
            assert_eq!(Mtrr::load(&record, 40), Err(GeneralProtection));
        }
    }
}
