//! A vCPU on a CPU that follows a script.

mod short_answers;

use super::features::Features;
use super::permissions::PermissionMaps;
use super::processor::Processor;
use super::vcpu::SvmVcpu;
use super::vmcb::{Field, Vmcb};
use crate::guest::frame_access::FrameAccess;
use crate::guest::frame_pool::Pool;
use crate::guest::nested::{NestedTables, TableLimits};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::sync::atomic::{AtomicU32, Ordering};
use proptest::prelude::*;
use std::thread_local;
use xenolith_hal::{
    CpuId, CpuState, Exception, Exit, FrameSource, Gfn, GuestCpu, HardwareMsr, InvalidState, Mapping, Mfn, Mpa,
    NestedSpace, PAGE_SIZE, PageKind, PageOrder, PageWords, Registers, Rights, RunControl,
};

type Step = Box<dyn FnOnce(&mut Registers, Vmcb)>;

thread_local! {
    static STEPS: RefCell<VecDeque<Step>> = const { RefCell::new(VecDeque::new()) };
    static BLOCKS: RefCell<Vec<(Mpa, Vmcb)>> = const { RefCell::new(Vec::new()) };
    static CPU: Cell<u32> = const { Cell::new(0) };
    static FPU: Cell<u64> = const { Cell::new(0) };
    static DEBUG: Cell<[u64; 4]> = const { Cell::new([0; 4]) };
    static PAT: Cell<u64> = const { Cell::new(0) };
    /// The CPU is one whose checks of control registers cannot be trusted.
    static EMULATED: Cell<bool> = const { Cell::new(false) };
    static WINDOWS: Cell<u32> = const { Cell::new(0) };
    /// How often the local APIC was made to look at what it holds.
    static RECALLED: Cell<u32> = const { Cell::new(0) };
}

/// Each test has CPUs of its own, for what is kept for each CPU is shared by all tests.
static NEXT_CPU: AtomicU32 = AtomicU32::new(0);
const FPU_AT: usize = 0x100;

struct Scripted;

impl Processor for Scripted {
    fn this_cpu() -> CpuId {
        CpuId(CPU.get())
    }

    fn features() -> Features {
        Features {
            asids: 16,
            clean_bits: true,
            decode_assists: !EMULATED.get(),
            virtual_machine: EMULATED.get(),
            cr4: 0x7ff,
            efer: 0xd01,
            address_bits: 40,
            ..Features::default()
        }
    }

    unsafe fn enter(registers: &mut Registers, guest: Mpa, _host: Mpa) {
        let vmcb = BLOCKS.with_borrow(|blocks| blocks.iter().find(|(at, _)| *at == guest).unwrap().1);
        let step = STEPS.with_borrow_mut(VecDeque::pop_front).expect("the script is at its end");
        step(registers, vmcb);
    }

    fn recall_interrupts() {
        RECALLED.set(RECALLED.get() + 1);
    }

    fn open_interrupt_window() {
        WINDOWS.set(WINDOWS.get() + 1);
    }

    fn machine_check() {}

    fn save_fpu(area: &PageWords) {
        area.store_u64(FPU_AT, FPU.get()).unwrap();
    }

    fn load_fpu(area: &PageWords) {
        FPU.set(area.load_u64(FPU_AT).unwrap());
    }

    fn reset_fpu(area: &PageWords) {
        area.store_u64(FPU_AT, 0x37f).unwrap();
    }

    fn debug_addresses() -> [u64; 4] {
        DEBUG.get()
    }

    fn page_attributes() -> u64 {
        PAT.get()
    }

    fn set_page_attributes(value: u64) {
        PAT.set(value);
    }

    fn set_debug_addresses(addresses: &[u64; 4]) {
        DEBUG.set(*addresses);
    }
}

type Vcpu = SvmVcpu<Scripted, Pool>;
type Space = NestedTables<Pool>;

const CPUS: u32 = 2;

