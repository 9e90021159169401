//! Ports: INS and OUTS between a port and a guest's memory, and the debug console at port 0xe9.

use xen_abi::{Gfn, VcpuId};
use xenolith_core::domains::running::Running;
use xenolith_core::outcome::After;
use xenolith_core::x86::guest_ports;
use xenolith_fake::FakeVcpu;
use xenolith_hal::{CpuState, Exception, GuestCpu, IoAccess, IoSize, Registers, vector};
use xenolith_world::World;

/// Where the instruction stands, the buffer, and its second page.
const CODE: Gfn = Gfn(2);
const DATA: Gfn = Gfn(4);
const AFTER: Gfn = Gfn(5);
/// The guest's page tables, where it has some: one of 4 MiB, one of 4 KiB.
const DIRECTORY: Gfn = Gfn(6);
const TABLE: Gfn = Gfn(7);

const REP_OUTSB: &[u8] = &[0xf3, 0x6e];
const REP_INSB: &[u8] = &[0xf3, 0x6c];
const REP_INSD: &[u8] = &[0xf3, 0x6d];
const DEBUG_CONSOLE: u16 = 0xe9;
/// A port where no device is.
const NOBODY: u16 = 0x2f8;

const fn at(gfn: Gfn) -> u64 {
    gfn.0 << 12
}

/// A 32-bit guest at its instruction, with flat segments and without paging.
fn state(count: u64, index: u64) -> CpuState {
    let state = CpuState::at_pvh_entry(at(CODE) as u32, 0);
    CpuState { registers: Registers { rcx: count, rsi: index, rdi: index, ..state.registers }, ..state }
}

/// Lets the guest meet the instruction until it has gone behind it or met an exception; returns what it is left with.
fn run(world: &World, code: &[u8], state: CpuState, access: IoAccess) -> (Registers, Option<Exception>, u32) {
    assert!(world.page(1, CODE).write_bytes(0, code));
    let domain = world.domain(1);
    let vcpu = domain.vcpu(VcpuId(0)).unwrap();
    let mut core = vcpu.take_core().unwrap();
    core.hardware = FakeVcpu::new();
    core.hardware.set_state(&state).unwrap();
    let mut exits = 0;
    while core.hardware.registers().rip == at(CODE) && core.hardware.injected.is_none() {
        let running = &mut Running { hv: &world.hv, domain: &domain, vcpu, core: &mut core };
        assert_eq!(guest_ports::access(running, access), After::Resume);
        exits += 1;
        assert!(exits < 100, "it makes no progress");
    }
    let left = (*core.hardware.registers(), core.hardware.injected, exits);
    vcpu.put_core(core);
    left
}

const fn string(port: u16, size: IoSize, write: bool) -> IoAccess {
    IoAccess { port, size, write, string: true, repeat: true }
}

const OUT: IoAccess = string(DEBUG_CONSOLE, IoSize::Byte, true);
const IN: IoAccess = string(NOBODY, IoSize::Byte, false);

#[test]
fn a_line_written_by_outs_stands_in_the_log() {
    let world = World::new(&[1, 1]);
    let line = b"[    0.000000] Linux version 6.1\r\n";
    assert!(world.page(1, DATA).write_bytes(0, line));
    let (registers, exception, exits) = run(&world, REP_OUTSB, state(line.len() as u64, at(DATA)), OUT);
    assert_eq!((exception, exits), (None, 1));
    assert_eq!((registers.rcx, registers.rsi), (0, at(DATA) + line.len() as u64));
    assert_eq!(world.hv.machine.logged(), ["(d1) [    0.000000] Linux version 6.1"]);
}

#[test]
fn a_line_written_byte_by_byte_stands_in_the_log() {
    let world = World::new(&[1, 1]);
    for (index, byte) in b"hello e9\n".iter().enumerate() {
        let mut state = state(0, 0);
        state.registers.rax = 0xffff_ff00 | u64::from(*byte);
        let (registers, ..) = run(&world, &[0xe6, 0xe9], state, IoAccess { string: false, ..OUT });
        assert_eq!(registers.rax, state.registers.rax);
        assert_eq!(world.hv.machine.logged().len(), usize::from(index == 8));
    }
    assert_eq!(world.hv.machine.logged(), ["(d1) hello e9"]);
}

#[test]
fn words_at_the_debug_console_are_dropped_and_reads_give_ones() {
    let world = World::new(&[1, 1]);
    let word = IoAccess { size: IoSize::Word, string: false, ..OUT };
    let mut line = state(0, 0);
    line.registers.rax = 0x0a0a;
    run(&world, &[0x66, 0xe7, 0xe9], line, word);
    assert_eq!(world.hv.machine.logged(), Vec::<String>::new());
    let (registers, ..) = run(&world, &[0xe4, 0xe9], line, IoAccess { write: false, size: IoSize::Byte, ..word });
    assert_eq!(registers.rax, 0x0aff);
}

#[test]
fn ins_fills_memory_across_pages_in_pieces() {
    let world = World::new(&[1, 1]);
    let from = at(DATA) + 0xffe;
    let access = string(NOBODY, IoSize::Dword, false);
    let (registers, exception, exits) = run(&world, REP_INSD, state(3, from), access);
    assert_eq!((exception, exits), (None, 2), "the element that crosses, and the two behind it");
    assert_eq!((registers.rcx, registers.rdi), (0, from + 12));
    assert_eq!(world.page(1, DATA).load_u64(0xff8), Some(0xffff_0000_0000_0000));
    assert_eq!(world.page(1, AFTER).load_u64(0), Some(u64::MAX));
    assert_eq!(world.page(1, AFTER).load_u64(8), Some(0xffff));
}

