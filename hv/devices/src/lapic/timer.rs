//! The local APIC's timer.

use xenolith_hal::{Time, TimeBase};

/// The period of the undivided timer. Xen gives its guests a timer of 100 MHz.
const TICK_NS: u64 = 10;

/// What the timer does when it expires. **Source:** AMD manual volume 2, 16.4.1; Intel manual volume 3, 10.5.4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TimerMode {
    OneShot,
    Periodic,
    TscDeadline,
    /// A reserved value of the field: the timer does not run.
    Stopped,
}

impl TimerMode {
    /// Decodes bits 17-18 of the timer's LVT entry.
    pub(super) const fn from_lvt(lvt: u32) -> Self {
        match (lvt >> 17) & 3 {
            0 => Self::OneShot,
            1 => Self::Periodic,
            2 => Self::TscDeadline,
            _ => Self::Stopped,
        }
    }
}

/// Returns how long a counter of `khz` takes for these ticks, rounded up.
fn ns_of_ticks(ticks: u64, khz: u32) -> u64 {
    let ns = (u128::from(ticks) * 1_000_000).div_ceil(u128::from(khz.max(1)));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// The counting part; the mode and the mask are in the LVT entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Timer {
    /// TMICT.
    initial_count: u32,
    /// TDCR: bits 0, 1 and 3 code the divisor.
    divide: u32,
    /// When it expires next.
    deadline: Option<Time>,
    /// The TSC deadline as the guest wrote it; 0 when not armed.
    tsc_deadline: u64,
}

impl Timer {
    pub(super) const fn initial_count(&self) -> u32 {
        self.initial_count
    }

    pub(super) const fn divide(&self) -> u32 {
        self.divide
    }

    pub(super) const fn tsc_deadline(&self) -> u64 {
        self.tsc_deadline
    }

    pub(super) const fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Resumes a timer that was saved: `left` of the initial counts remain.
    pub(super) fn resume(initial_count: u32, left: u32, divide: u32, now: Time, mode: TimerMode) -> Self {
        let mut timer = Self { initial_count, divide, ..Self::default() };
        match mode {
            // Its deadline is not a count.
            TimerMode::TscDeadline => timer.initial_count = 0,
            TimerMode::Stopped => {}
            TimerMode::OneShot | TimerMode::Periodic => {
                // A periodic timer that had just run down starts over.
                let left = if left == 0 && matches!(mode, TimerMode::Periodic) { initial_count } else { left };
                let left = left.min(initial_count);
                timer.deadline = (left != 0).then(|| now.after_ns(timer.counts_ns(left)));
            }
        }
        timer
    }

    /// Returns the divisor of the input clock: 1 to 128.
    pub(super) const fn divisor(&self) -> u32 {
        (self.count_ns() / TICK_NS) as u32
    }

    /// Returns the nanoseconds per count: 10 to 1280. **Source:** AMD manual volume 2, table 16-3.
    const fn count_ns(&self) -> u64 {
        let code = (self.divide & 3) | ((self.divide & 8) >> 1);
        TICK_NS << (code.wrapping_add(1) & 7)
    }

    /// Returns the nanoseconds that this many counts take.
    #[expect(clippy::arithmetic_side_effects, reason = "at most 2^32 counts of 1280 ns: far from the end of u64")]
    const fn counts_ns(&self, counts: u32) -> u64 {
        counts as u64 * self.count_ns()
    }

    const fn period_ns(&self) -> u64 {
        self.counts_ns(self.initial_count)
    }

    /// Returns the current count (TMCCT).
    pub(super) fn current_count(&self, now: Time, mode: TimerMode) -> u32 {
        match (self.deadline, mode) {
            (Some(deadline), TimerMode::OneShot | TimerMode::Periodic) => {
                let counts = deadline.since_ns(now).div_ceil(self.count_ns());
                u32::try_from(counts).unwrap_or(u32::MAX)
            }
            _ => 0,
        }
    }

    /// Writes TMICT and starts counting; 0 stops. No effect in TSC-deadline mode.
    pub(super) fn start(&mut self, count: u32, now: Time, mode: TimerMode) {
        if matches!(mode, TimerMode::TscDeadline) {
            return;
        }
        self.initial_count = count;
        let runs = count != 0 && !matches!(mode, TimerMode::Stopped);
        self.deadline = runs.then(|| now.after_ns(self.period_ns()));
    }

    /// Writes TDCR. The remaining counts take longer or shorter from now on.
    pub(super) fn set_divide(&mut self, divide: u32, now: Time, mode: TimerMode) {
        let left = self.current_count(now, mode);
        self.divide = divide;
        if left != 0 {
            self.deadline = Some(now.after_ns(self.counts_ns(left)));
        }
    }

    /// Writes the TSC deadline; 0 disarms. No effect in the other modes.
    pub(super) fn set_tsc_deadline(&mut self, deadline: u64, now: TimeBase, mode: TimerMode) {
        if !matches!(mode, TimerMode::TscDeadline) {
            return;
        }
        self.tsc_deadline = deadline;
        let due = now.time.after_ns(ns_of_ticks(deadline.saturating_sub(now.tsc), now.tsc_khz));
        self.deadline = (deadline != 0).then_some(due);
    }

    /// Follows a change of the LVT entry's mode.
    pub(super) fn change_mode(&mut self, old: TimerMode, new: TimerMode) {
        let was_tsc = matches!(old, TimerMode::TscDeadline);
        let is_tsc = matches!(new, TimerMode::TscDeadline);
        if was_tsc != is_tsc || matches!(new, TimerMode::Stopped) {
            *self = Self { divide: self.divide, ..Self::default() };
        }
    }

    /// Advances the time; returns true if the timer expired. A periodic timer that expired more than once fires once.
    pub(super) fn advance(&mut self, now: Time, mode: TimerMode) -> bool {
        let Some(deadline) = self.deadline.filter(|deadline| *deadline <= now) else { return false };
        self.tsc_deadline = 0;
        let period = self.period_ns();
        self.deadline = match mode {
            TimerMode::Periodic => now.since_ns(deadline).checked_div(period).map(|late| {
                // After the last deadline that is past.
                deadline.after_ns(period.saturating_mul(late.saturating_add(1)))
            }),
            _ => None,
        };
        true
    }
}
