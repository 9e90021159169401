//! Hypercalls from 32-bit code: from its registers and its own form of each structure to what it finds afterwards.

use xen_abi::event_channel::{EVTCHNOP_BIND_IPI, EVTCHNOP_BIND_VIRQ, EVTCHNOP_SEND};
use xen_abi::grant_table::{GNTTABOP_QUERY_SIZE, GNTTABOP_SETUP_TABLE};
use xen_abi::hvm_op::HVMOP_SET_PARAM;
use xen_abi::hvm_param::{HVM_PARAM_CALLBACK_IRQ, HVM_PARAM_CALLBACK_TYPE_VECTOR};
use xen_abi::hypercall::*;
use xen_abi::memory::{XENMEM_ADD_TO_PHYSMAP, XENMEM_DECREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP};
use xen_abi::physmap::XENMAPSPACE_GRANT_TABLE;
use xen_abi::shared_info_compat::SharedLayout;
use xen_abi::vcpu::{VCPUOP_GET_RUNSTATE_INFO, VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA};
use xen_abi::version::{XENVER_GET_FEATURES, XENVER_VERSION};
use xen_abi::{Errno, Gfn, VcpuId};
use xenolith_core::components::vcpu_timers::Timer;
use xenolith_core::domains::running::Running;
use xenolith_core::hypercalls::answer;
use xenolith_core::outcome::After;
use xenolith_hal::{CpuState, GuestCpu, NestedSpace, PAGE_SIZE, Registers, SegmentAttributes, Time};
use xenolith_world::{SHARED_INFO, World};

/// Where the structure of a call lies; paging is off.
const ARGUMENT: Gfn = Gfn(5);
const AT: u32 = 5 * PAGE_SIZE as u32;
/// High halves that 32-bit code does not know of.
const GARBAGE: u64 = 0xdead_beef << 32;
const CODE: u64 = 0x10_0000;

/// 32-bit code of the kernel, with paging off.
fn protected_mode() -> CpuState {
    let mut state = CpuState { cr0: 0x11, ..CpuState::default() };
    state.registers.rip = CODE;
    state
}

/// Makes a hypercall on vCPU 0 of domain 1 in this mode, as often as it wants to go on; gives EAX.
fn call_in(world: &World, mut state: CpuState, number: u32, args: [u32; 6]) -> i32 {
    let domain = world.domain(1);
    let vcpu = domain.vcpu(VcpuId(0)).unwrap();
    let mut core = vcpu.take_core().unwrap();
    let [rbx, rcx, rdx, rsi, rdi, rbp] = args.map(|argument| GARBAGE | u64::from(argument));
    let rax = GARBAGE | u64::from(number);
    state.registers = Registers { rax, rbx, rcx, rdx, rsi, rdi, rbp, ..state.registers };
    core.hardware.set_state(&state).unwrap();
    while core.hardware.registers().rip == CODE {
        assert_eq!(answer(&mut Running { hv: &world.hv, domain: &domain, vcpu, core: &mut core }), After::Resume);
    }
    let rax = core.hardware.registers().rax;
    assert_eq!(rax >> 32, 0, "a 32-bit result clears the high half");
    vcpu.put_core(core);
    rax as u32 as i32
}

fn call(world: &World, number: u32, args: [u32; 6]) -> i32 {
    call_in(world, protected_mode(), number, args)
}

/// Makes a call whose second argument points to these words, and gives them back as it left them.
fn call_with<const N: usize>(world: &World, number: u32, op: u32, words: [u32; N]) -> (i32, [u32; N]) {
    put(world, 0, words);
    let result = call(world, number, [op, AT, 1, 0, 0, 0]);
    (result, get(world, 0))
}

fn put<const N: usize>(world: &World, offset: usize, words: [u32; N]) {
    for (word, at) in words.into_iter().zip((offset..).step_by(4)) {
        world.page(1, ARGUMENT).store_u32(at, word).unwrap();
    }
}

fn get<const N: usize>(world: &World, offset: usize) -> [u32; N] {
    std::array::from_fn(|index| world.page(1, ARGUMENT).load_u32(offset + index * 4).unwrap())
}

