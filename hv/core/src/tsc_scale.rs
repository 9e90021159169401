//! From ticks of the time stamp counter to nanoseconds, as guests compute it.

/// Nanoseconds are `((ticks << shift) * multiplier) >> 32`, with a negative shift to the right.
/// **Source:** `xen.h`, `struct vcpu_time_info`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TscScale {
    pub multiplier: u32,
    pub shift: i8,
}

const KHZ_OF_ONE_NS: u64 = 1_000_000;

impl TscScale {
    /// The scale of a counter that runs at this rate; a rate of 0 is taken for 1 kHz.
    #[must_use]
    pub const fn from_khz(khz: u32) -> Self {
        let mut ticks = if khz == 0 { 1 } else { khz as u64 };
        let mut shift: i8 = 0;
        // Bring the rate between 1 and 2 GHz, so that the multiplier lies between a half and one: all its bits count.
        while ticks > 2 * KHZ_OF_ONE_NS {
            ticks >>= 1;
            shift -= 1;
        }
        while ticks <= KHZ_OF_ONE_NS {
            ticks <<= 1;
            shift += 1;
        }
        let khz = if khz == 0 { 1 } else { khz as u128 };
        let nanoseconds = (KHZ_OF_ONE_NS as u128) << 32;
        let multiplier = if shift >= 0 { nanoseconds / (khz << shift) } else { (nanoseconds << -shift) / khz };
        Self { multiplier: multiplier as u32, shift }
    }

    /// Nanoseconds of this many ticks.
    #[must_use]
    pub const fn nanoseconds(self, ticks: u64) -> u64 {
        let shifted = if self.shift >= 0 { (ticks as u128) << self.shift } else { (ticks as u128) >> -self.shift };
        ((shifted * self.multiplier as u128) >> 32) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::TscScale;

    #[test]
    fn a_second_of_ticks_is_a_second_for_every_rate() {
        for khz in [1, 1000, 999_999, 1_000_000, 1_000_001, 2_000_000, 2_893_437, 5_100_000, u32::MAX] {
            let scale = TscScale::from_khz(khz);
            let second = scale.nanoseconds(u64::from(khz) * 1000);
            assert!(second.abs_diff(1_000_000_000) <= 1_000, "{khz} kHz: {second} ns, {scale:?}");
        }
    }

    #[test]
    fn a_rate_of_zero_does_no_harm() {
        assert_eq!(TscScale::from_khz(0), TscScale::from_khz(1));
    }
}
