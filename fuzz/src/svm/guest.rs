//! What a vCPU must be at its next entry, as the guest left it and as the core changed it since.

use xenolith_hal::{CpuState, EventInFlight, EventKind, Exception, Registers, Segment};
use xenolith_x86::guest::svm::scripted::FPU_AT_RESET;
use xenolith_x86::guest::svm::vmcb::{Field, Vmcb};

/// Offsets of the saved state: from ES to DEBUG_CONTROL, all that software sets.
pub const SAVED: std::ops::Range<usize> = 0x400 / 8..0x678 / 8;

pub const VALID: u64 = 1 << 31;
/// EVENTINJ for an NMI.
pub const NMI: u64 = VALID | 2 << 8 | 2;
pub const TRAP_FLAG: u64 = 1 << 8;
pub const RESUME_FLAG: u64 = 1 << 16;
const PROTECTED: u64 = 1;

/// The words of the saved state.
pub type Saved = [u64; SAVED.end - SAVED.start];

/// Reads the saved state of a block.
pub fn saved(vmcb: Vmcb) -> Saved {
    std::array::from_fn(|index| vmcb.word(SAVED.start + index))
}

/// Words of the saved state that a guest changes by itself: what their offsets are, and which of their bits.
pub const CHANGEABLE: &[(usize, u64)] = &[
    (0x400, 0xffff_ffff_0fff_ffff),
    (0x408, u64::MAX),
    (0x430, 0xffff_ffff_0fff_ffff),
    (0x438, u64::MAX),
    (0x468, u64::MAX),
    (0x488, u64::MAX),
    (0x550, 0xffff_ffff),
    (0x600, u64::MAX),
    (0x608, u64::MAX),
    (0x620, u64::MAX),
    (0x628, u64::MAX),
    (0x640, u64::MAX),
    (0x670, 0x3f),
];

/// A vCPU, as it must be.
#[derive(Clone, Debug)]
pub struct Guest {
    pub number: u64,
    pub registers: Registers,
    pub saved: Saved,
    pub fpu: u64,
    pub debug: [u64; 4],
    /// The guest reaches DR0 to DR3 without an exit.
    pub debug_open: bool,
    pub attributes: u64,
    /// The exception that comes next.
    pub pending: Option<Exception>,
    /// EVENTINJ of an event whose delivery was cut short, or 0; but for an NMI.
    pub again: u64,
    pub nmi_again: bool,
    pub nmi_masked: bool,
    pub shadow: u64,
    /// Where the guest goes on when its instruction is stepped over.
    pub next_rip: Option<u64>,
    pub tsc_offset: u64,
    pub open_ports: bool,
}

/// Returns EVENTINJ of an exception.
pub fn event_of(exception: &Exception, cr0: u64) -> u64 {
    let error = exception.error_code.filter(|_| cr0 & PROTECTED != 0);
    VALID | 3 << 8 | u64::from(exception.vector) | error.map_or(0, |code| 1 << 11 | u64::from(code) << 32)
}

/// Returns EVENTINJ of an event that came from outside.
pub fn event_in(event: EventInFlight) -> u64 {
    let kind = match event.kind {
        EventKind::Interrupt => 0,
        EventKind::Nmi => 2,
        EventKind::Exception => 3,
        EventKind::SoftwareInterrupt => 4,
    };
    let error = event.error_code.map_or(0, |code| 1 << 11 | u64::from(code) << 32);
    VALID | kind << 8 | u64::from(event.vector) | error
}

/// Returns the saved state that a block must hold for a vCPU in this state.
///
/// **Source:** AMD manual volume 2, appendix B.
pub fn encoded(state: &CpuState, debug_control: u64) -> Saved {
    let mut saved: Saved = [0; SAVED.end - SAVED.start];
    let mut put = |offset: usize, value: u64| saved[offset / 8 - SAVED.start] = value;
    let segments = [state.es, state.cs, state.ss, state.ds, state.fs, state.gs];
    let named = segments.into_iter().zip((0x400..).step_by(16)).chain([(state.ldtr, 0x470), (state.tr, 0x490)]);
    for (Segment { selector, attributes, limit, base }, offset) in named {
        put(offset, u64::from(selector) | u64::from(attributes.bits()) << 16 | u64::from(limit) << 32);
        put(offset + 8, base);
    }
    for (table, offset) in [(state.gdtr, 0x460), (state.idtr, 0x480)] {
        put(offset, u64::from(table.limit) << 32);
        put(offset + 8, table.base);
    }
    let protected = state.cr0 & PROTECTED != 0;
    put(0x4c8, if protected { u64::from(state.ss.attributes.privilege()) << 24 } else { 0 });
    let words = [
        (0x4d0, state.efer | 1 << 12),
        (0x548, state.cr4),
        (0x550, state.cr3),
        (0x558, state.cr0),
        (0x560, state.dr7),
        (0x568, state.dr6),
        (0x600, state.star),
        (0x608, state.lstar),
        (0x610, state.cstar),
        (0x618, state.sfmask),
        (0x620, state.kernel_gs_base),
        (0x628, state.sysenter_cs),
        (0x630, state.sysenter_esp),
        (0x638, state.sysenter_eip),
        (0x640, state.cr2),
        (0x668, state.pat),
        (0x670, debug_control),
    ];
    words.into_iter().for_each(|(offset, value)| put(offset, value));
    saved
}

