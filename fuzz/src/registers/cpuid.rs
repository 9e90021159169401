//! CPU policies: whatever a toolstack says, a guest sees no feature that the most for a guest has not, and a policy that
//! is listed and read back is the same.

use std::sync::LazyLock;

use fastrand::Rng;
use xen_abi::{DomId, VcpuId};
use xenolith_devices::cpuid::{Asker, Capabilities, CpuidTable, TscInfo};
use xenolith_fake::FakeMachine;
use xenolith_hal::{CpuidRegisters, Machine};

/// Changes of one policy.
const CHANGES: u32 = 40;
/// Words of features; past the last they read as 0.
const WORDS: usize = 32;
const KNOWN: &[u32] = &[0, 1, 4, 5, 6, 7, 0xa, 0xb, 0xd, 0x15, 0x16];
/// The local APIC, which every guest has; features that a vCPU turns on by itself, in words 1 and 6.
const ALWAYS: &[(usize, u32)] = &[(0, 1 << 9)];

static MACHINE: LazyLock<FakeMachine> = LazyLock::new(|| FakeMachine::new(1, 1));

fn host(leaf: u32, subleaf: u32) -> CpuidRegisters {
    MACHINE.cpuid(leaf, subleaf)
}

fn registers(dice: &mut Rng) -> CpuidRegisters {
    let mut word = || match dice.u8(..4) {
        0 => u32::MAX,
        1 => 0,
        2 => 1 << dice.u32(..32),
        _ => dice.u32(..),
    };
    CpuidRegisters { eax: word(), ebx: word(), ecx: word(), edx: word() }
}

fn asker(dice: &mut Rng) -> Asker {
    Asker {
        domain: DomId(1),
        vcpu: VcpuId(dice.u32(..)),
        osxsave: dice.bool(),
        protection_keys: dice.bool(),
        xcr0: dice.u64(..),
        apic_enabled: dice.bool(),
        tsc: TscInfo {
            emulated: dice.bool(),
            reliable: dice.bool(),
            rdtscp: dice.bool(),
            mode: dice.u32(..),
            guest_khz: dice.u32(..),
            incarnation: dice.u32(..),
            offset: dice.u64(..),
            multiplier: dice.u32(..),
            shift: dice.i8(..),
            host_khz: dice.u32(..),
        },
    }
}

/// Makes one input, and returns how many leaves were asked for.
pub fn run(dice: &mut Rng) -> u64 {
    let capabilities = Capabilities {
        xsave_components: [0, 3, 7, 0x207, u64::MAX][dice.usize(..5)],
        tsc_aux: dice.bool(),
        lfence_serializing: dice.bool(),
    };
    let most = CpuidTable::most_for_guest(&host, capabilities);
    let mut wanted = CpuidTable::for_guest(&host, capabilities, dice.bool());
    assert_eq!(wanted.fits(&most), Ok(()), "the default is more than the most");
    for _ in 0..dice.u32(..CHANGES) {
        let base = if dice.bool() { 0x8000_0000 } else { 0 };
        let leaf = match dice.u8(..8) {
            0 => dice.u32(..),
            1..=3 => base | dice.u32(..0x24),
            _ => KNOWN[dice.usize(..KNOWN.len())],
        };
        let mut out = registers(dice);
        if leaf & 0x7fff_ffff == 0 && dice.u8(..8) > 0 {
            out.eax = base | dice.u32(..0x24);
        }
        let _ = wanted.set_leaf(leaf, dice.u32(..8), out);
    }
    if wanted.fits(&most).is_err() {
        return 1;
    }
    let limited = wanted.limit_to(&most, capabilities);
    check(&limited, &most);
    assert_eq!(limited.fits(&most), Ok(()), "a limited policy is still too much");
    assert_eq!(limited.clone().limit_to(&most, capabilities), limited, "what is limited is limited once more");
    listed(&limited);
    ask(dice, &limited)
}

/// Checks that a policy has no feature that no guest may have.
fn check(limited: &CpuidTable, most: &CpuidTable) {
    let (has, may) = (limited.features(), most.features());
    for word in 0..WORDS {
        let always = ALWAYS.iter().filter(|(of, _)| *of == word).fold(0, |sum, (_, bits)| sum | bits);
        let more = has.word(word) & !(may.word(word) | always);
        assert_eq!(more, 0, "features of word {word} that no guest may have");
    }
}

/// Lists a policy and reads it back.
fn listed(limited: &CpuidTable) {
    let mut copy = limited.clone();
    let done = limited.each_listed(|leaf| copy.set_listed(&leaf));
    assert_eq!((done, &copy), (Ok(()), limited), "a policy that was listed is another");
}

/// Asks for leaves: the same question has the same answer, and leaves that are not there read as zeros.
fn ask(dice: &mut Rng, table: &CpuidTable) -> u64 {
    let asker = asker(dice);
    for _ in 0..CHANGES {
        let base = [0, 0x4000_0000, 0x8000_0000][dice.usize(..3)];
        let leaf = if dice.u8(..16) == 0 { dice.u32(..) } else { base + dice.u32(..0x30) };
        let subleaf = dice.u32(..70);
        let answer = table.answer(leaf, subleaf, &asker);
        assert_eq!(answer, table.answer(leaf, subleaf, &asker));
        let hypervisors = (0x4000_0000..0x4001_0000).contains(&leaf);
        let absent = leaf & 0x7fff_ffff != 0 && !table.has_leaf(leaf) && !hypervisors;
        assert!(!absent || answer == CpuidRegisters::default() || matches!(leaf, 1 | 7 | 0x8000_0001), "{leaf:#x}");
    }
    CHANGES.into()
}
