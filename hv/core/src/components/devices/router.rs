//! Routing of the machine's interrupts to domains.

use xenolith_devices::interrupt::Message;
use xenolith_hal::{DomId, HostInterrupt};
use xenolith_sync::{SpinLock, rank};

/// The source of an interrupt, as its domain sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The line with this GSI.
    Line(u32),
    /// The message that the guest programmed into its device.
    Message(Message),
}

/// The domain and the source of each interrupt that the machine has allocated.
pub struct DeviceInterrupts {
    owners: [SpinLock<Option<(DomId, Source)>, rank::Interrupts>; HostInterrupt::LIMIT],
}

impl Default for DeviceInterrupts {
    fn default() -> Self {
        Self { owners: core::array::from_fn(|_| SpinLock::new(None)) }
    }
}

impl DeviceInterrupts {
    /// Sets the owner and the source of an interrupt.
    pub fn set(&self, interrupt: HostInterrupt, domain: DomId, source: Source) {
        if let Some(owner) = self.owners.get(interrupt.index()) {
            *owner.lock() = Some((domain, source));
        }
    }

    /// Removes the owner of an interrupt.
    pub fn clear(&self, interrupt: HostInterrupt) {
        if let Some(owner) = self.owners.get(interrupt.index()) {
            *owner.lock() = None;
        }
    }

    /// Returns the owner like [`DeviceInterrupts::owner`]; None while another CPU holds the lock.
    pub fn owner_if_free(&self, interrupt: HostInterrupt) -> Option<Option<(DomId, Source)>> {
        match self.owners.get(interrupt.index()) {
            Some(owner) => owner.try_lock().map(|owner| *owner),
            None => Some(None),
        }
    }

    /// Returns the owner and the source of an interrupt.
    pub fn owner(&self, interrupt: HostInterrupt) -> Option<(DomId, Source)> {
        *self.owners.get(interrupt.index())?.lock()
    }
}
