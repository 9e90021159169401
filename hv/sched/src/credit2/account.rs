//! What is accounted for a unit: virtual time, and what is left of its domain's cap.

use xenolith_hal::Time;

use super::options::Parameters;
use crate::{RATELIMIT_NS, SLICE_NS, WEIGHT_DEFAULT};

/// The virtual time at which everything starts; high enough that what lies a little before it is no negative number.
pub(super) const START: u64 = 1 << 50;

/// Binary digits behind the point of the inverse weight.
const FRACTION: u32 = 32;

/// What credit2 accounts for a unit.
#[derive(Debug)]
pub struct Account {
    pub(super) parameters: Parameters,
    /// Virtual nanoseconds for one of a CPU, with [`FRACTION`] digits behind the point.
    rate: u64,
    /// How much it has had, for its weight.
    pub(super) virtual_ns: u64,
    /// Up to where it catches up after it was moved here: its queue has promised it that much.
    pub(super) promised_ns: u64,
    /// What is left of its last portion of the domain's pot, if that has a cap. Below 0 after it ran too long.
    pub(super) allowance_ns: i64,
}

impl Account {
    /// Of a unit that never ran.
    pub(super) fn new(parameters: &Parameters) -> Self {
        let rate = rate(parameters.weight);
        Self { parameters: parameters.clone(), rate, virtual_ns: START, promised_ns: 0, allowance_ns: 0 }
    }

    /// Changes what is set of it.
    pub(super) fn set(&mut self, parameters: &Parameters) {
        self.give_back();
        self.rate = rate(parameters.weight);
        self.parameters = parameters.clone();
    }

    /// The weight, at least 1.
    pub(super) fn weight(&self) -> u64 {
        u64::from(self.parameters.weight.max(1))
    }

    /// Virtual time for this much time on a CPU.
    pub(super) fn to_virtual(&self, ns: u64) -> u64 {
        u64::try_from((u128::from(ns) * u128::from(self.rate)) >> FRACTION).unwrap_or(u64::MAX)
    }

    /// Charges `ns` on a CPU.
    pub(super) fn charge(&mut self, ns: u64) {
        self.virtual_ns = self.virtual_ns.saturating_add(self.to_virtual(ns));
        if self.is_capped() {
            self.allowance_ns = self.allowance_ns.saturating_sub(i64::try_from(ns).unwrap_or(i64::MAX));
        }
    }

    /// What of its queue's promise is open, in virtual nanoseconds times its weight.
    pub(super) fn debt(&self) -> u128 {
        u128::from(self.promised_ns.saturating_sub(self.virtual_ns)) * u128::from(self.weight())
    }

    /// Returns its time slice in nanoseconds: less for a small weight, so that it need not wait as long.
    pub(super) fn slice_ns(&self) -> u64 {
        let weight = self.weight().min(u64::from(WEIGHT_DEFAULT));
        (SLICE_NS * weight / u64::from(WEIGHT_DEFAULT)).max(RATELIMIT_NS)
    }

    /// Whether its domain has a cap.
    pub(super) fn is_capped(&self) -> bool {
        self.parameters.pot.as_ref().is_some_and(|pot| pot.cap_percent() != 0)
    }

    /// Sees to it that it may run, with a new portion if need be.
    ///
    /// **Errors:** when it may run again.
    pub(super) fn may_run(&mut self, now: Time) -> Result<(), Time> {
        let Some(pot) = self.parameters.pot.as_ref().filter(|_| self.is_capped()) else { return Ok(()) };
        if self.allowance_ns > 0 {
            return Ok(());
        }
        let owed = -core::mem::take(&mut self.allowance_ns);
        self.allowance_ns = pot.draw(owed, now)?;
        Ok(())
    }

    /// Gives back what it did not use: it wants no CPU.
    pub(super) fn give_back(&mut self) {
        if let Some(pot) = &self.parameters.pot {
            pot.give_back(core::mem::take(&mut self.allowance_ns));
        }
    }

    /// When its portion will be used up, running from now on.
    pub(super) fn runs_out(&self, now: Time) -> Time {
        if self.is_capped() { now.after_ns(u64::try_from(self.allowance_ns).unwrap_or(0)) } else { Time::NEVER }
    }
}

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