const fn failed(errno: Errno) -> i32 {
    -errno.number()
}

#[test]
fn the_number_and_the_arguments_are_the_low_halves_of_their_registers() {
    let world = World::new(&[1, 1]);
    assert_eq!(call(&world, XEN_VERSION, [XENVER_VERSION, 0, 0, 0, 0, 0]), 4 << 16 | 17);
    let (result, [index, features]) = call_with(&world, XEN_VERSION, XENVER_GET_FEATURES, [0, 0]);
    assert_eq!((result, index), (0, 0));
    assert_ne!(features, 0);
}

#[test]
fn every_mode_but_user_mode_and_virtual_8086_mode_may_call() {
    let world = World::new(&[1, 1]);
    let version = |state| call_in(&world, state, XEN_VERSION, [XENVER_VERSION, 0, 0, 0, 0, 0]);
    let mut real = protected_mode();
    real.cr0 = 0x10;
    assert_eq!(version(real), 4 << 16 | 17);
    let mut compatibility = protected_mode();
    compatibility.efer = 0x500;
    assert_eq!(version(compatibility), 4 << 16 | 17);
    let mut virtual_8086 = protected_mode();
    virtual_8086.registers.rflags = 1 << 17;
    assert_eq!(version(virtual_8086), failed(Errno::EPERM));
    let mut user = protected_mode();
    user.ss.attributes = SegmentAttributes::from_bits_retain(0xcf3);
    assert_eq!(version(user), failed(Errno::EPERM));
}

#[test]
fn a_frame_of_the_grant_table_is_placed_by_words_of_32_bits() {
    let world = World::new(&[1, 1]);
    let place = [0x7ff0, XENMAPSPACE_GRANT_TABLE, 0, 0x50];
    assert_eq!(call_with(&world, MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, place), (0, place));
    assert!(world.domain(1).space.lookup(Gfn(0x50)).is_some());
    // One entry, for a list of 32-bit frames.
    put(&world, 0x40, [7, 7]);
    let (result, answer) = call_with(&world, GRANT_TABLE_OP, GNTTABOP_SETUP_TABLE, [0x7ff0, 1, 0xffff, AT + 0x40]);
    assert_eq!((result, answer), (0, [0x7ff0, 1, 0, AT + 0x40]));
    assert_eq!(get(&world, 0x40), [0x50, 7]);
    let (result, [_, frames, most, _]) = call_with(&world, GRANT_TABLE_OP, GNTTABOP_QUERY_SIZE, [0x7ff0, 0, 0, 0]);
    assert_eq!(result, 0);
    assert!(frames >= 1 && most >= frames);
}

#[test]
fn memory_goes_and_comes_by_a_list_of_32_bit_frames() {
    let world = World::new(&[1, 1]);
    put(&world, 0x80, [9, 10, 11]);
    let reservation = [AT + 0x80, 3, 0, 0, 0x7ff0];
    assert_eq!(call_with(&world, MEMORY_OP, XENMEM_DECREASE_RESERVATION, reservation), (3, reservation));
    let is_there = |gfn| world.domain(1).space.lookup(Gfn(gfn)).is_some();
    assert_eq!([8, 9, 10, 11, 12].map(is_there), [true, false, false, false, true]);
    // The second call goes on where the first is said to have ended.
    let from_the_second = XENMEM_POPULATE_PHYSMAP | 1 << 6;
    assert_eq!(call_with(&world, MEMORY_OP, from_the_second, reservation).0, 3);
    assert_eq!([9, 10, 11].map(is_there), [false, true, true]);
}

#[test]
fn a_list_of_calls_has_entries_of_32_bytes() {
    let world = World::new(&[1, 1]);
    let (version, unknown) = ([XEN_VERSION, 7, XENVER_VERSION, 0, 0, 0, 0, 0], [60, 7, 0, 0, 0, 0, 0, 0]);
    put(&world, 0, version);
    put(&world, 32, unknown);
    put(&world, 64, version);
    assert_eq!(call(&world, MULTICALL, [AT, 3, 0, 0, 0, 0]), 0);
    let result = |index: usize| get::<1>(&world, index * 32 + 4)[0];
    assert_eq!([0, 1, 2].map(result), [4 << 16 | 17, failed(Errno::ENOSYS) as u32, 4 << 16 | 17]);
    assert_eq!(get::<1>(&world, 96), [0], "nothing past the list is written");
}

