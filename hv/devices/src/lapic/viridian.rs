//! What Microsoft's hypervisor interface reaches of a local APIC past its own registers.

use super::register::{Register, TASK_PRIORITY_MASK};
use super::{Effect, Lapic};
use xenolith_hal::TimeBase;

/// The part of the command register's upper half that is the destination.
const DESTINATION: u32 = 0xff00_0000;
/// The bit of the lower half that says that a command is under way.
const UNDER_WAY: u32 = 1 << 12;

impl Lapic {
    /// Reads the interrupt command register.
    #[must_use]
    pub fn command_register(&self) -> u64 {
        u64::from(self.command_high) << 32 | u64::from(self.command_low)
    }

    /// Writes the interrupt command register, which sends.
    pub fn write_command_register(&mut self, value: u64, now: TimeBase) -> Effect {
        self.command_high = (value >> 32) as u32 & DESTINATION;
        self.write_register(Register::CommandLow, value as u32 & !UNDER_WAY, now)
    }

    /// Returns the task priority register.
    #[must_use]
    pub const fn task_priority_register(&self) -> u8 {
        self.task_priority
    }

    /// Writes the task priority register.
    pub const fn set_task_priority_register(&mut self, value: u8) {
        self.task_priority = value & TASK_PRIORITY_MASK as u8;
    }

    /// Ends the interrupt that is in service at the highest priority.
    pub fn end_highest(&mut self, now: TimeBase) -> Effect {
        self.write_register(Register::EndOfInterrupt, 0, now)
    }

    /// Returns the interrupt that is in service at the highest priority.
    #[must_use]
    pub fn highest_in_service(&self) -> Option<u8> {
        self.in_service.highest()
    }

    /// Returns whether a vector waits, whatever is in service.
    #[must_use]
    pub fn has_request(&self) -> bool {
        self.request.highest().is_some()
    }

    /// Returns whether a vector is in service alone, and its end is nobody's business but this local APIC's.
    #[must_use]
    pub fn is_alone_in_service(&self, vector: u8) -> bool {
        let mut others = self.in_service;
        others.set(vector, false) && others.highest().is_none() && !self.trigger_mode.contains(vector)
    }
}
