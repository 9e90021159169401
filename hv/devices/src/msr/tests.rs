use alloc::vec::Vec;

use proptest::prelude::*;
use xen_abi::Gfn;
use xenolith_hal::{CpuidRegisters, HardwareMsr};

use super::*;
use crate::cpuid::{Capabilities, CpuidTable};

fn registers(eax: u32, ebx: u32, ecx: u32, edx: u32) -> CpuidRegisters {
    CpuidRegisters { eax, ebx, ecx, edx }
}

fn cpu(family: u32, leaf: u32) -> CpuidRegisters {
    match leaf {
        0 => registers(0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65),
        1 => registers(family, 0, 0x2001, 0x178b_fbfd),
        0x8000_0000 => registers(0x8000_0008, 0, 0, 0),
        0x8000_0001 => registers(family, 0, 7, 0x2993_fbfd),
        0x8000_0008 => registers(0x3028, 0, 0, 0),
        _ => CpuidRegisters::default(),
    }
}

fn table() -> CpuidTable {
    CpuidTable::for_guest(
        &|leaf, _| cpu(0x60fb1, leaf),
        Capabilities { lfence_serializing: true, ..Capabilities::default() },
        true,
    )
}

fn context(cpuid: &CpuidTable) -> MsrContext<'_> {
    MsrContext { cpuid, patch_level: 0x0100_0065, tsc: 1000 }
}

fn read(state: &MsrState, msr: u32) -> Result<MsrRead, GeneralProtection> {
    state.read(msr, &context(&table()))
}

fn write(state: &mut MsrState, msr: u32, value: u64) -> Result<MsrWrite, GeneralProtection> {
    state.write(msr, value, &context(&table()))
}

const DONE: Result<MsrWrite, GeneralProtection> = Ok(MsrWrite::Done);
const FAULT_WRITE: Result<MsrWrite, GeneralProtection> = Err(GeneralProtection);
const FAULT_READ: Result<MsrRead, GeneralProtection> = Err(GeneralProtection);

#[test]
fn a_booting_linux_reads_what_real_xen_gave_it() {
    let state = MsrState::default();
    let values = [
        (0x8b, 0x0100_0065),
        (0xfe, 0x508),
        (0x2ff, 0),
        (0x20f, 0),
        (0x26f, 0),
        (0x179, 2),
        (0x17a, 0),
        (0x400, u64::MAX),
        (0x404, u64::MAX),
        (0x401, 0),
        (0xc001_0000, 0),
        (0xc001_0007, 0),
        (0xc001_0010, 0),
        (0xc001_0015, 0),
        (0xc001_0055, 0),
        (0xc001_1029, 2),
    ];
    for (msr, value) in values {
        assert_eq!(read(&state, msr), Ok(MsrRead::Value(value)), "{msr:#x}");
    }
    assert_eq!(read(&state, 0x1b), Ok(MsrRead::ApicBase));
    assert_eq!(read(&state, 0x80b), Ok(MsrRead::Lapic));
    assert_eq!(read(&state, 0x174), Ok(MsrRead::Hardware(HardwareMsr::SysenterCs)));
    assert_eq!(read(&state, 0xc000_0080), Ok(MsrRead::Hardware(HardwareMsr::Efer)));
    assert_eq!(read(&state, 0x10), Ok(MsrRead::Tsc));
    assert_eq!(read(&state, 0x6e0), Ok(MsrRead::TscDeadline));
    // It holds where the page is only with Microsoft's interface, which the core knows.
    assert_eq!(read(&state, 0x4000_0000), Ok(MsrRead::HypercallPage));
}

