//! The SVM features of the CPU, and whether they are enough.

use core::fmt;
use xenolith_hal::CpuidRegisters;

/// Why no guest can run on this CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// The CPU has no SVM.
    NoSvm,
    /// The firmware switched SVM off and locked the switch.
    LockedByFirmware,
    /// SVM without nested paging.
    NoNestedPaging,
    /// A CPU that the hypervisor has no place for.
    OutOfRange,
    /// The CPU has other features than the boot CPU.
    Differs,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSvm => "this CPU has no AMD-V (SVM); under QEMU use -cpu qemu64,+svm,+npt",
            Self::LockedByFirmware => "AMD-V (SVM) is switched off and locked by the firmware: enable it in its setup",
            Self::NoNestedPaging => "this CPU has AMD-V without nested paging; under QEMU add +npt to -cpu",
            Self::OutOfRange => "no place for the CPU's virtualisation data",
            Self::Differs => "this CPU's virtualisation features differ from the boot CPU's",
        })
    }
}

/// What of SVM and of the guest's registers the CPU has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// Address space identifiers, 0 being the host's.
    pub asids: u32,
    /// Exits come with the address of the next instruction.
    pub next_rip: bool,
    /// Nested faults come with the bytes of the instruction.
    pub decode_assists: bool,
    /// One identifier's translations can be dropped alone.
    pub flush_by_asid: bool,
    /// Parts of the control block may be marked as unchanged.
    pub clean_bits: bool,
    /// Bits of CR4 that a guest may set.
    pub cr4: u64,
    /// Bits of EFER that a guest may set.
    pub efer: u64,
    /// Bits of a machine address.
    pub address_bits: u8,
    /// Pages of 1 GiB.
    pub huge_pages: bool,
    /// XCR0 that the FPU is switched with; 0 without XSAVE.
    pub xcr0: u64,
    /// MXCSR has the bit for misaligned accesses (MM).
    pub misaligned_sse: bool,
    /// The x87 pointers are loaded with every FPU state, and not just with one in which an exception waits.
    pub fpu_pointers: bool,
    /// The CPU is known to be one of a machine that a hypervisor or an emulator makes.
    pub virtual_machine: bool,
}

const fn has(register: u32, bit: u32) -> bool {
    register & (1 << bit) != 0
}

/// Bytes that one page leaves for the FPU's state.
const FPU_ROOM: u32 = 4096;
/// x87, SSE, AVX, AVX-512, protection keys.
const XCR0_KNOWN: u64 = 0x2e7;

/// Bits of CR4 by the CPUID bit that brings them: leaf, sub-leaf 0, register (0 to 3), bit.
const CR4_BITS: [(u64, u32, usize, u32); 18] = [
    (0x003, 1, 3, 1),    // VME, PVI
    (0x004, 1, 3, 4),    // TSD
    (0x008, 1, 3, 2),    // DE
    (0x010, 1, 3, 3),    // PSE
    (0x020, 1, 3, 6),    // PAE
    (0x040, 1, 3, 7),    // MCE
    (0x080, 1, 3, 13),   // PGE
    (0x100, 1, 3, 4),    // PCE: on every CPU with long mode
    (0x200, 1, 3, 24),   // OSFXSR
    (0x400, 1, 3, 25),   // OSXMMEXCPT
    (1 << 11, 7, 2, 2),  // UMIP
    (1 << 16, 7, 1, 0),  // FSGSBASE
    (1 << 17, 1, 2, 17), // PCIDE
    (1 << 18, 1, 2, 26), // OSXSAVE
    (1 << 20, 7, 1, 7),  // SMEP
    (1 << 21, 7, 1, 20), // SMAP
    (1 << 22, 7, 2, 3),  // PKE
    (1 << 23, 7, 2, 7),  // CET
];

