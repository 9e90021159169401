//! The registers of a local APIC: their offsets and their valid bits.
//!
//! **Source:** AMD manual volume 2, 16.3.2 (xAPIC) and 16.11 (x2APIC).

/// A register, by its offset in the xAPIC page. Its x2APIC MSR is 0x800 plus the offset divided by 16.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Register {
    Id,
    Version,
    TaskPriority,
    ProcessorPriority,
    EndOfInterrupt,
    LogicalDestination,
    DestinationFormat,
    SpuriousVector,
    InService(usize),
    TriggerMode(usize),
    Request(usize),
    ErrorStatus,
    /// The LVT of corrected machine checks. Xen lets x2APIC guests read 0 there and drops what they write.
    CorrectedMachineCheck,
    CommandLow,
    CommandHigh,
    Local(Lvt),
    InitialCount,
    CurrentCount,
    DivideConfiguration,
    SelfIpi,
}

/// An entry of the local vector table, in the order of their registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lvt {
    Timer,
    Thermal,
    Performance,
    Lint0,
    Lint1,
    Error,
}

/// How many entries the local vector table has.
pub(super) const LVT_COUNT: usize = 6;

pub(super) const LVT_MASKED: u32 = 1 << 16;
const LVT_COMMON: u32 = LVT_MASKED | (1 << 12) | 0xff;
const DELIVERY_MODE: u32 = 0x700;
const TIMER_MODE: u32 = 3 << 17;
/// Polarity, remote IRR, trigger mode.
const PIN_BITS: u32 = 7 << 13;

impl Lvt {
    pub(super) const fn index(self) -> usize {
        self as usize
    }

    /// Returns the bits that a guest can set.
    pub(super) const fn mask(self) -> u32 {
        match self {
            Self::Timer => LVT_COMMON | TIMER_MODE,
            Self::Thermal | Self::Performance => LVT_COMMON | DELIVERY_MODE,
            Self::Lint0 | Self::Lint1 => LVT_COMMON | DELIVERY_MODE | PIN_BITS,
            Self::Error => LVT_COMMON,
        }
    }
}

pub(super) const SPURIOUS_ENABLE: u32 = 1 << 8;
/// The vector, the enable bit, and the bit that disabled focus checking in old local APICs.
pub(super) const SPURIOUS_MASK: u32 = SPURIOUS_ENABLE | (1 << 9) | 0xff;
pub(super) const DIVIDE_MASK: u32 = 0xb;
pub(super) const TASK_PRIORITY_MASK: u32 = 0xff;

pub(super) const COMMAND_LOGICAL: u32 = 1 << 11;
pub(super) const COMMAND_PENDING: u32 = 1 << 12;
pub(super) const COMMAND_ASSERT: u32 = 1 << 14;
pub(super) const COMMAND_LEVEL: u32 = 1 << 15;
pub(super) const COMMAND_SHORTHAND: u32 = 3 << 18;
/// Vector, mode, destination mode, level, trigger and shorthand: the bits that an x2APIC guest may write.
pub(super) const COMMAND_MASK: u32 =
    0xff | DELIVERY_MODE | COMMAND_LOGICAL | COMMAND_ASSERT | COMMAND_LEVEL | COMMAND_SHORTHAND;
/// The shorthand for the sender alone.
pub(super) const COMMAND_SELF: u32 = 1 << 18;

impl Register {
    /// Returns the register at an offset of the xAPIC page, given as a multiple of 16. None where no register is.
    pub(super) const fn at(offset: u32) -> Option<Self> {
        let index = ((offset >> 4) & 7) as usize;
        Some(match offset {
            0x020 => Self::Id,
            0x030 => Self::Version,
            0x080 => Self::TaskPriority,
            0x0a0 => Self::ProcessorPriority,
            0x0b0 => Self::EndOfInterrupt,
            0x0d0 => Self::LogicalDestination,
            0x0e0 => Self::DestinationFormat,
            0x0f0 => Self::SpuriousVector,
            0x100..0x180 if offset & 0xf == 0 => Self::InService(index),
            0x180..0x200 if offset & 0xf == 0 => Self::TriggerMode(index),
            0x200..0x280 if offset & 0xf == 0 => Self::Request(index),
            0x280 => Self::ErrorStatus,
            0x2f0 => Self::CorrectedMachineCheck,
            0x300 => Self::CommandLow,
            0x310 => Self::CommandHigh,
            0x320 => Self::Local(Lvt::Timer),
            0x330 => Self::Local(Lvt::Thermal),
            0x340 => Self::Local(Lvt::Performance),
            0x350 => Self::Local(Lvt::Lint0),
            0x360 => Self::Local(Lvt::Lint1),
            0x370 => Self::Local(Lvt::Error),
            0x380 => Self::InitialCount,
            0x390 => Self::CurrentCount,
            0x3e0 => Self::DivideConfiguration,
            0x3f0 => Self::SelfIpi,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_registers_are_numbered_from_0() {
        assert_eq!(Register::at(0x100), Some(Register::InService(0)));
        assert_eq!(Register::at(0x170), Some(Register::InService(7)));
        assert_eq!(Register::at(0x180), Some(Register::TriggerMode(0)));
        assert_eq!(Register::at(0x270), Some(Register::Request(7)));
        assert_eq!(Register::at(0x104), None);
        assert_eq!(Register::at(0x3f0), Some(Register::SelfIpi));
        assert_eq!(Register::at(0x400), None);
    }
}
