//! A processor that follows a script, for tests and fuzzing on the host: a guest is a function that changes registers
//! and the control block as a guest and its CPU would.
//!
//! All of it is a thread's own, but for the data of each CPU: a thread takes CPUs that no other has.

use super::features::Features;
use super::per_cpu::CpuData;
use super::permissions::PermissionMaps;
use super::processor::Processor;
use super::vcpu::{Frame, SvmVcpu};
use super::vmcb::Vmcb;
use crate::guest::frame_pool::Pool;
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::sync::atomic::{AtomicU32, Ordering};
use std::thread_local;
use xenolith_hal::{CpuId, FrameSource, GuestCpu, Mfn, Mpa, PageWords, Registers};

/// What a guest does between one entry and the exit that follows.
pub type Step = Box<dyn FnOnce(&mut Registers, Vmcb)>;
/// What a guest does at each entry for which there is no [`Step`].
pub type Guest = Rc<RefCell<dyn FnMut(&mut Registers, Vmcb)>>;
/// A vCPU of the scripted processor.
pub type Vcpu = SvmVcpu<Scripted, Pool>;

/// CPUs that a thread has.
pub const CPUS: u32 = 2;
/// Address space identifiers of each CPU, the host's among them.
pub const ASIDS: u32 = 16;
/// Where the maps of ports and MSRs lie. Nothing reads them.
pub const MAPS: PermissionMaps = PermissionMaps { ports: Mpa(0xa000), opened_ports: Mpa(0x7000), msrs: Mpa(0xb000) };
/// Offset of the one word of the FPU's state that the processor keeps.
pub const FPU_AT: usize = 0x100;
/// That word after a reset.
pub const FPU_AT_RESET: u64 = 0x37f;

/// A CPU with clean bits and decode assists, and without the other helps.
pub const FEATURES: Features = Features {
    asids: ASIDS,
    next_rip: false,
    decode_assists: true,
    flush_by_asid: false,
    clean_bits: true,
    cr4: 0x7ff,
    efer: 0xd01,
    address_bits: 40,
    huge_pages: false,
    xcr0: 0,
    misaligned_sse: false,
    fpu_pointers: false,
    virtual_machine: false,
};

/// The frames of the FPU's pages begin here.
const FPU_FRAMES: u64 = 0x1_0000;

thread_local! {
    static STEPS: RefCell<VecDeque<Step>> = const { RefCell::new(VecDeque::new()) };
    static GUEST: RefCell<Option<Guest>> = const { RefCell::new(None) };
    static PLACES: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
    static CPU: Cell<u32> = const { Cell::new(0) };
    static STATES: [Cell<Physical>; CPUS as usize] = const { [const { Cell::new(Physical::NEW) }; CPUS as usize] };
    static HAS: Cell<Features> = const { Cell::new(FEATURES) };
}

/// What a physical CPU holds beside what is in the control block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Physical {
    /// The FPU's state: its one word.
    pub fpu: u64,
    pub debug: [u64; 4],
    /// The page attribute table (PAT).
    pub page_attributes: u64,
    /// How often interrupts were let in.
    pub windows: u32,
    /// How often the local APIC was made to look at what it holds.
    pub recalled: u32,
    /// Machine checks that were passed to the host.
    pub machine_checks: u32,
}

impl Physical {
    const NEW: Self = Self { fpu: 0, debug: [0; 4], page_attributes: 0, windows: 0, recalled: 0, machine_checks: 0 };
}

/// Returns what the current CPU holds.
#[must_use]
pub fn physical() -> Physical {
    STATES.with(|states| states[of_thread(CPU.get())].get())
}

/// Changes what the current CPU holds.
pub fn change_physical(change: impl FnOnce(&mut Physical)) {
    let mut state = physical();
    change(&mut state);
    STATES.with(|states| states[of_thread(CPU.get())].set(state));
}

/// Returns which of its thread's a CPU is.
const fn of_thread(cpu: u32) -> usize {
    (cpu % CPUS) as usize
}

/// Makes the processor one with these features; vCPUs that exist keep theirs.
pub fn set_features(features: Features) {
    HAS.set(features);
}

/// Returns the features of the processor.
#[must_use]
pub fn features() -> Features {
    HAS.get()
}

/// Takes two CPUs that no other test uses, makes the first the current one and returns its number.
///
/// Panics when there are none left.
pub fn cpus() -> u32 {
    static NEXT_CPU: AtomicU32 = AtomicU32::new(0);
    let first = NEXT_CPU.fetch_add(CPUS, Ordering::Relaxed);
    start(first);
    first
}

/// Starts two CPUs, and makes the first the current one.
fn start(first: u32) {
    for cpu in first..first + CPUS {
        CpuData::of(CpuId(cpu)).expect("CPUs are left").start(Mpa(0x1000), ASIDS);
    }
    go_to(first);
}

