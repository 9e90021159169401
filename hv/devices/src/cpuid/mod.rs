//! CPUID as a guest sees it: a table for the domain, made from the host's, and the bits that depend on the vCPU that
//! executes it.
//!
//! The table follows Xen 4.17's for a PVH guest. Leaves that describe the package's topology or its power management
//! are left out, features are masked ([`FeatureSet::for_guest`]), and everything that is not in the table reads as
//! zeros.

mod features;
mod hypervisor;
mod limit;
mod listed;
mod table;

#[cfg(test)]
mod tests;

use xen_abi::{DomId, VcpuId};
use xenolith_hal::CpuidRegisters;

pub use features::{Capabilities, FeatureSet};
pub use hypervisor::TscInfo;
pub use limit::TooMany;
pub use listed::MOST_LEAVES;
pub use table::{CpuidTable, LeafError};

/// The state of the vCPU that shows in CPUID.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asker {
    pub domain: DomId,
    pub vcpu: VcpuId,
    /// CR4.OSXSAVE.
    pub osxsave: bool,
    /// CR4.PKE.
    pub protection_keys: bool,
    /// XCR0; 1 if the guest has no XSAVE.
    pub xcr0: u64,
    /// The local APIC is enabled in its base MSR.
    pub apic_enabled: bool,
    pub tsc: TscInfo,
}

/// Returns whether a leaf is one of those by which guests detect the hypervisor.
#[must_use]
#[inline]
pub fn is_hypervisors(leaf: u32) -> bool {
    (0x4000_0000..0x4000_ff00 + 0x100).contains(&leaf)
}

impl CpuidTable {
    /// Executes CPUID for a guest, with this leaf (EAX) and sub-leaf (ECX).
    #[must_use]
    #[inline]
    pub fn answer(&self, leaf: u32, subleaf: u32, asker: &Asker) -> CpuidRegisters {
        if is_hypervisors(leaf) {
            self.hypervisor_leaf(leaf, subleaf, asker)
        } else {
            self.processor_leaf(leaf, subleaf, asker)
        }
    }

    /// Returns a leaf by which guests detect the hypervisor.
    #[must_use]
    pub fn hypervisor_leaf(&self, leaf: u32, subleaf: u32, asker: &Asker) -> CpuidRegisters {
        hypervisor::leaf(leaf, subleaf, asker, self.hypervisor_limits)
    }

    /// Returns any other leaf.
    #[must_use]
    pub fn processor_leaf(&self, leaf: u32, subleaf: u32, asker: &Asker) -> CpuidRegisters {
        // The local APIC's identifier, here as in the ACPI tables.
        let apic_id = asker.vcpu.0.wrapping_mul(2);
        let mut out = self.leaf(leaf, subleaf);
        match leaf {
            1 => {
                out.ebx = (out.ebx & 0x00ff_ffff) | (apic_id << 24);
                if asker.osxsave {
                    out.ecx |= features::OSXSAVE;
                }
                if !asker.apic_enabled {
                    out.edx &= !features::APIC;
                }
            }
            7 if subleaf == 0 && asker.protection_keys => out.ecx |= 1 << 4,
            // Belongs to x2APIC mode, and has its two levels without topology in them.
            0xb if self.has_leaf(0xb) && subleaf < 2 => {
                out = CpuidRegisters { ecx: subleaf & 0xff, edx: apic_id, ..CpuidRegisters::default() };
            }
            0xd if subleaf == 0 && out.eax != 0 => out.ebx = self.xsave_size(asker.xcr0),
            0x8000_0001 if !asker.apic_enabled && self.is_amd() => out.edx &= !features::APIC,
            _ => {}
        }
        out
    }
}
