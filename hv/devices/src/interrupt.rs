//! Interrupt messages from an I/O APIC, a device (MSI) or a CPU (IPI) to local APICs.

/// The lowest vector that an interrupt may carry; those below are the processor's exceptions.
pub const FIRST_VECTOR: u8 = 16;

/// The local APICs that a message addresses. **Source:** AMD manual volume 2, 16.6 (xAPIC) and 16.10 (x2APIC).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destination {
    /// The local APIC with this identifier.
    Physical(u32),
    /// Local APICs whose logical identifier matches: 8 bits from an xAPIC or a device, 32 from an x2APIC.
    Logical(u32),
    /// The sender itself (shorthand "self").
    Oneself,
    /// Every local APIC.
    All,
    /// Every local APIC except the sender's.
    Others,
}

/// The delivery mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// Delivers this vector to all that are addressed.
    Fixed(u8),
    /// Delivers the vector to one of those addressed, preferably the one with the lowest priority.
    LowestPriority(u8),
    /// A non-maskable interrupt.
    Nmi,
    /// Resets to the state after INIT.
    Init,
    /// Starts in real mode at page `vector`, if in the state after INIT (SIPI).
    Startup(u8),
    /// The vector comes from an 8259 interrupt controller (ExtINT).
    External,
}

/// The trigger mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Trigger {
    /// Once for each event.
    #[default]
    Edge,
    /// Until the source is deasserted; the end of interrupt (EOI) is reported to I/O APICs.
    Level,
}

/// An interrupt message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    pub destination: Destination,
    pub delivery: Delivery,
    pub trigger: Trigger,
}

/// Value of the delivery mode field that the local APIC's ICR, I/O APIC entries and MSI data share.
pub(crate) const MODE_FIXED: u32 = 0;
pub(crate) const MODE_LOWEST: u32 = 1;
pub(crate) const MODE_NMI: u32 = 4;
pub(crate) const MODE_INIT: u32 = 5;
pub(crate) const MODE_STARTUP: u32 = 6;
pub(crate) const MODE_EXTERNAL: u32 = 7;

impl Delivery {
    /// Decodes bits 0-10 of an ICR, an I/O APIC entry or MSI data. None for SMI and reserved modes, which are dropped.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        let vector = (bits & 0xff) as u8;
        match (bits >> 8) & 7 {
            MODE_FIXED => Some(Self::Fixed(vector)),
            MODE_LOWEST => Some(Self::LowestPriority(vector)),
            MODE_NMI => Some(Self::Nmi),
            MODE_INIT => Some(Self::Init),
            MODE_STARTUP => Some(Self::Startup(vector)),
            MODE_EXTERNAL => Some(Self::External),
            _ => None,
        }
    }
}

impl Destination {
    /// Decodes the destination of an xAPIC, an I/O APIC entry or an MSI address: 8 bits, all ones for broadcast.
    #[must_use]
    pub const fn from_8_bits(id: u8, logical: bool) -> Self {
        match (id, logical) {
            (0xff, false) => Self::All,
            (_, false) => Self::Physical(id as u32),
            (_, true) => Self::Logical(id as u32),
        }
    }

    /// Decodes the destination of an x2APIC: 32 bits, all ones for broadcast.
    #[must_use]
    pub const fn from_32_bits(id: u32, logical: bool) -> Self {
        match (id, logical) {
            (u32::MAX, _) => Self::All,
            (_, false) => Self::Physical(id),
            (_, true) => Self::Logical(id),
        }
    }
}

impl Message {
    /// Decodes an MSI's address and data. None if the address is not one of interrupts, or for a mode that is dropped.
    ///
    /// **Source:** AMD manual volume 2, 16.11.1; PCI specification 3.0, 6.8.
    #[must_use]
    #[inline]
    pub const fn from_msi(address: u64, data: u32) -> Option<Self> {
        if address >> 20 != 0xfee {
            return None;
        }
        let Some(delivery) = Delivery::from_bits(data) else { return None };
        let destination = Destination::from_8_bits((address >> 12) as u8, address & 4 != 0);
        let trigger = if data & (1 << 15) == 0 { Trigger::Edge } else { Trigger::Level };
        Some(Self { destination, delivery, trigger })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_msi_to_cpu_1_carries_its_vector() {
        let message = Message::from_msi(0xfee0_2000, 0x25).unwrap();
        assert_eq!(message.destination, Destination::Physical(2));
        assert_eq!(message.delivery, Delivery::Fixed(0x25));
        assert_eq!(message.trigger, Trigger::Edge);
    }

    #[test]
    fn an_msi_may_name_a_logical_set_or_everybody() {
        let logical = Message::from_msi(0xfee0_3004, 0x8125).unwrap();
        assert_eq!(logical.destination, Destination::Logical(3));
        assert_eq!(logical.delivery, Delivery::LowestPriority(0x25));
        assert_eq!(logical.trigger, Trigger::Level);
        assert_eq!(Message::from_msi(0xfeef_f000, 0x25).unwrap().destination, Destination::All);
    }

    #[test]
    fn a_write_elsewhere_or_of_a_reserved_mode_is_no_interrupt() {
        assert_eq!(Message::from_msi(0xfed0_0000, 0x25), None);
        assert_eq!(Message::from_msi(0x1_fee0_0000, 0x25), None);
        assert_eq!(Message::from_msi(0xfee0_0000, 0x225), None);
        assert_eq!(Message::from_msi(0xfee0_0000, 0x325), None);
    }
}
