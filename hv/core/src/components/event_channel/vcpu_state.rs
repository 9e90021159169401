//! The event channel state of each vCPU.

use super::port_state::QueueId;
use xen_abi::event_fifo::{EVTCHN_FIFO_MAX_QUEUES, EVTCHN_FIFO_PRIORITY_MIN};
use xen_abi::virq::NR_VIRQS;
use xen_abi::{Mfn, Port};
use xenolith_hal::PAGE_SHIFT;
use xenolith_sync::atomic::{AtomicU32, AtomicU64, Ordering};
use xenolith_sync::{SpinLock, rank};

/// How many queues each vCPU has. Models need only one.
const QUEUES: usize = if cfg!(loom) { 1 } else { EVTCHN_FIFO_MAX_QUEUES };

/// One queue of pending events of the FIFO ABI. Its head is in the guest's control block.
#[derive(Default)]
pub(super) struct Queue {
    /// The port that was appended last, 0 if none. The guest may have taken it out since.
    pub(super) tail: u32,
}

/// Where a vCPU's control block lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ControlBlock {
    pub(super) frame: Mfn,
    /// In bytes, a multiple of 8.
    pub(super) offset: usize,
}

/// Set in the packed form of a [`ControlBlock`]; offsets are multiples of 8, so the bit is free.
const PRESENT: u64 = 1;
const OFFSET: u64 = (1 << PAGE_SHIFT) - 1;

pub(super) struct VcpuState {
    virqs: [AtomicU32; NR_VIRQS as usize],
    control: AtomicU64,
    queues: [SpinLock<Queue, rank::EventQueue>; QUEUES],
    /// What the vCPU polls for; see `poll`.
    pub(super) poll: AtomicU32,
}

impl VcpuState {
    pub(super) fn new() -> Self {
        Self {
            virqs: core::array::from_fn(|_| AtomicU32::new(0)),
            control: AtomicU64::new(0),
            queues: core::array::from_fn(|_| SpinLock::new(Queue::default())),
            poll: AtomicU32::new(0),
        }
    }

    /// Returns the port that a VIRQ is bound to on this vCPU.
    pub(super) fn virq_port(&self, virq: u32) -> Option<Port> {
        match self.virqs.get(virq as usize)?.load(Ordering::Acquire) {
            0 => None,
            port => Some(Port(port)),
        }
    }

    /// Sets the port of a VIRQ; port 0 stands for none. Only with the domain's lock.
    pub(super) fn set_virq_port(&self, virq: u32, port: Port) {
        if let Some(slot) = self.virqs.get(virq as usize) {
            slot.store(port.0, Ordering::Release);
        }
    }

    pub(super) fn control_block(&self) -> Option<ControlBlock> {
        let packed = self.control.load(Ordering::Acquire);
        (packed & PRESENT != 0)
            .then_some(ControlBlock { frame: Mfn(packed >> PAGE_SHIFT), offset: (packed & OFFSET & !PRESENT) as usize })
    }

    /// Sets the control block. Only with the domain's lock; None only with no port bound.
    pub(super) fn set_control_block(&self, block: Option<ControlBlock>) {
        let packed = block.map_or(0, |block| block.frame.0 << PAGE_SHIFT | (block.offset as u64 & OFFSET) | PRESENT);
        self.control.store(packed, Ordering::Release);
    }

    /// Returns the queue of a priority; None above the lowest priority.
    pub(super) fn queue(&self, id: QueueId) -> Option<&SpinLock<Queue, rank::EventQueue>> {
        debug_assert!(u32::from(id.priority) <= EVTCHN_FIFO_PRIORITY_MIN);
        self.queues.get(usize::from(id.priority) % QUEUES)
    }

    /// Forgets what the queues held.
    pub(super) fn empty_queues(&self) {
        for queue in &self.queues {
            queue.lock().tail = 0;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_control_block_comes_back_as_it_was_set() {
        let state = VcpuState::new();
        assert_eq!(state.control_block(), None);
        for offset in [0, 8, 4024] {
            let block = ControlBlock { frame: Mfn(0xf_ffff_ffff), offset };
            state.set_control_block(Some(block));
            assert_eq!(state.control_block(), Some(block));
        }
        state.set_control_block(None);
        assert_eq!(state.control_block(), None);
    }
}
