//! The virtual local APIC of one vCPU, as Xen 4.17 shows it to a PVH guest: version 0x14 with six LVT entries, the
//! identifier twice the vCPU's number, xAPIC page at 0xfee00000 and x2APIC mode.
//!
//! Time: every function that depends on it takes it. [`Lapic::deadline`] says when [`Lapic::advance`] must be called
//! next.

mod access;
mod base;
mod delivery;
mod identity;
mod register;
mod saved;
mod timer;
mod vector_set;
mod viridian;
mod x2apic;
mod xapic;

#[cfg(test)]
mod tests;

use xen_abi::VcpuId;
use xenolith_hal::{Time, TimeBase};

use crate::interrupt::{FIRST_VECTOR, Message, Trigger};
use register::{LVT_COUNT, LVT_MASKED, Lvt, SPURIOUS_ENABLE};
use timer::{Timer, TimerMode};

pub use identity::Identity;
pub use saved::InvalidRecord;
pub use vector_set::VectorSet;
pub use x2apic::MSRS as X2APIC_MSRS;
pub use xapic::PAGE as XAPIC_PAGE;

/// Version 0x14, last LVT entry 5, no directed end of interrupt.
const VERSION: u32 = 0x5_0014;
/// Destination format "flat", the value at reset.
const FORMAT_FLAT: u32 = u32::MAX;

/// Error bits of ESR. **Source:** AMD manual volume 2, 16.4.6.
const ERROR_SENT_ILLEGAL: u32 = 1 << 5;
const ERROR_RECEIVED_ILLEGAL: u32 = 1 << 6;

/// What a register write requires of the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing more.
    None,
    /// Send this to the local APICs that it addresses: [`Lapic::is_meant`], then [`Lapic::receive`].
    Send(Message),
    /// A level-triggered interrupt of this vector was ended: notify the I/O APICs.
    EndOfInterrupt(u8),
}

/// What the vCPU that received a message must do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receipt {
    /// Nothing: the local APIC is off, or the message is not for it.
    Nothing,
    /// An interrupt became pending: the vCPU must check for interrupts.
    Pending,
    /// The vector was pending already; the two are merged.
    Merged,
    /// An NMI is to be made pending.
    Nmi,
    /// The vCPU goes into the state after INIT; it calls [`Lapic::init`].
    Init,
    /// If the vCPU is in the state after INIT, it starts at this page.
    Startup(u8),
}

/// The state of one virtual local APIC.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lapic {
    vcpu: VcpuId,
    /// The APIC_BASE MSR.
    base: u64,
    /// The identifier as the xAPIC page holds it (bits 24-31); an x2APIC's follows from the vCPU's number.
    id: u32,
    task_priority: u8,
    logical_destination: u32,
    destination_format: u32,
    spurious: u32,
    request: VectorSet,
    in_service: VectorSet,
    trigger_mode: VectorSet,
    error_status: u32,
    /// Errors since the guest last wrote ESR.
    pending_errors: u32,
    command_low: u32,
    command_high: u32,
    local: [u32; LVT_COUNT],
    timer: Timer,
}

impl Lapic {
    /// Creates the local APIC of a vCPU in the state after power-on.
    #[must_use]
    pub fn new(vcpu: VcpuId) -> Self {
        let mut lapic = Self::blank(vcpu, 0, 0);
        lapic.reset();
        lapic
    }

    /// Resets everything, the APIC_BASE MSR included (power-on).
    pub fn reset(&mut self) {
        self.base = base::at_reset(self.vcpu);
        self.id = self.apic_id() << 24;
        self.init();
    }

    /// Resets everything except the APIC_BASE MSR and the identifier (INIT).
    pub fn init(&mut self) {
        *self = Self::blank(self.vcpu, self.base, self.id);
    }

    fn blank(vcpu: VcpuId, base: u64, id: u32) -> Self {
        Self {
            vcpu,
            base,
            id,
            task_priority: 0,
            logical_destination: 0,
            destination_format: FORMAT_FLAT,
            spurious: 0xff,
            request: VectorSet::default(),
            in_service: VectorSet::default(),
            trigger_mode: VectorSet::default(),
            error_status: 0,
            pending_errors: 0,
            command_low: 0,
            command_high: 0,
            local: [LVT_MASKED; LVT_COUNT],
            timer: Timer::default(),
        }
    }

    /// Returns the identifier that CPUID and the MADT show to the guest: twice the vCPU's number.
    #[must_use]
    pub const fn apic_id(&self) -> u32 {
        self.vcpu.0.wrapping_mul(2)
    }

