//! Whether LFENCE serialises (waits for all earlier instructions), as guests and their defences against Spectre need it.
//!
//! **Source:** AMD, "Software techniques for managing speculation on AMD processors"; AMD manual volume 3, appendix E
//! (leaf 0x80000021).

use xenolith_hal::CpuidRegisters;

const EXTENDED: u32 = 0x8000_0000;
const MORE_FEATURES: u32 = EXTENDED | 0x21;
const ALWAYS_SERIALIZING: u32 = 1 << 2;

/// How LFENCE comes to serialise on a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lfence {
    /// By the CPU's design.
    Always,
    /// By a bit of the MSR DE_CFG, if the CPU keeps it.
    IfSet,
}

impl Lfence {
    /// Asks CPUID, which `cpuid` runs with a leaf and a sub-leaf, of a CPU with AMD's virtualisation.
    #[must_use]
    pub fn of(cpuid: impl Fn(u32, u32) -> CpuidRegisters) -> Self {
        let says_so = cpuid(EXTENDED, 0).eax >= MORE_FEATURES && cpuid(MORE_FEATURES, 0).eax & ALWAYS_SERIALIZING != 0;
        let signature = cpuid(1, 0).eax;
        let base = signature >> 8 & 0xf;
        let family = if base == 0xf { base + (signature >> 20 & 0xff) } else { base };
        // These two families have no such bit, and need none.
        if says_so || matches!(family, 0xf | 0x11) { Self::Always } else { Self::IfSet }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(signature: u32, last: u32, more: u32) -> Lfence {
        Lfence::of(|leaf, _| {
            let eax = match leaf {
                1 => signature,
                EXTENDED => last,
                MORE_FEATURES => more,
                _ => 0,
            };
            CpuidRegisters { eax, ..CpuidRegisters::default() }
        })
    }

    #[test]
    fn old_and_new_cpus_serialize_by_design_and_those_between_must_be_told() {
        // Family 0xf, 0x11; 0x10, 0x17 of the first generation, 0x19 of the third.
        assert_eq!(cpu(0x0006_0fb1, 0x8000_000a, 0), Lfence::Always);
        assert_eq!(cpu(0x0020_0f31, 0x8000_001a, 0), Lfence::Always);
        assert_eq!(cpu(0x0010_0f22, 0x8000_001b, 0), Lfence::IfSet);
        assert_eq!(cpu(0x0080_0f12, 0x8000_001f, 4), Lfence::IfSet, "a leaf past the last says nothing");
        assert_eq!(cpu(0x00a2_0f10, 0x8000_0023, 4), Lfence::Always);
        assert_eq!(cpu(0x00a2_0f10, 0x8000_0023, 0), Lfence::IfSet);
    }
}
