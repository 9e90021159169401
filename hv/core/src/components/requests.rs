//! Requests to a vCPU that it handles before it enters its guest again.

use xenolith_devices::interrupt::Trigger;
use xenolith_sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// A request for INIT, and none for a start-up IPI.
const START_INIT: u32 = 1 << 8;
/// A start-up IPI with the vector in the low byte.
const START_SIPI: u32 = 1 << 9;

/// Requests to a vCPU that it handles before it enters its guest again.
#[derive(Default)]
pub struct Requests {
    /// Vectors to be raised in the local APIC.
    vectors: [AtomicU64; 4],
    /// Vectors whose end of interrupt (EOI) must be reported to I/O APICs, by how each was last requested.
    levels: [AtomicU64; 4],
    nmi: AtomicBool,
    start: AtomicU32,
    /// Any of them, so that one load shows that there is none.
    any: AtomicBool,
}

/// The requests taken from [`Requests`], to be handled in this order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Taken {
    /// INIT came.
    pub init: bool,
    /// Vectors to be raised in the local APIC, a bit for each.
    vectors: [u64; 4],
    /// The level-triggered ones of them.
    levels: [u64; 4],
    pub nmi: bool,
    /// A start-up IPI came after that: start in real mode at this `vector << 12`.
    pub startup: Option<u8>,
}

impl Taken {
    /// Handles each vector, the lowest first. No iterator: it is built for size, where those are long.
    pub fn for_each_vector(&self, mut handle: impl FnMut(u8, Trigger)) {
        for (index, (word, levels)) in (0_u8..4).zip(self.vectors.iter().zip(&self.levels)) {
            let mut bits = *word;
            while bits != 0 {
                let bit = bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                let trigger = if levels & (1 << bit) == 0 { Trigger::Edge } else { Trigger::Level };
                handle(index << 6 | bit as u8, trigger);
            }
        }
    }
}

impl Requests {
    /// Requests an interrupt in the local APIC.
    pub fn post_vector(&self, vector: u8) {
        let bit = 1 << (vector % 64);
        if let Some(word) = self.levels.get(usize::from(vector / 64))
            && word.load(Ordering::SeqCst) & bit != 0
        {
            word.fetch_and(!bit, Ordering::SeqCst);
        }
        self.post(vector);
    }

    fn post(&self, vector: u8) {
        if let Some(word) = self.vectors.get(usize::from(vector / 64)) {
            word.fetch_or(1 << (vector % 64), Ordering::SeqCst);
        }
        self.any.store(true, Ordering::SeqCst);
    }

    /// Requests a level-triggered interrupt in the local APIC.
    pub fn post_level_vector(&self, vector: u8) {
        if let Some(word) = self.levels.get(usize::from(vector / 64)) {
            word.fetch_or(1 << (vector % 64), Ordering::SeqCst);
        }
        self.post(vector);
    }

    /// Requests a non-maskable interrupt (NMI).
    pub fn post_nmi(&self) {
        self.nmi.store(true, Ordering::SeqCst);
        self.any.store(true, Ordering::SeqCst);
    }

    /// Notes that a device model may have answered.
    pub fn post_answer(&self) {
        self.any.store(true, Ordering::SeqCst);
    }

    /// Requests a reset to the state after INIT.
    pub fn post_init(&self) {
        self.start.store(START_INIT, Ordering::SeqCst);
        self.any.store(true, Ordering::SeqCst);
    }

    /// Requests a start (SIPI); only the first after an INIT counts.
    pub fn post_sipi(&self, vector: u8) {
        self.start.fetch_or(START_SIPI | u32::from(vector), Ordering::SeqCst);
        self.any.store(true, Ordering::SeqCst);
    }

    /// Returns true if there is a request.
    pub fn pending(&self) -> bool {
        self.any.load(Ordering::SeqCst)
    }

    /// Takes the requests out.
    pub fn take(&self) -> Taken {
        self.any.store(false, Ordering::SeqCst);
        let start = self.start.swap(0, Ordering::SeqCst);
        // Word by word: it is built for size, where loops are kept.
        let [a, b, c, d] = &self.vectors;
        let take = |word: &AtomicU64| word.swap(0, Ordering::SeqCst);
        let vectors @ [first, second, third, fourth] = [take(a), take(b), take(c), take(d)];
        let [a, b, c, d] = &self.levels;
        // The level is noted before the vector, so that it is never missed here.
        let read = |word: &AtomicU64| word.load(Ordering::SeqCst);
        let any = first | second | third | fourth != 0;
        let taken_levels = if any { [read(a), read(b), read(c), read(d)] } else { [0; 4] };
        Taken {
            init: start & START_INIT != 0,
            vectors,
            levels: taken_levels,
            nmi: self.nmi.swap(false, Ordering::SeqCst),
            startup: (start & START_SIPI != 0).then_some(start as u8),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn taken(requests: &Requests) -> Vec<(u8, Trigger)> {
        let mut all = Vec::new();
        requests.take().for_each_vector(|vector, trigger| all.push((vector, trigger)));
        all
    }

    #[test]
    fn a_vector_is_raised_as_it_was_asked_for_last() {
        let requests = Requests::default();
        requests.post_level_vector(0x31);
        requests.post_vector(0x72);
        assert_eq!(taken(&requests), [(0x31, Trigger::Level), (0x72, Trigger::Edge)]);
        assert_eq!(taken(&requests), []);
        requests.post_level_vector(0x31);
        requests.post_vector(0x31);
        assert_eq!(taken(&requests), [(0x31, Trigger::Edge)]);
        requests.post_level_vector(0x31);
        assert_eq!(taken(&requests), [(0x31, Trigger::Level)]);
    }
}
