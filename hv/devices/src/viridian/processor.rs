//! The part of a vCPU: its assist page, its interrupt sources, its message page and its timers.

use super::page_of;
use super::timer::{Message, Timer};
use xen_abi::Gfn;

/// Interrupt sources.
pub(super) const SOURCES: usize = 16;
/// Timers.
pub(super) const TIMERS: usize = 4;

const MASKED: u64 = 1 << 16;
/// Of a source: its interrupts need no end.
const AUTOMATIC_END: u64 = 1 << 17;
/// The lowest vector of a source; those below are the processor's exceptions.
const FIRST_VECTOR: u8 = 16;

/// The state of one vCPU.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Processor {
    pub(super) assist: u64,
    /// The guest ends an interrupt by taking the bit in its assist page away: the one in service that is over first.
    pub(super) assisted: bool,
    pub(super) control: u64,
    pub(super) event_page: u64,
    pub(super) message_page: u64,
    pub(super) sources: [u64; SOURCES],
    pub(super) timers: [Timer; TIMERS],
    /// Sources whose slot was taken when a message came: the guest says when it is free.
    pub(super) waiting: u16,
}

impl Default for Processor {
    fn default() -> Self {
        Self {
            assist: 0,
            assisted: false,
            control: 0,
            event_page: 0,
            message_page: 0,
            sources: [MASKED; SOURCES],
            timers: [Timer::default(); TIMERS],
            waiting: 0,
        }
    }
}

/// What an interrupt that a vCPU took needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// Nothing more.
    Nothing,
    /// It is over.
    Ended,
    /// It needs no end, which is to stand in this page.
    Assisted(Gfn),
}

/// What came of a look at the timers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Polled {
    /// When to look again, by the guest's count.
    pub due: Option<u64>,
    /// The vectors to raise, one for each message.
    pub vectors: [Option<u8>; TIMERS],
}

impl Processor {
    /// Returns the frame of the assist page, if the guest ends an interrupt by it.
    #[must_use]
    pub fn assisted(&self) -> Option<Gfn> {
        page_of(self.assist).filter(|_| self.assisted)
    }

    /// Notes that the guest ends no interrupt by its assist page any more.
    pub const fn end_assistance(&mut self) {
        self.assisted = false;
    }

    /// Returns whether interrupts of this vector need no end.
    pub(super) fn ends_by_itself(&self, vector: u8) -> bool {
        let wanted = AUTOMATIC_END | u64::from(vector);
        self.sources.iter().any(|source| source & (AUTOMATIC_END | MASKED | 0xff) == wanted)
    }

    /// Writes a source. Returns false, and changes nothing, for a vector that is none, masked or not; but for a source as it
    /// is in the beginning, which a saved state may have.
    pub(super) fn set_source(&mut self, index: usize, value: u64) -> bool {
        if (value as u8) < FIRST_VECTOR && value != MASKED {
            return false;
        }
        if let Some(source) = self.sources.get_mut(index) {
            *source = value;
        }
        true
    }

    /// Advances the timers to `now`. `place` is called with the page, the source and the message of each that has expired,
    /// and returns whether the slot was free; None if there is no such page.
    #[inline(never)]
    pub fn poll(&mut self, now: u64, place: &mut dyn FnMut(Gfn, usize, &Message) -> Option<bool>) -> Polled {
        let mut polled = Polled { due: None, vectors: [None; TIMERS] };
        for index in 0..TIMERS {
            let vector = self.poll_one(index, now, place);
            if let Some(slot) = polled.vectors.get_mut(index) {
                *slot = vector;
            }
            let due = self.timers.get_mut(index).and_then(|timer| timer.advance(now));
            polled.due = [polled.due, due].into_iter().flatten().min();
        }
        polled
    }

    fn poll_one(
        &mut self,
        index: usize,
        now: u64,
        place: &mut dyn FnMut(Gfn, usize, &Message) -> Option<bool>,
    ) -> Option<u8> {
        let timer = self.timers.get_mut(index)?;
        timer.advance(now);
        let message = timer.message(index, now)?;
        let source = timer.source();
        let bit = 1_u16.checked_shl(source as u32)?;
        if self.waiting & bit != 0 {
            return None;
        }
        if !place(page_of(self.message_page)?, source, &message)? {
            self.waiting |= bit;
            return None;
        }
        timer.delivered(now);
        let source = self.sources.get(source)?;
        (source & MASKED == 0).then_some(*source as u8)
    }
}
