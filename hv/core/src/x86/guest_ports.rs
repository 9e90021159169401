//! IN and OUT. The control domain reaches the machine's own ports, except the ones that the hypervisor keeps; an
//! ordinary guest has an interval timer to calibrate its clocks, and a debug console; an HVM guest has a platform and a
//! device model besides. Where no device responds, reads return all ones and writes are dropped.

use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::running::Running;
use crate::outcome::After;
use crate::x86::device_model;
use crate::x86::interrupts::with_owner;
use crate::x86::string_io;
use xenolith_devices::ports::PortOwner;
use xenolith_hal::{GuestCpu, IoAccess, IoSize, LogLevel, Machine};

/// Handles a port access.
pub fn access<M: Machine>(running: &mut Running<'_, M>, access: IoAccess) -> After {
    if access.string {
        return string_io::access(running, access);
    }
    let Running { hv, domain, .. } = *running;
    let rax = running.core.hardware.registers().rax;
    if let Some(rax) = short_answer(hv, domain, access, rax) {
        running.core.hardware.registers_mut().rax = rax;
    } else if is_platform(domain, access) {
        return device_model::port(running, access);
    } else {
        output(hv, domain, access, rax as u32 & access.size.mask());
    }
    running.core.hardware.skip_instruction();
    After::Resume
}

/// Returns RAX after an access that changes nothing else of the guest (the fast path); None for another, with nothing
/// done. Kept apart so that the code round an entry is short.
#[inline(never)]
pub fn short_answer<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, access: IoAccess, rax: u64) -> Option<u64> {
    if access.string {
        return None;
    }
    let owner = domain.ports.owner(access.port, access.size);
    if access.write {
        return matches!(owner, PortOwner::Nobody | PortOwner::PmTimer).then_some(rax);
    }
    answered(hv, domain, owner, access).map(|value| with_input(rax, access.size, value))
}

/// Returns RAX after an access of this width has read `value`, which has no more bits.
#[inline]
pub(super) fn with_input(rax: u64, size: IoSize, value: u32) -> u64 {
    let value = u64::from(value);
    match size {
        IoSize::Byte => (rax & !0xff) | value,
        IoSize::Word => (rax & !0xffff) | value,
        IoSize::Dword => value,
    }
}

/// Returns true if the access is for an HVM guest's platform or its device model.
pub(super) fn is_platform<M: Machine>(domain: &Domain<M>, access: IoAccess) -> bool {
    domain.ports.owner(access.port, access.size) == PortOwner::Platform
}

/// Reads a port; no more bits are set than the access is wide. None for the platform's, which may have to wait.
pub(super) fn input<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, access: IoAccess) -> Option<u32> {
    answered(hv, domain, domain.ports.owner(access.port, access.size), access)
}

/// Reads a port of `owner`, as [`input`] does.
#[inline]
fn answered<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, owner: PortOwner, access: IoAccess) -> Option<u32> {
    let value = match owner {
        PortOwner::Nobody => u32::MAX,
        PortOwner::Platform => return None,
        owner => read(hv, domain, owner, access),
    };
    Some(value & access.size.mask())
}

/// Writes a port.
pub(super) fn output<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, access: IoAccess, value: u32) {
    let owner = domain.ports.owner(access.port, access.size);
    let is_configuration = owner == PortOwner::PciConfig
        && with_owner(hv, domain, |devices, owner| devices.write_port(owner, access, value)) == Some(true);
    if !is_configuration {
        write(hv, domain, owner, access, value);
    }
}

fn read<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, owner: PortOwner, access: IoAccess) -> u32 {
    match owner {
        PortOwner::Nobody | PortOwner::DebugConsole | PortOwner::Platform => u32::MAX,
        PortOwner::Pit => {
            let now = hv.machine.now();
            domain.port_devices.lock().read(owner, access.port, access.size, now, hv.wall_clock())
        }
        PortOwner::PciConfig => {
            let configuration = domain.devices.get().and_then(|devices| devices.read_port(&hv.machine, access));
            configuration.unwrap_or_else(|| hv.machine.port_read(access.port, access.size))
        }
        PortOwner::Rtc | PortOwner::PmTimer | PortOwner::Machine => hv.machine.port_read(access.port, access.size),
    }
}

fn write<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, owner: PortOwner, access: IoAccess, value: u32) {
    match owner {
        // The timer counts for the hypervisor as well.
        PortOwner::Nobody | PortOwner::PmTimer | PortOwner::Platform => {}
        PortOwner::DebugConsole => {
            let line = domain.port_devices.lock().debug_console.write(value as u8);
            if let Some(line) = line {
                hv.machine.log(LogLevel::Debug, true, format_args!("(d{}) {line}", domain.id));
            }
        }
        PortOwner::Pit => {
            let now = hv.machine.now();
            domain.port_devices.lock().write(owner, access.port, access.size, value, now, hv.wall_clock());
        }
        PortOwner::Rtc | PortOwner::PciConfig | PortOwner::Machine => {
            hv.machine.port_write(access.port, access.size, value);
        }
    }
}
