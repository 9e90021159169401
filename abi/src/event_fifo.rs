//! The FIFO ABI of event channels: a word for each port, and queues by priority.
//!
//! An event array is made of pages of 32-bit event words, the word of port `p` being number `p % 1024` of page
//! `p / 1024`. A control block for each vCPU holds the heads of its sixteen queues. Guest and hypervisor change
//! both at the same time, so the hypervisor sees them as arrays of atomics and uses the offsets given here.
//! **Source:** `event_channel.h`.

use crate::describe::{constants, wire};

constants! {
    table CONSTANTS;
    /// The highest priority.
    pub const EVTCHN_FIFO_PRIORITY_MAX: u32 = 0;
    /// The priority of a port for which none was set.
    pub const EVTCHN_FIFO_PRIORITY_DEFAULT: u32 = 7;
    /// The lowest priority.
    pub const EVTCHN_FIFO_PRIORITY_MIN: u32 = 15;
    /// How many queues a control block has.
    pub const EVTCHN_FIFO_MAX_QUEUES: usize = 16;

    /// Bit of an event word: the event is pending. Set by the sender, cleared by the guest.
    pub const EVTCHN_FIFO_PENDING: u32 = 31;
    /// Bit of an event word: the event is masked. Set and cleared by the guest.
    pub const EVTCHN_FIFO_MASKED: u32 = 30;
    /// Bit of an event word: the event is in a queue. Set by the hypervisor, cleared by the guest.
    pub const EVTCHN_FIFO_LINKED: u32 = 29;
    /// Bit of an event word: the guest is clearing the mask; the hypervisor must not link meanwhile.
    pub const EVTCHN_FIFO_BUSY: u32 = 28;
    /// Width in bits of the link to the next event's port, the low bits of an event word.
    pub const EVTCHN_FIFO_LINK_BITS: u32 = 17;
    /// Mask of the link.
    pub const EVTCHN_FIFO_LINK_MASK: u32 = (1 << EVTCHN_FIFO_LINK_BITS) - 1;
    /// How many ports there can be.
    pub const EVTCHN_FIFO_NR_CHANNELS: u32 = 1 << EVTCHN_FIFO_LINK_BITS;
}

/// How many event words a page of 4096 bytes holds.
pub const EVENT_WORDS_PER_PAGE: u32 = 1024;

/// How many pages the largest event array has.
pub const EVENT_ARRAY_MAX_PAGES: u32 = EVTCHN_FIFO_NR_CHANNELS / EVENT_WORDS_PER_PAGE;

wire! {
    /// The control block of one vCPU.
    pub struct EvtchnFifoControlBlock: "struct evtchn_fifo_control_block" {
        /// A bit for each queue that is not empty; bit 0 is the highest priority.
        pub ready: u32,
        /// Padding.
        pub pad: u32,
        /// The first event of each queue, 0 if it is empty.
        pub head: [u32; EVTCHN_FIFO_MAX_QUEUES],
    }
}

/// Offset of [`EvtchnFifoControlBlock::ready`] in the control block, in bytes.
pub const CONTROL_BLOCK_READY: usize = core::mem::offset_of!(EvtchnFifoControlBlock, ready);

/// Offset of the first of [`EvtchnFifoControlBlock::head`] in the control block, in bytes; the heads are `u32`s.
pub const CONTROL_BLOCK_HEAD: usize = core::mem::offset_of!(EvtchnFifoControlBlock, head);
