//! The vCPUs, and what the core does with them between two runs.

use std::cell::RefCell;
use std::rc::Rc;

use fastrand::Rng;
use xenolith_hal::{
    Exit, FrameSource, Gfn, GuestCpu, IoAccess, Mapping, Mfn, NestedSpace, PageKind, PageOrder, Rights, RunControl,
    ShortAnswers,
};
use xenolith_x86::guest::frame_access::FrameAccess;
use xenolith_x86::guest::frame_pool::Pool;
use xenolith_x86::guest::nested::{NestedTables, TableLimits};
use xenolith_x86::guest::svm::Features;
use xenolith_x86::guest::svm::scripted::{self, CPUS, FEATURES, Vcpu, change_physical};

use super::clean::Cached;
use super::control;
use super::exits::Effect;
use super::guest::{Guest, RESUME_FLAG, encoded, event_in, event_of};
use super::processor::{Processor, Space, shares_attributes, told};

/// Frames that are unmapped one by one while guests run.
const FRAMES: u64 = 4096;
/// vCPUs; more than there are CPUs.
const VCPUS: usize = 3;

pub struct Stage<'d> {
    pub dice: &'d mut Rng,
    pub processor: Rc<RefCell<Processor>>,
    pub vcpus: Vec<Vcpu>,
    /// On which CPU each is loaded.
    places: [Option<u32>; VCPUS],
    /// The interrupt and the NMI that wait for each.
    interrupts: [Option<u8>; VCPUS],
    nmis: [bool; VCPUS],
    first_cpu: u32,
    space: Rc<Space>,
    number: u64,
    /// NMIs that vCPUs took, and how many of them were dropped with the rest of what was to be injected.
    pub taken: u64,
    pub dropped: u64,
    /// Runs of each kind of end.
    pub answered: u64,
}

/// Answers some ports, and lets the guest go on for a while.
struct Answers {
    processor: Rc<RefCell<Processor>>,
    dice: Rng,
}

impl ShortAnswers for Answers {
    fn port(&mut self, access: IoAccess, rax: u64) -> Option<u64> {
        let mut processor = self.processor.borrow_mut();
        let at = processor.running;
        assert_eq!(processor.guests[at].registers.rax, rax, "another RAX is told");
        let made = processor.ran.as_ref().map(|ran| told(&ran.made));
        assert_eq!(made, Some(Exit::Io(access)), "another access is told");
        if self.dice.u8(..3) == 0 {
            return None;
        }
        let value = self.dice.u64(..);
        let guest = &mut processor.guests[at];
        guest.registers.rax = value;
        guest.registers.rip = guest.next_rip.take().expect("an access has an instruction");
        guest.registers.rflags &= !RESUME_FLAG;
        guest.shadow &= !1;
        if let Some(ran) = &mut processor.ran {
            ran.answered = true;
        }
        Some(value)
    }

    fn may_go_on(&mut self) -> bool {
        self.dice.u8(..4) > 0
    }
}

/// Makes the p2m: frames to be unmapped, and one with the code that writes control registers.
fn space() -> (Space, Pool) {
    let mut pool = Pool::new(32);
    let limits = TableLimits { address_bits: 40, huge_pages: false };
    let space = NestedTables::new(pool.clone(), limits, 256, &mut pool).expect("the pool is full");
    let ram = |mfn, order| Mapping { mfn, order, rights: Rights::ALL, kind: PageKind::Ram };
    for first in (0..FRAMES).step_by(512) {
        space.map(Gfn(first), ram(Mfn(first), PageOrder::SIZE_2M), &mut pool).expect("the pool is full");
    }
    let code = pool.take().expect("the pool is full");
    control::write_code(space.access().frame(code).expect("a frame of the pool"));
    space.map(control::CODE, ram(code, PageOrder::SIZE_4K), &mut pool).expect("the pool is full");
    (space, pool)
}