#[test]
fn a_booting_linux_writes_as_on_real_xen() {
    let mut state = MsrState::default();
    assert_eq!(write(&mut state, 0xc001_0007, 0xffff), DONE);
    assert_eq!(write(&mut state, 0xc001_0015, 0x40), FAULT_WRITE);
    assert_eq!(write(&mut state, 0x2ff, 0xc06), DONE);
    assert_eq!(read(&state, 0x2ff), Ok(MsrRead::Value(0xc06)));
    assert_eq!(write(&mut state, 0x400, u64::MAX), DONE);
    assert_eq!(write(&mut state, 0x1b, 0xfee0_0d00), Ok(MsrWrite::ApicBase(0xfee0_0d00)));
    assert_eq!(write(&mut state, 0x830, 5), Ok(MsrWrite::Lapic(5)));
    assert_eq!(write(&mut state, 0x176, 9), Ok(MsrWrite::Hardware(HardwareMsr::SysenterEip, 9)));
    assert_eq!(write(&mut state, 0x6e0, 9), Ok(MsrWrite::TscDeadline(9)));
}

#[test]
fn unknown_msrs_fault() {
    let mut state = MsrState::default();
    let unknown = [
        0x17,
        0x3a,
        0x48,
        0x79,
        0xcf,
        0x10a,
        0x122,
        0x198,
        0x1a0,
        0x251,
        0x260,
        0x276,
        0x3f8,
        0x480,
        0x4d0,
        0x7ff,
        0x900,
        0xd90,
        0xda0,
        0x4000_0001,
        0x4000_0200,
        0x4b56_4d00,
        0xc000_0103,
        0xc000_0200,
        0xc001_0061,
        0xc001_011f,
        0xdead_beef,
        u32::MAX,
    ];
    for msr in unknown {
        assert_eq!(read(&state, msr), FAULT_READ, "{msr:#x}");
        assert_eq!(write(&mut state, msr, 0), FAULT_WRITE, "{msr:#x}");
    }
    assert_eq!(state, MsrState::default());
}

#[test]
fn some_can_only_be_read_and_some_only_be_written() {
    let mut state = MsrState::default();
    for msr in [0x8b, 0xce, 0xfe, 0xc001_0055] {
        assert!(read(&state, msr).is_ok(), "{msr:#x}");
        assert_eq!(write(&mut state, msr, 0), FAULT_WRITE, "{msr:#x}");
    }
    assert_eq!(read(&state, 0xc001_0020), FAULT_READ);
    assert_eq!(write(&mut state, 0xc001_0020, 0x1234), DONE);
    assert_eq!(write(&mut state, 0xc001_1029, 0), DONE);
    assert_eq!(read(&state, 0xc001_1029), Ok(MsrRead::Value(2)));
}

#[test]
fn the_hypercall_page_is_asked_for_by_its_frame() {
    let mut state = MsrState::default();
    assert_eq!(write(&mut state, 0x4000_0000, 0x123_4000), Ok(MsrWrite::HypercallPage(Gfn(0x1234))));
    assert_eq!(write(&mut state, 0x4000_0000, 0x123_4001), FAULT_WRITE);
}

#[test]
fn efer_takes_the_bits_of_offered_features_only() {
    let mut state = MsrState::default();
    let efer = |value| Ok(MsrWrite::Hardware(HardwareMsr::Efer, value));
    assert_eq!(write(&mut state, 0xc000_0080, 0x901), efer(0x901));
    assert_eq!(write(&mut state, 0xc000_0080, 0xd01), efer(0x901), "LMA is not written");
    assert_eq!(write(&mut state, 0xc000_0080, 0x1000), FAULT_WRITE, "SVME");
    assert_eq!(write(&mut state, 0xc000_0080, 0x2000), FAULT_WRITE, "LMSLE");
    assert_eq!(write(&mut state, 0xc000_0080, 1 << 21), FAULT_WRITE);
}

