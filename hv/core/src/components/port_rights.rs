//! Which ports of the machine a domain reaches.

use xenolith_devices::ports::{Dom0Ports, PCI_CONFIG_END, PortOwner, guest_owner, hvm_owner};
use xenolith_hal::IoSize;

/// Which ports of the machine a domain reaches. An ordinary guest is told from the others by one comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortRights(Option<Special>);

/// A domain that is no ordinary PVH guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Special {
    Control(Dom0Ports),
    Hvm,
}

impl Special {
    fn owner(&self, port: u16) -> PortOwner {
        match self {
            Self::Control(ports) => ports.owner(port),
            Self::Hvm => hvm_owner(port),
        }
    }
}

impl PortRights {
    /// Returns no rights: those of a PVH guest.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Returns the rights of the control domain.
    #[must_use]
    pub const fn control(ports: Dom0Ports) -> Self {
        Self(Some(Special::Control(ports)))
    }

    /// Returns those of an HVM guest, which has a platform.
    #[must_use]
    pub const fn hvm() -> Self {
        Self(Some(Special::Hvm))
    }

    /// Returns the device that responds to an access. An access across the ports of two devices has none, and so has
    /// one past the last port; an HVM guest's is its device model's.
    #[inline]
    #[must_use]
    pub fn owner(&self, port: u16, size: IoSize) -> PortOwner {
        let first = self.owner_of_byte(port);
        // No other owner has ports between those of configuration.
        let is_inside = first == PortOwner::PciConfig && port <= PCI_CONFIG_END.saturating_sub(size.bytes() as u16);
        if size == IoSize::Byte || is_inside { first } else { self.owner_of_all(port, size, first) }
    }

    #[inline]
    fn owner_of_byte(&self, port: u16) -> PortOwner {
        self.0.as_ref().map_or_else(|| guest_owner(port), |special| special.owner(port))
    }

    /// Returns the device that responds to an access of several bytes, the first of which is `first`'s. Kept apart so
    /// that an access of one byte is short code.
    #[inline(never)]
    fn owner_of_all(&self, port: u16, size: IoSize, first: PortOwner) -> PortOwner {
        let alike = |index: u32| port.checked_add(index as u16).is_some_and(|port| self.owner_of_byte(port) == first);
        match self.0 {
            _ if (1..size.bytes()).all(alike) => first,
            Some(Special::Hvm) => PortOwner::Platform,
            _ => PortOwner::Nobody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTROL: PortRights = PortRights::control(Dom0Ports { pm_timer: Some(0x608), console: Some(0x3f8) });

    #[test]
    fn an_access_that_touches_a_denied_port_is_refused_whole() {
        assert_eq!(CONTROL.owner(0x1f, IoSize::Byte), PortOwner::Machine);
        assert_eq!(CONTROL.owner(0x1f, IoSize::Word), PortOwner::Nobody);
        assert_eq!(CONTROL.owner(0x3f6, IoSize::Dword), PortOwner::Nobody);
        assert_eq!(CONTROL.owner(0x22, IoSize::Word), PortOwner::Machine);
        assert_eq!(CONTROL.owner(0xcfc, IoSize::Dword), PortOwner::PciConfig);
        assert_eq!(CONTROL.owner(0xcfd, IoSize::Dword), PortOwner::Nobody);
        assert_eq!(CONTROL.owner(0xcf7, IoSize::Word), PortOwner::Nobody);
        assert_eq!(CONTROL.owner(0xe9, IoSize::Word), PortOwner::Nobody, "the debug console takes bytes");
    }

    #[test]
    fn nothing_wraps_around_the_last_port() {
        assert_eq!(CONTROL.owner(0xffff, IoSize::Byte), PortOwner::Machine);
        assert_eq!(CONTROL.owner(0xffff, IoSize::Word), PortOwner::Nobody);
    }

    #[test]
    fn an_hvm_guest_has_a_platform_where_an_ordinary_one_has_nothing() {
        let hvm = PortRights::hvm();
        assert_eq!(hvm.owner(0x60, IoSize::Byte), PortOwner::Platform);
        assert_eq!(hvm.owner(0xcfc, IoSize::Dword), PortOwner::Platform);
        assert_eq!(hvm.owner(0xe9, IoSize::Byte), PortOwner::DebugConsole);
        assert_eq!(hvm.owner(0x43, IoSize::Word), PortOwner::Platform, "across two devices");
        assert_eq!(hvm.owner(0xffff, IoSize::Word), PortOwner::Platform);
    }

    #[test]
    fn an_ordinary_domain_reaches_no_port_of_the_machine() {
        for port in 0..=u16::MAX {
            let owner = PortRights::none().owner(port, IoSize::Byte);
            assert!(matches!(owner, PortOwner::Nobody | PortOwner::Pit | PortOwner::DebugConsole), "{port:#x}");
        }
    }
}
