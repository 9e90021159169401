//! The wires between devices and interrupt controllers: ISA lines, interrupt pins of PCI devices, and the router that
//! leads those to ISA lines as well.
//!
//! Several sources may assert a line; it is deasserted when none does. **Source:** `hvm/dm_op.h`, `set_pci_intx_level`,
//! `set_isa_irq_level` and `set_pci_link_route`; `arch-x86/hvm/save.h`, `hvm_hw_pci_irqs`, `hvm_hw_isa_irqs` and
//! `hvm_hw_pci_link`.

use xen_abi::hvm_save::{HPET_TIMER_NUM, HvmHwIsaIrqs, HvmHwPciIrqs, HvmHwPciLink};

/// ISA lines, which come first.
pub(super) const ISA_LINES: u8 = 16;
/// The line of the system control interrupt.
pub(super) const POWER_LINE: u8 = 9;
/// The line on which the second 8259A reaches the first: no device has it.
pub(super) const CASCADE: u8 = 2;
/// The lines of the interval timer and of the clock.
pub(super) const TIMER_LINE: u8 = 0;
pub(super) const CLOCK_LINE: u8 = 8;
/// The ISA lines that the device model cannot have. Timers make edges on theirs, which a level would hide; Xen's leave
/// them asserted in between, so its records say so.
const NOT_THE_MODELS: u16 = 1 << TIMER_LINE | 1 << CASCADE | 1 << CLOCK_LINE;

/// A source within the hypervisor that asserts a line as a level.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    Power,
    /// A timer of the HPET by its number.
    Hpet(usize),
    /// Event channels, of a guest that asked for them by a line.
    Events,
}

/// How many of them there are, and how many of these are chips'.
const SOURCES: usize = CHIPS + 1;
const CHIPS: usize = HPET_TIMER_NUM + 1;

impl Source {
    const fn index(self) -> usize {
        match self {
            Self::Power => HPET_TIMER_NUM,
            Self::Hpet(timer) => timer,
            Self::Events => CHIPS,
        }
    }
}

/// A set of lines: below 16 ISA lines, which both kinds of controllers have; above, pins of the I/O APIC.
pub(super) type Lines = u64;

/// An interrupt pin of a PCI device on bus 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IntxPin {
    device: u8,
    pin: u8,
}

impl IntxPin {
    /// Names pin 0 to 3 (INTA to INTD) of device 0 to 31; None for others.
    #[must_use]
    pub const fn new(device: u8, pin: u8) -> Option<Self> {
        if device < 32 && pin < 4 { Some(Self { device, pin }) } else { None }
    }

    /// Returns its number in the record: 0 to 127.
    const fn number(self) -> u8 {
        self.device << 2 | self.pin
    }

    /// Deasserts it in a record of lines.
    pub const fn deassert_in(self, record: &mut HvmHwPciIrqs) {
        let [low, high] = &mut record.lines;
        let word = if self.number() < 64 { low } else { high };
        *word &= !(1 << (self.number() & 63));
    }

    /// Returns its pin of the I/O APIC: 16 to 47.
    #[must_use]
    pub const fn gsi(self) -> u8 {
        (self.number().wrapping_add(self.device >> 3) & 31).wrapping_add(ISA_LINES)
    }

    /// Returns the link of the router that it is wired to: 0 to 3.
    #[must_use]
    pub const fn link(self) -> u8 {
        self.device.wrapping_add(self.pin) & 3
    }
}

/// The state of the wires.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Wires {
    /// A bit for each pin of a PCI device that is asserted.
    pci: u128,
    /// A bit for each ISA line that the device model asserts.
    isa: u16,
    /// The ISA line of each link, 0 for none.
    routes: [u8; 4],
    /// The line that each source within the hypervisor asserts.
    sources: [Option<u8>; SOURCES],
}

const fn bit(line: u8) -> Lines {
    1 << (line & 63)
}

/// A bit for each pin of four devices in a row that is wired to each link; other devices repeat them.
const LINKS: [u128; 4] = [0x2481 * FOUR_DEVICES, 0x4812 * FOUR_DEVICES, 0x8124 * FOUR_DEVICES, 0x1248 * FOUR_DEVICES];
const FOUR_DEVICES: u128 = u128::MAX / 0xffff;

/// Returns a bit for each pin of a PCI device that is wired to a pin of the I/O APIC: one of each eight devices.
fn pins_of_gsi(gsi: u8) -> u128 {
    (0u8..4).fold(0, |pins, eight| pins | 1 << (eight << 5 | gsi.wrapping_sub(eight) & 31))
}

impl Wires {
    /// Returns whether anything asserts a line.
    pub(super) fn is_asserted(&self, line: u8) -> bool {
        let from_outside = match line.checked_sub(ISA_LINES) {
            None => self.isa_lines() >> line & 1 != 0,
            Some(gsi) => self.pci & pins_of_gsi(gsi) != 0,
        };
        from_outside || self.sources.contains(&Some(line))
    }

