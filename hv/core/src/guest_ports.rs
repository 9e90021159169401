//! IN and OUT. The control domain reaches the machine's own ports, save those that the hypervisor keeps for itself;
//! for everybody else, and for those, there is nothing: reads give ones, writes are dropped.

use crate::domain::Domain;
use crate::hypercall::After;
use crate::hypervisor::Hypervisor;
use crate::vcpu::VcpuCore;
use xenolith_hal::{Exception, GuestCpu, IoAccess, IoSize, Machine};

/// Answers a port access.
pub fn access<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, core: &mut VcpuCore<M>, access: IoAccess) -> After {
    if access.string {
        // No kernel that runs here uses INS or OUTS on a port that is not its own.
        core.hardware.inject(Exception::GENERAL_PROTECTION);
        return After::Resume;
    }
    let own = domain.ports.allows(access.port, access.size);
    let rax = core.hardware.registers().rax;
    if access.write {
        if own {
            hv.machine.port_write(access.port, access.size, rax as u32 & access.size.mask());
        }
    } else {
        let value = if own { hv.machine.port_read(access.port, access.size) } else { u32::MAX };
        let value = u64::from(value & access.size.mask());
        core.hardware.registers_mut().rax = match access.size {
            IoSize::Byte => (rax & !0xff) | value,
            IoSize::Word => (rax & !0xffff) | value,
            IoSize::Dword => value,
        };
    }
    core.hardware.skip_instruction();
    After::Resume
}

/// Which ports of the machine a domain reaches.
pub struct PortRights {
    all: bool,
    /// Ports that even the control domain does not reach, as (first, last).
    denied: alloc::vec::Vec<(u16, u16)>,
}

impl PortRights {
    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self { all: false, denied: alloc::vec::Vec::new() }
    }

    /// All but these ranges, given as first and last port.
    #[must_use]
    pub const fn all_but(denied: alloc::vec::Vec<(u16, u16)>) -> Self {
        Self { all: true, denied }
    }

    /// True if every byte of the access may be made.
    #[must_use]
    pub fn allows(&self, port: u16, size: IoSize) -> bool {
        let last = u32::from(port) + size.bytes() - 1;
        let touches = |&(start, end): &(u16, u16)| u32::from(start) <= last && port <= end;
        self.all && last <= 0xffff && !self.denied.iter().any(touches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_that_touches_a_denied_port_is_refused_whole() {
        let rights = PortRights::all_but(alloc::vec![(0x40, 0x43)]);
        assert!(rights.allows(0x3f, IoSize::Byte));
        assert!(!rights.allows(0x3f, IoSize::Word));
        assert!(!rights.allows(0x43, IoSize::Byte));
        assert!(rights.allows(0x44, IoSize::Dword));
    }

    #[test]
    fn nothing_wraps_around_the_last_port() {
        let rights = PortRights::all_but(alloc::vec::Vec::new());
        assert!(rights.allows(0xffff, IoSize::Byte));
        assert!(!rights.allows(0xffff, IoSize::Word));
    }

    #[test]
    fn an_ordinary_domain_reaches_no_port() {
        assert!(!PortRights::none().allows(0x80, IoSize::Byte));
    }
}
