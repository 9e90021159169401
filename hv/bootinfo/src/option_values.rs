//! The values that options take: sizes, log thresholds, serial settings, dom0's memory.
//!
//! **Source:** the syntax is that of `docs/misc/xen-command-line.pandoc`.

use crate::option_word::{Refusal, Word};

/// The most bytes that stay for the hypervisor and other domains where no option says how much dom0 gets.
const RESERVE: u64 = 128 << 20;

/// Which messages of one source are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Messages of levels below this number (0 to 4) are always printed.
    pub always: u8,
    /// Messages of levels below this number, but not below `always`, are printed at a limited rate.
    pub limited: u8,
}

impl Thresholds {
    /// The default for the hypervisor's own messages.
    pub const HYPERVISOR: Self = Self { always: 2, limited: 2 };
    /// The default for messages that a guest can cause.
    pub const GUEST: Self = Self { always: 0, limited: 2 };

    /// Reads `level` or `level/rate-limited level`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (always, limited) = match text.split_once('/') {
            Some((always, limited)) => (threshold(always)?, threshold(limited)?),
            None => (threshold(text)?, threshold(text)?),
        };
        Some(Self { always, limited: limited.max(always) })
    }
}

fn threshold(word: &str) -> Option<u8> {
    match word {
        "none" => Some(0),
        "error" => Some(1),
        "warning" => Some(2),
        "info" => Some(3),
        "debug" | "all" => Some(4),
        _ => None,
    }
}

/// Reads a number: decimal, or hexadecimal after `0x`.
#[must_use]
pub fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => parse_digits(digits, 16),
        None => parse_digits(text, 10),
    }
}

/// Reads digits alone: `from_str_radix` would take a sign as well.
fn parse_digits(text: &str, radix: u32) -> Option<u64> {
    if text.chars().all(|letter| letter.is_digit(radix)) { u64::from_str_radix(text, radix).ok() } else { None }
}

/// Reads a size and returns it in bytes: a number followed by one of B, K, M, G, T; in KiB where no letter follows.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.char_indices().last()? {
        (at, 'B' | 'b') => (text.get(..at)?, 0),
        // In hexadecimal the letter would be a digit; Xen's parser has the same rule.
        (at, 'K' | 'k') => (text.get(..at)?, 10),
        (at, 'M' | 'm') => (text.get(..at)?, 20),
        (at, 'G' | 'g') => (text.get(..at)?, 30),
        (at, 'T' | 't') => (text.get(..at)?, 40),
        _ => (text, 10),
    };
    parse_number(digits)?.checked_mul(1 << shift)
}

/// Reads a boolean: yes, no, on, off, true, false, enable, disable, 1 or 0.
#[must_use]
pub fn parse_boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "yes" | "on" | "true" | "enable" => Some(true),
        "0" | "no" | "off" | "false" | "disable" => Some(false),
        _ => None,
    }
}

/// An amount of the machine's memory, which may depend on how much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dom0Amount {
    /// A number of bytes, and a share of all memory in percent on top.
    Of {
        /// Bytes.
        bytes: u64,
        /// Percent of all memory, 0 to 99.
        percent: u8,
    },
    /// All memory except a number of bytes.
    AllBut {
        /// Bytes.
        bytes: u64,
    },
}

impl Dom0Amount {
    fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('-') {
            return Some(Self::AllBut { bytes: parse_size(rest)? });
        }
        let (size, share) = match text.split_once('+') {
            Some((size, share)) => (Some(size), Some(share)),
            None if text.ends_with('%') => (None, Some(text)),
            None => (Some(text), None),
        };
        let bytes = size.map_or(Some(0), parse_size)?;
        let percent = share.map_or(Some(0), |share| parse_number(share.strip_suffix('%')?))?;
        let percent = u8::try_from(percent).ok().filter(|percent| *percent < 100)?;
        Some(Self::Of { bytes, percent })
    }

    /// Returns the amount in bytes on a machine with `all` bytes.
    #[must_use]
    pub fn of(self, all: u64) -> u64 {
        match self {
            // The share is taken in whole hundredths, so that no product can overflow.
            Self::Of { bytes, percent } => (all / 100).saturating_mul(percent.into()).saturating_add(bytes),
            Self::AllBut { bytes } => all.saturating_sub(bytes),
        }
    }
}

/// How much memory dom0 gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dom0Memory {
    /// What it gets at boot; none leaves the choice to the hypervisor.
    pub amount: Option<Dom0Amount>,
    /// The lower bound at boot.
    pub min: Option<Dom0Amount>,
    /// The upper bound at boot and for as long as dom0 runs.
    pub max: Option<Dom0Amount>,
}