/// Two CPUs that no other test uses.
fn cpus() -> u32 {
    let first = NEXT_CPU.fetch_add(CPUS, Ordering::Relaxed);
    for cpu in first..first + CPUS {
        super::per_cpu::CpuData::of(CpuId(cpu)).unwrap().start(Mpa(0x1000), 16);
    }
    CPU.set(first);
    first
}

/// The same two for every case of a property.
fn cpus_of_property() {
    thread_local! {
        static OURS: Cell<Option<u32>> = const { Cell::new(None) };
    }
    let first = OURS.get().unwrap_or_else(cpus);
    OURS.set(Some(first));
    CPU.set(first);
}

fn space() -> (Space, Pool) {
    let mut pool = Pool::new(16);
    let limits = TableLimits { address_bits: 40, huge_pages: false };
    (NestedTables::new(pool.clone(), limits, 256, &mut pool).unwrap(), pool)
}

fn page() -> &'static PageWords {
    Box::leak(Box::new(PageWords::new()))
}

fn vcpu() -> Vcpu {
    let number = BLOCKS.with_borrow(Vec::len) as u64 + 1;
    let block = page();
    BLOCKS.with_borrow_mut(|blocks| blocks.push((Mpa::from_mfn(Mfn(number)), Vmcb::new(block))));
    let maps = PermissionMaps { opened_ports: OPENED_PORTS, ports: Mpa(0xa000), msrs: Mpa(0xb000) };
    // SAFETY: no CPU ever reads the pages; the scripted one does not ask for more.
    unsafe { Vcpu::new((Mfn(number), block), (Mfn(number + 100), page()), maps) }
}

fn then(step: impl FnOnce(&mut Registers, Vmcb) + 'static) {
    STEPS.with_borrow_mut(|steps| steps.push_back(Box::new(step)));
}

const INTR: u64 = 0x60;
const CPUID: u64 = 0x72;
const HLT: u64 = 0x78;
const VMMCALL: u64 = 0x81;
const V_IRQ: u64 = 1 << 8;

fn then_exit(code: u64) {
    then(move |_, vmcb| vmcb.set(Field::EXIT_CODE, code));
}

/// One run that the script ends with this exit.
fn run(vcpu: &mut Vcpu, space: &Space, control: RunControl, code: u64) -> Exit {
    then_exit(code);
    vcpu.run(space, control, &mut ())
}

fn offer(vector: u8) -> RunControl {
    RunControl { interrupt: Some(vector), ..RunControl::default() }
}

/// Where the map of open ports lies.
const OPENED_PORTS: Mpa = Mpa(0x7000);
const NMI: RunControl = RunControl { interrupt: None, task_priority: 0, nmi: true };

#[test]
fn registers_go_in_and_come_out() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    *vcpu.registers_mut() = Registers { rax: 1, rsp: 2, rip: 0x100, rflags: 2, rbx: 9, ..Registers::default() };
    then(|registers, vmcb| {
        assert_eq!((vmcb.get(Field::RAX), vmcb.get(Field::RSP), vmcb.get(Field::RIP)), (1, 2, 0x100));
        assert_eq!(registers.rbx, 9);
        registers.rcx = 7;
        vmcb.set(Field::RAX, 0x4000_0000);
        vmcb.set(Field::RIP, 0x105);
        vmcb.set(Field::EXIT_CODE, CPUID);
    });
    let exit = vcpu.run(&space, RunControl::default(), &mut ());
    assert_eq!(exit, Exit::Cpuid { leaf: 0x4000_0000, subleaf: 7 });
    assert_eq!(vcpu.registers().rip, 0x105);
    vcpu.skip_instruction();
    assert_eq!(vcpu.registers().rip, 0x107);
    vcpu.skip_instruction();
    assert_eq!(vcpu.registers().rip, 0x107, "one exit is skipped once");
}