    /// Returns whether it is enabled both in the APIC_BASE MSR and in the spurious-vector register.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.is_hardware_enabled() && self.is_software_enabled()
    }

    const fn is_software_enabled(&self) -> bool {
        self.spurious & SPURIOUS_ENABLE != 0
    }

    /// Makes a vector pending and returns whether it was not. Whether the local APIC is enabled matters only for the
    /// delivery. A vector below 16 is an error that the guest reads in ESR.
    #[inline]
    pub fn raise(&mut self, vector: u8, trigger: Trigger) -> bool {
        if vector < FIRST_VECTOR {
            self.note_error(ERROR_RECEIVED_ILLEGAL);
            return false;
        }
        self.trigger_mode.set(vector, trigger == Trigger::Level);
        self.request.set(vector, true)
    }

    /// Returns the highest pending vector above the priority class in service. The task priority is not considered: the
    /// hardware compares it when this vector is offered to it.
    #[must_use]
    #[inline]
    pub fn highest_pending(&self) -> Option<u8> {
        if !self.is_enabled() {
            return None;
        }
        let vector = self.request.highest()?;
        let in_service = self.in_service.highest().unwrap_or(0);
        (vector >> 4 > in_service >> 4).then_some(vector)
    }

    /// Returns the highest pending vector that the task priority also allows: the one that wakes a halted vCPU.
    #[must_use]
    pub fn highest_deliverable(&self) -> Option<u8> {
        self.highest_pending().filter(|vector| vector >> 4 > self.task_priority >> 4)
    }

    /// Moves a vector from pending to in service, when the CPU has taken it. Returns false if it was not pending.
    #[inline]
    pub fn accept(&mut self, vector: u8) -> bool {
        let was_pending = self.request.set(vector, false);
        if was_pending {
            self.in_service.set(vector, true);
        }
        was_pending
    }

    /// Returns the priority class for CR8, 0 to 15.
    #[must_use]
    pub const fn task_priority_class(&self) -> u8 {
        self.task_priority >> 4
    }

    /// Sets the priority class as the guest wrote it to CR8; bits above the lowest four are ignored.
    pub const fn set_task_priority_class(&mut self, class: u8) {
        self.task_priority = class << 4;
    }

    /// Returns the time at which [`Lapic::advance`] must be called, [`Time::NEVER`] for never.
    #[must_use]
    pub fn deadline(&self) -> Time {
        if self.lvt(Lvt::Timer) & LVT_MASKED != 0 {
            return Time::NEVER;
        }
        self.timer.deadline().unwrap_or(Time::NEVER)
    }

    /// Advances the time: makes the timer's interrupt pending if the timer expired. Returns true if the vCPU must check
    /// for interrupts.
    pub fn advance(&mut self, now: Time) -> bool {
        let lvt = self.lvt(Lvt::Timer);
        let fired = self.timer.advance(now, TimerMode::from_lvt(lvt));
        fired && lvt & LVT_MASKED == 0 && self.raise((lvt & 0xff) as u8, Trigger::Edge)
    }

    /// Reads the TSC-deadline MSR: 0 unless the timer is in that mode and armed.
    #[must_use]
    pub const fn tsc_deadline(&self) -> u64 {
        self.timer.tsc_deadline()
    }

    /// Writes the TSC-deadline MSR. `now` pairs the guest's time stamp counter with the time.
    pub fn set_tsc_deadline(&mut self, deadline: u64, now: TimeBase) {
        self.advance(now.time);
        let mode = TimerMode::from_lvt(self.lvt(Lvt::Timer));
        self.timer.set_tsc_deadline(deadline, now, mode);
    }

    fn lvt(&self, entry: Lvt) -> u32 {
        self.local.get(entry.index()).copied().unwrap_or(LVT_MASKED)
    }

    fn set_lvt(&mut self, entry: Lvt, value: u32) {
        if let Some(slot) = self.local.get_mut(entry.index()) {
            *slot = value;
        }
    }

    /// Returns the processor priority (PPR): the higher of the task priority and the priority in service.
    fn processor_priority(&self) -> u8 {
        let in_service = self.in_service.highest().unwrap_or(0);
        if self.task_priority >> 4 >= in_service >> 4 { self.task_priority } else { in_service & 0xf0 }
    }

    /// Records an error and raises the error interrupt the first time.
    fn note_error(&mut self, error: u32) {
        if self.pending_errors & error != 0 {
            return;
        }
        self.pending_errors |= error;
        let lvt = self.lvt(Lvt::Error);
        if lvt & LVT_MASKED != 0 {
            return;
        }
        // An illegal vector in the error entry itself must not come back here for ever.
        match (lvt & 0xff) as u8 {
            vector if vector >= FIRST_VECTOR => {
                self.raise(vector, Trigger::Edge);
            }
            _ => self.pending_errors |= ERROR_RECEIVED_ILLEGAL,
        }
    }
}
