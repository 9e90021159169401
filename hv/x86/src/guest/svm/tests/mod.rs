//! A vCPU on a CPU that follows a script.

mod conclude;
mod doorstep;
mod events;
mod msrs;
mod resident;
mod run;

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
    /// The CPU's SSE instructions take misaligned operands.
    static MISALIGNED_SSE: Cell<bool> = const { Cell::new(false) };
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
            misaligned_sse: MISALIGNED_SSE.get(),
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

/// Returns two CPUs that no other test uses.
fn cpus() -> u32 {
    let first = NEXT_CPU.fetch_add(CPUS, Ordering::Relaxed);
    for cpu in first..first + CPUS {
        super::per_cpu::CpuData::of(CpuId(cpu)).unwrap().start(Mpa(0x1000), 16);
    }
    CPU.set(first);
    first
}

/// Uses the same two CPUs for every case of a property.
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

/// Returns one run that the script ends with this exit.
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
