//! Instructions whose memory is more than one place, or wider than a device model answers at once.

use super::emulator::{Emulator, GUEST, HIGHEST, at};
use xen_abi::Gfn;
use xen_abi::ioreq::*;
use xenolith_core::outcome::After;
use xenolith_hal::{GuestCpu, PageWords, Registers, vector};

/// Memory of the guest.
const DATA: Gfn = Gfn(10);
const WINDOW: u64 = 0xf000_0000;
const READ: u8 = STATE_IOREQ_READY | DIRECTION_READ;

fn registers(emulator: &Emulator) -> Registers {
    emulator.core(0, |core| *core.hardware.registers())
}

fn memory(emulator: &Emulator) -> &PageWords {
    emulator.world.page(GUEST, DATA)
}

/// Expects a request and answers it; returns what becomes of the vCPU.
fn expect(emulator: &Emulator, addr: u64, size: u32, flags: u8, answer: u64) -> After {
    let asked = emulator.asked(0);
    assert_eq!((asked.addr, asked.size, asked.state_and_flags, asked.count), (addr, size, flags, 1));
    emulator.answer(0, answer);
    emulator.resume(0)
}

#[test]
fn a_vector_goes_in_two_requests() {
    let emulator = Emulator::new();
    emulator.core(0, |core| core.hardware.set_vector(3, 0x2222_0000_0000_0002_1111_0000_0000_0001));
    // movups %xmm3, (%edi) and back
    emulator.stand_at(&[0x0f, 0x11, 0x1f], |state| state.registers.rdi = WINDOW + 8);
    let rip = registers(&emulator).rip;
    assert_eq!(emulator.fault(WINDOW + 8, true), After::Stop);
    assert_eq!(emulator.asked(0).data, 0x1111_0000_0000_0001);
    assert_eq!(expect(&emulator, WINDOW + 8, 8, STATE_IOREQ_READY, 0), After::Stop);
    assert_eq!(emulator.asked(0).data, 0x2222_0000_0000_0002);
    assert_eq!(expect(&emulator, WINDOW + 16, 8, STATE_IOREQ_READY, 0), After::Resume);
    assert_eq!(registers(&emulator).rip, rip + 3);

    emulator.stand_at(&[0x0f, 0x10, 0x1f], |state| state.registers.rdi = WINDOW + 8);
    assert_eq!(emulator.fault(WINDOW + 8, false), After::Stop);
    assert_eq!(expect(&emulator, WINDOW + 8, 8, READ, 5), After::Stop);
    assert_eq!(registers(&emulator).rip, rip, "not before all of it is there");
    assert_eq!(expect(&emulator, WINDOW + 16, 8, READ, 6), After::Resume);
    assert_eq!(emulator.core(0, |core| core.hardware.vector(3)), 6 << 64 | 5);
}

#[test]
fn a_push_reads_the_device_and_writes_the_stack() {
    let emulator = Emulator::new();
    emulator.stand_at(&[0xff, 0x37], |state| {
        (state.registers.rdi, state.registers.rsp) = (WINDOW, at(DATA) + 0x100);
    });
    assert_eq!(emulator.fault(WINDOW, false), After::Stop);
    assert_eq!(expect(&emulator, WINDOW, 4, READ, 0x1234_5678), After::Resume);
    assert_eq!(memory(&emulator).load_u32(0xfc), Some(0x1234_5678));
    assert_eq!(registers(&emulator).rsp, at(DATA) + 0xfc);
    // pop (%edi)
    emulator.stand_at(&[0x8f, 0x07], |state| {
        (state.registers.rdi, state.registers.rsp) = (WINDOW, at(DATA) + 0xfc);
    });
    assert_eq!(emulator.fault(WINDOW, true), After::Stop);
    assert_eq!(emulator.asked(0).data, 0x1234_5678);
    assert_eq!(expect(&emulator, WINDOW, 4, STATE_IOREQ_READY, 0), After::Resume);
    assert_eq!(registers(&emulator).rsp, at(DATA) + 0x100);
}

