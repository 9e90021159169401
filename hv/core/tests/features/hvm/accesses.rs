//! Accesses that a device model answers while the vCPU waits.

use super::emulator::{Emulator, GUEST, at, destroy, dm_op, range, request};
use xen_abi::dm_op::*;
use xen_abi::hvm_op::{HVMMEM_IOREQ_SERVER, HVMMEM_RAM_RO, HVMMEM_RAM_RW};
use xen_abi::ioreq::*;
use xen_abi::{Gfn, Port};
use xenolith_core::outcome::{After, CrashReason};
use xenolith_hal::{GuestCpu, IoSize, NestedSpace, Registers, Rights};

/// `mov eax, [ebx]`, `mov [ebx], eax`, `xchg [ebx], eax`.
const LOAD: &[u8] = &[0x8b, 0x03];
const STORE: &[u8] = &[0x89, 0x03];
const EXCHANGE: &[u8] = &[0x87, 0x03];
const WINDOW: u64 = 0xf000_0010;
/// Memory of the guest.
const DATA: Gfn = Gfn(10);

fn registers(emulator: &Emulator) -> Registers {
    emulator.core(0, |core| *core.hardware.registers())
}

#[test]
fn a_port_is_read_when_the_device_model_answers() {
    let emulator = Emulator::new();
    let before = registers(&emulator).rip;
    assert_eq!(emulator.port(0x64, IoSize::Byte, false, 0x1122_3344), After::Stop);
    assert!(emulator.is_waiting(0) && emulator.was_notified(emulator.ports[0]));
    let asked = emulator.asked(0);
    assert_eq!((asked.addr, asked.count, asked.size, asked.kind), (0x64, 1, 1, IOREQ_TYPE_PIO));
    assert_eq!(asked.state_and_flags, STATE_IOREQ_READY | DIRECTION_READ);
    assert_eq!(registers(&emulator).rip, before, "nothing is done before");
    emulator.answer(0, 0xaabb_cc55);
    assert!(!emulator.is_waiting(0));
    assert_eq!(emulator.resume(0), After::Resume);
    let after = registers(&emulator);
    assert_eq!((after.rax, after.rip), (0x1122_3355, before + 3));
    assert_eq!(emulator.asked(0).state_and_flags & STATE_MASK, STATE_IOREQ_NONE);
}

#[test]
fn a_port_is_written_as_wide_as_the_access() {
    let emulator = Emulator::new();
    assert_eq!(emulator.port(0x60, IoSize::Word, true, 0x1122_3344), After::Stop);
    let asked = emulator.asked(0);
    assert_eq!((asked.data, asked.size, asked.state_and_flags), (0x3344, 2, STATE_IOREQ_READY));
    emulator.answer(0, 0);
    assert_eq!(emulator.resume(0), After::Resume);
    assert_eq!(registers(&emulator).rax, 0x1122_3344);
}

#[test]
fn a_port_of_no_server_reads_ones_at_once() {
    let emulator = Emulator::new();
    assert_eq!(emulator.port(0x5f, IoSize::Byte, false, 0), After::Resume);
    assert_eq!(registers(&emulator).rax, 0xff);
    assert_eq!(emulator.port(0x6f, IoSize::Word, false, 0), After::Resume);
    assert_eq!(registers(&emulator).rax, 0xffff, "half of it is no server's");
    assert_eq!(emulator.port(0x5f, IoSize::Byte, true, 0), After::Resume);
    assert!(!emulator.is_waiting(0) && !emulator.was_notified(emulator.ports[0]));
}

#[test]
fn pci_configuration_goes_to_the_server_of_the_function() {
    let emulator = Emulator::new();
    let latch = |address| {
        assert_eq!(emulator.port(0xcf8, IoSize::Dword, true, address), After::Stop);
        assert_eq!((emulator.asked(0).addr, emulator.asked(0).kind), (0xcf8, IOREQ_TYPE_PIO));
        emulator.answer(0, 0);
        assert_eq!(emulator.resume(0), After::Resume);
    };
    latch(0x8000_1040);
    assert_eq!(emulator.port(0xcfd, IoSize::Byte, false, 0), After::Stop);
    assert_eq!((emulator.asked(0).addr, emulator.asked(0).kind), (0x10_0000_0041, IOREQ_TYPE_PCI_CONFIG));
    emulator.answer(0, 0x77);
    emulator.resume(0);
    assert_eq!(registers(&emulator).rax, 0x77);
    latch(0x8000_1840);
    assert_eq!(emulator.port(0xcfc, IoSize::Dword, false, 0), After::Resume);
    assert_eq!(registers(&emulator).rax, 0xffff_ffff, "a function that is not there");
}