#[test]
fn a_vcpu_that_uses_open_ports_is_entered_with_their_map_from_then_on() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    then(|_, vmcb| assert_ne!(vmcb.get(Field::IO_PERMISSIONS), OPENED_PORTS.0));
    vcpu.run(&space, RunControl::default(), &mut ());
    vcpu.use_open_ports();
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::IO_PERMISSIONS), OPENED_PORTS.0);
        assert_eq!(vmcb.get(Field::CLEAN) & 2, 0, "the CPU must look at the map's address anew");
    });
    vcpu.run(&space, RunControl::default(), &mut ());
}

#[test]
fn an_offered_interrupt_is_taken_when_the_cpu_clears_its_offer() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    assert_eq!(run(&mut vcpu, &space, offer(0xf3), HLT), Exit::Halt { interrupts_enabled: false });
    assert!(!vcpu.interrupt_taken());
    then(|_, vmcb| {
        vmcb.set(Field::VIRTUAL_INTERRUPT, vmcb.get(Field::VIRTUAL_INTERRUPT) & !V_IRQ);
        vmcb.set(Field::EXIT_CODE, VMMCALL);
    });
    assert_eq!(vcpu.run(&space, offer(0xf3), &mut ()), Exit::Hypercall);
    assert!(vcpu.interrupt_taken());
    run(&mut vcpu, &space, RunControl::default(), HLT);
    assert!(!vcpu.interrupt_taken());
}

#[test]
fn a_block_that_the_cpu_did_not_leave_as_it_must_holds_no_guest() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    then(|_, vmcb| {
        vmcb.set(Field::VIRTUAL_INTERRUPT, 0);
        vmcb.set(Field::EXIT_CODE, 0x400);
    });
    assert_eq!(vcpu.run(&space, offer(0xf3), &mut ()), Exit::StateLost);
}

#[test]
fn an_interrupt_whose_delivery_was_cut_short_was_not_taken() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    then(|_, vmcb| {
        vmcb.set(Field::VIRTUAL_INTERRUPT, vmcb.get(Field::VIRTUAL_INTERRUPT) & !V_IRQ);
        vmcb.set(Field::EXIT_INTERRUPTION, 0x8000_00f3);
        vmcb.set(Field::EXIT_CODE, 0x400);
    });
    vcpu.run(&space, offer(0xf3), &mut ());
    assert!(!vcpu.interrupt_taken());
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0);
        assert_ne!(vmcb.get(Field::VIRTUAL_INTERRUPT) & V_IRQ, 0);
        vmcb.set(Field::EXIT_INTERRUPTION, 0);
    });
    vcpu.run(&space, offer(0xf3), &mut ());
}

#[test]
fn an_exception_is_injected_once() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    vcpu.set_state(&CpuState::at_pvh_entry(0, 0)).unwrap();
    vcpu.inject(Exception { vector: 14, error_code: Some(2), address: Some(0x1234) });
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0x2_8000_0b0e);
        assert_eq!(vmcb.get(Field::CR2), 0x1234);
    });
    vcpu.run(&space, RunControl::default(), &mut ());
    then(|_, vmcb| assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0));
    vcpu.run(&space, RunControl::default(), &mut ());
}

#[test]
fn a_cut_short_exception_comes_again_unless_another_takes_its_place() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    for replaced in [false, true] {
        then(|_, vmcb| vmcb.set(Field::EXIT_INTERRUPTION, 0x8000_030e));
        vcpu.run(&space, RunControl::default(), &mut ());
        if replaced {
            vcpu.inject(Exception::INVALID_OPCODE);
        }
        let expected = if replaced { 0x8000_0306 } else { 0x8000_030e };
        then(move |_, vmcb| {
            assert_eq!(vmcb.get(Field::EVENT_INJECTION), expected);
            vmcb.set(Field::EXIT_INTERRUPTION, 0);
        });
        vcpu.run(&space, RunControl::default(), &mut ());
    }
}

