//! Repetitions that a device model is handed as one request: INS, OUTS, STOS, MOVS.

use super::emulator::{Emulator, GUEST, at};
use xen_abi::Gfn;
use xen_abi::ioreq::*;
use xenolith_core::outcome::After;
use xenolith_core::x86::guest_ports;
use xenolith_hal::{CpuState, GuestCpu, IoAccess, IoSize, Registers, vector};

const REP_INSW: &[u8] = &[0xf3, 0x66, 0x6d];
const REP_OUTSD: &[u8] = &[0xf3, 0x6f];
const REP_STOSD: &[u8] = &[0xf3, 0xab];
const REP_MOVSD: &[u8] = &[0xf3, 0xa5];
/// Memory of the guest.
const DATA: Gfn = Gfn(10);
const WINDOW: u64 = 0xf000_0000;
const DIRECTION: u64 = 1 << 10;

fn registers(emulator: &Emulator) -> Registers {
    emulator.core(0, |core| *core.hardware.registers())
}

fn string(emulator: &Emulator, size: IoSize, write: bool) -> After {
    let access = IoAccess { port: 0x60, size, write, string: true, repeat: true };
    emulator.run(0, |running| guest_ports::access(running, access))
}

fn with(count: u64, source: u64, destination: u64) -> impl FnOnce(&mut CpuState) {
    move |state| {
        (state.registers.rcx, state.registers.rsi, state.registers.rdi) = (count, source, destination);
        state.registers.rax = 0x1234_5678;
    }
}

/// Answers and goes on; returns what becomes of the vCPU.
fn go_on(emulator: &Emulator, data: u64) -> After {
    emulator.answer(0, data);
    emulator.resume(0)
}

#[test]
fn ins_is_handed_out_up_to_the_end_of_the_page() {
    let emulator = Emulator::new();
    emulator.stand_at(REP_INSW, with(3000, 0, at(DATA) + 0x100));
    assert_eq!(string(&emulator, IoSize::Word, false), After::Stop);
    let asked = emulator.asked(0);
    assert_eq!((asked.addr, asked.data, asked.count, asked.size), (0x60, at(DATA) + 0x100, 1920, 2));
    assert_eq!(asked.state_and_flags, STATE_IOREQ_READY | DIRECTION_READ | DATA_IS_POINTER);
    assert_eq!(go_on(&emulator, 0), After::Resume);
    let after = registers(&emulator);
    assert_eq!((after.rcx, after.rdi, after.rip), (1080, at(DATA) + 0x1000, at(Gfn(2))), "it comes again");
    assert_eq!(string(&emulator, IoSize::Word, false), After::Stop);
    assert_eq!((emulator.asked(0).data, emulator.asked(0).count), (at(DATA) + 0x1000, 1080));
    assert_eq!(go_on(&emulator, 0), After::Resume);
    assert_eq!((registers(&emulator).rcx, registers(&emulator).rip), (0, at(Gfn(2)) + 3));
}

#[test]
fn outs_backwards_names_the_highest_element() {
    let emulator = Emulator::new();
    emulator.stand_at(REP_OUTSD, |state| {
        with(4, at(DATA) + 0x20, 0)(state);
        state.registers.rflags |= DIRECTION;
    });
    assert_eq!(string(&emulator, IoSize::Dword, true), After::Stop);
    let asked = emulator.asked(0);
    assert_eq!((asked.data, asked.count), (at(DATA) + 0x20, 4));
    assert_eq!(asked.state_and_flags, STATE_IOREQ_READY | DATA_IS_POINTER | ADDRESSES_FALL);
    assert_eq!(go_on(&emulator, 0), After::Resume);
    assert_eq!((registers(&emulator).rsi, registers(&emulator).rcx), (at(DATA) + 0x10, 0));
}

