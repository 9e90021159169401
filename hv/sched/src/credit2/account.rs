//! The accounting of a unit: its virtual time, and its portion of the domain's cap.

use xenolith_hal::Time;

use super::options::Parameters;
use crate::{RATELIMIT_NS, SLICE_NS, WEIGHT_DEFAULT};

/// Virtual time of a queue at its start; high enough that subtracting a wake bonus from it does not underflow.
pub(super) const START: u64 = 1 << 50;

/// Fractional bits of [`Account::rate`].
const FRACTION: u32 = 32;

/// The accounting state of a unit.
#[derive(Debug)]
pub struct Account {
    pub(super) parameters: Parameters,
    /// Virtual nanoseconds for one nanosecond on a CPU, as a fixed-point number with [`FRACTION`] fractional bits.
    rate: u64,
    /// CPU time that it has had, scaled by the inverse of its weight.
    pub(super) virtual_ns: u64,
    /// Virtual time up to which it counts in its queue's migration debt; 0 for no debt.
    pub(super) debt_until_ns: u64,
    /// What is left of the last portion that it drew from the domain's [`Pot`], if the domain is capped. Below 0 after
    /// an overrun.
    pub(super) allowance_ns: i64,
}

impl Account {
    /// Makes the account of a unit that never ran.
    pub(super) fn new(parameters: &Parameters) -> Self {
        let rate = rate(parameters.weight);
        Self { parameters: parameters.clone(), rate, virtual_ns: START, debt_until_ns: 0, allowance_ns: 0 }
    }

    /// Applies changed parameters.
    pub(super) fn set(&mut self, parameters: &Parameters) {
        self.give_back();
        self.rate = rate(parameters.weight);
        self.parameters = parameters.clone();
    }

    /// Returns the weight, at least 1.
    pub(super) fn weight(&self) -> u64 {
        u64::from(self.parameters.weight.max(1))
    }

    /// Converts time on a CPU to virtual time.
    #[expect(clippy::arithmetic_side_effects, reason = "64 bits by 64 bits in 128")]
    pub(super) fn to_virtual(&self, ns: u64) -> u64 {
        u64::try_from((u128::from(ns) * u128::from(self.rate)) >> FRACTION).unwrap_or(u64::MAX)
    }

    /// Charges `ns` nanoseconds of CPU time.
    pub(super) fn charge(&mut self, ns: u64) {
        self.virtual_ns = self.virtual_ns.saturating_add(self.to_virtual(ns));
        if self.is_capped() {
            self.allowance_ns = self.allowance_ns.saturating_sub(i64::try_from(ns).unwrap_or(i64::MAX));
        }
    }

    /// Returns its part of the queue's migration debt, in virtual nanoseconds times its weight.
    #[expect(clippy::arithmetic_side_effects, reason = "64 bits by 64 bits in 128")]
    pub(super) fn debt(&self) -> u128 {
        u128::from(self.debt_until_ns.saturating_sub(self.virtual_ns)) * u128::from(self.weight())
    }

    /// Returns its time slice in nanoseconds; shorter for a small weight, so that it waits less long for the next one.
    #[expect(clippy::arithmetic_side_effects, reason = "a constant times a weight of at most the default")]
    pub(super) fn slice_ns(&self) -> u64 {
        let weight = self.weight().min(u64::from(WEIGHT_DEFAULT));
        (SLICE_NS * weight / u64::from(WEIGHT_DEFAULT)).max(RATELIMIT_NS)
    }

    /// Returns whether its domain has a cap.
    pub(super) fn is_capped(&self) -> bool {
        self.parameters.pot.as_ref().is_some_and(|pot| pot.cap_percent() != 0)
    }

    /// Draws a new portion from the domain's pot if the last one is used up.
    ///
    /// **Errors:** the pot is empty; the time of its next replenishment.
    pub(super) fn may_run(&mut self, now: Time) -> Result<(), Time> {
        let Some(pot) = self.parameters.pot.as_ref().filter(|_| self.is_capped()) else { return Ok(()) };
        if self.allowance_ns > 0 {
            return Ok(());
        }
        let owed = core::mem::take(&mut self.allowance_ns).saturating_neg();
        self.allowance_ns = pot.draw(owed, now)?;
        Ok(())
    }

    /// Returns the unused portion to the pot, because the unit blocks.
    pub(super) fn give_back(&mut self) {
        if let Some(pot) = &self.parameters.pot {
            pot.give_back(core::mem::take(&mut self.allowance_ns));
        }
    }

    /// Returns when its portion is used up if it runs from `now` on; [`Time::NEVER`] without a cap.
    pub(super) fn runs_out(&self, now: Time) -> Time {
        if self.is_capped() { now.after_ns(u64::try_from(self.allowance_ns).unwrap_or(0)) } else { Time::NEVER }
    }
}

#[expect(clippy::arithmetic_side_effects, reason = "divided by 1 at least")]
fn rate(weight: u16) -> u64 {
    (u64::from(WEIGHT_DEFAULT) << FRACTION) / u64::from(weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_weight_halves_virtual_time() {
        let of = |weight| Account::new(&Parameters::of_weight(weight));
        assert_eq!(of(256).to_virtual(1000), 1000);
        assert_eq!(of(512).to_virtual(1000), 500);
        assert_eq!(of(1).to_virtual(1000), 256_000);
        assert_eq!((of(512).slice_ns(), of(1).slice_ns()), (SLICE_NS, RATELIMIT_NS));
        assert_eq!(of(1).to_virtual(u64::MAX), u64::MAX);
    }
}