#[test]
fn a_second_nmi_waits_for_the_return_from_the_first() {
    const IRET: u64 = 0x74;
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    then(|_, vmcb| assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0x8000_0202));
    vcpu.run(&space, NMI, &mut ());
    assert!(vcpu.nmi_taken());
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0);
        assert_ne!(vmcb.get(Field::INTERCEPTS) & 1 << (32 + 20), 0, "IRET exits");
        vmcb.set(Field::EXIT_CODE, IRET);
    });
    assert_eq!(vcpu.run(&space, NMI, &mut ()), Exit::Interrupted);
    assert!(!vcpu.nmi_taken());
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0, "not before the IRET itself");
        assert_eq!(vmcb.get(Field::INTERCEPTS) & 1 << (32 + 20), 0);
        vmcb.set(Field::INTERRUPT_SHADOW, 0);
        vmcb.set(Field::EXIT_CODE, INTR);
    });
    vcpu.run(&space, NMI, &mut ());
    then(|_, vmcb| assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0x8000_0202));
    vcpu.run(&space, NMI, &mut ());
    assert!(vcpu.nmi_taken());
}

#[test]
fn a_host_interrupt_is_let_in_before_the_core_hears_of_it() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    let before = WINDOWS.get();
    assert_eq!(run(&mut vcpu, &space, RunControl::default(), INTR), Exit::Interrupted);
    assert_eq!(WINDOWS.get(), before + 1);
}

#[test]
fn an_emulated_cpu_is_asked_after_each_run_for_an_interrupt_that_it_forgot() {
    for (emulated, recalled) in [(true, 2), (false, 0)] {
        cpus();
        EMULATED.set(emulated);
        let (space, mut vcpu) = (space().0, vcpu());
        let before = RECALLED.get();
        for exit in [CPUID, INTR] {
            run(&mut vcpu, &space, RunControl::default(), exit);
        }
        assert_eq!(RECALLED.get() - before, recalled);
    }
}

#[test]
fn what_did_not_change_is_marked_as_clean() {
    let first = cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    then(|_, vmcb| assert_eq!(vmcb.get(Field::CLEAN), 0));
    vcpu.run(&space, RunControl::default(), &mut ());
    then(|_, vmcb| assert_eq!(vmcb.get(Field::CLEAN), 0x7ff));
    vcpu.run(&space, RunControl::default(), &mut ());
    then(|_, vmcb| assert_eq!(vmcb.get(Field::CLEAN), 0x7ff & !8));
    vcpu.run(&space, offer(0x30), &mut ());
    vcpu.park();
    CPU.set(first + 1);
    then(|_, vmcb| assert_eq!(vmcb.get(Field::CLEAN), 0));
    vcpu.run(&space, offer(0x30), &mut ());
}

#[test]
fn a_removed_translation_gives_the_vcpu_a_new_tag() {
    cpus();
    let ((space, mut pool), mut vcpu) = (space(), vcpu());
    let mapping = Mapping { mfn: Mfn(1), order: PageOrder::SIZE_4K, rights: Rights::ALL, kind: PageKind::Ram };
    space.map(Gfn(0), mapping, &mut pool).unwrap();
    for expected in [1, 1, 2, 2] {
        then(move |_, vmcb| assert_eq!(vmcb.get(Field::ASID), expected));
        vcpu.run(&space, RunControl::default(), &mut ());
        if expected == 1 && STEPS.with_borrow(VecDeque::is_empty) && vcpu.registers().rbx == 1 {
            space.unmap(Gfn(0), &mut pool).unwrap();
        }
        vcpu.registers_mut().rbx += 1;
    }
}

