extern crate std;

use alloc::collections::BTreeMap;
use alloc::string::String;

use xen_abi::{DomId, VcpuId};
use xenolith_hal::CpuidRegisters;

use super::features::{OFFERED, WORDS};
use super::*;

const fn registers(eax: u32, ebx: u32, ecx: u32, edx: u32) -> CpuidRegisters {
    CpuidRegisters { eax, ebx, ecx, edx }
}

/// Returns the emulator's `qemu64,+svm,+npt` with two CPUs.
fn small_amd(leaf: u32, _subleaf: u32) -> CpuidRegisters {
    match leaf {
        0 => registers(0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65),
        1 => registers(0x60fb1, 0x0002_0800, 0x8020_2001, 0x178b_fbfd),
        4 => registers(0x121, 0x1c0_003f, 0x3f, 1),
        5 => registers(0, 0, 3, 0),
        6 => registers(4, 0, 0, 0),
        0xb => registers(0, 1, 0x100, 1),
        0x8000_0000 => registers(0x8000_000a, 0x6874_7541, 0x444d_4163, 0x6974_6e65),
        0x8000_0001 => registers(0x60fb1, 0, 0x7, 0x2193_fbfd),
        0x8000_0002 => registers(0x554d_4551, 0, 0, 0),
        0x8000_0008 => registers(0x3028, 0, 0x1001, 0),
        0x8000_000a => registers(1, 16, 0, 1),
        _ => CpuidRegisters::default(),
    }
}

/// Returns a CPU with every feature.
fn large_amd(leaf: u32, subleaf: u32) -> CpuidRegisters {
    let ones = u32::MAX;
    match (leaf, subleaf) {
        (0, _) => registers(0x20, 0x6874_7541, 0x444d_4163, 0x6974_6e65),
        (1, _) => registers(0x00a2_0f12, 0x0c10_0800, ones, ones),
        (7, 0) => registers(2, ones, ones, ones),
        (0xd, 0) => registers(0xe7, 0x988, 0x988, 0),
        (0xd, 1) => registers(ones, 0x988, 0, 0),
        (0xd, 2) => registers(256, 576, 0, 0),
        (0xd, 5) => registers(64, 832, 0, 0),
        (0xd, 6) => registers(512, 896, 0, 0),
        (0xd, 7) => registers(1024, 1408, 0, 0),
        (0xd, 3..) => CpuidRegisters::default(),
        (0x8000_0000, _) => registers(0x8000_0028, 0x6874_7541, 0x444d_4163, 0x6974_6e65),
        (0x8000_0008, _) => registers(0x0034_3934, ones, ones, ones),
        _ => registers(ones, ones, ones, ones),
    }
}

const CAPABILITIES: Capabilities = Capabilities { xsave_components: 0, tsc_aux: false, lfence_serializing: true };

fn asker(domain: u16, vcpu: u32) -> Asker {
    let tsc =
        TscInfo { guest_khz: 1_000_000, host_khz: 1_000_001, multiplier: 0x8000_0000, shift: -1, ..TscInfo::default() };
    Asker {
        domain: DomId(domain),
        vcpu: VcpuId(vcpu),
        osxsave: false,
        protection_keys: false,
        xcr0: 1,
        apic_enabled: true,
        tsc,
    }
}

#[test]
fn a_guest_sees_what_real_xen_showed_it_on_the_same_cpu() {
    let table = CpuidTable::for_guest(&small_amd, CAPABILITIES, true);
    let leaf = |leaf| table.answer(leaf, 0, &asker(0, 1));
    assert_eq!(leaf(0), registers(0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65));
    assert_eq!(leaf(1), registers(0x60fb1, 0x0202_0800, 0x8020_2001, 0x178b_fbfd));
    for empty in [2, 3, 4, 5, 6, 7, 0xa, 0xd, 0x1f, 0x8000_0007, 0x8000_000a] {
        assert_eq!(leaf(empty), CpuidRegisters::default(), "{empty:#x}");
    }
    assert_eq!(leaf(0x8000_0000).eax, 0x8000_0021);
    assert_eq!(leaf(0x8000_0001).ecx, 3);
    assert_eq!(leaf(0x8000_0001).edx, 0x2193_fbfd);
    assert_eq!(leaf(0x8000_0002).eax, 0x554d_4551);
    assert_eq!(leaf(0x8000_0008), registers(0x3028, 0x10_0000, 0x1001, 0));
    assert_eq!(leaf(0x8000_0021).eax, 4);
}