impl Dom0Memory {
    /// Takes a list of parts. What is not said keeps what an earlier word of this name said.
    pub(crate) fn take<'a>(&mut self, word: Word<'a>, refuse: &mut dyn FnMut(&'a str, Refusal)) -> Result<(), Refusal> {
        const ALLOWED: &str = "a list of <size>, min:<size> and max:<size>, as 2G,max:4G";
        for part in word.value(ALLOWED, Some)?.split(',') {
            let (place, amount) = match part.split_once(':') {
                Some(("min", amount)) => (&mut self.min, amount),
                Some(("max", amount)) => (&mut self.max, amount),
                _ => (&mut self.amount, part),
            };
            match Dom0Amount::parse(amount) {
                Some(amount) => *place = Some(amount),
                None => refuse(part, Refusal::BadValue(ALLOWED)),
            }
        }
        Ok(())
    }

    /// Returns how many bytes dom0 gets at boot where `free` bytes can be had: what was asked for, within the bounds
    /// that were asked for, and no more than there is. Where nothing was asked for, all but a sixteenth, or all but 128
    /// MiB where that is less.
    #[must_use]
    pub fn at_boot(self, free: u64) -> u64 {
        let amount = self.amount.map_or(free.saturating_sub(RESERVE.min(free / 16)), |amount| amount.of(free));
        let amount = self.min.map_or(amount, |min| amount.max(min.of(free)));
        let amount = self.max.map_or(amount, |max| amount.min(max.of(free)));
        amount.min(free)
    }

    /// Returns how many bytes dom0 may have at any time where `free` bytes can be had; none where no bound was asked
    /// for.
    #[must_use]
    pub fn at_most(self, free: u64) -> Option<u64> {
        self.max.map(|max| max.of(free))
    }
}

/// The limits of all domains' grant tables, dom0's among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantLimits {
    /// The most frames of a grant table.
    pub frames: u32,
    /// The most frames of a domain's maptrack: handles of the grants that it has mapped.
    pub maptrack_frames: u32,
    /// The newest version of tables, 1 or 2.
    pub version: u32,
}

impl Default for GrantLimits {
    fn default() -> Self {
        Self { frames: 64, maptrack_frames: 1024, version: 2 }
    }
}

impl GrantLimits {
    pub(crate) fn take<'a>(&mut self, word: Word<'a>, refuse: &mut dyn FnMut(&'a str, Refusal)) -> Result<(), Refusal> {
        let limit = |lowest: u32, allowed| word.value(allowed, |value| parse_limit(value, lowest));
        match word.name {
            "gnttab_max_frames" => self.frames = limit(1, "a number from 1 on")?,
            "gnttab_max_maptrack_frames" => self.maptrack_frames = limit(0, "a number")?,
            _ => {
                const ALLOWED: &str = "a list of max-ver:1 and max-ver:2";
                for part in word.value(ALLOWED, Some)?.split(',') {
                    self.take_part(part, ALLOWED).unwrap_or_else(|refusal| refuse(part, refusal));
                }
            }
        }
        Ok(())
    }

    fn take_part(&mut self, part: &str, allowed: &'static str) -> Result<(), Refusal> {
        match part.split_once(':') {
            Some(("max-ver", "1")) => self.version = 1,
            Some(("max-ver", "2")) => self.version = 2,
            _ => {
                return match Word::new(part) {
                    word @ Word { name: "transitive", .. } => word.must_be(true),
                    word @ Word { name: "transfer", .. } => word.must_be(false),
                    _ => Err(Refusal::BadValue(allowed)),
                };
            }
        }
        Ok(())
    }
}

/// Reads a limit from `lowest` to 2^31 - 1: the toolstack's numbers have a sign.
fn parse_limit(text: &str, lowest: u32) -> Option<u32> {
    let limit = u32::try_from(parse_number(text)?).ok()?;
    (lowest..=i32::MAX.unsigned_abs()).contains(&limit).then_some(limit)
}

/// How many virtual CPUs dom0 gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VcpuCount {
    /// The lower bound.
    pub min: u32,
    /// The upper bound.
    pub max: u32,
}

impl VcpuCount {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let count = |text: &str| parse_number(text).and_then(|count| u32::try_from(count).ok());
        let range = match text.split_once('-') {
            Some(("", max)) => Self { min: 1, max: count(max)? },
            Some((min, "")) => Self { min: count(min)?, max: u32::MAX },
            Some((min, max)) => Self { min: count(min)?, max: count(max)? },
            None => Self { min: count(text)?, max: count(text)? },
        };
        (range.min >= 1 && range.min <= range.max).then_some(range)
    }
}