#[test]
fn the_fpu_follows_its_vcpu_from_cpu_to_cpu() {
    let first = cpus();
    let (space, mut one, mut other) = (space().0, vcpu(), vcpu());
    then(|_, _| FPU.set(111));
    one.run(&space, RunControl::default(), &mut ());
    one.park();
    then(|_, _| {
        assert_eq!(FPU.get(), 0x37f, "the state after a reset, and not the other's");
        FPU.set(222);
    });
    other.run(&space, RunControl::default(), &mut ());
    CPU.set(first + 1);
    then(|_, _| assert_eq!(FPU.get(), 111));
    one.run(&space, RunControl::default(), &mut ());
}

#[test]
fn what_is_loaded_from_outside_is_in_the_cpu_when_the_guest_runs() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    let mut image = [0; 512];
    image[FPU_AT..FPU_AT + 2].copy_from_slice(&[0x11, 0x22]);
    // Bits of MXCSR that no CPU has would be a fault when they are loaded.
    image[24..28].copy_from_slice(&[0xff; 4]);
    vcpu.set_fpu_image(Some(&image));
    assert_eq!(vcpu.fpu_image()[24..28], [0xff, 0xff, 0, 0]);
    vcpu.set_debug_addresses([5, 6, 7, 8]);
    vcpu.set_undelivered_event(0x55_8000_fb0d);
    assert_eq!((vcpu.undelivered_event(), vcpu.debug_addresses()), (0x55_8000_0b0d, [5, 6, 7, 8]));
    then(|_, vmcb| {
        assert_eq!(FPU.get(), 0x2211);
        assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0x55_8000_0b0d);
    });
    vcpu.run(&space, RunControl::default(), &mut ());
    assert_eq!(vcpu.undelivered_event(), 0);
    vcpu.park();
    vcpu.set_fpu_image(None);
    then(|_, _| assert_eq!(FPU.get(), 0x37f));
    vcpu.run(&space, RunControl::default(), &mut ());
}

#[test]
fn a_cpu_that_still_holds_another_vcpu_is_refused() {
    cpus();
    let (space, mut one, mut other) = (space().0, vcpu(), vcpu());
    run(&mut one, &space, RunControl::default(), INTR);
    assert_eq!(other.run(&space, RunControl::default(), &mut ()), Exit::InvalidState);
    drop(one);
    assert_eq!(run(&mut other, &space, RunControl::default(), HLT), Exit::Halt { interrupts_enabled: false });
}

#[test]
fn debug_registers_are_the_guests_from_their_first_use_until_it_is_parked() {
    const WRITE_DR0: u64 = 0x30;
    cpus();
    DEBUG.set([77; 4]);
    let (space, mut vcpu) = (space().0, vcpu());
    assert_eq!(run(&mut vcpu, &space, RunControl::default(), WRITE_DR0), Exit::Interrupted);
    assert_eq!(DEBUG.get(), [0; 4], "another guest's values are gone");
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::REGISTER_INTERCEPTS), 0);
        DEBUG.set([1, 2, 3, 4]);
        vmcb.set(Field::EXIT_CODE, INTR);
    });
    vcpu.run(&space, RunControl::default(), &mut ());
    vcpu.park();
    DEBUG.set([0; 4]);
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::REGISTER_INTERCEPTS), 0xffff_ffff << 32);
        vmcb.set(Field::EXIT_CODE, WRITE_DR0);
    });
    vcpu.run(&space, RunControl::default(), &mut ());
    assert_eq!(DEBUG.get(), [1, 2, 3, 4]);
}

#[test]
fn a_step_over_an_instruction_ends_the_interrupt_shadow_and_traps_if_asked_to() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    then(|_, vmcb| {
        vmcb.set(Field::INTERRUPT_SHADOW, 1);
        vmcb.set(Field::RFLAGS, 0x302);
        vmcb.set(Field::EXIT_CODE, HLT);
    });
    assert_eq!(vcpu.run(&space, RunControl::default(), &mut ()), Exit::Halt { interrupts_enabled: true });
    vcpu.skip_instruction();
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::INTERRUPT_SHADOW), 0);
        assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0x8000_0301);
        assert_eq!(vmcb.get(Field::DR6) & 0x4000, 0x4000);
    });
    vcpu.run(&space, RunControl::default(), &mut ());
}