impl<'d> Stage<'d> {
    pub fn new(dice: &'d mut Rng) -> Self {
        let emulated = dice.u8(..3) == 0;
        let features = Features {
            next_rip: dice.bool(),
            decode_assists: !emulated,
            virtual_machine: emulated && dice.bool(),
            flush_by_asid: dice.bool(),
            clean_bits: dice.bool(),
            misaligned_sse: dice.bool(),
            ..FEATURES
        };
        scripted::set_features(features);
        let first_cpu = scripted::same_cpus();
        let (space, pool) = space();
        let space = Rc::new(space);
        let processor = Rc::new(RefCell::new(Processor {
            dice: dice.fork(),
            features,
            space: space.clone(),
            pool,
            guests: Vec::new(),
            running: 0,
            cpu: 0,
            control: RunControl::default(),
            cached: [(); CPUS as usize].map(|()| Cached::default()),
            ran: None,
            entries: 0,
            total: 0,
            nmis: 0,
            next_frame: 0,
        }));
        let plays = processor.clone();
        scripted::always(Some(Rc::new(RefCell::new(move |registers: &mut _, vmcb| {
            plays.borrow_mut().enter(registers, vmcb);
        }))));
        let mut stage = Self {
            dice,
            processor,
            vcpus: Vec::new(),
            places: [None; VCPUS],
            interrupts: [None; VCPUS],
            nmis: [false; VCPUS],
            first_cpu,
            space,
            number: 0,
            taken: 0,
            dropped: 0,
            answered: 0,
        };
        for _ in 0..VCPUS {
            let (vcpu, guest) = stage.make();
            stage.vcpus.push(vcpu);
            stage.processor.borrow_mut().guests.push(guest);
        }
        stage
    }

    /// Makes a vCPU, and what it must be.
    pub fn make(&mut self) -> (Vcpu, Guest) {
        self.number += 1;
        let vcpu = scripted::vcpu();
        let state = vcpu.state();
        assert_eq!(state, xenolith_hal::CpuState::after_init());
        let guest = Guest::new(self.number, state.registers, encoded(&state, 0), state.pat);
        (vcpu, guest)
    }

    /// Works with what a vCPU must be.
    pub fn with<T>(&self, at: usize, work: impl FnOnce(&mut Guest) -> T) -> T {
        work(&mut self.processor.borrow_mut().guests[at])
    }

    pub fn features(&self) -> Features {
        self.processor.borrow().features
    }

    /// Takes any of the vCPUs.
    pub fn any(&mut self) -> usize {
        self.dice.usize(..VCPUS)
    }

    /// Stops a vCPU where it is loaded.
    pub fn park(&mut self, at: usize) {
        let Some(cpu) = self.places[at].take() else { return };
        scripted::go_to(cpu);
        self.vcpus[at].park();
        self.with(at, |guest| {
            if guest.debug_open {
                guest.debug_open = guest.word(0x560) & 0xff != 0;
            }
            if shares_attributes(&scripted::features()) {
                guest.set_word(0x668, guest.attributes);
            }
        });
        // The host uses the CPU for itself.
        let noise = self.dice.u64(..);
        change_physical(|state| (state.fpu, state.debug, state.page_attributes) = (noise, [noise; 4], noise));
    }

    /// Returns the CPU on which a vCPU is loaded.
    pub fn place(&self, at: usize) -> Option<u32> {
        self.places[at]
    }

    /// Makes a CPU, on which nothing else is loaded then, the one on which a vCPU runs.
    fn place_on(&mut self, at: usize, cpu: u32) {
        if self.places[at].is_some_and(|there| there != cpu) {
            self.park(at);
        }
        for other in 0..VCPUS {
            if other != at && self.places[other] == Some(cpu) {
                if self.dice.u8(..8) == 0 {
                    self.is_refused(at, cpu);
                }
                self.park(other);
            }
        }
        scripted::go_to(cpu);
        self.places[at] = Some(cpu);
    }

    /// Checks that a vCPU cannot be entered where another one was not parked.
    fn is_refused(&mut self, at: usize, cpu: u32) {
        scripted::go_to(cpu);
        let before = self.processor.borrow().total;
        let space = self.space.clone();
        let exit = self.vcpus[at].run(&space, RunControl::default(), &mut ());
        assert_eq!((exit, self.processor.borrow().total), (Exit::InvalidState, before), "it ran beside another");
    }

    /// Runs a vCPU once.
    pub fn run(&mut self, at: usize) {
        let cpu = match self.places[at] {
            Some(cpu) if self.dice.u8(..8) > 0 => cpu,
            _ => self.first_cpu + self.dice.u32(..CPUS),
        };
        self.place_on(at, cpu);
        if self.interrupts[at].is_none() && self.dice.bool() {
            self.interrupts[at] = Some(self.dice.u8(..));
        }
        self.nmis[at] |= self.dice.u8(..32) == 0;
        let control = RunControl {
            interrupt: self.interrupts[at],
            task_priority: self.dice.u8(..20) & self.dice.u8(..20) | self.dice.u8(..2) << 7,
            nmi: self.nmis[at],
        };
        {
            let mut processor = self.processor.borrow_mut();
            (processor.running, processor.cpu, processor.control) = (at, (cpu - self.first_cpu) as usize, control);
            (processor.ran, processor.entries) = (None, 0);
        }
        let (space, windows) = (self.space.clone(), scripted::physical());
        let mut answers = Answers { processor: self.processor.clone(), dice: self.dice.fork() };
        let exit = self.vcpus[at].run(&space, control, &mut answers);
        self.conclude(at, exit, windows);
    }

