//! HVM guests and device models that do anything they can: the others go on, and nothing of it stays.

use super::emulator::{BUFFERED, CODE, Emulator, GUEST, HIGHEST, SYNCHRONOUS, at};
use crate::domctl::toolstack;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use xen_abi::ioreq::{STATE_IOREQ_READY, STATE_MASK};
use xen_abi::{DomId, Gfn};
use xenolith_core::domains::domain::Shutdown;
use xenolith_core::run::CpuLoop;
use xenolith_core::x86::chipset;
use xenolith_devices::ioapic;
use xenolith_devices::platform::HPET_PAGE;
use xenolith_fake::{FakeEntry, FakeGuest, FakeMachine};
use xenolith_hal::{Access, CpuId, CpuState, Exit, Gpa, IoAccess, IoSize, NestedSpace, PAGE_SIZE};

/// How often the CPU goes round its loop.
const TURNS: u32 = 4000;
/// How many device models scribble.
const FIGHTS: u64 = 64;
/// What passes from one turn to the next: timers run down, and slices end.
const TURN_NS: u64 = 200_000;
const NEIGHBOUR: u16 = 2;
/// Frames of the guest whose bytes are its page tables, as far as it has paging on.
const TABLES: Gfn = Gfn(10);
const INTERRUPT_FLAG: u64 = 1 << 9;
const PROTECTED: u64 = 1;
const PAGED: u64 = 1 << 31;
/// Bytes of a page that may change while it is read.
const DISTURBED: u64 = 24 * 8;
/// Ports of the chipset, first and last.
const PORTS: [(u16, u16); 12] = [
    (0x20, 0x21),
    (0x40, 0x43),
    (0x60, 0x64),
    (0x70, 0x71),
    (0xa0, 0xa1),
    (0xe9, 0xe9),
    (0x4d0, 0x4d1),
    (0xcf8, 0xcff),
    (0x1f40, 0x1f4f),
    (0xb000, 0xb00f),
    (0xafe0, 0xafe3),
    (0, u16::MAX),
];
/// Where an access can be awkward: the ends of memory and the devices.
const PLACES: [u64; 9] = [
    at(CODE),
    at(HIGHEST),
    at(Gfn(HIGHEST.0 + 1)),
    0xa_0000,
    0xc_0000,
    ioapic::PAGE.0,
    HPET_PAGE.0,
    0xfee0_0000,
    1 << 32,
];
/// The first bytes of instructions that access memory or ports: moves, extended and exchanged ones, arithmetic, string
/// instructions with and without REP, and prefixes.
const OPENINGS: [&[u8]; 16] = [
    &[0x8b],
    &[0x89],
    &[0x88],
    &[0xa1],
    &[0x0f, 0xb6],
    &[0x87],
    &[0x09],
    &[0xf0, 0x0f, 0xb1],
    &[0xf3, 0xab],
    &[0xf3, 0xa5],
    &[0xa4],
    &[0xf3, 0x6d],
    &[0xf2, 0x6e],
    &[0x67, 0xf3, 0x66],
    &[0x64, 0x81],
    &[0x0f, 0x28],
];

/// Numbers without a pattern, the same ones each time (SplitMix64).
#[derive(Clone, Debug)]
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    /// Returns an address near one of [`PLACES`], or in one of their pages, or anywhere.
    fn address(&mut self) -> u64 {
        match self.below(8) {
            0..4 => self.one_of(&PLACES).wrapping_add(self.below(16)).wrapping_sub(8),
            4..7 => self.one_of(&PLACES) + self.below(PAGE_SIZE as u64),
            _ => self.next(),
        }
    }
}

/// How often a guest went on.
type Count = Arc<AtomicU64>;

/// A guest that accesses ports and devices without end, from any instruction and in any mode.
#[derive(Debug)]
struct Storm(Numbers, Count);

impl FakeGuest for Storm {
    fn play(&mut self, _: &FakeEntry, state: &mut CpuState) -> Exit {
        self.1.fetch_add(1, Ordering::Relaxed);
        let numbers = &mut self.0;
        if numbers.below(4) == 0 {
            return Exit::Interrupted;
        }
        let mode = numbers.one_of(&[0, PROTECTED, PROTECTED, PROTECTED | PAGED]);
        state.cr0 = (state.cr0 & !(PROTECTED | PAGED)) | mode;
        state.cr3 = at(TABLES);
        let registers = &mut state.registers;
        let room = numbers.one_of(&[DISTURBED, PAGE_SIZE as u64]);
        registers.rip = at(CODE) + numbers.below(room);
        registers.rflags ^= numbers.next() & (1 << 10);
        registers.rax = numbers.next();
        registers.rcx = numbers.next() >> numbers.below(64);
        (registers.rbx, registers.rsi, registers.rdi) = (numbers.address(), numbers.address(), numbers.address());
        let write = numbers.below(2) == 0;
        if numbers.below(2) == 0 {
            let access = Access { write, execute: false, present: false, page_walk: false };
            return Exit::NestedFault { gpa: Gpa(numbers.address()), access };
        }
        let (first, last) = numbers.one_of(&PORTS);
        let port = first + numbers.below(u64::from(last - first) + 1) as u16;
        let size = numbers.one_of(&[IoSize::Byte, IoSize::Word, IoSize::Dword]);
        Exit::Io(IoAccess { port, size, write, string: numbers.below(4) == 0, repeat: numbers.below(2) == 0 })
    }
}