#[test]
fn memory_without_ram_is_read_and_written_by_the_device_model() {
    let emulator = Emulator::new();
    emulator.stand_at(LOAD, |state| state.registers.rax = 0);
    assert_eq!(emulator.fault(WINDOW, false), After::Stop);
    let asked = emulator.asked(0);
    assert_eq!((asked.addr, asked.size, asked.kind), (WINDOW, 4, IOREQ_TYPE_COPY));
    assert_eq!(asked.state_and_flags, STATE_IOREQ_READY | DIRECTION_READ);
    emulator.answer(0, 0x1234_5678);
    assert_eq!(emulator.resume(0), After::Resume);
    assert_eq!((registers(&emulator).rax, registers(&emulator).rip), (0x1234_5678, at(Gfn(2)) + 2));
    emulator.stand_at(STORE, |state| state.registers.rax = 0xdead_beef);
    assert_eq!(emulator.fault(WINDOW, true), After::Stop);
    assert_eq!((emulator.asked(0).data, emulator.asked(0).state_and_flags), (0xdead_beef, STATE_IOREQ_READY));
    emulator.answer(0, 0);
    assert_eq!(emulator.resume(0), After::Resume);
    assert_eq!(registers(&emulator).rip, at(Gfn(2)) + 2);
}

#[test]
fn an_exchange_reads_and_then_writes() {
    let emulator = Emulator::new();
    emulator.stand_at(EXCHANGE, |state| state.registers.rax = 7);
    assert_eq!(emulator.fault(WINDOW, true), After::Stop);
    assert_eq!(emulator.asked(0).state_and_flags, STATE_IOREQ_READY | DIRECTION_READ);
    emulator.answer(0, 9);
    assert_eq!(emulator.resume(0), After::Stop, "now it writes");
    assert!(emulator.is_waiting(0));
    assert_eq!((emulator.asked(0).data, emulator.asked(0).state_and_flags), (7, STATE_IOREQ_READY));
    emulator.answer(0, 0);
    assert_eq!(emulator.resume(0), After::Resume);
    assert_eq!((registers(&emulator).rax, registers(&emulator).rip), (9, at(Gfn(2)) + 2));
}

/// Gives a page of the guest's memory a type, and directs writes to watched memory to server 0, or no longer.
fn watch(emulator: &Emulator, mem_type: u16, flags: u32) {
    let wanted = DmOpMapMemTypeToIoreqServer { id: 0, kind: HVMMEM_IOREQ_SERVER, flags, opaque: 0 };
    let map = &mut dm_op(XEN_DMOP_MAP_MEM_TYPE_TO_IOREQ_SERVER, |op| op.set_map_mem_type(wanted));
    assert_eq!(request(&emulator.world, map), Ok(0));
    set_type(emulator, mem_type);
}

fn set_type(emulator: &Emulator, mem_type: u16) {
    let wanted = DmOpSetMemType { nr: 1, mem_type, pad: 0, first_pfn: DATA };
    assert_eq!(request(&emulator.world, &mut dm_op(XEN_DMOP_SET_MEM_TYPE, |op| op.set_mem_type(wanted))), Ok(0));
}

#[test]
fn writes_to_watched_memory_go_to_its_server_and_reads_do_not() {
    let emulator = Emulator::new();
    let data = emulator.world.page(GUEST, DATA);
    data.store_u32(8, 40).unwrap();
    watch(&emulator, HVMMEM_IOREQ_SERVER, XEN_DMOP_IOREQ_MEM_ACCESS_WRITE);
    // addl %eax, (%edi)
    emulator.stand_at(&[0x01, 0x07], |state| (state.registers.rdi, state.registers.rax) = (at(DATA) + 8, 2));
    assert_eq!(emulator.fault(at(DATA) + 8, true), After::Stop);
    let asked = emulator.asked(0);
    assert_eq!((asked.addr, asked.size, asked.data, asked.state_and_flags), (at(DATA) + 8, 4, 42, STATE_IOREQ_READY));
    emulator.answer(0, 0);
    assert_eq!(emulator.resume(0), After::Resume);
    assert_eq!(registers(&emulator).rip, at(Gfn(2)) + 2);
    assert_eq!(data.load_u32(8), Some(40), "whether it is written is the server's to say");
    // movb $0x55, 3(%edi)
    emulator.stand_at(&[0xc6, 0x47, 0x03, 0x55], |state| state.registers.rdi = at(DATA) + 8);
    assert_eq!(emulator.fault(at(DATA) + 11, true), After::Stop);
    let asked = emulator.asked(0);
    assert_eq!(
        (asked.addr, asked.size, asked.data, asked.state_and_flags),
        (at(DATA) + 11, 1, 0x55, STATE_IOREQ_READY)
    );
    emulator.answer(0, 0);
    assert_eq!(emulator.resume(0), After::Resume);
    // Without a server it is plain memory, which the instruction then writes by itself.
    assert_eq!(destroy(&emulator.world, 0), Ok(0));
    emulator.stand_at(&[0x01, 0x07], |state| state.registers.rdi = at(DATA) + 8);
    assert_eq!(emulator.fault(at(DATA) + 8, true), After::Resume);
    assert_eq!(registers(&emulator).rip, at(Gfn(2)), "it begins anew");
    assert_eq!(emulator.world.domain(GUEST).space.lookup(DATA).map(|there| there.rights), Some(Rights::ALL));
}