/// The settings of one serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComPort {
    /// The speed in baud; none leaves it as the firmware set it.
    pub baud: Option<u32>,
    /// The frame, as a 16550's line control register holds it.
    pub line_control: u8,
    /// The first of its eight ports.
    pub io_base: u16,
}

impl ComPort {
    /// Takes `<baud>|auto[/<base baud>][,<frame>[,<I/O base>[,<interrupt>]]]`, and behind it or in its place any of
    /// these by their names.
    pub(crate) fn take<'a>(&mut self, word: Word<'a>, refuse: &mut dyn FnMut(&'a str, Refusal)) -> Result<(), Refusal> {
        const ALLOWED: &str = "<baud>|auto[,<data bits><parity><stop bits>[,<I/O base>]], as 115200,8n1";
        const PLACES: [&str; 4] = ["baud", "frame", "io-base", "irq"];
        let mut places = PLACES.into_iter();
        for part in word.value(ALLOWED, Some)?.split(',') {
            let (name, value) = match part.split_once('=') {
                Some(named) => named,
                // Behind these come the places of a PCI device and of its bridge.
                None => (places.next().unwrap_or("port"), part),
            };
            if value.is_empty() {
                continue;
            }
            match self.take_part(name, value) {
                Ok(true) => {}
                Ok(false) => refuse(part, Refusal::BadValue(ALLOWED)),
                Err(refusal) => refuse(part, refusal),
            }
        }
        Ok(())
    }

    /// Takes one part; returns false where its value makes no sense.
    fn take_part(&mut self, name: &str, value: &str) -> Result<bool, Refusal> {
        let set_bits = |control: &mut u8, mask: u8, bits: Option<u8>| {
            bits.is_some_and(|bits| {
                *control = *control & !mask | bits;
                true
            })
        };
        let control = &mut self.line_control;
        match (name, value) {
            ("baud", _) => Ok(self.take_baud(value)),
            ("frame", _) => Ok(set_bits(control, FRAME, parse_frame(value))),
            ("data-bits", _) => Ok(set_bits(control, DATA, single(value).and_then(data_bits))),
            ("parity", _) => Ok(set_bits(control, PARITY, single(value).and_then(parity_bits))),
            ("stop-bits", _) => Ok(set_bits(control, STOP, single(value).and_then(stop_bits))),
            ("io-base", "pci" | "amt") => Err(Refusal::NotBuilt),
            ("io-base", _) => {
                let base = parse_number(value).and_then(|base| u16::try_from(base).ok());
                self.io_base = base.unwrap_or(self.io_base);
                Ok(base.is_some())
            }
            // The two ports have the interrupts of every PC.
            ("irq", "msi") => Err(Refusal::NotBuilt),
            ("irq", _) => Ok(parse_number(value).is_some()),
            ("reg-width", "1") | ("reg-shift", "0") => Ok(true),
            ("reg-width" | "reg-shift" | "clock-hz" | "dev" | "port" | "bridge", _) => Err(Refusal::NotBuilt),
            _ => Ok(false),
        }
    }

    fn take_baud(&mut self, value: &str) -> bool {
        if value == "auto" {
            self.baud = None;
            return true;
        }
        // A clock in Hz may follow after a slash; only the classic one is known here.
        let baud = value.split_once('/').map_or(value, |(baud, _)| baud);
        let baud = parse_number(baud).and_then(|baud| u32::try_from(baud).ok());
        let baud = baud.filter(|baud| (50..=115_200).contains(baud));
        self.baud = baud.or(self.baud);
        baud.is_some()
    }
}

/// The parts of a 16550's line control register that a frame sets.
const DATA: u8 = 0b11;
const STOP: u8 = 0b100;
const PARITY: u8 = 0b11_1000;
const FRAME: u8 = DATA | STOP | PARITY;

/// Returns the only byte of a text; none where it has none or more.
fn single(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte] => Some(*byte),
        _ => None,
    }
}

/// Reads a frame such as `8n1` (data bits, parity, stop bits) and returns it as the line control register has it.
fn parse_frame(text: &str) -> Option<u8> {
    let &[data, parity, stop] = text.as_bytes() else { return None };
    Some(data_bits(data)? | parity_bits(parity)? | stop_bits(stop)?)
}

fn data_bits(letter: u8) -> Option<u8> {
    letter.checked_sub(b'5').filter(|data| *data <= 3)
}

fn parity_bits(letter: u8) -> Option<u8> {
    let parity = match letter {
        b'n' => 0,
        b'o' => 1,
        b'e' => 3,
        b'm' => 5,
        b's' => 7,
        _ => return None,
    };
    Some(parity << 3)
}

fn stop_bits(letter: u8) -> Option<u8> {
    letter.checked_sub(b'1').filter(|stop| *stop <= 1).map(|stop| stop << 2)
}
