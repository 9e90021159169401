//! Base address registers (BARs): where a function responds, and how a guest sizes them.

use xenolith_hal::Gpa;

use super::command::MemoryRange;

/// The number of BARs of a function.
const COUNT: usize = 6;
const LAST: usize = COUNT - 1;
const FIRST: u16 = 0x10;
const BYTES: u16 = COUNT as u16 * 4;

const IS_PORTS: u32 = 1;
const IS_64_BIT: u32 = 4;
const IS_PREFETCHABLE: u32 = 8;
const PORT_FLAGS: u64 = 3;
const MEMORY_FLAGS: u64 = 0xf;

/// The kind of a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BarKind {
    /// Not implemented: reads 0.
    #[default]
    Absent,
    Ports,
    Memory32 {
        prefetchable: bool,
    },
    /// Takes two registers; this is the lower one.
    Memory64 {
        prefetchable: bool,
    },
    /// The upper one of two.
    UpperHalf,
}

/// One register.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bar {
    kind: BarKind,
    /// A power of two.
    size: u64,
    address: u64,
}

impl Bar {
    /// Creates a register with its current address. A size that is not a power of two, or is smaller than the flag
    /// bits, makes it absent.
    #[must_use]
    pub const fn new(kind: BarKind, size: u64, address: u64) -> Self {
        let least = match kind {
            BarKind::Ports => PORT_FLAGS + 1,
            _ => MEMORY_FLAGS + 1,
        };
        if size.is_power_of_two() && size >= least {
            Self { kind, size, address: address & size.wrapping_neg() }
        } else {
            Self { kind: BarKind::Absent, size: 0, address: 0 }
        }
    }

    const fn flags(&self) -> u32 {
        match self.kind {
            BarKind::Ports => IS_PORTS,
            BarKind::Memory32 { prefetchable } => {
                if prefetchable {
                    IS_PREFETCHABLE
                } else {
                    0
                }
            }
            BarKind::Memory64 { prefetchable } => IS_64_BIT | if prefetchable { IS_PREFETCHABLE } else { 0 },
            BarKind::Absent | BarKind::UpperHalf => 0,
        }
    }

    /// Returns the memory range of a memory BAR.
    const fn range(&self) -> Option<MemoryRange> {
        match self.kind {
            BarKind::Memory32 { .. } | BarKind::Memory64 { .. } => {
                Some(MemoryRange { start: Gpa(self.address), bytes: self.size })
            }
            _ => None,
        }
    }
}

/// The six registers of a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bars {
    bars: [Bar; COUNT],
    /// How many there are up to the last one that is implemented: most functions have one or two.
    used: usize,
}

impl Bars {
    /// Builds the registers in order. The one after a [`BarKind::Memory64`] is its upper half, whatever was given; the
    /// last one cannot be a lower half and is absent then.
    #[must_use]
    pub fn new(mut bars: [Bar; COUNT]) -> Self {
        let mut upper = false;
        for (index, bar) in bars.iter_mut().enumerate() {
            if upper {
                *bar = Bar { kind: BarKind::UpperHalf, ..Bar::default() };
                upper = false;
            } else if matches!(bar.kind, BarKind::UpperHalf) {
                *bar = Bar::default();
            } else if matches!(bar.kind, BarKind::Memory64 { .. }) {
                upper = index < LAST;
                if !upper {
                    *bar = Bar::default();
                }
            }
        }
        let last = bars.iter().rposition(|bar| !matches!(bar.kind, BarKind::Absent));
        Self { bars, used: last.map_or(0, |last| last.saturating_add(1)) }
    }

    /// Returns the index of the register at an offset of the configuration space.
    const fn index(register: u16) -> Option<usize> {
        match register.checked_sub(FIRST) {
            Some(offset) if register & 3 == 0 && offset < BYTES => Some((offset / 4) as usize),
            _ => None,
        }
    }

    /// Reads the doubleword at an offset of the configuration space; None if no BAR is there.
    #[must_use]
    pub fn read(&self, register: u16) -> Option<u32> {
        let index = Self::index(register)?;
        let bar = self.bars.get(index)?;
        Some(match bar.kind {
            BarKind::UpperHalf => {
                let lower = self.bars.get(index.checked_sub(1)?)?;
                (lower.address >> 32) as u32
            }
            _ => bar.address as u32 | bar.flags(),
        })
    }

