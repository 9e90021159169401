//! The chipset of an HVM guest, as its vCPUs and its device model share it.
//!
//! What CPUs ask for at each entry of the guest is kept beside the lock: whether the 8259A pair asks for an interrupt, and
//! whether a timer waits for its tick to be taken.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use xen_abi::VcpuId;
use xenolith_devices::interrupt::{Destination, Message};
use xenolith_devices::platform::{Moment, Platform};
use xenolith_hal::Time;
use xenolith_sync::{SpinLock, rank};

/// The chipset of one guest.
pub struct Chipset {
    platform: SpinLock<Platform, rank::Device>,
    /// The 8259A pair asks for an interrupt.
    requests: AtomicBool,
    /// A timer waits for its tick to be taken.
    awaits: AtomicBool,
    /// The vCPU whose local APIC was last seen to take interrupts of the 8259A pair.
    target: AtomicU32,
}

/// What is to be done after work at the chipset, without its lock.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upshot {
    /// The I/O APIC has messages.
    pub has_messages: bool,
    /// The 8259A pair asks for an interrupt now, and did not before.
    pub asks: bool,
    /// The local APICs to which the I/O APIC passes the 8259A pair's interrupts.
    pub passed_to: Option<Destination>,
    /// When timers are due.
    pub deadline: Time,
}

impl Chipset {
    /// Creates the chipset as it is at power-on.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        Self {
            platform: SpinLock::new(Platform::new(now)),
            requests: AtomicBool::new(false),
            awaits: AtomicBool::new(false),
            target: AtomicU32::new(0),
        }
    }

    /// Calls `work` with the chips, and returns what is to be done afterwards.
    pub fn change<R>(&self, now: Moment, work: impl FnOnce(&mut Platform) -> R) -> (R, Upshot) {
        let mut platform = self.platform.lock();
        let result = work(&mut platform);
        let requests = platform.requests_interrupt();
        let asked = self.requests.swap(requests, Ordering::SeqCst);
        self.awaits.store(platform.awaits_interrupt(), Ordering::SeqCst);
        let upshot = Upshot {
            has_messages: platform.has_message(),
            asks: requests && !asked,
            passed_to: platform.external_destination(),
            deadline: platform.next_deadline(now),
        };
        (result, upshot)
    }

    /// Calls `look` with the chips, which stay as they are.
    pub fn look<R>(&self, look: impl FnOnce(&Platform) -> R) -> R {
        look(&self.platform.lock())
    }

    /// Takes a message of the I/O APIC.
    pub fn take_message(&self) -> Option<Message> {
        self.platform.lock().take_message()
    }

    /// Returns whether the 8259A pair asks for an interrupt.
    #[inline]
    pub fn requests(&self) -> bool {
        self.requests.load(Ordering::SeqCst)
    }

    /// Returns whether a timer waits for its tick to be taken.
    #[inline]
    pub fn awaits(&self) -> bool {
        self.awaits.load(Ordering::SeqCst)
    }

    /// Returns the vCPU whose local APIC takes interrupts of the 8259A pair.
    pub fn target(&self) -> VcpuId {
        VcpuId(self.target.load(Ordering::SeqCst))
    }

    /// Notes that a vCPU's local APIC takes interrupts of the 8259A pair.
    pub fn note_target(&self, vcpu: VcpuId) {
        self.target.store(vcpu.0, Ordering::SeqCst);
    }
}