    /// Returns the ISA lines that the device model or a link of the router asserts.
    fn isa_lines(&self) -> u16 {
        let links = self.routes.iter().zip(LINKS).filter(|(route, pins)| **route != 0 && self.pci & pins != 0);
        links.fold(self.isa, |lines, (route, _)| lines | 1 << (route & 15))
    }

    /// Returns the ISA lines that anything asserts.
    pub(super) fn asserted_isa_lines(&self) -> u16 {
        (0..ISA_LINES).filter(|line| self.is_asserted(*line)).fold(0, |lines, line| lines | 1 << (line & 15))
    }

    /// Sets a pin of a PCI device; returns the lines that may have changed.
    pub(super) fn set_intx(&mut self, pin: IntxPin, active: bool) -> Lines {
        let number = 1 << (pin.number() & 127);
        self.pci = self.pci & !number | if active { number } else { 0 };
        bit(pin.gsi()) | self.line_of_link(pin.link())
    }

    fn line_of_link(&self, link: u8) -> Lines {
        match self.routes.get(usize::from(link)) {
            Some(route) if *route != 0 => bit(*route),
            _ => 0,
        }
    }

    /// Sets an ISA line as the device model drives it; returns the lines that may have changed. None for a line that does
    /// not exist; the ones of the timers and of the cascade are not connected.
    pub(super) fn set_isa(&mut self, line: u8, active: bool) -> Option<Lines> {
        if line >= ISA_LINES {
            return None;
        }
        let number = 1 << (line & 15);
        if number & NOT_THE_MODELS != 0 {
            return Some(0);
        }
        self.isa = self.isa & !number | if active { number } else { 0 };
        Some(bit(line))
    }

    /// Leads a link to an ISA line, or to none if that is 0; returns the lines that may have changed. None for a link or a
    /// line that does not exist.
    pub(super) fn set_route(&mut self, link: u8, line: u8) -> Option<Lines> {
        let route = self.routes.get_mut(usize::from(link)).filter(|_| line < ISA_LINES)?;
        let before = core::mem::replace(route, if line == CASCADE { 0 } else { line });
        Some((bit(before) | self.line_of_link(link)) & !1)
    }

    /// Sets the line that a source within the hypervisor asserts, or none; returns the lines that may have changed.
    pub(super) fn set_source(&mut self, source: Source, line: Option<u8>) -> Lines {
        let Some(place) = self.sources.get_mut(source.index()) else { return 0 };
        let before = core::mem::replace(place, line);
        if before == line { 0 } else { before.map_or(0, bit) | line.map_or(0, bit) }
    }

    /// Returns the ISA lines that chips within the hypervisor assert.
    fn own_isa_lines(&self) -> u16 {
        let own = self.sources.iter().take(CHIPS).flatten().filter(|line| **line < ISA_LINES);
        own.fold(0, |lines, line| lines | 1 << (line & 15))
    }

    pub(super) const fn save_pci(&self) -> HvmHwPciIrqs {
        HvmHwPciIrqs { lines: [self.pci as u64, (self.pci >> 64) as u64] }
    }

    /// Builds the record of the ISA lines: as in Xen it does not tell the device model's part from the hypervisor's.
    pub(super) fn save_isa(&self) -> HvmHwIsaIrqs {
        HvmHwIsaIrqs { lines: (self.isa | self.own_isa_lines()).into() }
    }

    pub(super) const fn save_links(&self) -> HvmHwPciLink {
        HvmHwPciLink { route: self.routes, pad0: [0; 4] }
    }

    pub(super) const fn load_pci(&mut self, record: &HvmHwPciIrqs) {
        let [low, high] = record.lines;
        self.pci = (high as u128) << 64 | low as u128;
    }

    /// Takes over the record of the ISA lines, which is not trusted.
    pub(super) const fn load_isa(&mut self, record: &HvmHwIsaIrqs) {
        self.isa = record.lines as u16 & !NOT_THE_MODELS;
    }

    /// Takes the lines that a source within the hypervisor asserts from the device model: the record did not say whose
    /// they were. A line that it asserts as well it sets again when it changes; one that nobody deasserts would interrupt
    /// for ever.
    pub(super) fn tell_apart(&mut self) {
        self.isa &= !self.own_isa_lines();
    }

