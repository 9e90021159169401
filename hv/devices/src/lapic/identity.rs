//! The fields by which senders decide whether an interrupt message addresses a local APIC.

use crate::interrupt::Destination;

/// The part of a local APIC that other vCPUs read when they send. It packs into one word, so that a vCPU can publish it
/// while another CPU works on the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// In x2APIC mode.
    pub x2apic: bool,
    /// The x2APIC identifier.
    pub id: u32,
    /// The xAPIC identifier, which the guest may have changed.
    pub xapic_id: u8,
    /// The logical destination register (LDR) of xAPIC mode.
    pub logical: u8,
    /// The model in the destination format register: 15 flat, 0 cluster.
    pub format: u8,
}

impl Identity {
    /// Packs it into one word.
    #[must_use]
    pub const fn pack(self) -> u64 {
        self.id as u64
            | (self.xapic_id as u64) << 32
            | (self.logical as u64) << 40
            | ((self.format & 0xf) as u64) << 48
            | (self.x2apic as u64) << 63
    }

    /// Unpacks a word made by [`Identity::pack`].
    #[must_use]
    pub const fn unpack(word: u64) -> Self {
        Self {
            x2apic: word >> 63 != 0,
            id: word as u32,
            xapic_id: (word >> 32) as u8,
            logical: (word >> 40) as u8,
            format: (word >> 48) as u8 & 0xf,
        }
    }

    /// Returns whether a message addresses this local APIC. `from_here` says that it also sent it.
    ///
    /// For lowest priority the caller picks one of the addressed ones.
    #[must_use]
    #[inline]
    pub fn is_meant(self, destination: Destination, from_here: bool) -> bool {
        match destination {
            Destination::All => true,
            Destination::Others => !from_here,
            Destination::Oneself => from_here,
            Destination::Physical(id) if self.x2apic => id == self.id,
            Destination::Physical(id) => id == u32::from(self.xapic_id),
            Destination::Logical(id) => self.is_in_logical_set(id),
        }
    }

    fn is_in_logical_set(self, id: u32) -> bool {
        if self.x2apic {
            let own = self.x2apic_logical_id();
            return id >> 16 == own >> 16 && id & own & 0xffff != 0;
        }
        let (id, own) = (id & 0xff, u32::from(self.logical));
        match self.format {
            0xf => id & own != 0,
            // Cluster: the upper half names the cluster (15 for all of them), the lower half its members.
            0 => (id >> 4 == 0xf || id >> 4 == own >> 4) && id & own & 0xf != 0,
            _ => false,
        }
    }

    /// Returns the logical identifier in x2APIC mode. **Source:** AMD manual volume 2, 16.14.
    pub(super) const fn x2apic_logical_id(self) -> u32 {
        ((self.id & !0xf) << 12) | (1 << (self.id & 0xf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_comes_back_from_its_word() {
        for x2apic in [false, true] {
            let identity = Identity { x2apic, id: 0x1_0002, xapic_id: 4, logical: 0x80, format: 0xf };
            assert_eq!(Identity::unpack(identity.pack()), identity);
        }
    }
}
