//! The scripted processor: checks each entry, lets the guest do something, and makes an exit.

use std::rc::Rc;

use fastrand::Rng;
use xenolith_hal::{Exit, Gfn, NestedSpace, Registers, RunControl};
use xenolith_x86::guest::frame_pool::Pool;
use xenolith_x86::guest::nested::NestedTables;
use xenolith_x86::guest::svm::Features;
use xenolith_x86::guest::svm::scripted::{ASIDS, CPUS, MAPS, change_physical, physical};
use xenolith_x86::guest::svm::vmcb::{Field, Vmcb};

use super::clean::Cached;
use super::control;
use super::exits::{self, Effect, Intercepted, Made};
use super::guest::{CHANGEABLE, Guest, NMI, RESUME_FLAG, VALID};

/// Intercepts without which a guest would reach what it must not: host interrupts, NMI, SMI, INIT, RDPMC, CPUID, INVD,
/// HLT, INVLPGA, ports, MSRs, shutdown; the exceptions that a guest raises without end, and machine checks.
const MUST_EXIT: u64 = 0x9d44_800f << 32 | 1 << 18 | 1 << 17 | 1 << 1;
/// VMRUN, VMMCALL, VMLOAD, VMSAVE, STGI, CLGI, SKINIT, WBINVD, MONITOR, MWAIT, MWAIT if armed, XSETBV, RDPRU.
const MUST_EXIT_TOO: u64 = 0x7e7f;
const INTERRUPT_RETURN: u64 = 1 << (32 + 20);
const DEBUG_REGISTERS: u64 = 0xffff_ffff << 32;
const CONTROL_REGISTERS: u64 = 1 << 16 | 1 << 20 | 1 << 24;
const V_IRQ: u64 = 1 << 8;
const V_INTR_MASKING: u64 = 1 << 24;

pub type Space = NestedTables<Pool>;

/// What a run must return, and what it must have delivered.
#[derive(Debug)]
pub struct Ran {
    pub made: Made,
    pub interrupt_taken: bool,
    pub nmi_taken: bool,
    /// The exit was answered on the fast path, and may be the last of the run.
    pub answered: bool,
}

/// The processor and what it has seen.
pub struct Processor {
    pub dice: Rng,
    pub features: Features,
    pub space: Rc<Space>,
    pub pool: Pool,
    pub guests: Vec<Guest>,
    /// The vCPU that runs, and where.
    pub running: usize,
    pub cpu: usize,
    pub control: RunControl,
    pub cached: [Cached; CPUS as usize],
    pub ran: Option<Ran>,
    /// Entries since the run began, and since the fuzzing did.
    pub entries: u32,
    pub total: u64,
    /// NMIs that a guest began to handle.
    pub nmis: u64,
    pub next_frame: u64,
}

impl Processor {
    /// Plays one entry.
    pub fn enter(&mut self, registers: &mut Registers, vmcb: Vmcb) {
        self.total += 1;
        let generation = self.space.residency().generation();
        let guest = &mut self.guests[self.running];
        let nmi_waits = self.control.nmi && self.entries == 0;
        let (event, new_nmi) = guest.next_event(nmi_waits);
        guest.check(registers, vmcb, shares_attributes(&self.features));
        check_control(guest, &self.features, vmcb);
        assert_eq!(vmcb.get(Field::NESTED_CR3), self.space.root().map_or(0, |root| root.0));
        assert_eq!(vmcb.get(Field::EVENT_INJECTION), event, "vCPU {}: the event", guest.number);
        check_physical(guest, &self.features);
        let number = guest.number;
        assert!(self.features.clean_bits || vmcb.get(Field::CLEAN) == 0, "clean bits on a CPU that has none");
        self.cached[self.cpu].enter(number, vmcb, generation, ASIDS);
        let nmi_before = self.ran.as_ref().is_some_and(|ran| ran.nmi_taken);
        self.offered(vmcb);
        let interrupt_taken = self.deliver(event, vmcb);
        self.live(registers, vmcb);
        let made = self.exit(registers, vmcb);
        self.cached[self.cpu].leave(number, vmcb);
        let nmi_taken = new_nmi || nmi_before;
        self.ran = Some(Ran { made, interrupt_taken, nmi_taken, answered: false });
        self.entries += 1;
    }

    /// Checks what interrupt is offered.
    fn offered(&self, vmcb: Vmcb) {
        let word = vmcb.get(Field::VIRTUAL_INTERRUPT);
        let RunControl { interrupt, task_priority, .. } = self.control;
        assert_ne!(word & V_INTR_MASKING, 0, "the guest would mask the host's interrupts");
        assert_eq!(word & 0xf, u64::from(task_priority & 0xf), "the task priority");
        assert_eq!(word & V_IRQ != 0, interrupt.is_some(), "an interrupt is offered");
        if let Some(vector) = interrupt {
            assert_eq!((word >> 32 & 0xff, word >> 16 & 0xf), (vector.into(), u64::from(vector >> 4)), "its vector");
            assert_eq!(
                word >> 20 & 1 != 0,
                vector < 16 || self.control.is_from_8259(),
                "only what comes from an 8259 ignores the task priority"
            );
        }
    }

