//! The FIFO ABI: pending events are linked into queues, one for each vCPU and priority, in guest pages.
//!
//! The head of a queue is in the vCPU's control block, the links are in the event words; the tail is the hypervisor's.
//! The guest takes events out at the head by clearing `LINKED` of their words, without notice. So only the tail's
//! `LINKED` bit shows whether the tail is still in its queue, and appending is a compare-and-exchange of the tail's
//! whole word that succeeds if the bit is still set. Nothing read from these pages is trusted: a link is written, never
//! followed. **Source:** the event word's bits in `event_channel.h`.

use super::delivery::{mark_upcall, wake_pollers};
use super::domain::EventDomain;
use super::event_array::event_word;
use super::guest_words::{Word32, look_after_change, test_and_set};
use super::port_state::{PortCell, QueueId};
use super::vcpu_state::{ControlBlock, Queue};
use xen_abi::event_fifo::{
    CONTROL_BLOCK_HEAD, CONTROL_BLOCK_READY, EVTCHN_FIFO_BUSY, EVTCHN_FIFO_LINK_MASK, EVTCHN_FIFO_LINKED,
    EVTCHN_FIFO_MASKED, EVTCHN_FIFO_PENDING,
};
use xen_abi::{Port, VcpuId};
use xenolith_sync::{PairGuard, SpinLock, rank};

const PENDING: u32 = 1 << EVTCHN_FIFO_PENDING;
const MASKED: u32 = 1 << EVTCHN_FIFO_MASKED;
const LINKED: u32 = 1 << EVTCHN_FIFO_LINKED;
const BUSY: u32 = 1 << EVTCHN_FIFO_BUSY;

/// A tail whose `BUSY` bit is set can still change once in each of three bits (masked, no longer pending, taken out) if
/// the guest keeps to the protocol. A guest that does not loses its own events.
const LINK_TRIES: u32 = 4;
/// How often to look up an event's queue again because another CPU moved the event meanwhile.
const QUEUE_TRIES: u32 = 4;

/// The two queues that an event may be in, locked: the new one and the last one.
type Queues<'a> = PairGuard<'a, Queue, rank::EventQueue>;

pub(super) fn set_pending<D: EventDomain>(domain: &D, port: Port, cell: &PortCell, vcpu: VcpuId) {
    let word = match event_word(domain, port) {
        Some(word) => word,
        None => {
            cell.note_early();
            // The page may have been added between the look and the note. Then either the note was found and the
            // event raised, or it is still there and the event is raised now.
            look_after_change();
            match event_word(domain, port) {
                Some(word) if cell.take_early() => word,
                _ => return,
            }
        }
    };
    // Without a control block there is nothing to tell the guest by, and the event is dropped.
    let Some(control) = control_block(domain, vcpu) else { return };
    let queue = QueueId { vcpu, priority: cell.priority() };
    let outcome = queue_event(domain, port, cell, queue, &word, control);
    if outcome.new_head && make_ready(domain, control, queue.priority) {
        mark_upcall(domain, vcpu);
    }
    if !outcome.was_pending {
        wake_pollers(domain, port);
    }
}

struct Queued {
    was_pending: bool,
    /// The event is the head of its queue, so the guest must be notified of the queue.
    new_head: bool,
}

/// Sets the event pending and appends it to its queue, unless it is masked or in a queue already.
fn queue_event<D: EventDomain>(
    domain: &D,
    port: Port,
    cell: &PortCell,
    id: QueueId,
    word: &Word32<'_>,
    control: ControlBlock,
) -> Queued {
    // The pending bit is set under the queue's lock: else a second sender could find the event pending and linked,
    // and return to a caller that counts on its delivery, before the first one has put it in the queue.
    let queues = lock_queues(domain, cell, id);
    let was_pending = word.set(PENDING) & PENDING != 0;
    let mut outcome = Queued { was_pending, new_head: false };
    let Some(mut queues) = queues else { return outcome };
    if word.load() & MASKED != 0 || word.set(LINKED) & LINKED != 0 {
        return outcome;
    }
    cell.set_last_queue(id);
    let (queue, old) = queues.both();
    // An event that is not linked and yet is the tail of its old queue: that queue is empty.
    let old = old.unwrap_or(queue);
    if old.tail == port.0 {
        old.tail = 0;
    }
    let tail = core::mem::replace(&mut queues.first().tail, port.0);
    let appended = tail != 0 && event_word(domain, Port(tail)).is_some_and(|tail| append(&tail, port));
    if !appended && let Some(head) = head_of_queue(domain, control, id.priority) {
        head.store(port.0);
        outcome.new_head = true;
    }
    outcome
}

