//! Physical CPUs.

use bitflags::bitflags;

/// A physical CPU, counted from 0 in the order in which they came up; always below [`crate::Machine::cpu_count`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct CpuId(pub u32);

impl CpuId {
    /// Returns the number as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What CPUID gives for one leaf and sub-leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuidRegisters {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

bitflags! {
    /// Events at a CPU since it was last asked. The machine's interrupt handlers only set these bits.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct HostEvents: u32 {
        /// The deadline given to [`crate::Machine::set_timer`] has passed.
        const TIMER = 1;
        /// Another CPU called [`crate::Machine::kick`] for this one.
        const KICK = 1 << 1;
        /// The console has input.
        const CONSOLE = 1 << 2;
        /// [`crate::Devices::take_interrupts`] has interrupts to report.
        const DEVICE = 1 << 3;
        /// This CPU wrote to the console ring.
        const LOG = 1 << 4;
    }
}
