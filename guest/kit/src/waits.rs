//! How long test and benchmark kernels wait, in ticks of the time-stamp counter (about a billion a second or more).

/// Ample time for something that should come: seconds.
pub const LONG: u64 = 6_000_000_000;
/// Enough to see that something does not come: some hundredths of a second.
pub const SHORT: u64 = 60_000_000;