#[test]
fn the_leaves_of_the_hypervisor() {
    let table = CpuidTable::for_guest(&small_amd, CAPABILITIES, false);
    let leaf = |leaf, subleaf| table.answer(leaf, subleaf, &asker(7, 3));
    assert_eq!(leaf(0x4000_0000, 0), registers(0x4000_0005, 0x566e_6558, 0x6558_4d4d, 0x4d4d_566e));
    assert_eq!(leaf(0x4000_0001, 0), registers(0x0004_0011, 0, 0, 0));
    assert_eq!(leaf(0x4000_0002, 0), registers(1, 0x4000_0000, 0, 0));
    assert_eq!(leaf(0x4000_0003, 0), registers(0, 0, 1_000_000, 0));
    assert_eq!(leaf(0x4000_0003, 1), registers(0, 0, 0x8000_0000, u32::MAX));
    assert_eq!(leaf(0x4000_0003, 2), registers(1_000_001, 0, 0, 0));
    assert_eq!(leaf(0x4000_0003, 3), CpuidRegisters::default());
    assert_eq!(leaf(0x4000_0004, 0), registers(0x1c, 3, 7, 0));
    assert_eq!(leaf(0x4000_0004, 1), CpuidRegisters::default());
    assert_eq!(leaf(0x4000_0005, 0), CpuidRegisters::default());
    assert_eq!(leaf(0x4000_0100, 0), CpuidRegisters::default());
    assert_eq!(leaf(0x4000_ff00, 0), CpuidRegisters::default());
}

#[test]
fn no_virtualisation_monitoring_or_speculation_control_is_offered() {
    let table = CpuidTable::for_guest(&large_amd, Capabilities { tsc_aux: true, ..CAPABILITIES }, true);
    let leaf = |leaf, subleaf| table.answer(leaf, subleaf, &asker(0, 0));
    assert_eq!(leaf(1, 0).ecx & ((1 << 3) | (1 << 5)), 0, "MONITOR, VMX");
    assert_eq!(leaf(0x8000_0001, 0).ecx & (1 << 2), 0, "SVM");
    assert_eq!(leaf(0x8000_0001, 0).edx & (1 << 27), 1 << 27, "RDTSCP");
    assert_eq!(leaf(7, 0).edx & 0xfc00_0000, 0, "speculation control");
    assert_eq!(leaf(0x8000_0008, 0).ebx & 0x130f_d000, 0, "IBPB and its kin");
    assert_eq!(leaf(0x8000_000a, 0), CpuidRegisters::default());
    assert_eq!(leaf(0x8000_001f, 0), CpuidRegisters::default());
    assert_eq!(leaf(0x8000_0008, 0).eax, 0x3034);
    assert_eq!(leaf(0x8000_0028, 0), CpuidRegisters::default());
    assert_eq!(leaf(0x20, 0), CpuidRegisters::default());
    assert_eq!(leaf(0, 0).eax, 0xd);
}

#[test]
fn linear_addresses_have_48_bits_where_five_levels_are_not_offered() {
    let table = CpuidTable::for_guest(&large_amd, CAPABILITIES, false);
    assert_eq!(table.leaf(7, 0).ecx & (1 << 16), 0, "LA57");
    assert_eq!(table.leaf(0x8000_0008, 0).eax, 0x3034);
    let most = CpuidTable::most_for_guest(&large_amd, CAPABILITIES);
    assert_eq!(most.leaf(0x8000_0008, 0).eax, 0x3034);
    assert_eq!(CpuidTable::of_host(&large_amd).limit_to(&most, CAPABILITIES).leaf(0x8000_0008, 0).eax, 0x3034);
}

#[test]
fn rdtscp_needs_tsc_aux_to_be_switched() {
    let table = CpuidTable::for_guest(&large_amd, CAPABILITIES, false);
    assert_eq!(table.leaf(0x8000_0001, 0).edx & (1 << 27), 0);
    assert_eq!(table.leaf(7, 0).ecx & (1 << 22), 0);
}

#[test]
fn only_a_domain_that_never_moves_may_rely_on_the_counters_rate() {
    assert_eq!(CpuidTable::for_guest(&large_amd, CAPABILITIES, true).leaf(0x8000_0007, 0), registers(0, 0, 0, 0x100));
    assert_eq!(CpuidTable::for_guest(&large_amd, CAPABILITIES, false).leaf(0x8000_0007, 0), registers(0, 0, 0, 0));
}

#[test]
fn without_xsave_nothing_that_needs_it_is_offered() {
    let table = CpuidTable::for_guest(&large_amd, CAPABILITIES, false);
    assert_eq!(table.leaf(1, 0).ecx & ((0xf << 26) | (1 << 12)), 0, "XSAVE, OSXSAVE, AVX, F16C, FMA");
    assert_eq!(table.leaf(7, 0).ebx & ((1 << 5) | (1 << 16)), 0, "AVX2, AVX512F");
    assert_eq!(table.leaf(7, 0).ecx & (1 << 3), 0, "protection keys");
    for subleaf in 0..64 {
        assert_eq!(table.leaf(0xd, subleaf), CpuidRegisters::default());
    }
}