    /// Delivers the injected event, or the interrupt that is offered; or begins to. Returns whether the latter was taken.
    fn deliver(&mut self, event: u64, vmcb: Vmcb) -> bool {
        let cut = self.dice.u8(..4) == 0;
        if event & VALID != 0 {
            let cut_short = if cut { event } else { 0 };
            self.nmis += u64::from(event == NMI && !cut);
            if cut {
                self.guests[self.running].deliver_again(event);
            }
            vmcb.set(Field::EXIT_INTERRUPTION, cut_short);
            return false;
        }
        let Some(vector) = self.control.interrupt.filter(|_| vmcb.get(Field::VIRTUAL_INTERRUPT) & V_IRQ != 0) else {
            vmcb.set(Field::EXIT_INTERRUPTION, 0);
            return false;
        };
        let allowed = vector < 16 || vector >> 4 > self.control.task_priority & 0xf;
        if !allowed || self.dice.bool() {
            vmcb.set(Field::EXIT_INTERRUPTION, 0);
            return false;
        }
        vmcb.set(Field::VIRTUAL_INTERRUPT, vmcb.get(Field::VIRTUAL_INTERRUPT) & !V_IRQ);
        // An emulator calls it an exception.
        let kind = if self.dice.bool() && vector >= 32 { 3 } else { 0 };
        let cut_short = if cut { VALID | kind << 8 | u64::from(vector) } else { 0 };
        vmcb.set(Field::EXIT_INTERRUPTION, cut_short);
        !cut
    }

    /// The guest changes what is its own.
    fn live(&mut self, registers: &mut Registers, vmcb: Vmcb) {
        let dice = &mut self.dice;
        let guest = &mut self.guests[self.running];
        let of_block = guest.registers;
        *registers = Registers { rcx: dice.u64(..4), rdx: dice.u64(..), rbx: dice.u64(..), ..of_block };
        registers.rax = dice.u64(..);
        registers.rsp = dice.u64(..);
        registers.r15 = dice.u64(..);
        registers.rip = dice.u64(..1 << 31);
        registers.rflags = 2 | dice.u64(..) & (1 << 8 | 1 << 9 | RESUME_FLAG) & dice.u64(..);
        for (offset, mask) in CHANGEABLE {
            if dice.u8(..8) == 0 {
                let address = if *mask == u64::MAX { 0x7fff_ffff_ffff } else { *mask };
                let narrow = if matches!(offset, 0x408 | 0x438) { 0xffff_ffff } else { address };
                let value = dice.u64(..) & narrow;
                guest.set_word(*offset, value);
                vmcb.set_word(offset / 8, value);
            }
        }
        let shadow = if dice.u8(..3) == 0 { dice.u64(..2) } else { 0 };
        guest.shadow = shadow;
        vmcb.set(Field::INTERRUPT_SHADOW, shadow);
        guest.fpu = dice.u64(..);
        let (fpu, open, debug) = (guest.fpu, guest.debug_open, [dice.u64(..), 2, 3, 4]);
        change_physical(|cpu| cpu.fpu = fpu);
        if open {
            guest.debug = debug;
            change_physical(|cpu| cpu.debug = debug);
            let control = 0x400 | dice.u64(..0x100) & dice.u64(..0x100) & dice.u64(..0x100);
            guest.set_word(0x560, control);
            vmcb.set_word(0x560 / 8, control);
        }
        if shares_attributes(&self.features) && dice.u8(..8) == 0 {
            let attributes = u64::from_le_bytes(std::array::from_fn(|_| [0, 1, 4, 5, 6, 7][dice.usize(..6)]));
            guest.attributes = attributes;
            change_physical(|cpu| cpu.page_attributes = attributes);
        }
        // Another CPU changes the p2m meanwhile.
        if dice.u8(..16) == 0 {
            let frame = Gfn(self.next_frame);
            self.next_frame += 1;
            assert!(self.space.unmap(frame, &mut self.pool).is_ok());
        }
    }