#[test]
fn an_exit_moves_no_more_than_a_kib() {
    let world = World::new(&[1, 1]);
    let (registers, exception, exits) = run(&world, REP_INSB, state(4096, at(DATA)), IN);
    assert_eq!((exception, exits, registers.rcx), (None, 4, 0));
    assert_eq!(world.page(1, DATA).load_u64(4088), Some(u64::MAX));
    assert_eq!(world.page(1, AFTER).load_u64(0), Some(0));
}

#[test]
fn a_count_of_zero_moves_nothing() {
    let world = World::new(&[1, 1]);
    let (registers, exception, _) = run(&world, REP_INSB, state(0, at(DATA)), IN);
    assert_eq!((exception, registers.rdi), (None, at(DATA)));
    assert_eq!(world.page(1, DATA).load_u64(0), Some(0));
}

/// Gives the guest page tables that show its pages where they are, `entry` standing for the second page of the buffer.
fn paged(world: &World, count: u64, entry: u64, cpl: u8) -> CpuState {
    const EVERYTHING: u64 = 7;
    let (directory, table) = (world.page(1, DIRECTORY), world.page(1, TABLE));
    let pair = |low: u64, high: u64| low | high << 32;
    directory.store_u64(0, at(TABLE) | EVERYTHING).unwrap();
    table.store_u64(8, pair(at(CODE) | EVERYTHING, 0)).unwrap();
    table.store_u64(16, pair(at(DATA) | EVERYTHING, entry)).unwrap();
    let mut state = state(count, at(AFTER) - 2);
    state.cr0 |= 1 << 31 | 1 << 16;
    state.cr3 = at(DIRECTORY);
    state.ss.attributes =
        xenolith_hal::SegmentAttributes::from_bits_retain(state.ss.attributes.bits() & !(3 << 5) | u16::from(cpl) << 5);
    state
}

#[test]
fn a_page_that_is_missing_is_a_page_fault_after_what_came_before_it() {
    let world = World::new(&[1, 1]);
    let state = paged(&world, 5, 0, 0);
    let (registers, exception, _) = run(&world, REP_INSB, state, IN);
    let fault =
        |error| Some(Exception { vector: vector::PAGE_FAULT, error_code: Some(error), address: Some(at(AFTER)) });
    assert_eq!(exception, fault(2), "a write to what is not there");
    assert_eq!((registers.rcx, registers.rdi, registers.rip), (3, at(AFTER), at(CODE)));
    assert_eq!(world.page(1, DATA).load_u64(0xff8), Some(0xffff_0000_0000_0000));
    let (registers, exception, _) = run(&world, REP_OUTSB, state, OUT);
    assert_eq!((exception, registers.rcx, registers.rsi), (fault(0), 3, at(AFTER)));
    // There, but only to be read.
    let state = paged(&world, 5, at(AFTER) | 5, 3);
    assert_eq!(run(&world, REP_INSB, state, IN).1, fault(7), "user mode writes to what may only be read");
    assert_eq!(run(&world, REP_OUTSB, state, OUT).1, None);
    // The kernel's alone.
    let state = paged(&world, 5, at(AFTER) | 3, 3);
    assert_eq!(run(&world, REP_OUTSB, state, OUT).1, fault(5));
    assert_eq!(run(&world, REP_OUTSB, paged(&world, 5, at(AFTER) | 3, 0), OUT).1, None);
}

#[test]
fn an_element_across_a_missing_page_moves_nothing() {
    let world = World::new(&[1, 1]);
    let state = paged(&world, 1, 0, 0);
    let access = string(NOBODY, IoSize::Dword, false);
    let (registers, exception, _) = run(&world, REP_INSD, state, access);
    assert_eq!(exception.unwrap().address, Some(at(AFTER)));
    assert_eq!((registers.rcx, registers.rdi), (1, at(AFTER) - 2));
    assert_eq!(world.page(1, DATA).load_u64(0xff8), Some(0));
}

#[test]
fn an_instruction_that_was_changed_meanwhile_is_not_done() {
    let world = World::new(&[1, 1]);
    let (registers, exception, _) = run(&world, REP_INSB, state(4, at(DATA)), OUT);
    assert_eq!((exception, registers.rcx), (Some(Exception::INVALID_OPCODE), 4));
    assert_eq!(world.hv.machine.logged().len(), 1);
}

#[test]
fn what_a_segment_does_not_allow_is_a_general_protection_fault() {
    let world = World::new(&[1, 1]);
    let mut state = state(4, at(DATA));
    state.ds.limit = at(DATA) as u32 + 1;
    let (registers, exception, _) = run(&world, REP_OUTSB, state, OUT);
    assert_eq!((exception, registers.rcx), (Some(Exception::GENERAL_PROTECTION), 2), "two were inside");
}

#[test]
fn where_no_memory_is_ones_are_read_and_writes_are_dropped() {
    let world = World::new(&[1, 1]);
    let nowhere = 0x100_0000;
    assert_eq!(run(&world, REP_INSB, state(4, nowhere), IN).1, None);
    let (registers, exception, _) = run(&world, REP_OUTSB, state(4, nowhere), OUT);
    assert_eq!((exception, registers.rsi), (None, nowhere + 4));
    assert_eq!(world.hv.machine.logged(), Vec::<String>::new(), "ones are not printable");
}