#[test]
fn with_the_avx_registers_switched_avx_is_offered_but_not_avx512() {
    let capabilities = Capabilities { xsave_components: 7, ..CAPABILITIES };
    let table = CpuidTable::for_guest(&large_amd, capabilities, false);
    assert_eq!(table.leaf(1, 0).ecx & (1 << 28), 1 << 28);
    assert_eq!(table.leaf(7, 0).ebx & ((1 << 5) | (1 << 16)), 1 << 5);
    let mut asker = asker(1, 0);
    assert_eq!(table.answer(0xd, 0, &asker), registers(7, 576, 832, 0));
    asker.xcr0 = 7;
    assert_eq!(table.answer(0xd, 0, &asker).ebx, 832);
    assert_eq!(table.leaf(0xd, 2), registers(256, 576, 0, 0));
    assert_eq!(table.leaf(0xd, 5), CpuidRegisters::default());
    assert_eq!(table.leaf(0xd, 1), registers(7, 0, 0, 0), "XSAVES is not offered");
}

#[test]
fn what_depends_on_the_vcpu_shows_at_once() {
    let capabilities = Capabilities { xsave_components: 7, ..CAPABILITIES };
    let table = CpuidTable::for_guest(&large_amd, capabilities, false);
    let mut asker = asker(1, 5);
    assert_eq!(table.answer(1, 0, &asker).ecx & (1 << 27), 0);
    assert_eq!(table.answer(1, 0, &asker).ebx, 0x0a10_0800);
    assert_eq!(table.answer(0xb, 1, &asker), registers(0, 0, 1, 10));
    assert_eq!(table.answer(0xb, 2, &asker), CpuidRegisters::default());
    asker.osxsave = true;
    asker.apic_enabled = false;
    let leaf = table.answer(1, 0, &asker);
    assert_eq!((leaf.ecx & (1 << 27), leaf.edx & (1 << 9)), (1 << 27, 0));
    assert_eq!(table.answer(0x8000_0001, 0, &asker).edx & (1 << 9), 0);
}

#[test]
fn a_leaf_may_be_replaced_if_the_table_keeps_it() {
    let mut table = CpuidTable::for_guest(&small_amd, CAPABILITIES, false);
    let value = registers(0x60fb1, 0x0004_0800, 0x8020_2001, 0);
    assert_eq!(table.set_leaf(1, 0, value), Ok(()));
    assert_eq!(table.leaf(1, 0), value);
    assert_eq!(table.set_leaf(0xe, 0, value), Err(LeafError));
    assert_eq!(table.set_leaf(7, 3, value), Err(LeafError));
    assert_eq!(table.set_leaf(0x8000_0022, 0, value), Err(LeafError));
    assert_eq!(table.set_leaf(0x4000_0000, 0, value), Err(LeafError));
}

#[test]
fn the_family_counts_its_extended_part() {
    assert_eq!(CpuidTable::of_host(&small_amd).family(), 0xf);
    assert_eq!(CpuidTable::of_host(&large_amd).family(), 0x19);
}

/// The masks against the public header, which marks each feature with the guests that it is for: A all, S those of
/// full virtualisation, H those with nested paging.
#[test]
fn the_offered_features_are_those_that_the_public_header_marks() {
    let header: String = std::fs::read_to_string("/usr/include/xen/arch-x86/cpufeatureset.h")
        .expect("the public headers come with the package libxen-dev");
    let mut expected: BTreeMap<usize, u32> = BTreeMap::new();
    for line in header.lines().filter_map(|line| line.strip_prefix("XEN_CPUFEATURE(")) {
        let Some((definition, comment)) = line.split_once("/*") else { continue };
        let Some((_, place)) = definition.split_once(',') else { continue };
        let Some((word, bit)) = place.split_once("*32+") else { continue };
        let word: usize = word.trim().parse().unwrap();
        let bit: usize = bit.trim().trim_end_matches(')').trim().parse().unwrap();
        let marks = comment.split(' ').next().unwrap();
        if marks.contains(['A', 'S', 'H']) {
            *expected.entry(word + bit / 32).or_default() |= 1 << (bit % 32);
        }
    }
    assert!(expected.len() > 10);
    for (word, offered) in OFFERED.iter().enumerate().take(WORDS) {
        assert_eq!(*offered, expected.get(&word).copied().unwrap_or(0), "word {word}");
    }
}