#[test]
fn memory_whose_rights_change_is_never_taken_for_a_device() {
    const ROUNDS: usize = 20_000;
    let emulator = Emulator::new();
    assert_eq!(range(&emulator.world, true, 0, XEN_DMOP_IO_RANGE_MEMORY, at(DATA), at(DATA) + 0xfff), Ok(0));
    std::thread::scope(|scope| {
        let changes = scope.spawn(|| {
            for _ in 0..ROUNDS {
                set_type(&emulator, HVMMEM_RAM_RO);
                set_type(&emulator, HVMMEM_RAM_RW);
            }
        });
        while !changes.is_finished() {
            emulator.stand_at(STORE, |state| state.registers.rbx = at(DATA) + 8);
            assert_eq!(emulator.fault(at(DATA) + 8, true), After::Resume, "a request to the server");
        }
    });
}

#[test]
fn memory_that_may_only_be_read_is_read_by_what_would_change_it() {
    let emulator = Emulator::new();
    let data = emulator.world.page(GUEST, DATA);
    data.store_u32(8, 40).unwrap();
    set_type(&emulator, HVMMEM_RAM_RO);
    emulator.stand_at(EXCHANGE, |state| (state.registers.rbx, state.registers.rax) = (at(DATA) + 8, 7));
    assert_eq!(emulator.fault(at(DATA) + 8, true), After::Resume);
    assert_eq!((registers(&emulator).rax, data.load_u32(8)), (40, Some(40)));
}

#[test]
fn memory_of_no_server_reads_ones_and_the_local_apic_is_nobodys() {
    let emulator = Emulator::new();
    emulator.stand_at(LOAD, |_| {});
    assert_eq!(emulator.fault(0xe000_0000, false), After::Resume);
    assert_eq!(registers(&emulator).rax, 0xffff_ffff);
    emulator.stand_at(LOAD, |_| {});
    assert_eq!(emulator.fault(0xfee0_0030, false), After::Resume);
    assert_ne!(registers(&emulator).rax, 0xffff_ffff, "the version of the local APIC");
}

#[test]
fn single_writes_to_vga_do_not_wait_while_the_ring_has_room() {
    let emulator = Emulator::new();
    let write = || {
        emulator.stand_at(STORE, |state| state.registers.rax = 0x0741_0742);
        emulator.fault(0xb_8000, true)
    };
    assert_eq!(write(), After::Resume);
    assert!(emulator.was_notified(emulator.ports[2]) && !emulator.is_waiting(0));
    assert_eq!(registers(&emulator).rip, at(Gfn(2)) + 2);
    assert_eq!(emulator.buffered().load_u64(8), Some(0x0741_0742_b800_0801));
    for _ in 1..IOREQ_BUFFER_SLOT_NUM {
        assert_eq!(write(), After::Resume);
    }
    assert_eq!(write(), After::Stop, "the ring is full");
    assert_eq!(emulator.asked(0).addr, 0xb_8000);
    emulator.answer(0, 0);
    assert_eq!(emulator.resume(0), After::Resume);
    emulator.stand_at(LOAD, |_| {});
    assert_eq!(emulator.fault(0xb_8000, false), After::Stop, "reads wait");
}

#[test]
fn an_event_without_an_answer_lets_it_wait_on() {
    let emulator = Emulator::new();
    assert_eq!(emulator.port(0x60, IoSize::Byte, false, 0), After::Stop);
    emulator.notify(0);
    assert!(!emulator.is_waiting(0));
    assert_eq!(emulator.resume(0), After::Stop);
    assert!(emulator.is_waiting(0));
    emulator.synchronous().store_u8(30, STATE_IOREQ_INPROCESS | DIRECTION_READ).unwrap();
    emulator.notify(0);
    assert_eq!(emulator.resume(0), After::Stop);
    emulator.synchronous().store_u8(30, STATE_IORESP_READY | DIRECTION_READ).unwrap();
    emulator.notify(0);
    assert_eq!(emulator.resume(0), After::Resume);
}

