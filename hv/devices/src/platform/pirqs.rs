//! Interrupts of a guest's devices as event channels, for a guest that asked for that: numbers (PIRQs) that stand for a pin of
//! the I/O APIC or for messages. Linux does so on a hypervisor that offers `XENFEAT_hvm_pirqs`, and goes on where it is
//! moved to.
//!
//! **Source:** `physdev.h`, `PHYSDEVOP_map_pirq` and what belongs to it; real Xen's answers.

use xen_abi::Errno;
use xen_abi::hvm_save::VIOAPIC_NUM_PINS;
use xen_abi::physdev::MAP_PIRQ_TYPE_GSI;

use super::Platform;
use super::lines::line_of;
use super::wires::{ISA_LINES, Lines};

/// How many numbers a guest has.
pub const PIRQS: usize = 56;
/// The numbers that are given for pins: those of one I/O APIC that no ISA line has.
const FOR_PINS: core::ops::Range<usize> = 16..24;

/// What a number stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Use {
    #[default]
    Nothing,
    /// The guest was given it, and says later what for.
    Given,
    Pin(u8),
    Messages,
}

/// The numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pirqs {
    uses: [Use; PIRQS],
    /// A bit for each pin that has a number.
    pins: Lines,
    /// A bit for each number whose event is to be raised.
    raised: u64,
}

impl Default for Pirqs {
    fn default() -> Self {
        Self { uses: [Use::Nothing; PIRQS], pins: 0, raised: 0 }
    }
}

impl Pirqs {
    /// Returns whether a pin of the I/O APIC has a number.
    #[inline]
    pub(super) const fn has_pin(&self, pin: usize) -> bool {
        self.pins >> (pin & 63) & 1 != 0
    }

    fn get(&self, pirq: u32) -> Use {
        self.uses.get(pirq as usize).copied().unwrap_or_default()
    }

    fn set(&mut self, pirq: usize, to: Use) {
        if let Some(place) = self.uses.get_mut(pirq) {
            *place = to;
        }
    }

    fn of(&self, wanted: Use) -> Option<usize> {
        self.uses.iter().position(|used| *used == wanted)
    }

    /// Returns a number that stands for nothing: pins have their own until these are all taken, all else comes from the end.
    fn free(&self, kind: i32) -> Option<usize> {
        let is_free = |pirq: &usize| self.uses.get(*pirq) == Some(&Use::Nothing);
        let for_pin = FOR_PINS.filter(|_| kind == MAP_PIRQ_TYPE_GSI).find(is_free);
        for_pin.or_else(|| (FOR_PINS.end..PIRQS).rev().find(is_free))
    }

    /// Raises what stands for a pin.
    #[cold]
    pub(super) fn raise_pin(&mut self, pin: usize) {
        if let Some(pirq) = self.of(Use::Pin(pin as u8)) {
            self.raised |= 1 << (pirq & 63);
        }
    }

    /// Returns whether events are to be raised.
    pub(super) const fn has_raised(&self) -> bool {
        self.raised != 0
    }
}

impl Platform {
    /// Makes a number, or one that is free if it is negative, stand for a pin of the I/O APIC: its interrupts come as events
    /// from then on. Returns the number. One that stands for something else stays as it is, and so does a pin that has one.
    ///
    /// # Errors
    /// `EINVAL` for a pin or number that does not exist, and if none is free.
    pub fn map_pirq(&mut self, pirq: i32, gsi: i32) -> Result<i32, Errno> {
        let pin = usize::try_from(gsi).ok().filter(|pin| *pin < VIOAPIC_NUM_PINS).ok_or(Errno::EINVAL)?;
        let free = || self.pirqs.free(MAP_PIRQ_TYPE_GSI);
        let pirq = usize::try_from(pirq).ok().or_else(free).filter(|pirq| *pirq < PIRQS).ok_or(Errno::EINVAL)?;
        let wanted = Use::Pin(pin as u8);
        let is_free = matches!(self.pirqs.get(pirq as u32), Use::Nothing | Use::Given);
        if is_free && self.pirqs.of(wanted).is_none() {
            self.pirqs.set(pirq, wanted);
            self.pirqs.pins |= 1 << pin;
        }
        Ok(pirq as i32)
    }

    /// Makes a number stand for nothing again.
    pub fn unmap_pirq(&mut self, pirq: u32) {
        let used = self.pirqs.get(pirq);
        if let Use::Pin(pin) = used {
            self.pirqs.pins &= !(1 << (pin & 63));
        }
        if matches!(used, Use::Pin(_) | Use::Messages) {
            self.pirqs.set(pirq as usize, Use::Nothing);
        }
    }

    /// Gives a number that is free.
    ///
    /// # Errors
    /// `ENOSPC` if none is.
    pub fn give_pirq(&mut self, kind: i32) -> Result<u32, Errno> {
        let pirq = self.pirqs.free(kind).ok_or(Errno::ENOSPC)?;
        self.pirqs.set(pirq, Use::Given);
        Ok(pirq as u32)
    }

    /// Returns whether a number stands for a pin.
    #[must_use]
    pub fn is_pirq_of_pin(&self, pirq: u32) -> bool {
        matches!(self.pirqs.get(pirq), Use::Pin(_))
    }

    /// Raises the event of a number by a message of a device, whose first message makes it stand for messages.
    ///
    /// # Errors
    /// `ERANGE` for number 0; `EINVAL` for one that does not exist or stands for a pin.
    pub fn send_pirq(&mut self, pirq: u32) -> Result<(), Errno> {
        match self.pirqs.get(pirq) {
            _ if pirq == 0 => return Err(Errno::ERANGE),
            _ if pirq as usize >= PIRQS => return Err(Errno::EINVAL),
            Use::Pin(_) => return Err(Errno::EINVAL),
            _ => self.pirqs.set(pirq as usize, Use::Messages),
        }
        self.pirqs.raised |= 1 << (pirq & 63);
        Ok(())
    }

    /// Handles the end of a number's interrupt: a level that is still there interrupts again. Returns false for a number that
    /// stands for nothing.
    #[must_use]
    pub fn end_pirq(&mut self, pirq: u32) -> bool {
        let used = self.pirqs.get(pirq);
        if let Use::Pin(pin @ ISA_LINES..) = used
            && self.wires.is_asserted(pin)
        {
            self.pirqs.raised |= 1 << (pirq & 63);
        }
        used != Use::Nothing
    }

    /// Returns whether [`Platform::take_pirq`] has one.
    #[must_use]
    pub const fn has_pirq(&self) -> bool {
        self.pirqs.has_raised()
    }

    /// Takes a number whose event is to be raised.
    #[must_use]
    pub fn take_pirq(&mut self) -> Option<u32> {
        let pirq = self.pirqs.raised.trailing_zeros();
        self.pirqs.raised &= self.pirqs.raised.wrapping_sub(1);
        (pirq < u64::BITS).then_some(pirq)
    }

    /// Notes that nobody listens to the event of a number: its pin is the I/O APIC's after all.
    pub fn pirq_unheard(&mut self, pirq: u32) {
        if let Use::Pin(pin) = self.pirqs.get(pirq) {
            let pin = usize::from(pin);
            self.set_pin(pin, true);
            if !line_of(pin).is_some_and(|line| self.wires.is_asserted(line)) {
                self.set_pin(pin, false);
            }
        }
    }
}