/// Locks the queue an event goes to together with the one it was in last; None if it keeps being moved.
fn lock_queues<'a, D: EventDomain>(domain: &'a D, cell: &PortCell, id: QueueId) -> Option<Queues<'a>> {
    let events = domain.events();
    for _ in 0..QUEUE_TRIES {
        let last = cell.last_queue();
        let (queue, old) = (events.vcpu(id.vcpu)?.queue(id)?, events.vcpu(last.vcpu)?.queue(last)?);
        let queues = SpinLock::lock_pair(queue, old);
        if cell.last_queue() == last {
            return Some(queues);
        }
    }
    None
}

/// Links `port` behind the event that was appended last; returns false if the guest has taken that one out, which means
/// that the queue is empty.
fn append(tail: &Word32<'_>, port: Port) -> bool {
    if let Some(appended) = try_append(tail, port) {
        return appended;
    }
    // Keeps the guest from unmasking the tail, so that its word comes to rest.
    tail.set(BUSY);
    for _ in 0..LINK_TRIES {
        match try_append(tail, port) {
            Some(true) => return true,
            Some(false) => {
                tail.clear(BUSY);
                return false;
            }
            None => {}
        }
    }
    tail.clear(BUSY);
    true
}

/// Tries once; None if the word changed meanwhile. A success clears `BUSY`.
fn try_append(tail: &Word32<'_>, port: Port) -> Option<bool> {
    let seen = tail.load();
    if seen & LINKED == 0 {
        return Some(false);
    }
    let linked = seen & !(BUSY | EVTCHN_FIFO_LINK_MASK) | port.0 & EVTCHN_FIFO_LINK_MASK;
    tail.exchange(seen, linked).ok().map(|()| true)
}

fn control_block<D: EventDomain>(domain: &D, vcpu: VcpuId) -> Option<ControlBlock> {
    domain.events().vcpu(vcpu)?.control_block()
}

/// Returns where the head of a queue is in a control block: a byte's multiple of 4 behind a constant.
pub(super) const fn head_offset(priority: u8) -> usize {
    CONTROL_BLOCK_HEAD.wrapping_add((priority as usize) << 2)
}

fn head_of_queue<D: EventDomain>(domain: &D, control: ControlBlock, priority: u8) -> Option<Word32<'_>> {
    let offset = control.offset.checked_add(head_offset(priority))?;
    Word32::at(domain.event_page(control.frame)?, offset)
}

/// Sets a queue's ready bit; returns whether it was clear.
fn make_ready<D: EventDomain>(domain: &D, control: ControlBlock, priority: u8) -> bool {
    let Some(page) = domain.event_page(control.frame) else { return false };
    let Some(ready) = control.offset.checked_add(CONTROL_BLOCK_READY) else { return false };
    !test_and_set(page, ready, u32::from(priority))
}

/// Clears the pending bit. The guest takes the event out of its queue itself, and skips what is not pending.
pub(super) fn clear_pending<D: EventDomain>(domain: &D, port: Port, cell: &PortCell) {
    cell.take_early();
    if let Some(word) = event_word(domain, port) {
        word.clear(PENDING);
    }
}

pub(super) fn unmask<D: EventDomain>(domain: &D, port: Port, cell: &PortCell, vcpu: VcpuId) {
    let Some(word) = event_word(domain, port) else { return };
    word.clear(MASKED);
    if word.load() & PENDING != 0 {
        set_pending(domain, port, cell, vcpu);
    }
}

pub(super) fn is_pending<D: EventDomain>(domain: &D, port: Port) -> bool {
    event_word(domain, port).is_some_and(|word| word.load() & PENDING != 0)
}

/// Returns true while a port that was closed is still in a queue: it must not be allocated again before the guest took
/// it out, or its next event would show up in the old queue.
pub(super) fn is_linked<D: EventDomain>(domain: &D, port: Port) -> bool {
    event_word(domain, port).is_some_and(|word| word.load() & LINKED != 0)
}
