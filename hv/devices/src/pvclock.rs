//! The paravirtual clock (pvclock): how a guest turns its time stamp counter into system time.
//!
//! The guest takes the ticks since `tsc_timestamp`, shifts them by `tsc_shift`, multiplies by `tsc_to_system_mul`,
//! drops the lowest 32 bits and adds `system_time`. **Source:** `xen.h`, `struct vcpu_time_info`.

use xen_abi::shared_info::{PvclockFlags, VcpuTimeInfo};
use xenolith_hal::{Time, TimeBase, WallClock};

const NS_PER_SECOND: u64 = 1_000_000_000;

/// Ticks to nanoseconds as a shift and a fraction of 2^32.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TscScale {
    /// Nanoseconds of a shifted tick, times 2^32: at least 2^31, for the most digits.
    pub multiplier: u32,
    /// Bits to shift ticks left (right if negative) before multiplying.
    pub shift: i8,
}

impl TscScale {
    /// Computes the scale of a counter of `tsc_khz` ticks per millisecond. A rate of 0, which no running machine has,
    /// counts as 1.
    ///
    /// The multiplier is rounded down, so a guest never runs ahead of the time that the next reading will give it.
    #[must_use]
    #[expect(clippy::arithmetic_side_effects, reason = "a rate of 1 to 2^42 ticks, shifted by at most 20")]
    pub fn from_khz(tsc_khz: u32) -> Self {
        let ticks_per_second = u64::from(tsc_khz.max(1)) * 1000;
        // Scaled until it lies above 10^9 and not above twice that: the multiplier is then below 2^32 and uses all
        // of its bits. At most 42 bits and then 20 more: no overflow.
        let mut shift = 0i8;
        let mut left = ticks_per_second;
        while left <= NS_PER_SECOND {
            left <<= 1;
            shift += 1;
        }
        while ticks_per_second > (2 * NS_PER_SECOND) << u32::from((-shift).max(0).unsigned_abs()) {
            shift -= 1;
        }
        let numerator = u128::from(NS_PER_SECOND) << (32 + i32::from((-shift).max(0)));
        let multiplier = numerator / u128::from(left);
        Self { multiplier: u32::try_from(multiplier).unwrap_or(u32::MAX), shift }
    }

    /// Returns the nanoseconds that a guest computes from a difference of its counter.
    #[must_use]
    #[expect(clippy::arithmetic_side_effects, reason = "64 bits by 32 in 128")]
    pub fn to_ns(self, ticks: u64) -> u64 {
        let amount = u32::from(self.shift.unsigned_abs());
        let shifted = if self.shift >= 0 {
            ticks.checked_shl(amount).unwrap_or(0)
        } else {
            ticks.checked_shr(amount).unwrap_or(0)
        };
        ((u128::from(shifted) * u128::from(self.multiplier)) >> 32) as u64
    }
}

/// Returns the clock page's time for a vCPU: `base` pairs the machine's counter with system time, `scale` is that of its
/// rate, `tsc_offset` is what the guest's counter is ahead by. The version is 0: the caller increments it when writing
/// to the guest's page.
#[must_use]
pub fn time_info(base: TimeBase, scale: TscScale, tsc_offset: u64, flags: PvclockFlags) -> VcpuTimeInfo {
    VcpuTimeInfo {
        version: 0,
        pad0: 0,
        tsc_timestamp: base.tsc.wrapping_add(tsc_offset),
        system_time: base.time.0,
        tsc_to_system_mul: scale.multiplier,
        tsc_shift: scale.shift,
        flags,
        pad1: [0; 2],
    }
}

/// Returns date and time at system time 0, from those at `now`: the guest adds system time to it. Dates before 1970
/// count as 1970.
#[must_use]
pub fn wall_clock_at_zero(date: WallClock, now: Time) -> WallClock {
    from_ns(to_ns(date).saturating_sub(u128::from(now.0)))
}