/// Bits of EFER by their CPUID bit.
const EFER_BITS: [(u64, u32, usize, u32); 6] = [
    (1, 0x8000_0001, 3, 11),       // SCE
    (0x500, 0x8000_0001, 3, 29),   // LME, LMA
    (1 << 11, 0x8000_0001, 3, 20), // NXE
    (1 << 14, 0x8000_0001, 3, 25), // FFXSR
    (1 << 15, 0x8000_0001, 2, 17), // TCE
    (1 << 21, 0x8000_0021, 0, 8),  // automatic IBRS
];

impl Features {
    /// Returns true for an emulated CPU, whose checks of control registers must be made up for. Every real CPU with
    /// nested paging that is in use has decode assists; QEMU's, of any version, has not.
    pub(super) const fn watches_control_writes(&self) -> bool {
        !self.decode_assists
    }

    /// Returns true for an emulated CPU, which forgets an interrupt that comes at the very moment of a world switch.
    /// QEMU, of any version, changes the word that says what waits for a CPU without a lock when a guest is entered or
    /// left, so what another thread puts into it meanwhile is lost. The local APIC still knows of it.
    #[inline]
    pub(super) const fn forgets_interrupts(&self) -> bool {
        !self.decode_assists
    }

    /// Returns true for an emulated CPU, which has one page attribute table for the host and all guests, where a CPU
    /// with nested paging keeps the guest's in the control block. QEMU, of any version; it makes nothing of what stands
    /// there.
    #[inline]
    pub(super) const fn shares_page_attributes(&self) -> bool {
        !self.decode_assists && self.virtual_machine
    }

    /// Asks CPUID, which `cpuid` runs with a leaf and a sub-leaf.
    ///
    /// **Errors:** [`Unfit::NoSvm`], [`Unfit::NoNestedPaging`]. What the firmware did is seen only when a
    /// CPU's SVM is enabled.
    ///
    /// **Source:** AMD manual volume 3, appendix E.
    pub fn detect(cpuid: impl Fn(u32, u32) -> CpuidRegisters) -> Result<Self, Unfit> {
        let limit = |base: u32| cpuid(base, 0).eax;
        let leaf = |leaf: u32| {
            let known = limit(leaf & 0x8000_0000) >= leaf;
            if known { cpuid(leaf, 0) } else { CpuidRegisters::default() }
        };
        let bits = |table: &[(u64, u32, usize, u32)]| {
            table.iter().fold(0, |sum, (value, number, register, bit)| {
                let out = leaf(*number);
                let registers = [out.eax, out.ebx, out.ecx, out.edx];
                sum | if registers.get(*register).is_some_and(|r| has(*r, *bit)) { *value } else { 0 }
            })
        };
        let extended = leaf(0x8000_0001);
        if !has(extended.ecx, 2) {
            return Err(Unfit::NoSvm);
        }
        let svm = leaf(0x8000_000a);
        if !has(svm.edx, 0) {
            return Err(Unfit::NoNestedPaging);
        }
        Ok(Self {
            asids: svm.ebx,
            next_rip: has(svm.edx, 3),
            clean_bits: has(svm.edx, 5),
            flush_by_asid: has(svm.edx, 6),
            decode_assists: has(svm.edx, 7),
            cr4: bits(&CR4_BITS),
            efer: bits(&EFER_BITS),
            address_bits: match leaf(0x8000_0008).eax as u8 {
                0 => 36,
                bits => bits.min(52),
            },
            huge_pages: has(extended.edx, 26),
            misaligned_sse: has(extended.ecx, 7),
            fpu_pointers: has(leaf(0x8000_0008).ebx, 2),
            virtual_machine: has(leaf(1).ecx, 31),
            xcr0: if has(leaf(1).ecx, 26) { fpu_features(&cpuid) } else { 0 },
        })
    }
}