    /// Writes the doubleword at an offset of the configuration space. Bits below the size stay 0, by which a guest
    /// sizes the BAR: it writes ones and reads. Writes elsewhere are dropped.
    pub fn write(&mut self, register: u16, value: u32) {
        let Some(index) = Self::index(register) else { return };
        let upper = self.bars.get(index).is_some_and(|bar| bar.kind == BarKind::UpperHalf);
        let lower = if upper { index.checked_sub(1) } else { Some(index) };
        let Some(bar) = lower.and_then(|index| self.bars.get_mut(index)) else { return };
        let (low, high) = (bar.address & u64::from(u32::MAX), bar.address & !u64::from(u32::MAX));
        let address = match (bar.kind, upper) {
            (BarKind::Absent | BarKind::UpperHalf, _) => return,
            (_, true) => u64::from(value) << 32 | low,
            (_, false) => high | u64::from(value),
        };
        // The size is a power of two.
        bar.address = address & bar.size.wrapping_neg();
        if matches!(bar.kind, BarKind::Ports | BarKind::Memory32 { .. }) {
            bar.address &= u64::from(u32::MAX);
        }
    }

    /// Returns the memory ranges at which the function responds while memory decoding is enabled, by number of the BAR.
    pub fn memory(&self) -> impl Iterator<Item = (usize, MemoryRange)> + '_ {
        let bars = self.bars.iter().take(self.used).enumerate();
        bars.filter_map(|(index, bar)| Some((index, bar.range()?)))
    }

    /// Returns the memory range of one BAR; None if it has none.
    #[must_use]
    pub fn range(&self, index: usize) -> Option<MemoryRange> {
        self.bars.get(index)?.range()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn bars() -> Bars {
        let none = Bar::default();
        Bars::new([
            Bar::new(BarKind::Memory32 { prefetchable: false }, 0x2_0000, 0xfeb8_0000),
            Bar::new(BarKind::Ports, 0x20, 0xc040),
            Bar::new(BarKind::Memory64 { prefetchable: true }, 0x1_0000_0000, 0x80_0000_0000),
            none,
            none,
            Bar::new(BarKind::Memory64 { prefetchable: false }, 0x1000, 0),
        ])
    }

    #[test]
    fn a_guest_finds_the_size_by_writing_ones() {
        let mut bars = bars();
        for register in [0x10, 0x14, 0x18, 0x1c, 0x20] {
            bars.write(register, u32::MAX);
        }
        assert_eq!(bars.read(0x10), Some(0xfffe_0000));
        assert_eq!(bars.read(0x14), Some(0xffff_ffe1));
        assert_eq!((bars.read(0x18), bars.read(0x1c)), (Some(0xc), Some(u32::MAX)));
        assert_eq!(bars.read(0x20), Some(0));
        assert_eq!(bars.read(0x24), Some(0), "the last register has no upper half");
    }

    #[test]
    fn addresses_are_aligned_to_the_size() {
        let mut bars = bars();
        assert_eq!(bars.read(0x1c), Some(0x80));
        bars.write(0x10, 0xdead_beef);
        bars.write(0x1c, 0x90);
        let memory: Vec<_> = bars.memory().collect();
        let range = |start, bytes| MemoryRange { start: Gpa(start), bytes };
        assert_eq!(memory, [(0, range(0xdeac_0000, 0x2_0000)), (2, range(0x90_0000_0000, 0x1_0000_0000))]);
    }

    #[test]
    fn other_registers_are_none_of_these() {
        let mut bars = bars();
        for register in [0, 0xc, 0x11, 0x28, 0xffff] {
            assert_eq!(bars.read(register), None);
            bars.write(register, 0);
        }
        assert_eq!(bars, self::bars());
    }

    #[test]
    fn an_impossible_size_makes_a_register_absent() {
        assert_eq!(Bar::new(BarKind::Ports, 3, 0), Bar::default());
        assert_eq!(Bar::new(BarKind::Memory32 { prefetchable: false }, 8, 0), Bar::default());
        assert_eq!(Bar::new(BarKind::Memory32 { prefetchable: false }, 0x1800, 0), Bar::default());
    }

    proptest! {
        #[test]
        fn no_write_moves_an_address_off_its_alignment(writes in proptest::collection::vec((0u16..0x30, any::<u32>()), 0..50)) {
            let mut bars = bars();
            for (register, value) in writes {
                bars.write(register, value);
                for (_, range) in bars.memory() {
                    prop_assert_eq!(range.start.0 % range.bytes, 0);
                }
            }
        }
    }
}
