//! The domain that has the devices, and what they need of the rest.

use super::router::DeviceInterrupts;
use crate::memory::physmap::Memory;
use xenolith_devices::interrupt::Message;
use xenolith_hal::{CpuId, DomId, Machine};

/// Whose the devices are.
pub struct Owner<'a, M: Machine> {
    pub machine: &'a M,
    /// Whose each interrupt of the machine is.
    pub interrupts: &'a DeviceInterrupts,
    /// The domain's memory, where device memory is mapped.
    pub memory: Memory<'a, M, M::Space>,
    /// The CPU that is to take an interrupt which is meant for this.
    pub cpu_for: &'a dyn Fn(Message) -> CpuId,
}

impl<M: Machine> Owner<'_, M> {
    /// Returns its number.
    pub const fn id(&self) -> DomId {
        self.memory.owner
    }
}
