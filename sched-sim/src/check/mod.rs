//! Properties of every policy, tested with random machines and workloads.

mod cost;
mod credit2;
mod edf;
mod invariants;
mod null;
mod random;
mod rtds;
mod storm;

use fastrand::Rng;

/// A property, with its test.
pub struct Property {
    pub name: &'static str,
    /// Number of random cases that make a full test.
    pub cases: u32,
    /// Tests one case.
    try_one: fn(&mut Rng) -> Result<(), String>,
}

/// Returns all properties.
#[must_use]
pub fn properties() -> Vec<Property> {
    let of_each = [credit2::properties(), null::properties(), rtds::properties(), cost::properties()];
    of_each.into_iter().flatten().collect()
}

impl Property {
    /// Tests at most `most` cases.
    ///
    /// **Errors:** the seed of the case that failed, and what was wrong.
    pub fn check(&self, seed: u64, most: u32) -> Result<(), String> {
        for case in 0..u64::from(self.cases.min(most)) {
            let seed = seed.wrapping_add(case);
            let tried = (self.try_one)(&mut Rng::with_seed(seed));
            tried.map_err(|error| format!("seed {seed}: {error}"))?;
        }
        Ok(())
    }
}
