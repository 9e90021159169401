//! CPUID feature words, and which of their bits a guest may be shown.
//!
//! **Source:** `arch-x86/cpufeatureset.h`, which numbers the words and marks each feature with the kinds of guest that
//! it is offered to.

use xenolith_hal::CpuidRegisters;

/// How many feature words there are.
pub const WORDS: usize = 19;

/// One of the four registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Field {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

/// Returns leaf, sub-leaf and register of word `index`. None for the words that come from an MSR.
pub(super) const fn place(index: usize) -> Option<(u32, u32, Field)> {
    Some(match index {
        0 => (1, 0, Field::Edx),
        1 => (1, 0, Field::Ecx),
        2 => (0x8000_0001, 0, Field::Edx),
        3 => (0x8000_0001, 0, Field::Ecx),
        4 => (0xd, 1, Field::Eax),
        5 => (7, 0, Field::Ebx),
        6 => (7, 0, Field::Ecx),
        7 => (0x8000_0007, 0, Field::Edx),
        8 => (0x8000_0008, 0, Field::Ebx),
        9 => (7, 0, Field::Edx),
        10 => (7, 1, Field::Eax),
        11 => (0x8000_0021, 0, Field::Eax),
        12 => (7, 1, Field::Ebx),
        13 => (7, 2, Field::Edx),
        14 => (7, 1, Field::Ecx),
        15 => (7, 1, Field::Edx),
        18 => (0x8000_0021, 0, Field::Ecx),
        _ => return None,
    })
}

/// The features that the public header marks as fit for an HVM guest with nested paging (HAP).
pub(super) const OFFERED: [u32; WORDS] = [
    0x1fcb_fbff,
    0xf7fa_3203,
    0xee50_0800,
    0x0421_09f3,
    0x0000_000f,
    0xfdbf_0fab,
    0x0240_5f4f,
    0,
    0x751f_d005,
    0xbc00_441c,
    0x0000_1c30,
    0x7800_0064,
    0,
    0x0000_0037,
    0,
    0,
    0x1d12_e173,
    0x4000_0000,
    0x0000_0006,
];

/// Features whose MSRs are not kept for each guest, so that they cannot be offered: masks of breakpoint addresses, the
/// speculation controls and commands, XSS, and ARCH_CAPABILITIES with all that it says.
const WITHOUT_THEIR_MSRS: [u32; WORDS] = [
    0,
    0,
    0,
    1 << 26,
    1 << 3,
    0,
    0,
    0,
    // IBPB, IBRS, STIBP, their "always" and "fast" forms, SSBD, PSFD.
    (1 << 12) | (0x3f << 14) | (3 << 24) | (1 << 28),
    // IBRS and IBPB, STIBP, L1D flush, ARCH_CAPABILITIES, SSBD.
    (7 << 26) | (1 << 29) | (1 << 31),
    0,
    // Selective branch predictor barrier and what says how barriers work.
    (1 << 27) | (1 << 28),
    0,
    0x1f,
    0,
    0,
    u32::MAX,
    u32::MAX,
    0,
];

/// Transactional memory (HLE, RTM), which not all CPUs that have it may use.
const TRANSACTIONS: u32 = (1 << 4) | (1 << 11);

/// The features that need XSAVE and the AVX registers, word by word.
const NEEDS_AVX: [(usize, u32); 4] = [
    // FMA, AVX, F16C.
    (1, (1 << 12) | (1 << 28) | (1 << 29)),
    // XOP, FMA4.
    (3, (1 << 11) | (1 << 16)),
    // AVX2.
    (5, 1 << 5),
    // VAES, VPCLMULQDQ.
    (6, (1 << 9) | (1 << 10)),
];
/// The features that need the AVX-512 registers, word by word.
const NEEDS_AVX512: [(usize, u32); 4] = [
    (5, (3 << 16) | (1 << 21) | (7 << 26) | (3 << 30)),
    (6, (1 << 1) | (1 << 6) | (3 << 11) | (1 << 14)),
    (9, (3 << 2) | (1 << 8) | (1 << 23)),
    (10, 1 << 5),
];
/// The features that need XSAVE itself: XSAVE and OSXSAVE, all of 0xd.1, protection keys.
const NEEDS_XSAVE: [(usize, u32); 3] = [(1, 3 << 26), (4, u32::MAX), (6, 1 << 3)];
/// AVX-VNNI.
const NEEDS_AVX2: (usize, u32) = (10, 1 << 4);

const XCR0_X87_AND_SSE: u64 = 3;
const XCR0_AVX: u64 = 1 << 2;
const XCR0_AVX512: u64 = 7 << 5;
const XCR0_PROTECTION_KEYS: u64 = 1 << 9;

