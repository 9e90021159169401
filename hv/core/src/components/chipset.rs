//! The chipset of an HVM guest, as its vCPUs and its device model share it.
//!
//! What CPUs ask for at each entry of the guest is kept beside the lock: whether the 8259A pair asks for an interrupt, and
//! whether a timer waits for its tick to be taken.

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use xen_abi::VcpuId;
use xen_abi::hvm_param::{
    HVM_PARAM_CALLBACK_IRQ_TYPE_MASK, HVM_PARAM_CALLBACK_TYPE_GSI, HVM_PARAM_CALLBACK_TYPE_PCI_INTX,
};
use xen_abi::hvm_save::VIOAPIC_NUM_PINS;
use xenolith_devices::interrupt::{Destination, Message};
use xenolith_devices::platform::{IntxPin, Moment, Platform, PlatformRecords};
use xenolith_hal::Time;
use xenolith_sync::{SpinLock, rank};

/// The chipset of one guest.
pub struct Chipset {
    platform: SpinLock<Platform, rank::Device>,
    /// The 8259A pair asks for an interrupt.
    requests: AtomicBool,
    /// A timer waits for its tick to be taken.
    awaits: AtomicBool,
    /// The parameter that says by which line event channels interrupt vCPU 0; 0 for none.
    callback: AtomicU64,
    /// That line is asserted.
    has_event: AtomicBool,
    /// The vCPU whose local APIC was last seen to take interrupts of the 8259A pair.
    target: AtomicU32,
}

/// A line by which event channels interrupt vCPU 0 (HVM_PARAM_CALLBACK_IRQ). **Source:** `hvm/params.h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Callback {
    /// A pin of the I/O APIC other than 0, and below 16 the ISA line.
    Gsi(u8),
    /// An interrupt pin of a PCI device.
    Pin(IntxPin),
}

impl Callback {
    /// Decodes the parameter's value; None for a vector, for no callback, and for a line that does not exist.
    #[must_use]
    pub fn from_param(value: u64) -> Option<Self> {
        match value >> HVM_PARAM_CALLBACK_IRQ_TYPE_MASK.trailing_zeros() {
            HVM_PARAM_CALLBACK_TYPE_GSI => {
                let gsi = value as u8;
                (gsi != 0 && usize::from(gsi) < VIOAPIC_NUM_PINS).then_some(Self::Gsi(gsi))
            }
            HVM_PARAM_CALLBACK_TYPE_PCI_INTX => IntxPin::new((value >> 11) as u8 & 31, value as u8 & 3).map(Self::Pin),
            _ => None,
        }
    }

    fn drive(self, platform: &mut Platform, active: bool) {
        match self {
            Self::Gsi(gsi) => platform.set_event_line(active.then_some(gsi)),
            Self::Pin(pin) => platform.set_intx(pin, active),
        }
    }
}

/// What is to be done after work at the chipset, without its lock.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upshot {
    /// The I/O APIC has messages.
    pub has_messages: bool,
    /// Events of interrupts are to be raised.
    pub has_pirqs: bool,
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
            callback: AtomicU64::new(0),
            has_event: AtomicBool::new(false),
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
            has_pirqs: platform.has_pirq(),
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

    /// Takes an interrupt whose event is to be raised.
    pub fn take_pirq(&self) -> Option<u32> {
        self.platform.lock().take_pirq()
    }

    /// Notes that nobody listens to an interrupt's event.
    pub fn pirq_unheard(&self, pirq: u32) {
        self.platform.lock().pirq_unheard(pirq);
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

    /// Returns the line by which event channels interrupt, if the guest asked for one.
    #[inline]
    pub fn callback(&self) -> Option<Callback> {
        match self.callback.load(Ordering::SeqCst) {
            0 => None,
            value => Callback::from_param(value),
        }
    }

    /// Makes event channels interrupt by a line, or by none. `platform` is this chipset's; the line before is deasserted.
    pub fn set_callback(&self, platform: &mut Platform, value: u64) {
        if let Some(before) = self.callback() {
            before.drive(platform, false);
        }
        let is_line = Callback::from_param(value).is_some();
        self.callback.store(if is_line { value } else { 0 }, Ordering::SeqCst);
        self.has_event.store(false, Ordering::SeqCst);
    }

    /// Returns whether the line of event channels is asserted.
    #[inline]
    pub fn has_event(&self) -> bool {
        self.has_event.load(Ordering::SeqCst)
    }

    /// Asserts or deasserts the line of event channels. `platform` is this chipset's.
    pub fn set_event(&self, platform: &mut Platform, active: bool) {
        self.has_event.store(active, Ordering::SeqCst);
        if let Some(callback) = self.callback() {
            callback.drive(platform, active);
        }
    }

    /// Returns the records of the chips. The line of event channels is saved deasserted, as on Xen: what is pending asserts it
    /// where the guest goes on, and no device would ever deassert it there. `platform` is this chipset's.
    pub fn records(&self, platform: &mut Platform, now: Moment) -> PlatformRecords {
        let mut records = platform.save(now);
        if let Some(Callback::Pin(pin)) = self.callback().filter(|_| self.has_event()) {
            pin.deassert_in(&mut records.pci_lines);
        }
        records
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