#[test]
fn strings_are_compared_across_memory_and_device() {
    let emulator = Emulator::new();
    memory(&emulator).store_u32(0, 7).unwrap();
    // repe cmpsl
    emulator.stand_at(&[0xf3, 0xa7], |state| {
        (state.registers.rsi, state.registers.rdi, state.registers.rcx) = (at(DATA), WINDOW, 2);
    });
    assert_eq!(emulator.fault(WINDOW, false), After::Stop);
    let rip = registers(&emulator).rip;
    assert_eq!(expect(&emulator, WINDOW, 4, READ, 7), After::Resume);
    let after = registers(&emulator);
    assert_eq!((after.rcx, after.rsi, after.rdi, after.rip), (1, at(DATA) + 4, WINDOW + 4, rip));
}

#[test]
fn an_operand_may_lie_half_in_memory_and_half_in_a_device() {
    let emulator = Emulator::new();
    // The window begins behind the last page of memory only here: the guest's tables are off, so it must be so physically.
    let last = emulator.world.page(GUEST, HIGHEST);
    let edge = at(HIGHEST) + 0x1000;
    last.store_u16(0xffe, 0xbbaa).unwrap();
    // addl %eax, (%edi): the second half has neither memory nor a server, so it reads as ones.
    emulator.stand_at(&[0x01, 0x07], |state| (state.registers.rdi, state.registers.rax) = (edge - 2, 1));
    assert_eq!(emulator.fault(edge, true), After::Resume);
    assert_eq!((last.load_u16(0xffe), registers(&emulator).rflags & 1), (Some(0xbbab), 0));
    // Between two pages of the window each half is asked for by itself.
    emulator.stand_at(&[0x8b, 0x07], |state| state.registers.rdi = WINDOW + 0xfff);
    assert_eq!(emulator.fault(WINDOW + 0xfff, false), After::Stop);
    assert_eq!(expect(&emulator, WINDOW + 0xfff, 1, READ, 0x11), After::Stop);
    assert_eq!(expect(&emulator, WINDOW + 0x1000, 2, READ, 0x3322), After::Stop);
    assert_eq!(expect(&emulator, WINDOW + 0x1002, 1, READ, 0x44), After::Resume);
    assert_eq!(registers(&emulator).rax, 0x4433_2211);
    // An access that only begins a page is one.
    emulator.stand_at(&[0x8b, 0x07], |state| state.registers.rdi = WINDOW + 0x1000);
    assert_eq!(emulator.fault(WINDOW + 0x1000, false), After::Stop);
    assert_eq!(expect(&emulator, WINDOW + 0x1000, 4, READ, 9), After::Resume);
}

#[test]
fn what_is_raised_comes_before_anything_is_done() {
    let emulator = Emulator::new();
    // push (%edi) with a stack past its segment's limit
    emulator.stand_at(&[0xff, 0x37], |state| {
        (state.registers.rdi, state.registers.rsp) = (WINDOW, 0x2000);
        state.ss.limit = 0xfff;
    });
    let before = registers(&emulator);
    assert_eq!(emulator.fault(WINDOW, false), After::Resume);
    assert_eq!(emulator.asked(0).state_and_flags & STATE_MASK, STATE_IOREQ_NONE, "nobody was asked");
    let raised = emulator.core(0, |core| core.hardware.injected.take());
    assert_eq!(raised.map(|exception| (exception.vector, exception.error_code)), Some((vector::STACK, Some(0))));
    assert_eq!(registers(&emulator), before);
}

