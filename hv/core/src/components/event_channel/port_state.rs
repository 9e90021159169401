//! The binding of a port, and the cell that keeps it.
//!
//! A cell is one atomic word, so that sending reads it without the domain's lock. A CPU that acts on a port's behalf
//! (sets its bit, links its event word) *holds* the cell meanwhile; a CPU that changes the binding waits until the cell
//! has no holder. So once a port is closed nothing of its old binding can still happen: no late event for its next
//! user, no write to an event page that has been released.

use super::virq::is_global;
use xen_abi::event_fifo::EVTCHN_FIFO_PRIORITY_DEFAULT;
use xen_abi::{DomId, Port, VcpuId};
use xenolith_sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use xenolith_sync::hint;

/// The kind of binding of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// None: it may be allocated.
    Free,
    /// Port 0, which is never allocated.
    Reserved,
    /// Waits for `remote` to connect.
    Unbound { remote: DomId },
    /// Connected to a port of another domain, or another one of the same.
    Interdomain { remote: DomId, port: Port },
    /// A physical interrupt.
    Pirq(u32),
    /// A virtual interrupt.
    Virq(u32),
    /// Interrupts between vCPUs.
    Ipi,
}

/// Who is notified of events at a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consumer {
    /// The domain.
    Guest,
    /// The hypervisor itself; the domain can neither send, close nor move the port.
    Hypervisor,
}

/// A port's binding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding {
    pub kind: Kind,
    pub consumer: Consumer,
    /// The vCPU that is notified.
    pub vcpu: VcpuId,
}

impl Binding {
    /// A free port.
    pub const FREE: Self = Self::guest(Kind::Free, VcpuId(0));

    /// Returns the binding of a port whose events go to the domain.
    #[must_use]
    pub const fn guest(kind: Kind, vcpu: VcpuId) -> Self {
        Self { kind, consumer: Consumer::Guest, vcpu }
    }

    /// Returns true if the port can have events that go to the domain.
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        matches!(self.consumer, Consumer::Guest) && !matches!(self.kind, Kind::Free | Kind::Reserved)
    }

    /// Returns true if its domain may move the port to another vCPU.
    #[must_use]
    pub const fn is_movable(&self) -> bool {
        match self.kind {
            Kind::Unbound { .. } | Kind::Interdomain { .. } | Kind::Pirq(_) => true,
            Kind::Virq(virq) => is_global(virq),
            Kind::Free | Kind::Reserved | Kind::Ipi => false,
        }
    }
}

// The word, from bit 0: kind, consumer, remote domain, value (port, PIRQ or VIRQ), vCPU, lock, holders.
const KIND_BITS: u32 = 3;
const CONSUMER_SHIFT: u32 = KIND_BITS;
const DOMAIN_SHIFT: u32 = CONSUMER_SHIFT + 1;
const VALUE_SHIFT: u32 = DOMAIN_SHIFT + 16;
const VALUE_BITS: u32 = 19;
const VCPU_SHIFT: u32 = VALUE_SHIFT + VALUE_BITS;
const VCPU_BITS: u32 = 13;
const LOCKED: u64 = 1 << (VCPU_SHIFT + VCPU_BITS);
/// One holder. The count has 11 bits: at most one holder for each CPU.
const HOLDER: u64 = LOCKED << 1;
const BINDING: u64 = LOCKED - 1;

/// One past the largest number (port, PIRQ, VIRQ) that a binding can name.
pub const VALUE_LIMIT: u32 = 1 << VALUE_BITS;
/// One past the largest vCPU that a binding can name.
pub const VCPU_LIMIT: u32 = 1 << VCPU_BITS;

#[inline]
const fn encode(binding: Binding) -> u64 {
    let (kind, remote, value) = match binding.kind {
        Kind::Free => (0, 0, 0),
        Kind::Reserved => (1, 0, 0),
        Kind::Unbound { remote } => (2, remote.0, 0),
        Kind::Interdomain { remote, port } => (3, remote.0, port.0),
        Kind::Pirq(pirq) => (4, 0, pirq),
        Kind::Virq(virq) => (5, 0, virq),
        Kind::Ipi => (6, 0, 0),
    };
    let consumer = matches!(binding.consumer, Consumer::Hypervisor) as u64;
    kind | consumer << CONSUMER_SHIFT
        | (remote as u64) << DOMAIN_SHIFT
        | ((value & (VALUE_LIMIT - 1)) as u64) << VALUE_SHIFT
        | ((binding.vcpu.0 & (VCPU_LIMIT - 1)) as u64) << VCPU_SHIFT
}

const fn decode(word: u64) -> Binding {
    let remote = DomId((word >> DOMAIN_SHIFT) as u16);
    let value = (word >> VALUE_SHIFT) as u32 & (VALUE_LIMIT - 1);
    let kind = match word & ((1 << KIND_BITS) - 1) {
        1 => Kind::Reserved,
        2 => Kind::Unbound { remote },
        3 => Kind::Interdomain { remote, port: Port(value) },
        4 => Kind::Pirq(value),
        5 => Kind::Virq(value),
        6 => Kind::Ipi,
        _ => Kind::Free,
    };
    let consumer = if word >> CONSUMER_SHIFT & 1 != 0 { Consumer::Hypervisor } else { Consumer::Guest };
    Binding { kind, consumer, vcpu: VcpuId((word >> VCPU_SHIFT) as u32 & (VCPU_LIMIT - 1)) }
}

