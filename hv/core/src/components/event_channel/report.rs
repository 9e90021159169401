//! A report of bound and pending ports, for the debug keys. No lock is held, so two lines of it may be of two moments.

use super::domain::EventDomain;
use super::event_array::event_word;
use super::fifo::head_offset;
use super::guest_words::{Word32, test};
use super::port_state::{Binding, Consumer, Kind, QueueId};
use super::status::{PortStatus, status_of};
use xen_abi::event_fifo::{
    CONTROL_BLOCK_READY, EVTCHN_FIFO_LINKED, EVTCHN_FIFO_MASKED, EVTCHN_FIFO_MAX_QUEUES, EVTCHN_FIFO_PENDING,
};
use xen_abi::{Port, VcpuId};

/// A port that is bound.
pub struct PortReport {
    pub port: Port,
    pub status: PortStatus,
    /// The vCPU that is notified.
    pub vcpu: VcpuId,
    /// The hypervisor itself listens.
    pub hypervisors: bool,
    pub pending: bool,
    pub masked: bool,
    /// FIFO ABI: it is in a queue. None in the 2-level ABI, and for a port without an event word.
    pub linked: Option<bool>,
}

/// The FIFO queues of a vCPU.
pub struct QueuesReport {
    /// The ready bits of the vCPU's control block, bit 0 for the highest priority.
    pub ready: u32,
    /// Head and tail of each, highest priority first, 0 for none. No tail if another CPU holds its lock.
    pub ends: [(u32, Option<u32>); EVTCHN_FIFO_MAX_QUEUES],
}

/// Calls `each` for every port that is bound, in order.
pub fn bound_ports<D: EventDomain>(domain: &D, mut each: impl FnMut(PortReport)) {
    for (port, cell) in domain.events().ports().iter() {
        let binding = cell.peek();
        if !matches!(binding.kind, Kind::Free | Kind::Reserved) {
            each(report(domain, port, binding));
        }
    }
}

fn report<D: EventDomain>(domain: &D, port: Port, binding: Binding) -> PortReport {
    let (pending, masked, linked) = bits(domain, port);
    let hypervisors = binding.consumer == Consumer::Hypervisor;
    PortReport { port, status: status_of(binding.kind), vcpu: binding.vcpu, hypervisors, pending, masked, linked }
}

/// Returns whether a port is pending, masked, linked.
fn bits<D: EventDomain>(domain: &D, port: Port) -> (bool, bool, Option<bool>) {
    if domain.events().array().is_active() {
        let Some(word) = event_word(domain, port).map(|word| word.load()) else { return (false, false, None) };
        let bit = |number: u32| word & (1 << number) != 0;
        return (bit(EVTCHN_FIFO_PENDING), bit(EVTCHN_FIFO_MASKED), Some(bit(EVTCHN_FIFO_LINKED)));
    }
    let places = domain.events().form().places();
    let page = domain.shared_info().filter(|_| port.0 < places.ports);
    let bit = |offset| page.is_some_and(|page| test(page, offset, port.0));
    (bit(places.evtchn_pending), bit(places.evtchn_mask), None)
}

/// Returns the queues of a vCPU; None if it has no control block.
pub fn queue_report<D: EventDomain>(domain: &D, vcpu: VcpuId) -> Option<QueuesReport> {
    let state = domain.events().vcpu(vcpu)?;
    let control = state.control_block()?;
    let page = domain.event_page(control.frame)?;
    let word = |offset: usize| Word32::at(page, control.offset.checked_add(offset)?).map(|word| word.load());
    let mut ends = [(0, None); EVTCHN_FIFO_MAX_QUEUES];
    for (priority, (head, tail)) in (0_u8..).zip(&mut ends) {
        *head = word(head_offset(priority)).unwrap_or(0);
        *tail = state.queue(QueueId { vcpu, priority }).and_then(|queue| queue.try_lock().map(|queue| queue.tail));
    }
    Some(QueuesReport { ready: word(CONTROL_BLOCK_READY).unwrap_or(0), ends })
}