#[test]
fn what_is_read_and_then_written_needs_the_right_to_write() {
    let emulator = Emulator::new();
    // Tables with pages of 4 MiB: the one of the code, and the window's, which may only be read.
    let tables = emulator.world.page(GUEST, DATA);
    tables.store_u32(0, 0x83).unwrap();
    tables.store_u32((WINDOW >> 22) as usize * 4, WINDOW as u32 | 0x81).unwrap();
    // addl %eax, (%edi)
    emulator.stand_at(&[0x01, 0x07], |state| {
        (state.cr0, state.cr3, state.cr4) = (0x8001_0011, at(DATA), 0x10);
        state.registers.rdi = WINDOW;
    });
    let before = registers(&emulator);
    assert_eq!(emulator.fault(WINDOW, false), After::Resume);
    let raised = emulator.core(0, |core| core.hardware.injected.take()).unwrap();
    assert_eq!((raised.vector, raised.error_code, raised.address), (vector::PAGE_FAULT, Some(3), Some(WINDOW)));
    assert_eq!(registers(&emulator), before);
    // With the right it is read and written.
    tables.store_u32((WINDOW >> 22) as usize * 4, WINDOW as u32 | 0x83).unwrap();
    assert_eq!(emulator.fault(WINDOW, false), After::Stop);
    assert_eq!(expect(&emulator, WINDOW, 4, READ, 0), After::Stop);
    assert_eq!(expect(&emulator, WINDOW, 4, STATE_IOREQ_READY, 0), After::Resume);
}

#[test]
fn a_fault_names_the_byte_that_the_processor_would() {
    let emulator = Emulator::new();
    // Pages of 4 KiB: one of the window, and none behind it.
    let (tables, window) = (emulator.world.page(GUEST, DATA), emulator.world.page(GUEST, Gfn(11)));
    tables.store_u32(0, 0x83).unwrap();
    tables.store_u32((WINDOW >> 22) as usize * 4, at(Gfn(11)) as u32 | 3).unwrap();
    window.store_u32(0, WINDOW as u32 | 3).unwrap();
    let fault = |code: &[u8], at_byte: u64, direction: u64, source: u64, destination: u64| {
        emulator.stand_at(code, |state| {
            (state.cr0, state.cr3, state.cr4) = (0x8001_0011, at(DATA), 0x10);
            (state.registers.rsi, state.registers.rdi, state.registers.rcx) = (source, destination, 5);
            state.registers.rflags |= direction;
        });
        assert_eq!(emulator.fault(at_byte, false), After::Resume);
        emulator.core(0, |core| core.hardware.injected.take()).and_then(|raised| raised.address)
    };
    // addl %eax, (%edi) from the last two bytes of the page
    assert_eq!(fault(&[0x01, 0x07], WINDOW + 0xffe, 0, 0, WINDOW + 0xffe), Some(WINDOW + 0x1000));
    // rep movsw downwards, to where no page is
    assert_eq!(fault(&[0xf3, 0x66, 0xa5], WINDOW, 1 << 10, WINDOW, WINDOW + 0x1804), Some(WINDOW + 0x1804));
}

#[test]
fn a_copy_between_devices_may_end_across_two_pages() {
    let emulator = Emulator::new();
    emulator.stand_at(&[0xa5], |state| {
        (state.registers.rsi, state.registers.rdi) = (WINDOW + 0x10, WINDOW + 0x2ffd);
    });
    assert_eq!(emulator.fault(WINDOW + 0x10, false), After::Stop);
    assert_eq!(expect(&emulator, WINDOW + 0x10, 4, READ, 0x4433_2211), After::Stop);
    assert_eq!(emulator.asked(0).data, 0x2211);
    assert_eq!(expect(&emulator, WINDOW + 0x2ffd, 2, STATE_IOREQ_READY, 0), After::Stop);
    assert_eq!(expect(&emulator, WINDOW + 0x2fff, 1, STATE_IOREQ_READY, 0), After::Stop);
    assert_eq!(emulator.asked(0).data, 0x44);
    assert_eq!(expect(&emulator, WINDOW + 0x3000, 1, STATE_IOREQ_READY, 0), After::Resume);
}

#[test]
fn an_instruction_that_lost_its_turns_since_the_exit_is_stepped_over() {
    let emulator = Emulator::new();
    // rep stosl with a count of 0, at the end of a page: no processor faults there.
    emulator.stand_at(&[0xf3, 0xab], |state| (state.registers.rdi, state.registers.rcx) = (WINDOW + 0xffe, 0));
    let before = registers(&emulator);
    assert_eq!(emulator.fault(WINDOW + 0xffe, true), After::Resume);
    assert_eq!(registers(&emulator), Registers { rip: before.rip + 2, ..before });
    assert_eq!(emulator.asked(0).state_and_flags & STATE_MASK, STATE_IOREQ_NONE);
}