/// Takes two CPUs as [`cpus`] does at the first call, and the same two again at each later call, as
/// they were then.
pub fn same_cpus() -> u32 {
    thread_local! {
        static OURS: Cell<Option<u32>> = const { Cell::new(None) };
    }
    let first = OURS.get().unwrap_or_else(cpus);
    OURS.set(Some(first));
    start(first);
    first
}

/// Makes a CPU the current one.
pub fn go_to(cpu: u32) {
    CPU.set(cpu);
}

/// Does this at the next entry for which nothing was said yet.
pub fn then(step: impl FnOnce(&mut Registers, Vmcb) + 'static) {
    STEPS.with_borrow_mut(|steps| steps.push_back(Box::new(step)));
}

/// Returns how many entries there are for which something was said.
#[must_use]
pub fn steps_left() -> usize {
    STEPS.with_borrow(VecDeque::len)
}

/// Does this at each entry for which nothing else was said, from now on.
pub fn always(guest: Option<Guest>) {
    GUEST.set(guest);
}

/// The pages of a vCPU.
#[derive(Clone, Copy)]
struct Place {
    taken: bool,
    block: Frame,
    fpu: Frame,
}

impl Place {
    fn new(number: u64) -> Self {
        let page = || Box::leak(Box::new(PageWords::new()));
        Self { taken: true, block: (Mfn(number), page()), fpu: (Mfn(FPU_FRAMES + number), page()) }
    }

    /// Finds or makes a place that no vCPU has, with pages of zeros.
    fn take() -> Self {
        PLACES.with_borrow_mut(|places| {
            let next = places.len() as u64 + 1;
            let Some(free) = places.iter_mut().find(|place| !place.taken) else {
                let place = Self::new(next);
                places.push(place);
                return place;
            };
            free.taken = true;
            free.block.1.clear();
            free.fpu.1.clear();
            *free
        })
    }
}

/// Creates a vCPU in the state after INIT.
#[must_use]
pub fn vcpu() -> Vcpu {
    let place = Place::take();
    // SAFETY: no CPU ever reads the pages; the scripted one does not ask for more. They are zero, and nobody else's
    // until `tear_down` has taken the vCPU.
    unsafe { Vcpu::new(place.block, place.fpu, MAPS) }
}

/// Takes a vCPU apart. Its pages serve later ones.
pub fn tear_down(vcpu: Vcpu) {
    struct Places;
    impl FrameSource for Places {
        fn take(&mut self) -> Option<Mfn> {
            None
        }

        fn give_back(&mut self, frame: Mfn) {
            PLACES.with_borrow_mut(|places| {
                places.iter_mut().filter(|place| place.block.0 == frame).for_each(|place| place.taken = false);
            });
        }
    }
    vcpu.tear_down(&mut Places);
}

/// The processor.
pub struct Scripted;

impl Processor for Scripted {
    fn this_cpu() -> CpuId {
        CpuId(CPU.get())
    }

    fn features() -> Features {
        HAS.get()
    }

    unsafe fn enter(registers: &mut Registers, guest: Mpa, _host: Mpa) {
        let places = |places: &Vec<Place>| places.iter().find(|place| place.block.0 == guest.mfn()).copied();
        let vmcb = Vmcb::new(PLACES.with_borrow(places).expect("a vCPU's block").block.1);
        if let Some(step) = STEPS.with_borrow_mut(VecDeque::pop_front) {
            return step(registers, vmcb);
        }
        let guest = GUEST.with_borrow(Clone::clone).expect("the script is at its end");
        let mut play = guest.borrow_mut();
        play(registers, vmcb);
    }

    fn recall_interrupts() {
        change_physical(|state| state.recalled += 1);
    }

    fn open_interrupt_window() {
        change_physical(|state| state.windows += 1);
    }

    fn machine_check() {
        change_physical(|state| state.machine_checks += 1);
    }

    fn save_fpu(area: &PageWords) {
        area.store_u64(FPU_AT, physical().fpu).expect("it lies in the page");
    }

    fn load_fpu(area: &PageWords) {
        let saved = area.load_u64(FPU_AT).expect("it lies in the page");
        change_physical(|state| state.fpu = saved);
    }

    fn reset_fpu(area: &PageWords) {
        area.store_u64(FPU_AT, FPU_AT_RESET).expect("it lies in the page");
    }

    fn debug_addresses() -> [u64; 4] {
        physical().debug
    }

    fn page_attributes() -> u64 {
        physical().page_attributes
    }

    fn set_page_attributes(value: u64) {
        change_physical(|state| state.page_attributes = value);
    }

    fn set_debug_addresses(addresses: &[u64; 4]) {
        change_physical(|state| state.debug = *addresses);
    }
}