impl Guest {
    /// Returns a vCPU as it is made, with the state that it says it has.
    pub fn new(number: u64, registers: Registers, saved: Saved, attributes: u64) -> Self {
        Self {
            number,
            registers,
            saved,
            fpu: FPU_AT_RESET,
            debug: [0; 4],
            debug_open: false,
            attributes,
            pending: None,
            again: 0,
            nmi_again: false,
            nmi_masked: false,
            shadow: 0,
            next_rip: None,
            tsc_offset: 0,
            open_ports: false,
        }
    }

    /// Returns a word of the saved state by its offset.
    pub fn word(&self, offset: usize) -> u64 {
        self.saved[offset / 8 - SAVED.start]
    }

    pub fn set_word(&mut self, offset: usize, value: u64) {
        self.saved[offset / 8 - SAVED.start] = value;
    }

    /// Returns the event that the next entry must inject, or 0, and whether it is a new NMI.
    pub fn next_event(&mut self, nmi_waits: bool) -> (u64, bool) {
        if let Some(exception) = self.pending.take() {
            // An exception takes the place of another event, but for an NMI, which comes only once.
            self.again = 0;
            if let Some(address) = exception.address {
                self.set_word(0x640, address);
            }
            return (event_of(&exception, self.word(0x558)), false);
        }
        if self.again != 0 {
            return (std::mem::take(&mut self.again), false);
        }
        if std::mem::take(&mut self.nmi_again) {
            return (NMI, false);
        }
        if nmi_waits && !self.nmi_masked && self.shadow & 1 == 0 {
            self.nmi_masked = true;
            return (NMI, true);
        }
        (0, false)
    }

    /// Notes an event whose delivery was cut short; what an instruction raised comes again with the instruction.
    pub fn deliver_again(&mut self, event: u64) {
        match (event >> 8 & 7, event as u8) {
            (2, _) => self.nmi_again = true,
            (4, _) | (3, 3 | 4) => {}
            _ => self.again = event,
        }
    }

    /// Returns EVENTINJ of the event that comes next, or 0.
    pub fn waiting(&self) -> u64 {
        match &self.pending {
            Some(exception) => event_of(exception, self.word(0x558)),
            None if self.again == 0 && self.nmi_again => NMI,
            None => self.again,
        }
    }

    /// Forgets what was to be injected, and puts this in its place. Returns whether an NMI was lost.
    pub fn replace_events(&mut self, event: u64) -> bool {
        let had = self.nmi_again;
        (self.pending, self.nmi_again) = (None, event == NMI);
        self.again = if event == NMI { 0 } else { event };
        had && !self.nmi_again
    }

    /// Steps over the instruction of the last exit.
    pub fn step_over(&mut self) {
        let Some(next) = self.next_rip.take() else { return };
        self.registers.rip = next;
        self.shadow &= !1;
        self.registers.rflags &= !RESUME_FLAG;
        if self.registers.rflags & TRAP_FLAG != 0 && self.pending.is_none() {
            self.set_word(0x568, self.word(0x568) | 1 << 14);
            self.pending = Some(Exception { vector: 1, error_code: None, address: None });
        }
    }

    /// Checks that the block and the registers are this vCPU's.
    pub fn check(&self, registers: &Registers, vmcb: Vmcb, shares_attributes: bool) {
        let from_block = Registers {
            rax: vmcb.get(Field::RAX),
            rsp: vmcb.get(Field::RSP),
            rip: vmcb.get(Field::RIP),
            rflags: vmcb.get(Field::RFLAGS),
            ..*registers
        };
        assert_eq!(from_block, self.registers, "vCPU {}: registers", self.number);
        for (index, (has, must)) in saved(vmcb).into_iter().zip(self.saved).enumerate() {
            let offset = (SAVED.start + index) * 8;
            let of_registers = matches!(offset, 0x570 | 0x578 | 0x5d8 | 0x5f8);
            let elsewhere = of_registers || (offset == 0x668 && shares_attributes);
            if !elsewhere {
                assert_eq!(has, must, "vCPU {}: the word at {offset:#x}", self.number);
            }
        }
        assert_eq!(vmcb.get(Field::INTERRUPT_SHADOW), self.shadow, "vCPU {}: the interrupt shadow", self.number);
        assert_eq!(vmcb.get(Field::TSC_OFFSET), self.tsc_offset, "vCPU {}: the clock's offset", self.number);
    }
}