/// Returns the parts of the FPU's state that fit into a page, more of them while they fit.
fn fpu_features(cpuid: &impl Fn(u32, u32) -> CpuidRegisters) -> u64 {
    let supported = u64::from(cpuid(0xd, 0).eax) & XCR0_KNOWN;
    // Where each part ends, for the standard layout.
    let fits = |bit: u32| {
        let part = cpuid(0xd, bit);
        part.eax.checked_add(part.ebx).is_some_and(|end| end <= FPU_ROOM)
    };
    let mut value = supported & 3;
    if supported & 4 != 0 && fits(2) {
        value |= 4;
        if supported & 0xe0 == 0xe0 && (5..8).all(fits) {
            value |= 0xe0;
        }
    }
    if supported & 0x200 != 0 && fits(9) {
        value |= 0x200;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what QEMU 7.2 gives with `-cpu qemu64,+svm,+npt`, as far as it matters.
    fn qemu(leaf: u32, _: u32) -> CpuidRegisters {
        let (eax, ebx, ecx, edx) = match leaf {
            0 => (0xd, 0, 0, 0),
            1 => (0x663, 0, 0x8020_2001, 0x078b_fbfd),
            0x8000_0000 => (0x8000_000a, 0, 0, 0),
            0x8000_0001 => (0, 0, 0x5, 0x2193_fbfd),
            0x8000_0008 => (0x3028, 0, 0, 0),
            0x8000_000a => (1, 0x10, 0, 1),
            _ => (0, 0, 0, 0),
        };
        CpuidRegisters { eax, ebx, ecx, edx }
    }

    #[test]
    fn the_plainest_cpu_with_nested_paging_is_enough() {
        let features = Features::detect(qemu).unwrap();
        let plain = Features { asids: 16, cr4: 0x7fc, efer: 0xd01, address_bits: 40, ..Features::default() };
        assert_eq!(features, Features { virtual_machine: true, ..plain });
        assert!(features.shares_page_attributes());
        assert!(!plain.shares_page_attributes(), "an old CPU without decode assists has a guest's apart");
    }

    #[test]
    fn a_cpu_without_svm_is_told_from_one_without_nested_paging() {
        let without = |leaf: u32| {
            move |asked, sub| {
                if asked == leaf { CpuidRegisters::default() } else { qemu(asked, sub) }
            }
        };
        assert_eq!(Features::detect(without(0x8000_0001)), Err(Unfit::NoSvm));
        assert_eq!(Features::detect(without(0x8000_000a)), Err(Unfit::NoNestedPaging));
        assert_eq!(Features::detect(|_, _| CpuidRegisters::default()), Err(Unfit::NoSvm));
    }

    #[test]
    fn a_cpu_that_loads_the_x87_pointers_says_so() {
        let newer = |leaf, sub| match leaf {
            0x8000_0008 => CpuidRegisters { ebx: 1 << 2, ..qemu(leaf, sub) },
            _ => qemu(leaf, sub),
        };
        assert!(!Features::detect(qemu).unwrap().fpu_pointers);
        assert!(Features::detect(newer).unwrap().fpu_pointers);
    }

    #[test]
    fn fpu_state_that_does_not_fit_into_a_page_is_left_off() {
        let cpu = |zmm_end: u32| {
            move |leaf: u32, sub: u32| match (leaf, sub) {
                (1, _) => CpuidRegisters { ecx: 1 << 26, ..qemu(1, 0) },
                (0xd, 0) => CpuidRegisters { eax: 0xe7, ..CpuidRegisters::default() },
                (0xd, 2) => CpuidRegisters { eax: 256, ebx: 576, ..CpuidRegisters::default() },
                (0xd, 7) => CpuidRegisters { eax: 1024, ebx: zmm_end - 1024, ..CpuidRegisters::default() },
                _ => qemu(leaf, sub),
            }
        };
        assert_eq!(Features::detect(cpu(4096)).unwrap().xcr0, 0xe7);
        assert_eq!(Features::detect(cpu(4097)).unwrap().xcr0, 7);
    }
}
