//! Whose an interrupt of the machine is.

use xenolith_devices::interrupt::Message;
use xenolith_hal::{DomId, HostInterrupt};
use xenolith_sync::{SpinLock, rank};

/// What an interrupt of the machine is to its domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The line with this global number.
    Line(u32),
    /// What the guest told its device to send.
    Message(Message),
}

/// For each interrupt that the machine has allotted: the domain, and what it is to it.
pub struct DeviceInterrupts {
    owners: [SpinLock<Option<(DomId, Source)>, rank::Interrupts>; HostInterrupt::LIMIT],
}

impl Default for DeviceInterrupts {
    fn default() -> Self {
        Self { owners: core::array::from_fn(|_| SpinLock::new(None)) }
    }
}

impl DeviceInterrupts {
    /// Says whose an interrupt is from now on.
    pub fn set(&self, interrupt: HostInterrupt, domain: DomId, source: Source) {
        if let Some(owner) = self.owners.get(interrupt.index()) {
            *owner.lock() = Some((domain, source));
        }
    }

    /// Says that an interrupt is nobody's.
    pub fn clear(&self, interrupt: HostInterrupt) {
        if let Some(owner) = self.owners.get(interrupt.index()) {
            *owner.lock() = None;
        }
    }

    /// Whose an interrupt is, as [`DeviceInterrupts::owner`]; none while another CPU holds the lock.
    pub fn owner_if_free(&self, interrupt: HostInterrupt) -> Option<Option<(DomId, Source)>> {
        match self.owners.get(interrupt.index()) {
            Some(owner) => owner.try_lock().map(|owner| *owner),
            None => Some(None),
        }
    }

    /// Whose an interrupt is.
    pub fn owner(&self, interrupt: HostInterrupt) -> Option<(DomId, Source)> {
        *self.owners.get(interrupt.index())?.lock()
    }
}
