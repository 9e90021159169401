//! The values that options take: sizes, log thresholds, serial settings, dom0's memory.
//!
//! **Source:** the syntax is that of `docs/misc/xen-command-line.pandoc`.

/// Which messages of one source are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Messages of levels below this number (0 to 4) are always printed.
    pub always: u8,
    /// Messages of levels below this number, but not below `always`, are printed at a limited rate.
    pub limited: u8,
}

impl Thresholds {
    /// What the hypervisor's own messages have when nothing is said.
    pub const HYPERVISOR: Self = Self { always: 2, limited: 2 };
    /// What messages that a guest can cause have when nothing is said.
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

/// A number: decimal, or hexadecimal after `0x`.
#[must_use]
pub fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => parse_digits(digits, 16),
        None => parse_digits(text, 10),
    }
}

/// Digits alone: `from_str_radix` would take a sign as well.
fn parse_digits(text: &str, radix: u32) -> Option<u64> {
    if text.chars().all(|letter| letter.is_digit(radix)) { u64::from_str_radix(text, radix).ok() } else { None }
}

/// A size in bytes: a number with one of B, K, M, G, T behind it, KiB when nothing is.
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

/// A boolean value as a word.
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
    /// So many bytes, and this share of all memory on top, in percent.
    Of {
        /// Bytes.
        bytes: u64,
        /// Percent of all memory, 0 to 100.
        percent: u8,
    },
    /// All memory but so many bytes.
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
        let percent = u8::try_from(percent).ok().filter(|percent| *percent <= 100)?;
        Some(Self::Of { bytes, percent })
    }

    /// The amount in bytes on a machine with `all` bytes.
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
    /// It gets at least this much.
    pub min: Option<Dom0Amount>,
    /// It gets no more, and may never grow above it.
    pub max: Option<Dom0Amount>,
}

impl Dom0Memory {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut memory = Self::default();
        for part in text.split(',') {
            if let Some(min) = part.strip_prefix("min:") {
                memory.min = Some(Dom0Amount::parse(min)?);
            } else if let Some(max) = part.strip_prefix("max:") {
                memory.max = Some(Dom0Amount::parse(max)?);
            } else {
                memory.amount = Some(Dom0Amount::parse(part)?);
            }
        }
        Some(memory)
    }
}

/// How many virtual CPUs dom0 gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VcpuCount {
    /// At least this many.
    pub min: u32,
    /// At most this many.
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
    /// The speed; none leaves it as the firmware set it.
    pub baud: Option<u32>,
    /// The frame, as a 16550's line control register holds it.
    pub line_control: u8,
    /// The first of its eight ports.
    pub io_base: u16,
}

impl ComPort {
    /// Reads `<baud>|auto[,<data><parity><stop>[,<io base>]]` over `defaults`; what follows (the interrupt's number)
    /// is not needed.
    pub(crate) fn parse(text: &str, io_base: u16) -> Option<Self> {
        let mut port = Self { baud: None, line_control: 3, io_base };
        let mut parts = text.split(',');
        match parts.next()? {
            "auto" | "" => {}
            baud => {
                // A clock in Hz may follow after a slash; only the classic one is known here.
                let baud = baud.split_once('/').map_or(baud, |(baud, _)| baud);
                let baud = u32::try_from(parse_number(baud)?).ok()?;
                port.baud = Some(baud).filter(|baud| (50..=115_200).contains(baud));
                port.baud?;
            }
        }
        if let Some(frame) = parts.next().filter(|frame| !frame.is_empty()) {
            port.line_control = parse_frame(frame)?;
        }
        if let Some(base) = parts.next().filter(|base| !base.is_empty()) {
            port.io_base = u16::try_from(parse_number(base)?).ok()?;
        }
        Some(port)
    }
}

/// A frame such as `8n1`: data bits, parity, stop bits.
fn parse_frame(text: &str) -> Option<u8> {
    let &[data, parity, stop] = text.as_bytes() else { return None };
    let data = data.checked_sub(b'5').filter(|data| *data <= 3)?;
    let parity = match parity {
        b'n' => 0,
        b'o' => 1,
        b'e' => 3,
        b'm' => 5,
        b's' => 7,
        _ => return None,
    };
    let stop = stop.checked_sub(b'1').filter(|stop| *stop <= 1)?;
    Some(data | stop << 2 | parity << 3)
}
