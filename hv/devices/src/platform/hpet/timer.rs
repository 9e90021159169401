//! One timer: a comparator and what happens when the main counter reaches it.

use super::{TIMER_ROUTES, TIMER_ROUTES_FIRST};
use crate::platform::ticks::{MissedTicks, SHORTEST_PERIOD_NS, Ticks};

pub(super) const LEVEL: u64 = 1 << 1;
pub(super) const ENABLED: u64 = 1 << 2;
pub(super) const PERIODIC: u64 = 1 << 3;
/// The next write to the comparator of a periodic timer sets it, not only the period.
pub(super) const SETS_COMPARATOR: u64 = 1 << 6;
pub(super) const IS_32_BITS: u64 = 1 << 8;
const ROUTE_SHIFT: u32 = 9;
const ROUTE: u64 = 0x1f << ROUTE_SHIFT;
const WRITABLE: u64 = LEVEL | ENABLED | PERIODIC | SETS_COMPARATOR | IS_32_BITS | ROUTE;
/// Can be periodic, can have 64 bits, can be routed to these pins of the I/O APIC.
const CAPABILITIES: u64 = 1 << 4 | 1 << 5 | TIMER_ROUTES << 32;

pub(super) const TICK_NS: u64 = 16;
const SHORTEST_PERIOD: u64 = SHORTEST_PERIOD_NS / TICK_NS;
/// A comparator of 32 bits that was set to a time less than 1 ms ago is late, not to be waited for until the counter
/// wraps: the guest was not quick enough.
const LATE: u64 = 1_000_000 / TICK_NS;
const WRAP: u64 = 1 << 32;

/// Why a timer looks at the counter anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Start {
    /// The comparator was written: what is past already fires at once.
    Written,
    /// The counter was started or set, or the timer's mode changed.
    Counting,
    /// A saved domain goes on: a comparator that equals the counter has fired.
    Restored,
}

/// The state of one timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Timer {
    pub(super) config: u64,
    pub(super) comparator: u64,
    /// What a periodic timer adds to its comparator.
    pub(super) period: u64,
    /// When it fires next, in ticks since the main counter was started; None for never.
    pub(super) due: Option<u64>,
    pub(super) ticks: Ticks,
}

impl Default for Timer {
    fn default() -> Self {
        Self { config: CAPABILITIES, comparator: u64::MAX, period: 0, due: None, ticks: Ticks::default() }
    }
}

impl Timer {
    /// Builds a timer from what a record says, which is not trusted.
    pub(super) fn load(config: u64, comparator: u64, period: u64) -> Self {
        let kept = if is_route(config) { WRITABLE } else { WRITABLE & !ROUTE };
        let mut timer = Self { config: CAPABILITIES | config & kept, comparator, period, ..Self::default() };
        timer.narrow();
        timer
    }

    pub(super) const fn has(&self, flag: u64) -> bool {
        self.config & flag != 0
    }

    /// Returns the pin of the I/O APIC that it is routed to; the first one until the guest chose.
    pub(super) const fn route(&self) -> u8 {
        if is_route(self.config) { (self.config >> ROUTE_SHIFT & 0x1f) as u8 } else { TIMER_ROUTES_FIRST }
    }

    /// Writes the configuration. A route that does not exist becomes the first one.
    pub(super) fn configure(&mut self, value: u64) {
        self.config = CAPABILITIES | value & WRITABLE;
        if !is_route(value) {
            self.config = self.config & !ROUTE | (TIMER_ROUTES_FIRST as u64) << ROUTE_SHIFT;
        }
        if !self.has(ENABLED) || self.has(LEVEL) {
            self.ticks = Ticks::default();
        }
        self.narrow();
    }

    const fn mask(&self) -> u64 {
        if self.has(IS_32_BITS) { 0xffff_ffff } else { u64::MAX }
    }

    pub(super) const fn narrow(&mut self) {
        self.comparator &= self.mask();
        self.period &= self.mask();
    }

    /// Writes the comparator's register: `merge` puts what is written into what is there.
    pub(super) fn write_comparator(&mut self, merge: impl Fn(u64) -> u64) {
        if self.has(PERIODIC) {
            self.period = merge(self.period);
        }
        if !self.has(PERIODIC) || self.has(SETS_COMPARATOR) {
            self.comparator = merge(self.comparator);
        }
        self.config &= !SETS_COMPARATOR;
        self.narrow();
    }

    /// Decides when it fires; ticks that the guest missed before are forgotten. `counter` is the main counter, and `elapsed` the ticks since that was started.
    pub(super) fn start(&mut self, why: Start, counter: u64, elapsed: u64) {
        self.ticks = Ticks::default();
        let ahead = self.comparator.wrapping_sub(counter) & self.mask();
        let is_late = if self.has(IS_32_BITS) { ahead > WRAP.saturating_sub(LATE) } else { self.comparator < counter };
        self.due = match why {
            Start::Written if is_late => Some(elapsed),
            Start::Restored if ahead == 0 => self.after_wrap(elapsed),
            _ => elapsed.checked_add(ahead),
        };
    }

    /// Returns when the counter is again what it was: those of 32 bits wrap.
    const fn after_wrap(&self, elapsed: u64) -> Option<u64> {
        if self.has(IS_32_BITS) { elapsed.checked_add(WRAP) } else { None }
    }

    /// Returns the period; None for a timer that fires once.
    fn step(&self) -> Option<u64> {
        (self.has(PERIODIC) && self.period != 0).then(|| self.period.max(SHORTEST_PERIOD))
    }

    /// Returns how often it fired until now, and goes on to the next time.
    pub(super) fn fire(&mut self, elapsed: u64) -> u64 {
        let Some(late) = self.due.and_then(|due| elapsed.checked_sub(due)) else { return 0 };
        let Some(step) = self.step() else {
            // From the last wrap that is past.
            let last = if self.has(IS_32_BITS) { elapsed.saturating_sub(late & (WRAP - 1)) } else { elapsed };
            self.due = self.after_wrap(last);
            return 1;
        };
        let count = late.checked_div(step).unwrap_or(0).saturating_add(1);
        let all = step.saturating_mul(count);
        self.comparator = self.comparator.wrapping_add(all) & self.mask();
        self.due = self.due.and_then(|due| due.checked_add(all));
        count
    }

    /// Notes edges; returns whether the line is to be pulsed.
    pub(super) fn pass(&mut self, count: u64, missed: MissedTicks) -> bool {
        self.has(ENABLED) && !self.has(LEVEL) && self.ticks.pass(count, missed)
    }
}

#[inline]
const fn is_route(config: u64) -> bool {
    TIMER_ROUTES >> (config >> ROUTE_SHIFT & 0x1f) & 1 != 0
}
