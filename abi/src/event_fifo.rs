//! The FIFO ABI of event channels: a word for each port, and queues by priority.
//!
//! The event array consists of pages of 32-bit event words; the word of port `p` is number `p % 1024` of page `p /
//! 1024`. A control block for each vCPU holds the heads of its sixteen queues. Guest and hypervisor change both at the
//! same time, so the hypervisor accesses them as arrays of atomics, by the offsets given here.
//!
//! **Source:** `event_channel.h`.

use crate::describe::{constants, wire};

constants! {
    table CONSTANTS;
    /// Highest priority.
    pub const EVTCHN_FIFO_PRIORITY_MAX: u32 = 0;
    /// Default priority of a port.
    pub const EVTCHN_FIFO_PRIORITY_DEFAULT: u32 = 7;
    /// Lowest priority.
    pub const EVTCHN_FIFO_PRIORITY_MIN: u32 = 15;
    /// Number of queues of a control block.
    pub const EVTCHN_FIFO_MAX_QUEUES: usize = 16;

    /// Bit number in an event word: the event is pending. Set by the sender, cleared by the guest.
    pub const EVTCHN_FIFO_PENDING: u32 = 31;
    /// Bit number in an event word: the event is masked. Set and cleared by the guest.
    pub const EVTCHN_FIFO_MASKED: u32 = 30;
    /// Bit number in an event word: the event is in a queue. Set by the hypervisor, cleared by the guest.
    pub const EVTCHN_FIFO_LINKED: u32 = 29;
    /// Bit number in an event word: the guest is unmasking it, the hypervisor must not link it meanwhile.
    pub const EVTCHN_FIFO_BUSY: u32 = 28;
    /// Width of a link, in bits: the number of the next port of the queue, in the low bits of an event word.
    pub const EVTCHN_FIFO_LINK_BITS: u32 = 17;
    /// Mask of a link.
    pub const EVTCHN_FIFO_LINK_MASK: u32 = (1 << EVTCHN_FIFO_LINK_BITS) - 1;
    /// Number of ports.
    pub const EVTCHN_FIFO_NR_CHANNELS: u32 = 1 << EVTCHN_FIFO_LINK_BITS;
}

/// Number of event words in a page.
pub const EVENT_WORDS_PER_PAGE: u32 = 1024;

/// Number of pages of the largest event array.
pub const EVENT_ARRAY_MAX_PAGES: u32 = EVTCHN_FIFO_NR_CHANNELS / EVENT_WORDS_PER_PAGE;

wire! {
    /// The control block of one vCPU.
    pub struct EvtchnFifoControlBlock: "struct evtchn_fifo_control_block" {
        /// A bit for each queue that is not empty; bit 0 is the queue of the highest priority.
        pub ready: u32,
        /// Padding.
        pub pad: u32,
        /// First port of each queue; 0 if the queue is empty.
        pub head: [u32; EVTCHN_FIFO_MAX_QUEUES],
    }
}

/// Offset of [`EvtchnFifoControlBlock::ready`] in the control block, in bytes.
pub const CONTROL_BLOCK_READY: usize = core::mem::offset_of!(EvtchnFifoControlBlock, ready);

/// Offset of the first of [`EvtchnFifoControlBlock::head`] in the control block, in bytes; the heads are `u32`s.
pub const CONTROL_BLOCK_HEAD: usize = core::mem::offset_of!(EvtchnFifoControlBlock, head);