    /// Checks what a run returned, and what the vCPU says it delivered.
    fn conclude(&mut self, at: usize, exit: Exit, before: scripted::Physical) {
        let ran = self.processor.borrow_mut().ran.take().expect("it was entered");
        let now = scripted::physical();
        let expected = if ran.answered { Exit::Interrupted } else { told(&ran.made) };
        if ran.made.leads_to == Effect::ControlRegister {
            self.control_register_written(at, &ran.made, exit);
        } else {
            assert_eq!(exit, expected, "{ran:x?}");
        }
        let vcpu = &self.vcpus[at];
        assert_eq!(vcpu.interrupt_taken(), ran.interrupt_taken, "the interrupt: {ran:x?}");
        assert_eq!(vcpu.nmi_taken(), ran.nmi_taken, "the NMI: {ran:x?}");
        let passed = |effect| u32::from(!ran.answered && ran.made.leads_to == effect);
        assert_eq!(now.windows - before.windows, passed(Effect::Window), "host interrupts are let in once");
        assert_eq!(now.machine_checks - before.machine_checks, passed(Effect::MachineCheck));
        if ran.interrupt_taken {
            self.interrupts[at] = None;
        }
        if ran.nmi_taken {
            self.nmis[at] = false;
            self.taken += 1;
        }
        self.answered += u64::from(ran.answered);
        self.with(at, |guest| {
            if ran.answered {
                guest.next_rip = None;
            }
        });
        self.compare(at);
    }

    /// Checks a write of a control register on an emulated CPU: it is refused with #GP and nothing changed, or what it
    /// left is a state that there is.
    fn control_register_written(&mut self, at: usize, made: &super::exits::Made, exit: Exit) {
        let state = self.vcpus[at].state();
        let features = self.features();
        if let Exit::Unknown { code } = exit {
            assert_eq!(code, made.code);
            return;
        }
        assert_eq!(exit, Exit::Interrupted);
        let raised = self.vcpus[at].undelivered_event().map(event_in);
        let number = self.processor.borrow().guests[at].number;
        let flushed = self.with(at, |guest| {
            let fault = event_of(&xenolith_hal::Exception::GENERAL_PROTECTION, guest.word(0x558));
            if raised == Some(fault) && state.registers.rip == guest.registers.rip {
                guest.pending = Some(xenolith_hal::Exception::GENERAL_PROTECTION);
                guest.next_rip = None;
                return false;
            }
            control::check(&state, &features);
            guest.set_word(0x558, state.cr0);
            guest.set_word(0x548, state.cr4);
            guest.set_word(0x4d0, state.efer | 1 << 12);
            let at = guest.registers.rip;
            guest.next_rip = Some(at.wrapping_add(control::length(at)));
            guest.step_over();
            !control::writes_cr8(at)
        });
        if flushed {
            self.processor.borrow_mut().cached.iter_mut().for_each(|cached| cached.outdate(number));
        }
    }

    /// Checks that a vCPU says of itself what it must be.
    pub fn compare(&self, at: usize) {
        let vcpu = &self.vcpus[at];
        self.with(at, |guest| {
            assert_eq!(*vcpu.registers(), guest.registers, "vCPU {}", guest.number);
            let says = vcpu.undelivered_event().map_or(0, event_in);
            assert_eq!(says, guest.waiting(), "vCPU {}: the event that comes next", guest.number);
        });
    }

    /// Ends all of it: whatever waits is delivered, and each NMI that was taken came once.
    pub fn end(mut self) -> u64 {
        for at in 0..VCPUS {
            let mut rounds = 0;
            while self.with(at, |guest| guest.waiting() != 0) {
                self.run(at);
                rounds += 1;
                assert!(rounds < 10_000, "an event is never delivered");
            }
        }
        let (nmis, total) = (self.processor.borrow().nmis, self.processor.borrow().total);
        assert_eq!(nmis + self.dropped, self.taken, "NMIs that came and NMIs that were taken");
        scripted::always(None);
        for vcpu in self.vcpus.drain(..) {
            scripted::tear_down(vcpu);
        }
        total
    }
}
