//! The hypervisor CPUID leaves from 0x40000000, by which a guest detects Xen.

use xen_abi::cpuid as abi;
use xenolith_hal::CpuidRegisters;

use super::Asker;

/// The version that guests are shown: 4.17.
const VERSION: u32 = (4 << 16) | 17;

/// The last leaf that there is.
const LAST: u32 = abi::XEN_CPUID_FIRST_LEAF + abi::XEN_CPUID_MAX_NUM_LEAVES;
/// The fewest leaves that the toolstack can ask for, counted from the first.
const FEWEST: u32 = 2;

/// The contents of the time leaf. **Source:** `arch-x86/cpuid.h`, leaf 4.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TscInfo {
    /// RDTSC is emulated.
    pub emulated: bool,
    /// The host's counters run at one rate on all CPUs and never stop.
    pub reliable: bool,
    /// The machine has RDTSCP.
    pub rdtscp: bool,
    /// The domain's `tsc_mode`.
    pub mode: u32,
    /// The guest's ticks per millisecond.
    pub guest_khz: u32,
    /// How often the domain was migrated.
    pub incarnation: u32,
    /// The offset that is added to the host's counter.
    pub offset: u64,
    /// Ticks to nanoseconds: multiplier.
    pub multiplier: u32,
    /// Ticks to nanoseconds: shift.
    pub shift: i8,
    /// The host's ticks per millisecond.
    pub host_khz: u32,
}

/// Returns a leaf counted from 0x40000000; zeros past the last one.
pub(super) fn leaf(leaf: u32, subleaf: u32, asker: &Asker, limits: [u32; 2]) -> CpuidRegisters {
    let zero = CpuidRegisters::default();
    let last = match limits {
        [0, _] => LAST,
        // The number fits into the low bits of the leaf, which are 0 in the first one.
        [asked, _] => abi::XEN_CPUID_FIRST_LEAF | asked.clamp(FEWEST, abi::XEN_CPUID_MAX_NUM_LEAVES),
    };
    if leaf > last {
        return zero;
    }
    match leaf {
        abi::LEAF_SIGNATURE => CpuidRegisters {
            eax: last,
            ebx: abi::XEN_CPUID_SIGNATURE_EBX,
            ecx: abi::XEN_CPUID_SIGNATURE_ECX,
            edx: abi::XEN_CPUID_SIGNATURE_EDX,
        },
        abi::LEAF_VERSION => CpuidRegisters { eax: VERSION, ..zero },
        abi::LEAF_HYPERCALL => CpuidRegisters { eax: 1, ebx: abi::HYPERCALL_PAGE_MSR, ..zero },
        abi::LEAF_TIME => time(subleaf, &asker.tsc),
        abi::LEAF_HVM if subleaf == 0 => CpuidRegisters {
            // That events can come by the local APIC is not said, though they can: a guest that knows it ends each one by
            // a write to its local APIC, which is an exit. By the older callback it ends none.
            eax: (abi::HvmFeatures::IOMMU_MAPPINGS
                | abi::HvmFeatures::VCPU_ID_PRESENT
                | abi::HvmFeatures::DOMID_PRESENT)
                .bits(),
            ebx: asker.vcpu.0,
            ecx: u32::from(asker.domain.0),
            edx: 0,
        },
        // Leaf 5 speaks to PV guests only.
        _ => zero,
    }
}

fn time(subleaf: u32, tsc: &TscInfo) -> CpuidRegisters {
    let flag = |set: bool, bit: u32| if set { bit } else { 0 };
    match subleaf {
        0 => CpuidRegisters {
            eax: flag(tsc.emulated, abi::TIME_TSC_EMULATED)
                | flag(tsc.reliable, abi::TIME_TSC_RELIABLE)
                | flag(tsc.rdtscp, abi::TIME_RDTSCP),
            ebx: tsc.mode,
            ecx: tsc.guest_khz,
            edx: tsc.incarnation,
        },
        1 => CpuidRegisters {
            eax: tsc.offset as u32,
            ebx: (tsc.offset >> 32) as u32,
            ecx: tsc.multiplier,
            edx: i32::from(tsc.shift).cast_unsigned(),
        },
        2 => CpuidRegisters { eax: tsc.host_khz, ..CpuidRegisters::default() },
        _ => CpuidRegisters::default(),
    }
}