#[test]
fn an_element_across_pages_is_handed_out_by_value() {
    let emulator = Emulator::new();
    emulator.world.page(GUEST, DATA).store_u16(0xffe, 0x2211).unwrap();
    emulator.world.page(GUEST, Gfn(11)).store_u16(0, 0x4433).unwrap();
    emulator.stand_at(REP_OUTSD, with(2, at(DATA) + 0xffe, 0));
    assert_eq!(string(&emulator, IoSize::Dword, true), After::Stop);
    let asked = emulator.asked(0);
    assert_eq!((asked.data, asked.count, asked.state_and_flags), (0x4433_2211, 1, STATE_IOREQ_READY));
    assert_eq!(go_on(&emulator, 0), After::Resume);
    assert_eq!(registers(&emulator).rcx, 1);
    emulator.stand_at(&[0x6d], with(1, 0, at(DATA) + 0xffe));
    assert_eq!(string(&emulator, IoSize::Dword, false), After::Stop);
    assert_eq!(go_on(&emulator, 0x8877_6655), After::Resume);
    let pages = [DATA, Gfn(11)].map(|gfn| emulator.world.page(GUEST, gfn));
    assert_eq!((pages[0].load_u16(0xffe), pages[1].load_u16(0)), (Some(0x6655), Some(0x8877)));
}

#[test]
fn no_turns_and_faults_ask_nobody() {
    let emulator = Emulator::new();
    emulator.stand_at(REP_INSW, with(0, 0, at(DATA)));
    assert_eq!(string(&emulator, IoSize::Word, false), After::Resume);
    assert_eq!(registers(&emulator).rip, at(Gfn(2)) + 3);
    emulator.stand_at(REP_INSW, |state| {
        with(1, 0, at(DATA))(state);
        // Paging through tables that map the instruction alone.
        state.cr0 |= 1 << 31;
        state.cr3 = at(Gfn(12));
    });
    emulator.world.page(GUEST, Gfn(12)).store_u32(0, (at(Gfn(13)) | 3) as u32).unwrap();
    emulator.world.page(GUEST, Gfn(13)).store_u32(8, (at(Gfn(2)) | 3) as u32).unwrap();
    assert_eq!(string(&emulator, IoSize::Word, false), After::Resume);
    let injected = emulator.core(0, |core| core.hardware.injected).unwrap();
    assert_eq!((injected.vector, injected.error_code, injected.address), (vector::PAGE_FAULT, Some(2), Some(at(DATA))));
    assert!(!emulator.was_notified(emulator.ports[0]));
}

#[test]
fn stores_of_a_repetition_are_one_request_with_the_value() {
    let emulator = Emulator::new();
    emulator.stand_at(REP_STOSD, with(2000, 0, WINDOW + 0xf00));
    assert_eq!(emulator.fault(WINDOW + 0xf00, true), After::Stop);
    let asked = emulator.asked(0);
    assert_eq!((asked.addr, asked.data, asked.count, asked.size), (WINDOW + 0xf00, 0x1234_5678, 64, 4));
    assert_eq!(asked.state_and_flags, STATE_IOREQ_READY);
    assert_eq!(go_on(&emulator, 0), After::Resume);
    assert_eq!((registers(&emulator).rcx, registers(&emulator).rdi), (1936, WINDOW + 0x1000));
    emulator.stand_at(REP_STOSD, with(8, 0, 0xb_8000));
    assert_eq!(emulator.fault(0xb_8000, true), After::Stop, "a repetition waits in the window of VGA too");
}

#[test]
fn a_copy_from_memory_names_the_memory() {
    let emulator = Emulator::new();
    emulator.stand_at(REP_MOVSD, with(3000, at(DATA) + 0x800, WINDOW));
    assert_eq!(emulator.fault(WINDOW, true), After::Stop);
    let asked = emulator.asked(0);
    assert_eq!((asked.addr, asked.data, asked.count), (WINDOW, at(DATA) + 0x800, 512));
    assert_eq!(asked.state_and_flags, STATE_IOREQ_READY | DATA_IS_POINTER);
    assert_eq!(go_on(&emulator, 0), After::Resume);
    let after = registers(&emulator);
    assert_eq!((after.rcx, after.rsi, after.rdi), (2488, at(DATA) + 0x1000, WINDOW + 0x800));
}