#[test]
fn a_refusal_of_a_sound_state_is_the_guests_fault_but_not_without_end() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    for round in 0..100 {
        assert_eq!(run(&mut vcpu, &space, RunControl::default(), 0xffff_ffff), Exit::Interrupted, "{round}");
    }
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0x8000_030d);
        vmcb.set(Field::EXIT_CODE, u64::MAX);
    });
    assert_eq!(vcpu.run(&space, RunControl::default(), &mut ()), Exit::InvalidState);
    run(&mut vcpu, &space, RunControl::default(), HLT);
    then(|_, vmcb| {
        vmcb.set(Field::CR4, 1 << 63);
        vmcb.set(Field::EXIT_CODE, u64::MAX);
    });
    assert_eq!(vcpu.run(&space, RunControl::default(), &mut ()), Exit::InvalidState, "an unsound state");
}

#[test]
fn an_emulated_cpus_control_registers_are_written_as_a_real_one_would() {
    const WRITE_CR4: u64 = 0x14;
    cpus();
    EMULATED.set(true);
    let ((space, mut pool), mut vcpu) = (space(), vcpu());
    let mfn = pool.take().unwrap();
    // mov cr4, ecx
    assert!(space.access().frame(mfn).unwrap().write_bytes(0, &[0x0f, 0x22, 0xe1]));
    let mapping = Mapping { mfn, order: PageOrder::SIZE_4K, rights: Rights::ALL, kind: PageKind::Ram };
    space.map(Gfn(1), mapping, &mut pool).unwrap();
    vcpu.set_state(&CpuState::after_startup_ipi(1)).unwrap();
    vcpu.registers_mut().rcx = 0x20;
    assert_eq!(run(&mut vcpu, &space, RunControl::default(), WRITE_CR4), Exit::Interrupted);
    assert_eq!((vcpu.state().cr4, vcpu.registers().rip), (0x20, 3));
    vcpu.registers_mut().rip = 0;
    vcpu.registers_mut().rcx = 1 << 20;
    assert_eq!(run(&mut vcpu, &space, RunControl::default(), WRITE_CR4), Exit::Interrupted);
    assert_eq!((vcpu.state().cr4, vcpu.registers().rip), (0x20, 0));
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0x8000_030d);
        vmcb.set(Field::RIP, 0x10_0000);
        vmcb.set(Field::EXIT_CODE, WRITE_CR4);
    });
    assert_eq!(vcpu.run(&space, RunControl::default(), &mut ()), Exit::Unknown { code: WRITE_CR4 }, "no code is there");
}

#[test]
fn efer_is_guarded() {
    cpus();
    let mut vcpu = vcpu();
    assert_eq!(vcpu.msr(HardwareMsr::Efer), 0, "the guest does not see SVME");
    assert_eq!(vcpu.set_msr(HardwareMsr::Efer, 1 << 12), Err(InvalidState));
    vcpu.set_msr(HardwareMsr::Efer, 0x901).unwrap();
    assert_eq!(vcpu.msr(HardwareMsr::Efer), 0x901);
    let mut state = vcpu.state();
    state.cr0 = 0x8000_0011;
    state.cr4 = 0x20;
    vcpu.set_state(&state).unwrap();
    assert_eq!(vcpu.msr(HardwareMsr::Efer), 0xd01, "long mode is active");
    assert_eq!(vcpu.set_msr(HardwareMsr::Efer, 0x801), Err(InvalidState));
    vcpu.set_msr(HardwareMsr::Efer, 0x101).unwrap();
    assert_eq!(vcpu.msr(HardwareMsr::Efer), 0x501);
}

