//! The CPUID leaves by which a guest finds out that it runs on this hypervisor.
//!
//! They begin at 0x40000000, or at a higher multiple of 0x100 if another interface is offered before them.
//! **Source:** `arch-x86/cpuid.h`.

use crate::describe::{constants, flags};

constants! {
    table CONSTANTS;
    /// The leaf where the search begins.
    pub const XEN_CPUID_FIRST_LEAF: u32 = 0x4000_0000;
    /// Leaf 0, `ebx`: "XenV".
    pub const XEN_CPUID_SIGNATURE_EBX: u32 = 0x566e_6558;
    /// Leaf 0, `ecx`: "MMXe".
    pub const XEN_CPUID_SIGNATURE_ECX: u32 = 0x6558_4d4d;
    /// Leaf 0, `edx`: "nVMM".
    pub const XEN_CPUID_SIGNATURE_EDX: u32 = 0x4d4d_566e;
    /// The largest leaf, counted from the first: what leaf 0 returns in `eax`, less the base.
    pub const XEN_CPUID_MAX_NUM_LEAVES: u32 = 5;
    /// Leaf 2, `ecx`: PV page table entries may be changed with the accessed and dirty bits kept.
    pub const XEN_CPUID_FEAT1_MMU_PT_UPDATE_PRESERVE_AD: u32 = 1 << 0;
    /// Leaf 5, `ebx`: mask of the width of machine addresses in bits.
    pub const XEN_CPUID_MACHINE_ADDRESS_WIDTH_MASK: u32 = 0xff;
}

/// Leaf with the largest leaf (`eax`) and the signature (`ebx`, `ecx`, `edx`).
pub const LEAF_SIGNATURE: u32 = XEN_CPUID_FIRST_LEAF;
/// Leaf with the version in `eax`: major in the high, minor in the low 16 bits.
pub const LEAF_VERSION: u32 = XEN_CPUID_FIRST_LEAF + 1;
/// Leaf with the number of hypercall pages (`eax`), the MSR that writes one (`ebx`) and features (`ecx`, `edx`).
pub const LEAF_HYPERCALL: u32 = XEN_CPUID_FIRST_LEAF + 2;
/// Leaf about the time stamp counter.
///
/// Subleaf 0: `eax` flags, `ebx` mode, `ecx` the guest's frequency in kHz, `edx` its incarnation (migrations).
/// Subleaf 1: `eax` and `ebx` the offset, `ecx` factor and `edx` shift from ticks to nanoseconds.
/// Subleaf 2: `eax` the machine's frequency in kHz.
pub const LEAF_TIME: u32 = XEN_CPUID_FIRST_LEAF + 3;
/// Leaf for fully virtualised domains: [`HvmFeatures`] in `eax`, the vCPU in `ebx`, the domain in `ecx`.
pub const LEAF_HVM: u32 = XEN_CPUID_FIRST_LEAF + 4;
/// Leaf for PV domains.
pub const LEAF_PV: u32 = XEN_CPUID_FIRST_LEAF + 5;

/// The MSR that writes a hypercall page: the value is its guest physical address.
pub const HYPERCALL_PAGE_MSR: u32 = 0x4000_0000;

/// [`LEAF_TIME`], subleaf 0, `eax`: reads of the counter are emulated.
pub const TIME_TSC_EMULATED: u32 = 1 << 0;
/// [`LEAF_TIME`], subleaf 0, `eax`: the machine's counter is known to be reliable.
pub const TIME_TSC_RELIABLE: u32 = 1 << 1;
/// [`LEAF_TIME`], subleaf 0, `eax`: RDTSCP is there.
pub const TIME_RDTSCP: u32 = 1 << 2;

flags! {
    /// What [`LEAF_HVM`] returns in `eax`.
    pub struct HvmFeatures("XEN_HVM_CPUID_"): u32 {
        /// Accesses to the local APIC do not leave the guest.
        const APIC_ACCESS_VIRT = 1 << 0;
        /// Accesses to the x2APIC's registers do not leave the guest.
        const X2APIC_VIRT = 1 << 1;
        /// Pages mapped from other domains can be reached by devices.
        const IOMMU_MAPPINGS = 1 << 2;
        /// `ebx` holds the vCPU's number.
        const VCPU_ID_PRESENT = 1 << 3;
        /// `ecx` holds the domain's number.
        const DOMID_PRESENT = 1 << 4;
        /// APIC identifiers of 15 bits may be used in I/O APIC entries and MSI addresses.
        const EXT_DEST_ID = 1 << 5;
        /// A vCPU's own upcall vector works with physical interrupts too.
        const UPCALL_VECTOR = 1 << 6;
    }
}
