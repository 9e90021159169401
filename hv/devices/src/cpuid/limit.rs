//! The CPU policy that the toolstack chose for a guest, limited to what the guest may have.

use xenolith_hal::CpuidRegisters;

use super::features::{self, Capabilities, FeatureSet};
use super::table::CpuidTable;

/// A leaf that claims more leaves than there can be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooMany {
    pub leaf: u32,
    /// None for a leaf that has no subleaves.
    pub subleaf: Option<u32>,
}

/// Word 0: a package has several logical CPUs. Word 3: and they are cores. Both say how to read other leaves, so the
/// toolstack may set them on any machine.
const SEVERAL_CPUS: (usize, u32) = (0, 1 << 28);
const ARE_CORES: (usize, u32) = (3, 1 << 1);

impl CpuidTable {
    /// Returns the most that a guest can be shown of the host: the default, the invariant TSC, and what the toolstack
    /// may always say about the package.
    #[must_use]
    pub fn most_for_guest(host: &dyn Fn(u32, u32) -> CpuidRegisters, capabilities: Capabilities) -> Self {
        let mut table = Self::for_guest(host, capabilities, true);
        let mut set = table.features();
        set.allow(SEVERAL_CPUS.0, SEVERAL_CPUS.1);
        set.allow(ARE_CORES.0, ARE_CORES.1);
        table.write_features(&set);
        table
    }

    /// Checks that this table claims no more leaves than `most` has.
    ///
    /// **Errors:** [`TooMany`] with the leaf that does.
    pub fn fits(&self, most: &Self) -> Result<(), TooMany> {
        if self.leaf(0, 0).eax > most.leaf(0, 0).eax {
            return Err(TooMany { leaf: 0, subleaf: None });
        }
        if self.leaf(7, 0).eax > most.leaf(7, 0).eax {
            return Err(TooMany { leaf: 7, subleaf: Some(0) });
        }
        if self.leaf(0x8000_0000, 0).eax > most.leaf(0x8000_0000, 0).eax {
            return Err(TooMany { leaf: 0x8000_0000, subleaf: None });
        }
        Ok(())
    }

    /// Limits a table that [`CpuidTable::fits`] to what a guest can have: clears the features that the machine or the
    /// hypervisor does not have, and the leaves that describe the host's package.
    #[must_use]
    pub fn limit_to(mut self, most: &Self, capabilities: Capabilities) -> Self {
        let (asked, offered) = (self.features(), most.features());
        let mut set = FeatureSet(core::array::from_fn(|index| asked.word(index) & offered.word(index)));
        set.allow(0, features::APIC);
        let components = capabilities.xsave_components & features::components_of(&set);
        set.limit_to_components(components);
        self.take_xstate_of(most);
        self.limit_leaves(capabilities);
        self.hide_what_is_not_the_guests();
        self.write_features(&set);
        self.limit_xstate(components);
        self.limit_addresses(most.leaf(0x8000_0008, 0).eax);
        self
    }

    /// Limits the width of addresses to the machine's.
    fn limit_addresses(&mut self, most: u32) {
        let mut out = self.leaf(0x8000_0008, 0);
        let byte = |word: u32, shift: u32| (word >> shift) & 0xff;
        let (physical, linear) = (byte(out.eax, 0).min(byte(most, 0)), byte(out.eax, 8).min(byte(most, 8)));
        out.eax = linear << 8 | physical;
        let _ = self.set_leaf(0x8000_0008, 0, out);
    }
}