#[test]
fn a_refused_state_changes_nothing() {
    cpus();
    let mut vcpu = vcpu();
    let before = vcpu.state();
    assert_eq!(vcpu.set_state(&CpuState { cr0: 1 << 40, ..before }), Err(InvalidState));
    assert_eq!(vcpu.set_msr(HardwareMsr::Pat, 2), Err(InvalidState));
    assert_eq!(vcpu.set_msr(HardwareMsr::SysenterEip, 1 << 47), Err(InvalidState));
    assert_eq!(vcpu.state(), before);
}

#[test]
fn each_guest_has_its_own_page_attributes_on_a_cpu_that_has_one_table_for_all() {
    const RESET: u64 = 0x0007_0406_0007_0406;
    cpus();
    EMULATED.set(true);
    let (space, mut one, mut other) = (space().0, vcpu(), vcpu());
    let writes = |value| then(move |_, _| PAT.set(value));
    writes(1);
    one.run(&space, RunControl::default(), &mut ());
    assert_eq!(one.msr(HardwareMsr::Pat), 1, "also while it is in the CPU");
    one.park();
    then(|_, _| assert_eq!(PAT.get(), RESET));
    other.run(&space, RunControl::default(), &mut ());
    other.set_msr(HardwareMsr::Pat, 4).unwrap();
    then(|_, _| assert_eq!(PAT.get(), 4));
    other.run(&space, RunControl::default(), &mut ());
    writes(2);
    other.run(&space, RunControl::default(), &mut ());
    other.park();
    assert_eq!((one.state().pat, other.state().pat), (1, 4), "2 is none that a CPU has");
    then(|_, _| assert_eq!(PAT.get(), 1));
    one.run(&space, RunControl::default(), &mut ());
    one.park();
    EMULATED.set(false);
}

#[test]
fn a_vcpu_or_space_that_is_gone_does_not_run() {
    struct Counted(u32);
    impl FrameSource for Counted {
        fn take(&mut self) -> Option<Mfn> {
            None
        }
        fn give_back(&mut self, _: Mfn) {
            self.0 += 1;
        }
    }
    cpus();
    let ((space, mut pool), mut one, mut other) = (space(), vcpu(), vcpu());
    let mut frames = Counted(0);
    one.tear_down(&mut frames);
    one.tear_down(&mut frames);
    assert_eq!(frames.0, 2);
    assert_eq!(one.run(&space, RunControl::default(), &mut ()), Exit::InvalidState);
    space.tear_down(&mut pool);
    assert_eq!(other.run(&space, RunControl::default(), &mut ()), Exit::InvalidState);
}

proptest! {
    #[test]
    fn no_exit_whatever_it_says_upsets_the_hypervisor(
        code in prop_oneof![0u64..0x500, any::<u64>()],
        words in prop::collection::vec((0usize..PAGE_SIZE / 8, any::<u64>()), 0..40),
        registers in prop::array::uniform6(any::<u64>()),
        (interrupt, task_priority, nmi) in (any::<Option<u8>>(), any::<u8>(), any::<bool>()),
    ) {
        cpus_of_property();
        let (space, mut vcpu) = (space().0, vcpu());
        for _ in 0..2 {
            let words = words.clone();
            then(move |general, vmcb| {
                for (index, value) in words {
                    vmcb.set_word(index, value);
                }
                vmcb.set(Field::EXIT_CODE, code);
                [general.rcx, general.rdx, general.rbx, general.rsi, general.rdi, general.rbp] = registers;
            });
            let exit = vcpu.run(&space, RunControl { interrupt, task_priority, nmi }, &mut ());
            prop_assert_eq!(exit == Exit::Shutdown, code == 0x7f);
            prop_assert!(vcpu.instruction_bytes().1 <= 15);
            prop_assert!(vcpu.task_priority() < 16 && vcpu.paging().cpl < 4);
            vcpu.skip_instruction();
            let state = vcpu.state();
            let _ = vcpu.set_state(&state);
        }
        vcpu.park();
        BLOCKS.with_borrow_mut(Vec::clear);
    }
}