#[test]
fn a_copy_to_memory_ends_at_the_end_of_the_devices_page() {
    let emulator = Emulator::new();
    emulator.stand_at(REP_MOVSD, with(3000, WINDOW + 0xff0, at(DATA)));
    assert_eq!(emulator.fault(WINDOW + 0xff0, false), After::Stop);
    let asked = emulator.asked(0);
    assert_eq!((asked.addr, asked.data, asked.count), (WINDOW + 0xff0, at(DATA), 4));
    assert_eq!(asked.state_and_flags, STATE_IOREQ_READY | DATA_IS_POINTER | DIRECTION_READ);
    assert_eq!(go_on(&emulator, 0), After::Resume);
    assert_eq!((registers(&emulator).rcx, registers(&emulator).rdi), (2996, at(DATA) + 16));
}

#[test]
fn a_copy_between_devices_reads_and_then_writes_one_element() {
    let emulator = Emulator::new();
    for write in [false, true] {
        emulator.stand_at(REP_MOVSD, with(5, WINDOW, WINDOW + 0x2000));
        let faulted = if write { WINDOW + 0x2000 } else { WINDOW };
        assert_eq!(emulator.fault(faulted, write), After::Stop);
        let asked = emulator.asked(0);
        assert_eq!((asked.addr, asked.count, asked.state_and_flags), (WINDOW, 1, STATE_IOREQ_READY | DIRECTION_READ));
        assert_eq!(go_on(&emulator, 0xabcd), After::Stop);
        let asked = emulator.asked(0);
        assert_eq!((asked.addr, asked.data, asked.state_and_flags), (WINDOW + 0x2000, 0xabcd, STATE_IOREQ_READY));
        assert_eq!(go_on(&emulator, 0), After::Resume);
        assert_eq!((registers(&emulator).rcx, registers(&emulator).rsi), (4, WINDOW + 4));
    }
}

#[test]
fn a_copy_across_pages_of_memory_goes_by_value() {
    let emulator = Emulator::new();
    emulator.stand_at(REP_MOVSD, with(2, WINDOW, at(DATA) + 0xffd));
    assert_eq!(emulator.fault(WINDOW, false), After::Stop);
    assert_eq!((emulator.asked(0).count, emulator.asked(0).state_and_flags), (1, STATE_IOREQ_READY | DIRECTION_READ));
    assert_eq!(go_on(&emulator, 0x4433_2211), After::Resume);
    let pages = [DATA, Gfn(11)].map(|gfn| emulator.world.page(GUEST, gfn));
    assert_eq!(
        (pages[0].load_u8(0xffd), pages[0].load_u8(0xfff), pages[1].load_u8(0)),
        (Some(0x11), Some(0x33), Some(0x44))
    );
    assert_eq!(registers(&emulator).rcx, 1);
}

#[test]
fn where_no_server_is_memory_gets_ones() {
    let emulator = Emulator::new();
    let page = emulator.world.page(GUEST, DATA);
    // rep movsd, upwards and downwards, from an address that no server has.
    for (flags, source, destination) in [(2, 0xe000_0000, at(DATA) + 16), (2 | DIRECTION, 0xe000_0004, at(DATA) + 20)] {
        page.clear();
        emulator.stand_at(REP_MOVSD, |state| {
            with(2, source, destination)(state);
            state.registers.rflags = flags;
        });
        assert_eq!(emulator.fault(source, false), After::Resume);
        let words = [12, 16, 20, 24].map(|at| page.load_u32(at).unwrap());
        assert_eq!(words, [0, u32::MAX, u32::MAX, 0]);
        assert_eq!(registers(&emulator).rcx, 0);
    }
}