    /// Makes an exit, and notes what the vCPU is then.
    fn exit(&mut self, registers: &mut Registers, vmcb: Vmcb) -> Made {
        let guest = &mut self.guests[self.running];
        let set = Intercepted {
            debug_registers: !guest.debug_open,
            interrupt_return: guest.nmi_masked,
            control_registers: !self.features.decode_assists,
        };
        let made = exits::make(&mut self.dice, registers, set);
        if made.leads_to == Effect::ControlRegister && guest.word(0x418) == 0 {
            registers.rip = control::any(&mut self.dice, registers);
        }
        let long = vmcb.segment(Field::CS).attributes.bits() & 1 << 9 != 0;
        let after = |length: u64| {
            let next = registers.rip.wrapping_add(length);
            if long { next } else { next & 0xffff_ffff }
        };
        let by_hardware = self.features.next_rip || made.code == 0x7b;
        let next = made.length.map(|length| if by_hardware { self.dice.u64(..1 << 31) } else { after(length) });
        vmcb.set(Field::EXIT_CODE, made.code);
        vmcb.set(Field::EXIT_INFO_1, made.info[0]);
        vmcb.set(Field::EXIT_INFO_2, if made.code == 0x7b { next.unwrap_or(0) } else { made.info[1] });
        // Where it has no meaning it holds anything.
        vmcb.set(Field::NEXT_RIP, next.filter(|_| self.features.next_rip).unwrap_or_else(|| self.dice.u64(..)));
        vmcb.set(Field::RAX, registers.rax);
        vmcb.set(Field::RSP, registers.rsp);
        vmcb.set(Field::RIP, registers.rip);
        vmcb.set(Field::RFLAGS, registers.rflags);
        let priority = self.dice.u64(..16);
        if self.dice.u8(..4) == 0 {
            vmcb.set(Field::VIRTUAL_INTERRUPT, vmcb.get(Field::VIRTUAL_INTERRUPT) & !0xf | priority);
        }
        guest.registers = *registers;
        guest.next_rip = next;
        match made.leads_to {
            Effect::Injected(exception) => guest.pending = Some(exception),
            Effect::DebugRegisters => guest.debug_open = true,
            Effect::InterruptReturn => {
                guest.nmi_masked = false;
                guest.shadow |= 1;
            }
            Effect::Told(_) | Effect::Window | Effect::MachineCheck | Effect::ControlRegister => {}
        }
        made
    }
}

/// Checks what the CPU must exit for, and by which tables the guest runs.
fn check_control(guest: &Guest, features: &Features, vmcb: Vmcb) {
    let intercepts = vmcb.get(Field::INTERCEPTS);
    assert_eq!(intercepts & MUST_EXIT, MUST_EXIT, "{:#x} is not intercepted", MUST_EXIT & !intercepts);
    let more = vmcb.get(Field::MORE_INTERCEPTS);
    assert_eq!(more & MUST_EXIT_TOO, MUST_EXIT_TOO, "{:#x} is not intercepted", MUST_EXIT_TOO & !more);
    assert_eq!(intercepts & INTERRUPT_RETURN != 0, guest.nmi_masked, "IRET exits while NMIs are masked, and only then");
    let registers = vmcb.get(Field::REGISTER_INTERCEPTS);
    let debug = if guest.debug_open { 0 } else { DEBUG_REGISTERS };
    assert_eq!(registers & DEBUG_REGISTERS, debug, "debug registers exit unless they are the guest's");
    let control = if features.decode_assists { 0 } else { CONTROL_REGISTERS };
    assert_eq!(registers & !DEBUG_REGISTERS, control, "control registers exit on an emulated CPU alone");
    assert_eq!(vmcb.get(Field::NESTED_PAGING) & 1, 1, "nested paging is off");
    let ports = if guest.open_ports { MAPS.opened_ports } else { MAPS.ports };
    assert_eq!((vmcb.get(Field::IO_PERMISSIONS), vmcb.get(Field::MSR_PERMISSIONS)), (ports.0, MAPS.msrs.0));
    assert_ne!(vmcb.get(Field::EFER) & 1 << 12, 0, "SVME is off");
}

/// Checks that the CPU holds this guest's registers where they are not in the block.
fn check_physical(guest: &Guest, features: &Features) {
    let cpu = physical();
    assert_eq!(cpu.fpu, guest.fpu, "vCPU {}: the FPU", guest.number);
    if guest.debug_open {
        assert_eq!(cpu.debug, guest.debug, "vCPU {}: the debug registers", guest.number);
    }
    if shares_attributes(features) {
        assert_eq!(cpu.page_attributes, guest.attributes, "vCPU {}: the page attributes", guest.number);
    }
}

/// Returns what the core must be told of an exit.
pub fn told(made: &Made) -> Exit {
    match made.leads_to {
        Effect::Told(exit) => exit,
        _ => Exit::Interrupted,
    }
}

/// Returns true for an emulated CPU, which has one page attribute table for the host and all guests.
pub const fn shares_attributes(features: &Features) -> bool {
    !features.decode_assists && features.virtual_machine
}
