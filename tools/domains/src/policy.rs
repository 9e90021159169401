//! The CPU policy: the hypervisor's default, in which the leaves about topology are made to fit a domain.
//!
//! A vCPU `n` has the local APIC identifier `2 * n`, as if every second one were the other thread of a core and missing.
//! CPUID must tell as many identifiers, and libxl makes it do so. **Source:** measured: of the policies of a domain that
//! `xl` made and of one that it had not touched, these leaves differ and no others.

use hypervisor_access::CpuPolicy;
use xen_abi::cpu_policy::CpuidLeaf;

/// Leaf 1: identifiers in a package (`ebx`, bits 16 to 23), and that they count (`edx`, bit 28).
const FEATURES: u32 = 1;
const IDENTIFIERS_SHIFT: u32 = 16;
const HYPER_THREADING: u32 = 1 << 28;
/// Leaf 4, Intel's: identifiers of cores (`eax`, bits 26 to 31) and of threads at a cache (bits 14 to 25), less one.
const CACHES: u32 = 4;
const CORES_SHIFT: u32 = 26;
const CORES: u32 = 0x3f;
const THREADS: u32 = 0xfff << 14;
/// Leaf 0x80000001: that the package's identifiers are cores (`ecx`, bit 1).
const EXTENDED_FEATURES: u32 = 0x8000_0001;
const LEGACY_CORES: u32 = 1 << 1;
/// Leaf 0x80000008, AMD's: cores less one (`ecx`, bits 0 to 7), bits of a core's identifier (12 to 15).
const SIZES: u32 = 0x8000_0008;
const SIZE_SHIFT: u32 = 12;

/// The makers whose leaves are known, by `ebx` of leaf 0.
const INTEL: u32 = u32::from_le_bytes(*b"Genu");
const AMD: u32 = u32::from_le_bytes(*b"Auth");
const HYGON: u32 = u32::from_le_bytes(*b"Hygo");

/// Returns the leaves of `default` that must be others, as they are to be.
#[must_use]
pub fn adjusted(default: &CpuPolicy) -> CpuPolicy {
    let maker = default.leaves.iter().find(|leaf| leaf.leaf == 0).map_or(0, |leaf| leaf.b);
    let changed = |leaf: &CpuidLeaf| {
        let new = changed(*leaf, maker);
        (new != *leaf).then_some(new)
    };
    CpuPolicy { leaves: default.leaves.iter().filter_map(changed).collect(), msrs: Vec::new() }
}

fn changed(mut leaf: CpuidLeaf, maker: u32) -> CpuidLeaf {
    let amd = matches!(maker, AMD | HYGON);
    match leaf.leaf {
        FEATURES => {
            leaf.d |= HYPER_THREADING;
            let identifiers = leaf.b >> IDENTIFIERS_SHIFT & 0xff;
            // Twice as many, unless they would not fit.
            if identifiers < 0x80 {
                leaf.b = leaf.b & !(0xff << IDENTIFIERS_SHIFT) | identifiers << (IDENTIFIERS_SHIFT + 1);
            }
        }
        CACHES if maker == INTEL && leaf.a & 0x1f != 0 => {
            let cores = (leaf.a >> CORES_SHIFT & CORES) << 1 | 1;
            leaf.a = leaf.a & !(CORES << CORES_SHIFT | THREADS) | (cores & CORES) << CORES_SHIFT;
        }
        EXTENDED_FEATURES => leaf.c &= !LEGACY_CORES,
        SIZES if amd && leaf.c & 0xff < 0x7f => {
            let cores = (leaf.c & 0xff) << 1 | 1;
            let bits = leaf.c >> SIZE_SHIFT & 0xf;
            // 0 means that the number of cores counts by itself; some systems do not take more than 7.
            let bits = if bits != 0 && bits < 7 { bits.wrapping_add(1) } else { bits };
            leaf.c = leaf.c & !(0xff | 0xf << SIZE_SHIFT) | cores | bits << SIZE_SHIFT;
        }
        _ => {}
    }
    leaf
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(leaf: u32, [a, b, c, d]: [u32; 4]) -> CpuidLeaf {
        CpuidLeaf { leaf, subleaf: u32::MAX, a, b, c, d }
    }

    #[test]
    fn amds_leaves_come_out_as_xl_makes_them() {
        // Measured in an emulated machine.
        let leaves = vec![
            leaf(0, [0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65]),
            leaf(1, [0x60fb1, 0x0003_0800, 0x8020_2001, 0x178b_fbfd]),
            leaf(2, [0; 4]),
            leaf(0x8000_0001, [0x60fb1, 0, 3, 0x2193_fbfd]),
            leaf(0x8000_0008, [0x3028, 0x0010_0000, 0x2002, 0]),
        ];
        let wanted = [
            leaf(1, [0x60fb1, 0x0006_0800, 0x8020_2001, 0x178b_fbfd]),
            leaf(0x8000_0001, [0x60fb1, 0, 1, 0x2193_fbfd]),
            leaf(0x8000_0008, [0x3028, 0x0010_0000, 0x3005, 0]),
        ];
        assert_eq!(adjusted(&CpuPolicy { leaves, msrs: Vec::new() }).leaves, wanted);
    }

    #[test]
    fn numbers_that_would_not_fit_stay() {
        let leaves = vec![
            leaf(0, [0xd, AMD, 0, 0]),
            leaf(1, [0, 0x80_0000, 0, HYPER_THREADING]),
            leaf(0x8000_0008, [0, 0, 0x707f, 0]),
        ];
        assert_eq!(adjusted(&CpuPolicy { leaves, msrs: Vec::new() }).leaves, []);
    }

    #[test]
    fn intels_caches_are_shared_by_no_threads_and_twice_as_many_cores() {
        let leaves = vec![leaf(0, [0xd, INTEL, 0, 0]), leaf(4, [0x0c00_4121, 0, 0, 0]), leaf(4, [0; 4])];
        let found = adjusted(&CpuPolicy { leaves, msrs: Vec::new() }).leaves;
        assert_eq!(found, [leaf(4, [0x1c00_0121, 0, 0, 0])]);
    }
}