/// On-chip local APIC.
pub(super) const APIC: u32 = 1 << 9;
/// Word 1: x2APIC and "runs under a hypervisor".
pub(super) const X2APIC: u32 = 1 << 21;
pub(super) const HYPERVISOR: u32 = 1 << 31;
/// Leaf 1, ECX: XSAVE is turned on by the operating system.
pub(super) const OSXSAVE: u32 = 1 << 27;
/// Word 7: the time stamp counter runs at one rate.
pub(super) const INVARIANT_TSC: u32 = 1 << 8;
/// Word 8: EFER.LMSLE cannot be set.
const NO_SEGMENT_LIMITS: u32 = 1 << 20;
/// Word 11: LFENCE is dispatch-serialising.
pub(super) const LFENCE_SERIALIZING: u32 = 1 << 2;
const RDTSCP: u32 = 1 << 27;
const RDPID: u32 = 1 << 22;
/// Word 2 repeats these bits of word 0 on AMD.
pub(super) const REPEATED: u32 = 0x0183_f3ff;

/// What the machine can do for a guest besides showing its CPU's features.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    /// The bits of XCR0 whose registers are switched between guests; 0 if XSAVE is not used.
    pub xsave_components: u64,
    /// TSC_AUX is switched between guests, which RDTSCP and RDPID need.
    pub tsc_aux: bool,
    /// LFENCE serialises, by the CPU's design or because DE_CFG was set so.
    pub lfence_serializing: bool,
}

/// Feature words in the public header's order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FeatureSet(pub [u32; WORDS]);

impl FeatureSet {
    /// Reads the feature words from CPUID.
    pub(super) fn read(cpuid: &dyn Fn(u32, u32) -> CpuidRegisters) -> Self {
        let mut set = Self::default();
        for (index, word) in set.0.iter_mut().enumerate() {
            if let Some((leaf, subleaf, field)) = place(index) {
                *word = *field.of(&mut cpuid(leaf, subleaf));
            }
        }
        set
    }

    /// Returns the features that a guest is shown of these. `amd` says that the CPU is AMD's or Hygon's.
    #[must_use]
    pub fn for_guest(mut self, capabilities: Capabilities, amd: bool) -> Self {
        for ((word, offered), withheld) in self.0.iter_mut().zip(OFFERED).zip(WITHOUT_THEIR_MSRS) {
            *word &= offered & !withheld;
        }
        self.clear(5, TRANSACTIONS);
        if !capabilities.tsc_aux {
            self.clear(2, RDTSCP);
            self.clear(6, RDPID);
        }
        self.limit_to_components(capabilities.xsave_components);
        if capabilities.lfence_serializing {
            self.set(11, LFENCE_SERIALIZING);
        }
        if amd {
            // No guest can set it, whatever the CPU could do.
            self.set(8, NO_SEGMENT_LIMITS);
        }
        self.set(0, APIC);
        self.set(1, X2APIC | HYPERVISOR);
        self
    }

    pub(super) fn limit_to_components(&mut self, components: u64) {
        if components == 0 {
            self.clear_all(&NEEDS_XSAVE);
        }
        if components & XCR0_PROTECTION_KEYS == 0 {
            self.clear(6, 1 << 3);
        }
        if components & XCR0_AVX == 0 {
            self.clear_all(&NEEDS_AVX);
            self.clear_all(&[NEEDS_AVX2]);
        }
        if components & XCR0_AVX == 0 || components & XCR0_AVX512 != XCR0_AVX512 {
            self.clear_all(&NEEDS_AVX512);
        }
    }

    fn clear_all(&mut self, words: &[(usize, u32)]) {
        for (index, bits) in words {
            self.clear(*index, *bits);
        }
    }

    fn clear(&mut self, index: usize, bits: u32) {
        if let Some(word) = self.0.get_mut(index) {
            *word &= !bits;
        }
    }

    /// Adds features.
    pub(super) fn allow(&mut self, index: usize, bits: u32) {
        self.set(index, bits);
    }

    fn set(&mut self, index: usize, bits: u32) {
        if let Some(word) = self.0.get_mut(index) {
            *word |= bits;
        }
    }

    /// Returns word `index`, 0 past the last.
    #[must_use]
    pub fn word(&self, index: usize) -> u32 {
        self.0.get(index).copied().unwrap_or(0)
    }
}

/// Returns the XSAVE components whose features are in the set: none without XSAVE itself.
pub(super) fn components_of(set: &FeatureSet) -> u64 {
    let has = |index: usize, bit: u32| set.word(index) & (1 << bit) != 0;
    if !has(1, 26) {
        return 0;
    }
    let when = |feature: bool, components: u64| if feature { components } else { 0 };
    XCR0_X87_AND_SSE
        | when(has(1, 28), XCR0_AVX)
        | when(has(5, 16), XCR0_AVX512)
        | when(has(6, 3), XCR0_PROTECTION_KEYS)
}

impl Field {
    pub(super) const fn of(self, registers: &mut CpuidRegisters) -> &mut u32 {
        match self {
            Self::Eax => &mut registers.eax,
            Self::Ebx => &mut registers.ebx,
            Self::Ecx => &mut registers.ecx,
            Self::Edx => &mut registers.edx,
        }
    }
}