#[test]
fn memory_types_and_reserved_bits_of_the_mtrrs_are_checked() {
    let mut state = MsrState::default();
    for (msr, good, bad) in [
        (0x2ff, 0xc06, 0xc02),
        (0x2ff, 0, 0x1000),
        (0x250, 0x0606_0606_0606_0606, 0x0606_0603_0606_0606),
        (0x26f, 0x0504_0100_0604_0100, 0x07 << 56),
        (0x200, 0xff_ffff_f006, 0x100_0000_0006),
        (0x20e, 0x8000_0001, 0x8000_0101),
        (0x201, 0xff_ffff_f800, 0xff_ffff_f801),
        (0x20f, 0x800, 1 << 40),
    ] {
        assert_eq!(write(&mut state, msr, bad), FAULT_WRITE, "{msr:#x}");
        assert_eq!(read(&state, msr), Ok(MsrRead::Value(state.mtrr.read(msr).unwrap())));
        assert_eq!(write(&mut state, msr, good), DONE, "{msr:#x}");
        assert_eq!(read(&state, msr), Ok(MsrRead::Value(good)), "{msr:#x}");
    }
    let (default_type, fixed, variable) = state.mtrr.registers();
    assert_eq!((default_type, fixed[10], variable[14]), (0, 0x0504_0100_0604_0100, 0x8000_0001));
}

#[test]
fn machine_check_banks_can_only_be_cleared() {
    let mut state = MsrState::default();
    assert_eq!(write(&mut state, 0x401, 0), DONE);
    assert_eq!(write(&mut state, 0x401, 1), FAULT_WRITE);
    assert_eq!(write(&mut state, 0x406, u64::MAX), FAULT_WRITE);
    assert_eq!(write(&mut state, 0x407, 5), DONE);
    assert_eq!(read(&state, 0x407), Ok(MsrRead::Value(0)));
    assert_eq!(write(&mut state, 0x17a, 4), DONE);
    assert_eq!(read(&state, 0x17a), Ok(MsrRead::Value(4)));
    // Banks that are not there read 0 and drop what is written.
    assert_eq!(read(&state, 0x408), Ok(MsrRead::Value(0)));
    assert_eq!(write(&mut state, 0x409, 1), DONE);
}

#[test]
fn writing_the_counter_shows_in_its_adjustment_and_the_other_way_round() {
    let mut state = MsrState::default();
    assert_eq!(write(&mut state, 0x10, 1500), Ok(MsrWrite::ShiftTsc(500)));
    assert_eq!(read(&state, 0x3b), Ok(MsrRead::Value(500)));
    assert_eq!(write(&mut state, 0x3b, 0), Ok(MsrWrite::ShiftTsc(-500)));
    assert_eq!(write(&mut state, 0x10, 0), Ok(MsrWrite::ShiftTsc(-1000)));
    assert_eq!(read(&state, 0x3b), Ok(MsrRead::Value(u64::MAX - 999)));
}

#[test]
fn tsc_aux_exists_with_rdtscp_and_holds_32_bits() {
    let with = CpuidTable::for_guest(
        &|leaf, _| cpu(0x60fb1, leaf),
        Capabilities { tsc_aux: true, ..Capabilities::default() },
        false,
    );
    let mut state = MsrState::default();
    assert_eq!(state.write(0xc000_0103, 7, &context(&with)), Ok(MsrWrite::TscAux(7)));
    assert_eq!(state.read(0xc000_0103, &context(&with)), Ok(MsrRead::Value(7)));
    assert_eq!(state.write(0xc000_0103, 1 << 32, &context(&with)), FAULT_WRITE);
    assert_eq!(read(&state, 0xc000_0103), FAULT_READ);
}

#[test]
fn what_real_xen_answers_though_a_guest_has_no_use_for_it() {
    let mut state = MsrState::default();
    for msr in [0, 1, 0x2c, 0xc000_0104, 0xc001_0016, 0xc001_0019, 0xc001_0112, 0xc001_0117, 0xc001_1023, 0xc001_102c] {
        assert_eq!(read(&state, msr), Ok(MsrRead::Value(0)), "{msr:#x}");
    }
    assert_eq!(read(&state, 0xc000_0408), Ok(MsrRead::Value(1 << 61)));
    for msr in [0xc001_0016, 0xc001_0112] {
        assert_eq!(write(&mut state, msr, 0), FAULT_WRITE, "{msr:#x}");
    }
    for (msr, good, bad) in [(0xc001_0117, 0x1000, 0x1001), (0xc000_0104, 1 << 32, 1 << 40)] {
        assert_eq!(write(&mut state, msr, bad), FAULT_WRITE);
        assert_eq!(write(&mut state, msr, good), DONE);
        assert_eq!(read(&state, msr), Ok(MsrRead::Value(good)));
    }
}

