//! System time, wall clock and the time stamp counter.

/// Nanoseconds since the machine was switched on (Xen's system time).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub u64);

impl Time {
    /// A deadline that never comes.
    pub const NEVER: Self = Self(u64::MAX);

    /// Returns the moment `ns` later; [`Time::NEVER`] past the end of the number space.
    #[must_use]
    pub const fn after_ns(self, ns: u64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Returns the nanoseconds from `earlier` until this moment; 0 if `earlier` is later.
    #[must_use]
    pub const fn since_ns(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A reading of a CPU's time stamp counter (TSC) paired with system time: at `tsc` it was `time`, and the counter runs
/// at `tsc_khz`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TimeBase {
    /// Reading of the time stamp counter, in ticks.
    pub tsc: u64,
    /// System time at that reading.
    pub time: Time,
    /// Ticks per millisecond; never 0 on a running machine.
    pub tsc_khz: u32,
}

/// Seconds and nanoseconds since 1970-01-01 00:00:00 UTC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WallClock {
    pub seconds: u64,
    pub nanoseconds: u32,
}