/// The queue that an event was last appended to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct QueueId {
    pub(super) vcpu: VcpuId,
    pub(super) priority: u8,
}

/// A port.
pub(super) struct PortCell {
    word: AtomicU64,
    priority: AtomicU8,
    /// FIFO ABI: an event came while the port had no event word.
    early: AtomicBool,
    /// FIFO ABI: the queue of the last event, as `vcpu << 8 | priority`.
    last_queue: AtomicU32,
}

/// The right to act for a port. Until it is dropped, the binding stays as it is.
pub(super) struct Held<'a> {
    cell: &'a PortCell,
    binding: Binding,
}

/// The right to change a port's binding: the cell has no holder, and can get none.
pub(super) struct Changing<'a> {
    cell: &'a PortCell,
    binding: Binding,
}

impl Default for PortCell {
    fn default() -> Self {
        Self {
            word: AtomicU64::new(encode(Binding::FREE)),
            priority: AtomicU8::new(EVTCHN_FIFO_PRIORITY_DEFAULT as u8),
            early: AtomicBool::new(false),
            last_queue: AtomicU32::new(EVTCHN_FIFO_PRIORITY_DEFAULT),
        }
    }
}

impl PortCell {
    /// Returns the binding at this moment.
    pub(super) fn peek(&self) -> Binding {
        decode(self.word.load(Ordering::Acquire))
    }

    /// Waits while the binding is being changed, and then keeps it from changing.
    ///
    /// Never take a lock of rank `EventPorts` or before while holding: a CPU that changes a binding has one.
    #[inline]
    pub(super) fn hold(&self) -> Held<'_> {
        let mut turns = 0;
        let mut seen = self.word.load(Ordering::Acquire);
        loop {
            if seen & LOCKED != 0 {
                hint::spin(&mut turns);
                seen = self.word.load(Ordering::Acquire);
                continue;
            }
            match self.word.compare_exchange(seen, seen.wrapping_add(HOLDER), Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => return Held { cell: self, binding: decode(seen) },
                Err(now) => seen = now,
            }
        }
    }

    /// Waits until the cell has no holder and keeps it so. Only with the domain's lock, so that one CPU changes at a
    /// time; holders are on other CPUs and never wait, so the wait is short.
    #[inline]
    pub(super) fn change(&self) -> Changing<'_> {
        let mut seen = self.word.fetch_or(LOCKED, Ordering::AcqRel);
        let mut turns = 0;
        while seen >= HOLDER {
            hint::spin(&mut turns);
            seen = self.word.load(Ordering::Acquire) & !LOCKED;
        }
        Changing { cell: self, binding: decode(seen) }
    }

    pub(super) fn priority(&self) -> u8 {
        self.priority.load(Ordering::Acquire)
    }

    pub(super) fn set_priority(&self, priority: u8) {
        self.priority.store(priority, Ordering::Release);
    }

    /// Notes an event that has no event word yet.
    pub(super) fn note_early(&self) {
        self.early.swap(true, Ordering::SeqCst);
    }

    /// Clears that note; returns whether there was one.
    pub(super) fn take_early(&self) -> bool {
        self.early.swap(false, Ordering::SeqCst)
    }

    pub(super) fn last_queue(&self) -> QueueId {
        let last = self.last_queue.load(Ordering::Acquire);
        QueueId { vcpu: VcpuId(last >> 8), priority: last as u8 }
    }

    /// Sets the queue of the last event. Only with the locks of the old and of the new queue.
    pub(super) fn set_last_queue(&self, queue: QueueId) {
        self.last_queue.store(queue.vcpu.0 << 8 | u32::from(queue.priority), Ordering::Release);
    }
}

impl Held<'_> {
    pub(super) const fn binding(&self) -> Binding {
        self.binding
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.cell.word.fetch_sub(HOLDER, Ordering::Release);
    }
}

impl Changing<'_> {
    pub(super) const fn binding(&self) -> Binding {
        self.binding
    }

    /// Sets the binding that holds when this is dropped.
    pub(super) const fn set(&mut self, binding: Binding) {
        self.binding = binding;
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.cell.word.store(encode(self.binding) & BINDING, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_binding_comes_back_as_it_was_stored() {
        let kinds = [
            Kind::Free,
            Kind::Reserved,
            Kind::Unbound { remote: DomId(0x7fef) },
            Kind::Interdomain { remote: DomId(0xffff), port: Port(0x1_ffff) },
            Kind::Pirq(VALUE_LIMIT - 1),
            Kind::Virq(23),
            Kind::Ipi,
        ];
        for kind in kinds {
            for consumer in [Consumer::Guest, Consumer::Hypervisor] {
                let binding = Binding { kind, consumer, vcpu: VcpuId(VCPU_LIMIT - 1) };
                assert_eq!(decode(encode(binding)), binding);
                assert!(encode(binding) <= BINDING);
            }
        }
    }

    #[test]
    fn holding_leaves_the_binding_as_it_is() {
        let cell = PortCell::default();
        cell.change().set(Binding::guest(Kind::Ipi, VcpuId(3)));
        let (one, two) = (cell.hold(), cell.hold());
        assert_eq!(one.binding(), Binding::guest(Kind::Ipi, VcpuId(3)));
        assert_eq!(cell.peek(), two.binding());
        drop((one, two));
        let mut changing = cell.change();
        assert_eq!(changing.binding().kind, Kind::Ipi);
        changing.set(Binding::FREE);
        drop(changing);
        assert_eq!(cell.peek(), Binding::FREE);
    }
}