#[test]
fn entry_points_must_be_addresses_of_48_bits() {
    let mut state = MsrState::default();
    for msr in [0x175, 0x176] {
        assert_eq!(write(&mut state, msr, 1 << 63), FAULT_WRITE);
        assert_eq!(write(&mut state, msr, 0x8000_0000_0000), FAULT_WRITE);
        assert!(write(&mut state, msr, 0xffff_8000_0000_0000).is_ok());
    }
    assert!(write(&mut state, 0x174, 1 << 63).is_ok());
}

#[test]
fn the_control_domain_is_shown_the_machines_ranges() {
    let machine = |msr| match msr {
        0x2ff => 0xc06,
        0x200 => 0xc000_0000,
        0x201 => 0xff_c000_0800,
        0x250 => 0x0606_0606_0606_0606,
        0x26f => 0x0202_0202_0202_0202,
        _ => 0,
    };
    let mtrr = Mtrr::of_machine(machine, 40);
    for (msr, value) in [(0x2ff, 0xc06), (0x200, 0xc000_0000), (0x201, 0xff_c000_0800), (0x26f, 0)] {
        assert_eq!(mtrr.read(msr), Ok(value), "{msr:#x}");
    }
}

#[test]
fn a_guest_can_make_cpuid_fault_for_its_users() {
    let mut state = MsrState::default();
    assert_eq!(read(&state, 0xce), Ok(MsrRead::Value(1 << 31)));
    assert_eq!(write(&mut state, 0x140, 2), FAULT_WRITE);
    assert!(!state.cpuid_faults_for_users());
    assert_eq!(write(&mut state, 0x140, 1), DONE);
    assert!(state.cpuid_faults_for_users());
}

#[test]
fn newer_families_report_a_counter_at_full_rate() {
    let newer = CpuidTable::for_guest(&|leaf, _| cpu(0x0080_0f12, leaf), Capabilities::default(), false);
    let state = MsrState::default();
    assert_eq!(state.read(0xc001_0015, &context(&newer)), Ok(MsrRead::Value(1 << 24)));
}

#[test]
fn the_msrs_of_amd_fault_on_another_vendors_cpu() {
    let other = CpuidTable::for_guest(
        &|leaf, _| match leaf {
            0 => registers(0xd, 0x756e_6547, 0x6c65_746e, 0x4965_6e69),
            leaf => cpu(0x306c3, leaf),
        },
        Capabilities::default(),
        false,
    );
    let mut state = MsrState::default();
    for msr in [0xc001_0000, 0xc001_0010, 0xc001_0015, 0xc001_1029] {
        assert_eq!(state.read(msr, &context(&other)), FAULT_READ);
        assert_eq!(state.write(msr, 0, &context(&other)), FAULT_WRITE);
    }
}

proptest! {
    /// A value that was accepted reads back, or the MSR is one that drops writes.
    #[test]
    fn no_access_fails_in_an_unforeseen_way(
        accesses in proptest::collection::vec((prop_oneof![0u32..0x1000, 0x4000_0000u32..0x4000_0010,
            0xc000_0000u32..0xc000_0500, 0xc001_0000u32..0xc001_2000, any::<u32>()], any::<u64>()), 0..200),
    ) {
        let table = table();
        let context = context(&table);
        let mut state = MsrState::default();
        let mut accepted = Vec::new();
        for (msr, value) in accesses {
            if state.write(msr, value, &context).is_ok() {
                accepted.push(msr);
            }
            let _ = state.read(msr, &context);
        }
        for msr in accepted {
            prop_assert!(msr == 0xc001_0020 || state.read(msr, &context).is_ok());
        }
    }
}