/// A guest that starts the chipset's timer at its fastest and never takes an interrupt.
#[derive(Debug)]
struct Deaf(Vec<(u16, u8)>, Count);

impl Deaf {
    /// Both 8259s initialised with no line masked, and channel 0 of the 8254 once in two ticks; the last is done first.
    fn new(count: Count) -> Self {
        let masters = [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0)];
        let slaves = [(0xa0, 0x11), (0xa1, 0x28), (0xa1, 2), (0xa1, 1), (0xa1, 0)];
        let mut writes = [&masters[..], &slaves, &[(0x43, 0x34), (0x40, 2), (0x40, 0)]].concat();
        writes.reverse();
        Self(writes, count)
    }
}

impl FakeGuest for Deaf {
    fn play(&mut self, _: &FakeEntry, state: &mut CpuState) -> Exit {
        self.1.fetch_add(1, Ordering::Relaxed);
        state.registers.rflags &= !INTERRUPT_FLAG;
        let Some((port, value)) = self.0.pop() else { return Exit::Interrupted };
        state.registers.rax = value.into();
        Exit::Io(IoAccess { port, size: IoSize::Byte, write: true, string: false, repeat: false })
    }
}

/// A guest that never exits by itself.
#[derive(Debug)]
struct Busy(Count);

impl FakeGuest for Busy {
    fn play(&mut self, _: &FakeEntry, _: &mut CpuState) -> Exit {
        self.0.fetch_add(1, Ordering::Relaxed);
        Exit::Interrupted
    }
}

/// A storm on one CPU with a busy neighbour.
struct Struggle {
    emulator: Emulator,
    cpu: CpuLoop<FakeMachine>,
    numbers: Numbers,
    runs: Count,
    neighbours: Count,
    turns: u64,
}

impl Struggle {
    fn new(seed: u64) -> Self {
        Self::of(seed, |runs| Box::new(Storm(Numbers(!seed), runs)))
    }

    fn of(seed: u64, guest: impl FnOnce(Count) -> Box<dyn FakeGuest>) -> Self {
        let emulator = Emulator::new();
        emulator.stand_at(&[], |_| {});
        let (runs, neighbours) = (Count::default(), Count::default());
        let guest = guest(runs.clone());
        emulator.core(0, |core| core.hardware.guest = Some(guest));
        let world = &emulator.world;
        let busy = Box::new(Busy(neighbours.clone()));
        world.domain(NEIGHBOUR).vcpus[0].with_core(|core| core.hardware.guest = Some(busy)).unwrap();
        for id in [GUEST, NEIGHBOUR] {
            let domain = world.domain(id);
            domain.vcpus[0].bring_up();
            world.hv.scheduler.wake(&world.hv.machine, &domain, &domain.vcpus[0]);
        }
        Self { emulator, cpu: CpuLoop::new(CpuId(0)), numbers: Numbers(seed), runs, neighbours, turns: 0 }
    }

    /// Changes the guest's code, wherever its vCPU stands, and what serves as its page tables.
    fn rewrite(&mut self) {
        let world = &self.emulator.world;
        for _ in 0..64 {
            let at = self.numbers.below(PAGE_SIZE as u64 - 4) as usize;
            let opening = self.numbers.one_of(&OPENINGS);
            let page = world.page(GUEST, CODE);
            assert!(page.write_bytes(at, opening) || at + opening.len() > PAGE_SIZE);
            page.store_u8((at + opening.len()) % PAGE_SIZE, self.numbers.next() as u8);
        }
        let entry =
            at(self.numbers.one_of(&[TABLES, CODE, HIGHEST, Gfn(0xfee00), Gfn(1 << 30)])) | self.numbers.below(256);
        let slot = self.numbers.below(512) as usize * 8;
        assert!(world.page(GUEST, TABLES).store_u64(slot, entry).is_some());
    }

    /// Lets others write to pages of a domain at the moments at which the hypervisor reads them.
    fn disturb(&mut self, pages: &[(u16, Gfn)]) {
        let world = &self.emulator.world;
        let frame = |&(id, gfn): &(u16, Gfn)| world.domain(id).space.lookup(gfn).unwrap().mfn;
        let frames: Vec<_> = pages.iter().map(frame).collect();
        world.hv.machine.disturbance.set(self.numbers.next() | 1, &frames);
    }

    /// Goes on once, with a device model that does `answer` while the guest waits for it.
    fn turn(&mut self, answer: impl FnOnce(&Emulator, &mut Numbers)) {
        self.turns += 1;
        self.cpu.turn(&self.emulator.world.hv);
        let machine = &self.emulator.world.hv.machine;
        machine.disturbance.set(0, &[]);
        machine.pass_ns(TURN_NS);
        if self.emulator.is_waiting(0) {
            answer(&self.emulator, &mut self.numbers);
        }
    }

