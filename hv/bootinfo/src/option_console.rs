//! Options of the console.

use arrayvec::ArrayVec;

use crate::option_kinds::{ConsoleTarget, Timestamps};
use crate::option_values::{Thresholds, parse_size};
use crate::option_word::{Refusal, Word};
use crate::options::Options;

const CONSOLES: &str = "a list of com1, com2, vga and none";
const LEVEL: &str = "none, error, warning, info, debug or all, and after a slash the same for what is rate-limited";
const RING: &str = "a size from 16K to 64M";
/// The bounds of the ring's size, in bytes.
const RING_BYTES: core::ops::RangeInclusive<usize> = 16_384..=64 << 20;

impl Options {
    /// Takes one option of the console.
    pub(crate) fn take_console<'a>(
        &mut self,
        word: Word<'a>,
        refuse: &mut dyn FnMut(&'a str, Refusal),
    ) -> Result<(), Refusal> {
        match word.name {
            "com1" => self.com1.take(word, refuse)?,
            "com2" => self.com2.take(word, refuse)?,
            "console" => self.consoles = parse_consoles(word.value(CONSOLES, Some)?, refuse),
            "console_timestamps" => self.timestamps = parse_timestamps(word)?,
            "console_to_ring" => self.guests_to_ring = word.boolean()?,
            "loglvl" => self.log = word.value(LEVEL, Thresholds::parse)?,
            "guest_loglvl" => self.guest_log = word.value(LEVEL, Thresholds::parse)?,
            "sync_console" => self.sync_console = word.boolean()?,
            "conring_size" => self.console_ring_bytes = word.value(RING, parse_ring)?,
            "conswitch" => {
                let letters = word.value("a letter, and x after it to start at the hypervisor", Some)?;
                (self.switch_character, self.input_starts_at_hypervisor) = match letters.as_bytes() {
                    [letter @ b'a'..=b'z'] => (letter & 0x1f, false),
                    [letter @ b'a'..=b'z', b'x'] => (letter & 0x1f, true),
                    [_, b'x'] => (0, true),
                    _ => (0, false),
                };
            }
            _ => return Err(Refusal::Unknown),
        }
        Ok(())
    }
}

fn parse_consoles<'a>(value: &'a str, refuse: &mut dyn FnMut(&'a str, Refusal)) -> ArrayVec<ConsoleTarget, 3> {
    let mut consoles = ArrayVec::new();
    for name in value.split(',') {
        let target = match name {
            "com1" => ConsoleTarget::Com1,
            "com2" => ConsoleTarget::Com2,
            "vga" => ConsoleTarget::Vga,
            "none" => continue,
            // A port that is shared with a debugger by the bytes' highest bit.
            "com1H" | "com1L" | "com2H" | "com2L" | "pv" | "dbgp" | "ehci" | "xhci" => {
                refuse(name, Refusal::NotBuilt);
                continue;
            }
            _ => {
                refuse(name, Refusal::BadValue(CONSOLES));
                continue;
            }
        };
        if !consoles.contains(&target) {
            let _ = consoles.try_push(target);
        }
    }
    consoles
}

fn parse_timestamps(word: Word<'_>) -> Result<Timestamps, Refusal> {
    const ALLOWED: &str = "none, date, datems, boot or raw";
    match word.value {
        // The form from before there was a choice.
        None => Ok(if word.boolean()? { Timestamps::Date } else { Timestamps::None }),
        Some("none") => Ok(Timestamps::None),
        Some("date") => Ok(Timestamps::Date),
        Some("datems") => Ok(Timestamps::DateMilliseconds),
        Some("boot") => Ok(Timestamps::SinceBoot),
        Some("raw") => Ok(Timestamps::Raw),
        Some(_) => match word.boolean() {
            Ok(true) => Ok(Timestamps::Date),
            Ok(false) => Ok(Timestamps::None),
            Err(_) => Err(Refusal::BadValue(ALLOWED)),
        },
    }
}

/// Reads a size and rounds it down to a power of two.
fn parse_ring(value: &str) -> Option<usize> {
    let bytes = usize::try_from(parse_size(value)?).ok()?;
    RING_BYTES.contains(&bytes).then(|| 1_usize.checked_shl(bytes.ilog2()))?
}
