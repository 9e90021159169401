//! IN and OUT. The control domain reaches the machine's own ports, except the ones that the hypervisor keeps; an
//! ordinary guest has an interval timer to calibrate its clocks. Where no device responds, reads return all ones and
//! writes are dropped.

use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::running::Running;
use crate::outcome::After;
use crate::x86::interrupts::with_owner;
use xenolith_devices::ports::PortOwner;
use xenolith_hal::{Exception, GuestCpu, IoAccess, IoSize, Machine};

/// Handles a port access.
pub fn access<M: Machine>(running: &mut Running<'_, M>, access: IoAccess) -> After {
    let Running { hv, domain, .. } = *running;
    let rax = running.core.hardware.registers().rax;
    if let Some(rax) = short_answer(hv, domain, access, rax) {
        running.core.hardware.registers_mut().rax = rax;
    } else if access.string {
        // No kernel that runs here uses INS or OUTS on a port that is not its own.
        running.core.hardware.inject(Exception::GENERAL_PROTECTION);
        return After::Resume;
    } else {
        let owner = domain.ports.owner(access.port, access.size);
        let value = rax as u32 & access.size.mask();
        if configuration(hv, domain, owner, access, value).is_none() {
            write(hv, domain, owner, access, value);
        }
    }
    running.core.hardware.skip_instruction();
    After::Resume
}

/// Returns RAX after an access that changes nothing else of the guest (the fast path); None for another, with nothing
/// done.
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

/// Handles an access to PCI configuration as the guest has it; None if it is for the machine's own ports.
fn configuration<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    owner: PortOwner,
    access: IoAccess,
    value: u32,
) -> Option<u32> {
    match owner {
        PortOwner::PciConfig => with_owner(hv, domain, |devices, owner| devices.port(owner, access, value)).flatten(),
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