    fn reason(&self) -> Shutdown {
        self.emulator.world.domain(GUEST).shutdown_reason()
    }

    /// Asserts that the neighbour had its half of the CPU, and the hypervisor no harm.
    fn end(self) {
        let neighbours = self.neighbours.load(Ordering::Relaxed);
        assert!(neighbours > self.turns / 3, "it ran {neighbours} times in {} turns", self.turns);
        let world = &self.emulator.world;
        for other in [0, NEIGHBOUR] {
            assert_eq!(world.domain(other).shutdown_reason(), Shutdown::NONE);
        }
        assert_eq!(world.hv.machine.ended(), None);
        let Self { emulator, mut cpu, .. } = self;
        assert_eq!(toolstack::destroy(&emulator.world, DomId(GUEST)), Ok(0));
        (0..3).for_each(|_| cpu.turn(&emulator.world.hv));
        assert_eq!(emulator.world.hv.frames.account(DomId(GUEST)).unwrap().total(), 0);
    }
}

/// Answers, and returns whether there was something to answer.
fn honest(emulator: &Emulator, numbers: &mut Numbers) -> bool {
    let asked = emulator.asked(0).state_and_flags & STATE_MASK == STATE_IOREQ_READY;
    if asked {
        emulator.answer(0, numbers.next());
    }
    asked
}

#[test]
fn storms_at_every_device_leave_the_others_their_time_and_the_guest_its_life() {
    let mut struggle = Struggle::new(1);
    let mut answered = 0;
    for turn in 0..TURNS {
        if turn % 8 == 0 {
            struggle.rewrite();
        }
        struggle.disturb(&[(GUEST, CODE), (GUEST, TABLES)]);
        struggle.turn(|emulator, numbers| answered += u32::from(honest(emulator, numbers)));
    }
    let runs = struggle.runs.load(Ordering::Relaxed);
    assert!(runs > u64::from(TURNS / 2) && answered > TURNS / 20, "it ran {runs} times, and asked {answered} times");
    let changed =
        struggle.emulator.world.hv.machine.logged().iter().filter(|line| line.contains("not the one")).count();
    assert!(changed > 100, "{changed} instructions were not those that exited");
    assert_eq!(struggle.reason(), Shutdown::NONE);
    struggle.end();
}

#[test]
fn a_guest_that_masks_interrupts_for_ever_leaves_the_others_their_time() {
    let mut struggle = Struggle::of(3, |runs| Box::new(Deaf::new(runs)));
    (0..TURNS).for_each(|_| struggle.turn(|_, _| panic!("it asks its device model for nothing")));
    let runs = struggle.runs.load(Ordering::Relaxed);
    assert!(runs > u64::from(TURNS / 3), "it ran {runs} times");
    // The timer's interrupt waits in the 8259 all the time.
    let access = IoAccess { port: 0x20, size: IoSize::Byte, write: false, string: false, repeat: false };
    let world = &struggle.emulator.world;
    let request = chipset::read_port(&world.hv, &world.domain(GUEST), access);
    assert_eq!(request.map(|lines| lines & 1), Some(1));
    assert_eq!(struggle.reason(), Shutdown::NONE);
    struggle.end();
}

#[test]
fn a_device_model_that_never_answers_leaves_the_others_their_time() {
    let mut struggle = Struggle::new(2);
    (0..TURNS).for_each(|_| struggle.turn(|_, _| ()));
    assert!(struggle.emulator.is_waiting(0));
    struggle.end();
}

#[test]
fn a_device_model_that_scribbles_harms_its_guest_at_most() {
    let mut crashed = 0;
    for seed in 0..FIGHTS {
        let mut struggle = Struggle::new(100 + seed);
        for turn in 0..TURNS / 10 {
            if turn % 8 == 0 {
                struggle.rewrite();
            }
            // Anywhere in both pages: before the guest runs, and while the hypervisor reads them.
            let (place, value) = (struggle.numbers.below(DISTURBED / 8) as usize * 8, struggle.numbers.next());
            match struggle.numbers.below(64) {
                0 => struggle.disturb(&[(0, SYNCHRONOUS)]),
                1 => assert!(struggle.emulator.synchronous().store_u64(place, value).is_some()),
                2..16 => struggle.disturb(&[(0, BUFFERED)]),
                16..24 => assert!(struggle.emulator.buffered().store_u64(place, value).is_some()),
                _ => {}
            }
            struggle.turn(|emulator, numbers| match numbers.below(8) {
                0 => emulator.notify(0),
                _ => {
                    honest(emulator, numbers);
                }
            });
        }
        crashed += u64::from(struggle.reason() != Shutdown::NONE);
        struggle.end();
    }
    assert!((1..FIGHTS).contains(&crashed), "{crashed} device models broke the protocol");
}
