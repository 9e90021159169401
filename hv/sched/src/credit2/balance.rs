//! How much a queue carries, and what it gives to others.

use alloc::boxed::Box;

use xenolith_hal::Time;

use super::account::Account;
use super::options::Options;
use super::queue::Credit2;
use crate::policy::{Hint, Policy, Unit, UnitId};
use crate::{Cpus, WEIGHT_DEFAULT};

/// For how long the units of one queue must have had nothing while those of another had their shares, in nanoseconds,
/// before one of these is moved there; shifted by what is set for the pool.
const LAG_NS: u64 = 160_000_000;

/// How far, in virtual time, the clock of a queue may be behind that of another one.
const FORGOTTEN_NS: u64 = 100_000_000;

/// The load of a queue: the weights of the units that want a CPU, now and on average.
#[derive(Debug, Default)]
pub(super) struct Load {
    weight: u64,
    average: u64,
    since: Time,
}

impl Load {
    /// A unit of this weight begins to want a CPU, or ends.
    pub(super) fn change(&mut self, weight: u64, more: bool, now: Time, options: &Options) {
        self.average = self.average_at(now, options);
        self.since = self.since.max(now);
        self.weight = if more { self.weight.saturating_add(weight) } else { self.weight.saturating_sub(weight) };
    }

    /// The average: what was before one window ago counts no more, and in between the less the longer ago.
    pub(super) fn average_at(&self, now: Time, options: &Options) -> u64 {
        let shift = options.load_window_shift.min(63);
        let window = 1u64 << shift;
        let part = now.since_ns(self.since).min(window);
        let mixed = u128::from(self.weight) * u128::from(part) + u128::from(self.average) * u128::from(window - part);
        u64::try_from(mixed >> shift).unwrap_or(u64::MAX)
    }

    /// Returns the sum of the weights of the units that want a CPU now.
    pub(super) const fn weight(&self) -> u64 {
        self.weight
    }
}

/// How much better it were if a unit went from one queue to another: the more, the less the units here have had for
/// their weights than those there.
pub(super) fn gain(from: &Hint, to: &Hint, slack: u64, now: Time) -> u64 {
    let lag = clock(to, now).saturating_sub(clock(from, now));
    if to.cpus > 0 && lag > virtual_for(from, slack) { lag } else { 0 }
}

/// A queue's clock as it should be by now: one whose units run without an end to their slices says nothing for long.
fn clock(of: &Hint, now: Time) -> u64 {
    of.clock.saturating_add(virtual_for(of, now.since_ns(of.since)))
}

/// How far a queue's clock goes in this much time.
fn virtual_for(hint: &Hint, ns: u64) -> u64 {
    u64::try_from((u128::from(ns) * u128::from(hint.speed)) >> SPEED_BITS).unwrap_or(u64::MAX)
}

/// Binary digits behind the point of a queue's speed.
const SPEED_BITS: u32 = 16;

impl Credit2 {
    /// The queue's virtual time as others see it: that much less as units that were moved here have to catch up.
    pub(super) fn clock(&self, weight: u64) -> u64 {
        let debt = if self.debt == 0 { 0 } else { self.debt / u128::from(weight.max(1)) };
        let debt = u64::try_from(debt).unwrap_or(u64::MAX);
        self.virtual_ns.saturating_add(self.offset_ns).saturating_sub(debt)
    }

    /// For how long its units must have had nothing before one of them is moved, in nanoseconds.
    pub(super) fn lag_allowed(&self) -> u64 {
        let over = self.load.weight() > 0 && self.count >= self.seats.members().count();
        let shift = if over { self.options.balance_over } else { self.options.balance_under };
        let by = shift.unsigned_abs().min(20);
        if shift < 0 { LAG_NS >> by } else { LAG_NS << by }
    }

    /// A unit that was moved here is to catch up with the queue's virtual time.
    pub(super) fn promise(&mut self, id: UnitId) {
        if let Some(unit) = self.units.get_mut(id) {
            unit.account.promised_ns = self.virtual_ns;
            self.debt = self.debt.saturating_add(unit.account.debt());
        }
    }

    /// A unit catches up no more: it sleeps or goes.
    pub(super) fn break_promise(&mut self, id: UnitId) {
        if let Some(unit) = self.units.get_mut(id) {
            self.debt = self.debt.saturating_sub(unit.account.debt());
            unit.account.promised_ns = 0;
        }
    }

    /// How fast the queue's clock goes: as its weights say while units wait, and as the fastest that runs otherwise.
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
