//! A guest that writes to its memory while the hypervisor reads it.

use std::sync::{Mutex, PoisonError};

use xenolith_hal::{Mfn, PageWords};

/// How far into a page is written, in 8-byte words: hypercall arguments are at the beginning.
const WORDS: u64 = 24;

/// Writes to chosen pages at random moments while the core reads them.
#[derive(Debug, Default)]
pub struct Disturbance(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The state of the random generator; 0 disturbs nothing.
    dice: u64,
    pages: Vec<Mfn>,
}

impl Disturbance {
    /// Disturbs these pages from now on, as `seed` alone decides. A seed of 0 stops it.
    pub fn set(&self, seed: u64, pages: &[Mfn]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State { dice: seed, pages: pages.to_vec() };
    }

    /// Notes that the core reads a page, and may write to it.
    pub(crate) fn look(&self, mfn: Mfn, page: &PageWords) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.dice == 0 || !state.pages.contains(&mfn) {
            return;
        }
        let dice = next(&mut state.dice);
        if !dice.is_multiple_of(4) {
            return;
        }
        let offset = usize::try_from((dice >> 8) % WORDS).unwrap_or_default() * 8;
        let old = page.load_u64(offset).unwrap_or_default();
        let new = match (dice >> 4) % 4 {
            0 => old ^ (1 << ((dice >> 16) % 64)),
            1 => old.wrapping_add(1),
            2 => u64::MAX,
            _ => next(&mut state.dice),
        };
        let _ = page.store_u64(offset, new);
    }
}

/// Returns the next number of Marsaglia's xorshift; never 0 again once it is not.
fn next(dice: &mut u64) -> u64 {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    *dice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_chosen_pages_change_and_only_when_looked_at() {
        let disturbance = Disturbance::default();
        let (chosen, other) = (PageWords::new(), PageWords::new());
        disturbance.set(7, &[Mfn(1)]);
        for _ in 0..100 {
            disturbance.look(Mfn(2), &other);
        }
        let changed = |page: &PageWords| (0..512).any(|word| page.load_u64(word * 8) != Some(0));
        assert!(!changed(&chosen) && !changed(&other));
        for _ in 0..100 {
            disturbance.look(Mfn(1), &chosen);
        }
        assert!(changed(&chosen));
    }

    #[test]
    fn a_seed_of_zero_means_peace() {
        let disturbance = Disturbance::default();
        let page = PageWords::new();
        disturbance.set(0, &[Mfn(1)]);
        (0..100).for_each(|_| disturbance.look(Mfn(1), &page));
        assert_eq!(page.load_u64(0), Some(0));
    }
}
