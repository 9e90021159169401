//! IN and OUT. The control domain reaches the machine's own ports, save those that the hypervisor keeps for itself; an
//! ordinary guest has an interval timer to measure its clocks by. Where there is nothing, reads give ones and writes
//! are dropped.

use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::vcpu::VcpuCore;
use crate::hypercalls::After;
use xenolith_devices::ports::{Dom0Ports, PCI_CONFIG_END, PortOwner, guest_owner};
use xenolith_hal::{Exception, GuestCpu, IoAccess, IoSize, Machine};

/// Answers a port access.
pub fn access<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, core: &mut VcpuCore<M>, access: IoAccess) -> After {
    let rax = core.hardware.registers().rax;
    if let Some(rax) = short_answer(hv, domain, access, rax) {
        core.hardware.registers_mut().rax = rax;
    } else if access.string {
        // No kernel that runs here uses INS or OUTS on a port that is not its own.
        core.hardware.inject(Exception::GENERAL_PROTECTION);
        return After::Resume;
    } else {
        let owner = domain.ports.owner(access.port, access.size);
        let value = rax as u32 & access.size.mask();
        if configuration(hv, domain, owner, access, value).is_none() {
            write(hv, domain, owner, access, value);
        }
    }
    core.hardware.skip_instruction();
    After::Resume
}

/// RAX after an access that changes nothing else of the guest's; none for another, and nothing was done.
#[inline]
pub fn short_answer<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, access: IoAccess, rax: u64) -> Option<u64> {
    if access.string {
        return None;
    }
    let owner = domain.ports.owner(access.port, access.size);
    if access.write {
        return matches!(owner, PortOwner::Nobody | PortOwner::PmTimer).then_some(rax);
    }
    let value = match owner {
        PortOwner::Nobody => u32::MAX,
        _ => configuration(hv, domain, owner, access, 0).unwrap_or_else(|| read(hv, domain, owner, access)),
    };
    let value = u64::from(value & access.size.mask());
    Some(match access.size {
        IoSize::Byte => (rax & !0xff) | value,
        IoSize::Word => (rax & !0xffff) | value,
        IoSize::Dword => value,
    })
}

/// An access to PCI configuration as the guest has it; none if it is for the machine's own ports.
fn configuration<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    owner: PortOwner,
    access: IoAccess,
    value: u32,
) -> Option<u32> {
    match owner {
        PortOwner::PciConfig => domain.devices.get().and_then(|devices| devices.port(hv, domain, access, value)),
        _ => None,
    }
}

fn read<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, owner: PortOwner, access: IoAccess) -> u32 {
    match owner {
        PortOwner::Nobody => u32::MAX,
        PortOwner::Pit => {
            let now = hv.machine.now();
            domain.port_devices.lock().read(owner, access.port, access.size, now, hv.wall_clock())
        }
        PortOwner::Rtc | PortOwner::PmTimer | PortOwner::PciConfig | PortOwner::Machine => {
            hv.machine.port_read(access.port, access.size)
        }
    }
}

fn write<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, owner: PortOwner, access: IoAccess, value: u32) {
    match owner {
        // The timer counts for the hypervisor as well.
        PortOwner::Nobody | PortOwner::PmTimer => {}
        PortOwner::Pit => {
            let now = hv.machine.now();
            domain.port_devices.lock().write(owner, access.port, access.size, value, now, hv.wall_clock());
        }
        PortOwner::Rtc | PortOwner::PciConfig | PortOwner::Machine => {
            hv.machine.port_write(access.port, access.size, value);
        }
    }
}

/// Which ports of the machine a domain reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortRights(Option<Dom0Ports>);

impl PortRights {
    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// Those of the control domain.
    #[must_use]
    pub const fn control(ports: Dom0Ports) -> Self {
        Self(Some(ports))
    }

    /// Who answers an access. One that touches the ports of two owners has nobody, and so has one past the last port.
    #[must_use]
    pub fn owner(&self, port: u16, size: IoSize) -> PortOwner {
        let owner = |port| self.0.map_or_else(|| guest_owner(port), |ports| ports.owner(port));
        let first = owner(port);
        // No other owner has ports between those of configuration.
        let is_inside = port.checked_add(size.bytes() as u16).is_some_and(|end| end <= PCI_CONFIG_END);
        if first == PortOwner::PciConfig && is_inside {
            return first;
        }
        let alike = |index: u32| port.checked_add(index as u16).is_some_and(|port| owner(port) == first);
        if (1..size.bytes()).all(alike) { first } else { PortOwner::Nobody }
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
    }

    #[test]
    fn nothing_wraps_around_the_last_port() {
        assert_eq!(CONTROL.owner(0xffff, IoSize::Byte), PortOwner::Machine);
        assert_eq!(CONTROL.owner(0xffff, IoSize::Word), PortOwner::Nobody);
    }

    #[test]
    fn an_ordinary_domain_reaches_no_port_of_the_machine() {
        for port in 0..=u16::MAX {
            let owner = PortRights::none().owner(port, IoSize::Byte);
            assert!(matches!(owner, PortOwner::Nobody | PortOwner::Pit), "{port:#x}");
        }
    }
}