    /// Takes over the routes; false, with nothing done, if one is of a line that does not exist.
    #[must_use]
    pub(super) fn load_links(&mut self, record: &HvmHwPciLink) -> bool {
        let is_sound = record.route.iter().all(|line| *line < ISA_LINES);
        if is_sound {
            self.routes = record.route.map(|line| if line == CASCADE { 0 } else { line });
        }
        is_sound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(device: u8, pin: u8) -> IntxPin {
        IntxPin::new(device, pin).unwrap()
    }

    #[test]
    fn a_device_is_wired_as_hvmloader_says_in_the_dsdt() {
        for (device, intx, gsi, link) in [(0, 0, 16, 0), (1, 3, 23, 0), (3, 0, 28, 3), (8, 0, 17, 0), (31, 3, 18, 2)] {
            assert_eq!((pin(device, intx).gsi(), pin(device, intx).link()), (gsi, link), "{device} {intx}");
        }
        assert_eq!((IntxPin::new(32, 0), IntxPin::new(0, 4)), (None, None));
    }

    #[test]
    fn every_pin_has_one_link_and_one_gsi() {
        for number in 0..128 {
            assert_eq!(LINKS.iter().filter(|pins| *pins >> number & 1 != 0).count(), 1);
            assert_eq!((0..32).filter(|gsi| pins_of_gsi(*gsi) >> number & 1 != 0).count(), 1);
            let pin = pin(number / 4, number % 4);
            assert!(LINKS[usize::from(pin.link())] >> number & 1 != 0);
            assert!(pins_of_gsi(pin.gsi() - 16) >> number & 1 != 0);
        }
    }

    #[test]
    fn a_shared_line_falls_with_its_last_source() {
        let mut wires = Wires::default();
        assert_eq!(wires.set_route(0, 5), Some(1 << 5));
        assert_eq!(wires.set_intx(pin(4, 0), true), 1 << 32 | 1 << 5);
        let _ = wires.set_intx(pin(8, 0), true);
        assert_eq!(wires.set_isa(5, true), Some(1 << 5));
        let _ = wires.set_source(Source::Power, Some(5));
        let _ = wires.set_intx(pin(4, 0), false);
        assert!(wires.is_asserted(5), "another device");
        let _ = wires.set_intx(pin(8, 0), false);
        assert!(wires.is_asserted(5), "the device model");
        let _ = wires.set_isa(5, false);
        assert!(wires.is_asserted(5), "the hypervisor");
        assert_eq!(wires.set_source(Source::Power, None), 1 << 5);
        assert_eq!(wires.set_source(Source::Power, None), 0);
        assert!(!wires.is_asserted(5));
        assert_eq!(wires, Wires { routes: [5, 0, 0, 0], ..Wires::default() });
    }

    #[test]
    fn a_new_route_takes_the_assertion_along() {
        let mut wires = Wires::default();
        let _ = wires.set_intx(pin(2, 1), true);
        assert_eq!(wires.asserted_isa_lines(), 0);
        assert_eq!(wires.set_route(3, 10), Some(1 << 10));
        assert_eq!(wires.asserted_isa_lines(), 1 << 10);
        assert_eq!(wires.set_route(3, 11), Some(1 << 10 | 1 << 11));
        assert_eq!(wires.asserted_isa_lines(), 1 << 11);
        assert_eq!(wires.set_route(3, 0), Some(1 << 11));
        assert!(wires.is_asserted(pin(2, 1).gsi()) && wires.asserted_isa_lines() == 0);
    }

    #[test]
    fn lines_and_links_that_do_not_exist_are_refused() {
        let mut wires = Wires::default();
        assert_eq!((wires.set_isa(16, true), wires.set_isa(255, true)), (None, None));
        assert_eq!((wires.set_route(4, 5), wires.set_route(0, 16)), (None, None));
        assert!(!wires.load_links(&HvmHwPciLink { route: [5, 10, 16, 5], pad0: [0; 4] }));
        for line in [TIMER_LINE, CASCADE, CLOCK_LINE] {
            assert_eq!(wires.set_isa(line, true), Some(0));
        }
        wires.load_isa(&HvmHwIsaIrqs { lines: 0xffff_0105 });
        assert_eq!(wires, Wires::default());
    }

    #[test]
    fn what_was_saved_is_asserted_again() {
        let mut wires = Wires::default();
        let _ = (wires.set_route(1, 10), wires.set_intx(pin(31, 3), true), wires.set_isa(4, true));
        let _ = wires.set_source(Source::Power, Some(POWER_LINE));
        assert_eq!(wires.save_isa().lines, 1 << 4 | 1 << 9);
        assert_eq!((wires.save_pci().lines, wires.save_links().route), ([0, 1 << 63], [0, 10, 0, 0]));
        let mut loaded = Wires::default();
        loaded.load_pci(&wires.save_pci());
        loaded.load_isa(&wires.save_isa());
        assert!(loaded.load_links(&wires.save_links()));
        let _ = loaded.set_source(Source::Power, Some(POWER_LINE));
        loaded.tell_apart();
        assert_eq!(loaded, wires);
    }
}
