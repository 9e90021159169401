//! The ACPI power-management timer: a counter at 3.579545 MHz. **Source:** ACPI specification 6.4, 4.8.3.3.

use xenolith_hal::Time;

const RATE: u128 = 3_579_545;

/// The counter's width, as the flag TMR_VAL_EXT of the FADT says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    Bits24,
    Bits32,
}

/// Reads the counter.
#[must_use]
pub fn read(now: Time, width: Width) -> u32 {
    let ticks = (u128::from(now.0) * RATE / 1_000_000_000) as u32;
    match width {
        Width::Bits24 => ticks & 0x00ff_ffff,
        Width::Bits32 => ticks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_its_rate() {
        assert_eq!(read(Time(1_000_000_000), Width::Bits24), 3_579_545);
        assert_eq!(read(Time(1_000_000_000), Width::Bits32), 3_579_545);
    }

    #[test]
    fn the_narrow_counter_wraps_at_24_bits_and_the_wide_one_at_32() {
        let time = Time(10_000_000_000);
        assert_eq!(read(time, Width::Bits32), 35_795_450);
        assert_eq!(read(time, Width::Bits24), 35_795_450 - (2 << 24));
        assert_eq!(read(Time(u64::MAX), Width::Bits32), (u128::from(u64::MAX) * 3_579_545 / 1_000_000_000) as u32);
    }
}
