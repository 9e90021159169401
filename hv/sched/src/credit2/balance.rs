//! Load balancing between run queues: the load of a queue, and when a unit migrates.

use alloc::boxed::Box;

use xenolith_hal::Time;

use super::account::Account;
use super::options::Options;
use super::queue::Credit2;
use crate::policy::{Hint, Policy, Unit, UnitId};
use crate::{Cpus, WEIGHT_DEFAULT};

/// Lag between the virtual times of two queues, in nanoseconds of CPU time, from which on a unit migrates; shifted by
/// [`Options::balance_over`] or [`Options::balance_under`].
const LAG_NS: u64 = 160_000_000;

/// The most that a queue's virtual time may be behind another's when a unit migrates; older lag is forgotten.
const FORGOTTEN_NS: u64 = 100_000_000;

/// The load of a queue: the sum of the weights of its runnable units, now and as a moving average.
#[derive(Debug, Default)]
pub(super) struct Load {
    weight: u64,
    average: u64,
    since: Time,
}

impl Load {
    /// Adds the weight of a unit that becomes runnable (`more`), or subtracts that of one that no longer is.
    pub(super) fn change(&mut self, weight: u64, more: bool, now: Time, options: &Options) {
        self.average = self.average_at(now, options);
        self.since = self.since.max(now);
        self.weight = if more { self.weight.saturating_add(weight) } else { self.weight.saturating_sub(weight) };
    }

    /// Returns the moving average of the load at `now`. Load older than one window (`credit2_load_window_shift`) counts
    /// nothing; in between its part falls linearly.
    #[expect(clippy::arithmetic_side_effects, reason = "both parts together are the window, at most half of 64 bits")]
    pub(super) fn average_at(&self, now: Time, options: &Options) -> u64 {
        let shift = options.load_window_shift.min(63);
        let window = 1u64 << shift;
        let part = now.since_ns(self.since).min(window);
        let mixed = u128::from(self.weight) * u128::from(part) + u128::from(self.average) * u128::from(window - part);
        u64::try_from(mixed >> shift).unwrap_or(u64::MAX)
    }

    /// Returns the sum of the weights of the runnable units.
    pub(super) const fn weight(&self) -> u64 {
        self.weight
    }
}

/// Returns the gain of a migration between two queues: how far the virtual time of `from` is behind that of `to`. 0 if
/// that is within `slack`, or if `to` has no CPU.
pub(super) fn gain(from: &Hint, to: &Hint, slack: u64, now: Time) -> u64 {
    let lag = clock(to, now).saturating_sub(clock(from, now));
    if to.cpus > 0 && lag > virtual_for(from, slack) { lag } else { 0 }
}

/// Extrapolates a queue's virtual time from its hint to `now`.
fn clock(of: &Hint, now: Time) -> u64 {
    of.clock.saturating_add(virtual_for(of, now.since_ns(of.since)))
}

/// Converts time to a queue's virtual time by the speed in its hint.
#[expect(clippy::arithmetic_side_effects, reason = "64 bits by 64 bits in 128")]
fn virtual_for(hint: &Hint, ns: u64) -> u64 {
    u64::try_from((u128::from(ns) * u128::from(hint.speed)) >> SPEED_BITS).unwrap_or(u64::MAX)
}

/// Fractional bits of a queue's speed.
const SPEED_BITS: u32 = 16;

impl Credit2 {
    /// Returns the virtual time that the queue publishes: its own, less the debt of units that migrated here and still
    /// have to catch up, spread over `weight`.
    #[expect(clippy::arithmetic_side_effects, reason = "divided by 1 at least")]
    pub(super) fn clock(&self, weight: u64) -> u64 {
        let debt = if self.debt == 0 { 0 } else { self.debt / u128::from(weight.max(1)) };
        let debt = u64::try_from(debt).unwrap_or(u64::MAX);
        self.virtual_ns.saturating_add(self.offset_ns).saturating_sub(debt)
    }

    /// Returns the lag behind another queue that is tolerated before a unit migrates, in nanoseconds of CPU time.
    pub(super) fn lag_allowed(&self) -> u64 {
        let over = self.load.weight() > 0 && self.count >= self.seats.members().count();
        let shift = if over { self.options.balance_over } else { self.options.balance_under };
        let by = shift.unsigned_abs().min(20);
        if shift < 0 { LAG_NS >> by } else { LAG_NS << by }
    }

    /// Adds a migrated unit's lag behind the queue's virtual time to the queue's debt.
    pub(super) fn add_debt(&mut self, id: UnitId) {
        if let Some(unit) = self.units.get_mut(id) {
            unit.account.debt_until_ns = self.virtual_ns;
            self.debt = self.debt.saturating_add(unit.account.debt());
        }
    }

    /// Removes a unit's remaining lag from the queue's debt: it blocks or leaves.
    pub(super) fn clear_debt(&mut self, id: UnitId) {
        if let Some(unit) = self.units.get_mut(id) {
            self.debt = self.debt.saturating_sub(unit.account.debt());
            unit.account.debt_until_ns = 0;
        }
    }

    /// Returns how fast the queue's virtual time advances, with [`SPEED_BITS`] fractional bits: by the sum of the
    /// weights while units wait, otherwise by the fastest running unit.
    #[expect(clippy::arithmetic_side_effects, reason = "divided by 1 at least")]
    pub(super) fn speed(&self, cpus: u32, weight: u64) -> u64 {
        if self.ready.waiting() > 0 {
            let own = u64::from(WEIGHT_DEFAULT).saturating_mul(u64::from(cpus)) << SPEED_BITS;
            return own / weight.max(1);
        }
        let running = self.seats.iter().filter_map(|seat| self.units.get(seat.current?));
        running.map(|unit| unit.account.to_virtual(1 << SPEED_BITS)).max().unwrap_or(0)
    }

    pub(super) fn hand_over(&mut self, to: &Hint, cpus: &Cpus, now: Time) -> Option<Box<Unit<Account>>> {
        // What happened long ago is forgotten: a queue that was idle for a while is owed nothing for that.
        let own = self.virtual_ns.saturating_add(self.offset_ns);
        let least = clock(to, now).saturating_sub(FORGOTTEN_NS);
        self.offset_ns = self.offset_ns.saturating_add(least.saturating_sub(own));
        let (_, id) = cpus.members().filter_map(|cpu| self.ready.first_for(&self.units, cpu)).min()?;
        self.dismiss(id, now)
    }
}