/// Returns date and time at `now`, from those at system time 0.
#[must_use]
pub fn wall_clock_at(zero: WallClock, now: Time) -> WallClock {
    from_ns(to_ns(zero).saturating_add(u128::from(now.0)))
}

#[expect(clippy::arithmetic_side_effects, reason = "64 bits by 30, and 32 more, in 128")]
fn to_ns(date: WallClock) -> u128 {
    u128::from(date.seconds) * u128::from(NS_PER_SECOND) + u128::from(date.nanoseconds)
}

fn from_ns(ns: u128) -> WallClock {
    const SECOND: u128 = NS_PER_SECOND as u128;
    WallClock {
        seconds: u64::try_from(ns / SECOND).unwrap_or(u64::MAX),
        // A remainder of 10^9 fits.
        nanoseconds: (ns % SECOND) as u32,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_gigahertz_is_half_of_a_doubled_tick() {
        assert_eq!(TscScale::from_khz(1_000_000), TscScale { multiplier: 0x8000_0000, shift: 1 });
        assert_eq!(TscScale::from_khz(1_000_000).to_ns(12_345), 12_345);
    }

    #[test]
    fn common_rates_give_known_scales() {
        assert_eq!(TscScale::from_khz(2_000_000), TscScale { multiplier: 0x8000_0000, shift: 0 });
        assert_eq!(TscScale::from_khz(3_000_000), TscScale { multiplier: 0xaaaa_aaaa, shift: -1 });
        assert_eq!(TscScale::from_khz(4_000_000), TscScale { multiplier: 0x8000_0000, shift: -1 });
        assert_eq!(TscScale::from_khz(0), TscScale::from_khz(1));
    }

    #[test]
    fn the_guests_counter_is_the_machines_plus_the_offset() {
        let base = TimeBase { tsc: 5000, time: Time(77), tsc_khz: 2_000_000 };
        let info = time_info(base, TscScale::from_khz(base.tsc_khz), u64::MAX, PvclockFlags::empty());
        assert_eq!((info.tsc_timestamp, info.system_time, info.version), (4999, 77, 0));
    }

    #[test]
    fn the_date_at_zero_and_now_are_each_others_inverse() {
        let date = WallClock { seconds: 1_800_000_000, nanoseconds: 5 };
        let zero = wall_clock_at_zero(date, Time(2_000_000_006));
        assert_eq!(zero, WallClock { seconds: 1_799_999_997, nanoseconds: 999_999_999 });
        assert_eq!(wall_clock_at(zero, Time(2_000_000_006)), date);
        assert_eq!(wall_clock_at_zero(WallClock::default(), Time(9)), WallClock::default());
    }

    proptest! {
        #[test]
        fn the_multiplier_uses_all_of_its_bits(khz in 1u32..) {
            prop_assert!(TscScale::from_khz(khz).multiplier >= 1 << 31);
        }

        #[test]
        fn later_ticks_never_give_an_earlier_time(khz in 1u32.., ticks in 0u64..1 << 40, more in 0u64..1 << 20) {
            let scale = TscScale::from_khz(khz);
            prop_assert!(scale.to_ns(ticks) <= scale.to_ns(ticks + more));
        }

        /// Compares a guest's extrapolation with exact arithmetic: never ahead, and behind by less than one part in
        /// 2^31 and two nanoseconds (one for each rounding).
        #[test]
        fn a_guest_is_never_ahead_and_hardly_behind(khz in 100_000u32..10_000_000, seconds in 0u64..100_000, odd: u16) {
            let ticks = seconds * u64::from(khz) * 1000 + u64::from(odd);
            let exact = u128::from(ticks) * 1_000_000 / u128::from(khz);
            let guest = u128::from(TscScale::from_khz(khz).to_ns(ticks));
            prop_assert!(guest <= exact);
            prop_assert!(exact - guest <= exact / (1 << 31) + 2, "{} behind", exact - guest);
        }
    }
}
