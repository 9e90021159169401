//! Reading and writing local APIC registers: what xAPIC and x2APIC mode share.

use xenolith_hal::TimeBase;

use super::register::{DIVIDE_MASK, LVT_MASKED, Lvt, Register, SPURIOUS_ENABLE, SPURIOUS_MASK, TASK_PRIORITY_MASK};
use super::timer::TimerMode;
use super::{Effect, Lapic, VERSION};

impl Lapic {
    /// Reads a register; 0 for write-only ones.
    pub(super) fn read_register(&self, register: Register, now: TimeBase) -> u32 {
        match register {
            Register::Id => self.id,
            Register::Version => VERSION,
            Register::TaskPriority => u32::from(self.task_priority),
            Register::ProcessorPriority => u32::from(self.processor_priority()),
            Register::LogicalDestination => self.logical_destination,
            Register::DestinationFormat => self.destination_format,
            Register::SpuriousVector => self.spurious,
            Register::InService(index) => self.in_service.word(index),
            Register::TriggerMode(index) => self.trigger_mode.word(index),
            Register::Request(index) => self.request.word(index),
            Register::ErrorStatus => self.error_status,
            Register::CommandLow => self.command_low,
            Register::CommandHigh => self.command_high,
            Register::Local(entry) => self.lvt(entry),
            Register::InitialCount => self.timer.initial_count(),
            Register::CurrentCount => self.timer.current_count(now.time, TimerMode::from_lvt(self.lvt(Lvt::Timer))),
            Register::DivideConfiguration => self.timer.divide(),
            Register::EndOfInterrupt | Register::SelfIpi | Register::CorrectedMachineCheck => 0,
        }
    }

    /// Writes a register; reserved bits and writes to read-only registers are dropped.
    pub(super) fn write_register(&mut self, register: Register, value: u32, now: TimeBase) -> Effect {
        // What ran down before the write counts by the settings before the write.
        self.advance(now.time);
        let mode = TimerMode::from_lvt(self.lvt(Lvt::Timer));
        match register {
            Register::Id => self.id = value & 0xff00_0000,
            Register::TaskPriority => self.task_priority = (value & TASK_PRIORITY_MASK) as u8,
            Register::EndOfInterrupt => return self.end_of_interrupt(),
            Register::LogicalDestination => self.logical_destination = value & 0xff00_0000,
            Register::DestinationFormat => self.destination_format = value | 0x0fff_ffff,
            Register::SpuriousVector => self.write_spurious(value & SPURIOUS_MASK),
            Register::ErrorStatus => self.error_status = core::mem::take(&mut self.pending_errors),
            Register::CommandLow => return self.command(value),
            Register::CommandHigh => self.command_high = value,
            Register::Local(entry) => self.write_local(entry, value),
            Register::InitialCount => self.timer.start(value, now.time, mode),
            Register::DivideConfiguration => self.timer.set_divide(value & DIVIDE_MASK, now.time, mode),
            Register::Version
            | Register::ProcessorPriority
            | Register::InService(_)
            | Register::TriggerMode(_)
            | Register::Request(_)
            | Register::CorrectedMachineCheck
            | Register::CurrentCount
            | Register::SelfIpi => {}
        }
        Effect::None
    }

    fn write_spurious(&mut self, value: u32) {
        self.spurious = value;
        if value & SPURIOUS_ENABLE == 0 {
            for entry in &mut self.local {
                *entry |= LVT_MASKED;
            }
        }
    }

    fn write_local(&mut self, entry: Lvt, value: u32) {
        let mut value = value & entry.mask();
        if self.spurious & SPURIOUS_ENABLE == 0 {
            value |= LVT_MASKED;
        }
        if entry == Lvt::Timer {
            self.timer.change_mode(TimerMode::from_lvt(self.lvt(entry)), TimerMode::from_lvt(value));
        }
        self.set_lvt(entry, value);
    }
}