#[test]
fn a_moment_comes_in_two_halves() {
    let world = World::new(&[1, 1]);
    assert_eq!(call(&world, SET_TIMER_OP, [5, 2, 0, 0, 0, 0]), 0);
    assert_eq!(world.domain(1).vcpu(VcpuId(0)).unwrap().timers.get(Timer::OneShot), Time(2 << 32 | 5));
}

#[test]
fn the_first_hypercall_that_does_not_exist_is_told_of_in_the_log() {
    let world = World::new(&[1, 1]);
    for number in [47, 63, 64, 0x4000_0000] {
        assert_eq!(call(&world, number, [0; 6]), failed(Errno::ENOSYS));
    }
    let told = world.hv.machine.logged();
    let of_it: Vec<&String> = told.iter().filter(|line| line.contains("hypercall")).collect();
    assert_eq!(of_it, ["d1v0 hypercall 47 from 0x100000 does not exist; further ones are not logged"]);
}

/// Sets the vector of events, which chooses the form of the shared page.
fn choose_form(world: &World) {
    let param = [0x7ff0, HVM_PARAM_CALLBACK_IRQ, 0x40, (HVM_PARAM_CALLBACK_TYPE_VECTOR as u32) << 24];
    assert_eq!(call_with(world, HVM_OP, HVMOP_SET_PARAM, param), (0, param));
}

#[test]
fn the_shared_page_takes_the_form_of_who_chooses_the_callback() {
    let world = World::new(&[1, 1]);
    let word = |at| world.page(1, SHARED_INFO).load_u32(at).unwrap();
    let (compat, native) = (SharedLayout::COMPAT, SharedLayout::NATIVE);
    let (result, [_, port]) = call_with(&world, EVENT_CHANNEL_OP, EVTCHNOP_BIND_IPI, [0, 0]);
    assert_eq!(result, 0);
    choose_form(&world);
    // A 64-bit guest would have masked it so.
    world.page(1, SHARED_INFO).store_u32(native.evtchn_mask, 1 << port).unwrap();
    assert_eq!(call_with(&world, EVENT_CHANNEL_OP, EVTCHNOP_SEND, [port]), (0, [port]));
    assert_eq!(word(compat.evtchn_pending), 1 << port);
    assert_eq!(word(compat.pending_sel), 1, "the selector of 32 bits");
    assert_eq!(word(compat.wc_version) % 2, 0);
    assert_ne!(word(compat.wc_version), 0, "the date stands in its new place");
}

#[test]
fn the_run_state_is_kept_in_44_bytes() {
    let world = World::new(&[1, 1]);
    let canary = 0x5ec_2e75;
    put(&world, 44, [canary]);
    assert_eq!(call(&world, VCPU_OP, [VCPUOP_GET_RUNSTATE_INFO, 0, AT, 0, 0, 0]), 0);
    assert_eq!(get(&world, 44), [canary]);
    // The pointer is in a union of 64 bits, of which the high half means nothing.
    put(&world, 0x100, [AT + 0x200, 0xffff_ffff]);
    put(&world, 0x200 + 44, [canary]);
    let register = [VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, 0, AT + 0x100, 0, 0, 0];
    assert_eq!(call(&world, VCPU_OP, register), 0);
    assert_eq!(get::<1>(&world, 0x200), get::<1>(&world, 0), "the state");
    assert_eq!(get(&world, 0x200 + 44), [canary]);
}

#[test]
fn a_pointer_that_leads_past_4_gib_is_a_fault() {
    let world = World::new(&[1, 1]);
    let features = [XENVER_GET_FEATURES, 0xffff_fffc, 0, 0, 0, 0];
    assert_eq!(call(&world, XEN_VERSION, features), failed(Errno::EFAULT));
    assert_eq!(call(&world, EVENT_CHANNEL_OP, [EVTCHNOP_BIND_VIRQ, 0xffff_f000, 0, 0, 0, 0]), failed(Errno::EFAULT));
}
