//! How the registers of the clock spell numbers. **Source:** Motorola MC146818A data sheet, register B.

/// Numbers are binary, not decimal digits.
pub(crate) const B_BINARY: u8 = 4;
/// Hours go from 0 to 23, not from 1 to 12 twice.
pub(crate) const B_24_HOURS: u8 = 2;
/// The bit of the hours after noon.
const PM: u8 = 0x80;

/// The format that a value of register B chooses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Format(pub(crate) u8);

impl Format {
    pub(crate) fn code(self, value: u8) -> u8 {
        if self.0 & B_BINARY != 0 { value } else { ((value / 10) << 4) | (value % 10) }
    }

    #[expect(clippy::arithmetic_side_effects, reason = "at most 15 times 10 and 15")]
    pub(crate) fn decode(self, value: u8) -> u8 {
        if self.0 & B_BINARY != 0 { value } else { (value >> 4) * 10 + (value & 0xf) }
    }

    pub(crate) fn code_hour(self, hour: u8) -> u8 {
        if self.0 & B_24_HOURS != 0 {
            return self.code(hour);
        }
        let twelve = if hour.is_multiple_of(12) { 12 } else { hour % 12 };
        self.code(twelve) | if hour >= 12 { PM } else { 0 }
    }

    pub(crate) fn decode_hour(self, value: u8) -> u8 {
        if self.0 & B_24_HOURS != 0 {
            return self.decode(value);
        }
        (self.decode(value & !PM) % 12).saturating_add(if value & PM != 0 { 12 } else { 0 })
    }
}