#[test]
fn an_answer_that_came_between_needs_no_event() {
    let emulator = Emulator::new();
    assert_eq!(emulator.port(0x60, IoSize::Byte, false, 0), After::Stop);
    emulator.synchronous().store_u8(30, STATE_IORESP_READY).unwrap();
    assert_eq!(emulator.resume(0), After::Resume);
    assert!(!emulator.is_waiting(0));
}

#[test]
fn vcpus_wait_each_for_its_own_answer() {
    let emulator = Emulator::new();
    let ask = |vcpu| {
        emulator.run(vcpu, |running| {
            let access =
                xenolith_hal::IoAccess { port: 0x60, size: IoSize::Byte, write: false, string: false, repeat: false };
            xenolith_core::x86::guest_ports::access(running, access)
        })
    };
    assert_eq!((ask(0), ask(1)), (After::Stop, After::Stop));
    emulator.answer(1, 0x11);
    assert!(emulator.is_waiting(0) && !emulator.is_waiting(1));
    assert_eq!(emulator.resume(1), After::Resume);
    assert_eq!(emulator.core(1, |core| core.hardware.registers().rax as u8), 0x11);
    emulator.answer(0, 0x22);
    assert_eq!(emulator.resume(0), After::Resume);
    assert_eq!(registers(&emulator).rax as u8, 0x22);
}

#[test]
fn a_state_without_meaning_crashes_the_guest_alone() {
    for state in (4..16).chain([1]) {
        let emulator = Emulator::new();
        assert_eq!(emulator.port(0x60, IoSize::Byte, false, 0), After::Stop);
        if state == 1 {
            emulator.synchronous().store_u8(30, STATE_IOREQ_INPROCESS).unwrap();
            assert_eq!(emulator.resume(0), After::Stop);
        }
        emulator.synchronous().store_u8(30, state).unwrap();
        emulator.notify(0);
        assert_eq!(emulator.resume(0), After::Crash(CrashReason::BadAnswer), "{state}");
        assert!(!emulator.is_waiting(0));
    }
}

#[test]
fn a_place_that_is_not_free_or_has_another_port_crashes_the_guest() {
    let emulator = Emulator::new();
    emulator.synchronous().store_u8(30, STATE_IORESP_READY).unwrap();
    assert_eq!(emulator.port(0x60, IoSize::Byte, false, 0), After::Crash(CrashReason::BadAnswer));
    emulator.synchronous().store_u8(30, STATE_IOREQ_NONE).unwrap();
    emulator.synchronous().store_u32(24, 77).unwrap();
    assert_eq!(emulator.port(0x60, IoSize::Byte, false, 0), After::Crash(CrashReason::BadAnswer));
    assert!(!emulator.is_waiting(0));
    emulator.synchronous().store_u32(24, Port(77).0).unwrap();
}

#[test]
fn a_request_that_is_taken_away_reads_ones() {
    let emulator = Emulator::new();
    assert_eq!(emulator.port(0x60, IoSize::Byte, false, 0), After::Stop);
    emulator.synchronous().store_u8(30, STATE_IOREQ_NONE).unwrap();
    emulator.notify(0);
    assert_eq!(emulator.resume(0), After::Resume);
    assert_eq!(registers(&emulator).rax, 0xff);
}

#[test]
fn a_server_that_is_destroyed_releases_who_waits_for_it() {
    let emulator = Emulator::new();
    assert_eq!(emulator.port(0x60, IoSize::Dword, false, 0), After::Stop);
    assert_eq!(super::emulator::destroy(&emulator.world, 0), Ok(0));
    assert!(!emulator.is_waiting(0));
    assert_eq!(emulator.resume(0), After::Resume);
    assert_eq!(registers(&emulator).rax, 0xffff_ffff);
    assert_eq!(emulator.port(0x60, IoSize::Byte, false, 0), After::Resume, "nobody is there");
}

#[test]
fn a_server_that_is_disabled_answers_what_it_was_asked_and_is_asked_no_more() {
    let emulator = Emulator::new();
    assert_eq!(emulator.port(0x60, IoSize::Byte, false, 0), After::Stop);
    assert_eq!(super::emulator::set_state(&emulator.world, 0, 0), Ok(0));
    assert!(emulator.is_waiting(0));
    emulator.answer(0, 0x33);
    assert_eq!(emulator.resume(0), After::Resume);
    assert_eq!(registers(&emulator).rax, 0x33);
    assert_eq!(emulator.port(0x60, IoSize::Byte, false, 0), After::Resume);
}
