//! A CPUID table as the list of leaves in which the toolstack reads and writes it.
//!
//! **Source:** `arch-x86/xen.h`, `xen_cpuid_leaf_t`; the order and number of the leaves are those of Debian's
//! libxenguest 4.17, measured.

use xen_abi::cpu_policy::{CpuidLeaf, XEN_CPUID_NO_SUBLEAF};
use xenolith_hal::CpuidRegisters;

use super::table::{CpuidTable, LeafError};

/// The most leaves that a list can have.
pub const MOST_LEAVES: u32 = 120;
/// The most subleaves of leaf 4 (caches) and of leaf 0xb (topology) in a list. The toolstack does not decide them:
/// there is nothing in the former on AMD, and the latter depends on the vCPU.
const CACHES: u32 = 6;
const TOPOLOGY_LEVELS: u32 = 2;

const FEATURES: u32 = 7;
const XSTATE: u32 = 0xd;
/// Where the toolstack says how many leaves there are of the hypervisor's, and of a second hypervisor interface's.
const HYPERVISOR: u32 = 0x4000_0000;
const OTHER_HYPERVISOR: u32 = 0x4000_0100;
const EXTENDED: u32 = 0x8000_0000;

impl CpuidTable {
    /// Calls `take` for each leaf, in order, until it fails.
    ///
    /// **Errors:** those of `take`.
    pub fn each_listed<E>(&self, mut take: impl FnMut(CpuidLeaf) -> Result<(), E>) -> Result<(), E> {
        let mut put = |leaf: u32, subleaf: u32, out: CpuidRegisters| {
            take(CpuidLeaf { leaf, subleaf, a: out.eax, b: out.ebx, c: out.ecx, d: out.edx })
        };
        for leaf in 0..=self.last_basic() {
            match leaf {
                4 | 0xb => put(leaf, 0, self.leaf(leaf, 0))?,
                FEATURES => {
                    for subleaf in 0..=self.last_feature() {
                        put(leaf, subleaf, self.leaf(leaf, subleaf))?;
                    }
                }
                XSTATE => {
                    for subleaf in (0..64).filter(|subleaf| *subleaf < 2 || self.has_component(*subleaf)) {
                        put(leaf, subleaf, self.leaf(leaf, subleaf))?;
                    }
                }
                _ => put(leaf, XEN_CPUID_NO_SUBLEAF, self.leaf(leaf, 0))?,
            }
        }
        let [limit, other_limit] = self.hypervisor_limits;
        put(HYPERVISOR, XEN_CPUID_NO_SUBLEAF, CpuidRegisters { eax: limit, ..CpuidRegisters::default() })?;
        put(OTHER_HYPERVISOR, XEN_CPUID_NO_SUBLEAF, CpuidRegisters { eax: other_limit, ..CpuidRegisters::default() })?;
        for leaf in EXTENDED..=self.last_extended() {
            put(leaf, XEN_CPUID_NO_SUBLEAF, self.leaf(leaf, 0))?;
        }
        Ok(())
    }

    /// Puts one leaf of a list into the table. The guest may be shown it only after [`CpuidTable::limit_to`].
    ///
    /// **Errors:** [`LeafError`] for a leaf, or a subleaf, that no list has.
    pub fn set_listed(&mut self, entry: &CpuidLeaf) -> Result<(), LeafError> {
        let out = CpuidRegisters { eax: entry.a, ebx: entry.b, ecx: entry.c, edx: entry.d };
        match (entry.leaf, entry.subleaf) {
            (4, 0) => self.set_leaf(4, 0, out),
            (4, subleaf) if subleaf < CACHES => Ok(()),
            (0xb, subleaf) if subleaf < TOPOLOGY_LEVELS => Ok(()),
            (4 | 0xb, _) => Err(LeafError),
            (FEATURES | XSTATE, subleaf) => self.set_leaf(entry.leaf, subleaf, out),
            (HYPERVISOR, XEN_CPUID_NO_SUBLEAF) => {
                let [limit, _] = &mut self.hypervisor_limits;
                *limit = out.eax;
                Ok(())
            }
            (OTHER_HYPERVISOR, XEN_CPUID_NO_SUBLEAF) => {
                let [_, limit] = &mut self.hypervisor_limits;
                *limit = out.eax;
                Ok(())
            }
            (leaf, XEN_CPUID_NO_SUBLEAF) => self.set_leaf(leaf, 0, out),
            _ => Err(LeafError),
        }
    }
}
