//! The end: of a vCPU, of a domain, of the machine.

use crate::domain::Domain;
use crate::event_channel::raise_for_handler;
use crate::hypervisor::Hypervisor;
use crate::vcpu::Vcpu;
use xen_abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT, SHUTDOWN_SUSPEND, SHUTDOWN_WATCHDOG};
use xen_abi::virq::VIRQ_DOM_EXC;
use xenolith_hal::{LogLevel, Machine, PowerAction};

/// Takes a vCPU down for good, until somebody starts it again. When the last one of a domain goes, the domain has
/// powered off: that is how a PVH kernel ends.
pub fn vcpu_down<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>) {
    vcpu.take_down();
    if !domain.vcpus.iter().any(Vcpu::is_up) {
        domain_shutdown(hv, domain, SHUTDOWN_POWEROFF);
    }
}

/// A domain shuts itself down. The control domain takes the machine with it; of others the control domain is told.
pub fn domain_shutdown<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, reason: u32) {
    if !domain.shut_down(hv, reason) {
        return;
    }
    if domain.privileged {
        machine_shutdown(hv, reason);
    } else {
        tell_control_domain(hv);
    }
}

/// Tells the control domain that some domain has changed in a way that it must look at.
pub fn tell_control_domain<M: Machine>(hv: &Hypervisor<M>) {
    raise_for_handler(hv, VIRQ_DOM_EXC);
}

fn machine_shutdown<M: Machine>(hv: &Hypervisor<M>, reason: u32) {
    let say = |level, what: &str| hv.machine.log(level, false, format_args!("Hardware Dom0 {what}"));
    let action = match reason {
        SHUTDOWN_POWEROFF => {
            say(LogLevel::Info, "halted: halting machine");
            PowerAction::PowerOff
        }
        SHUTDOWN_CRASH => {
            say(LogLevel::Error, "crashed: rebooting machine in 5 seconds.");
            reboot_unless_told(hv)
        }
        SHUTDOWN_REBOOT => {
            say(LogLevel::Info, "shutdown: rebooting machine");
            reboot_unless_told(hv)
        }
        SHUTDOWN_WATCHDOG => {
            say(LogLevel::Error, "shutdown: watchdog rebooting machine");
            reboot_unless_told(hv)
        }
        SHUTDOWN_SUSPEND => {
            say(LogLevel::Info, "suspended: nothing can resume it, rebooting machine");
            reboot_unless_told(hv)
        }
        other => {
            let line = format_args!("Hardware Dom0 shutdown: unknown reason {other}: rebooting machine");
            hv.machine.log(LogLevel::Info, false, line);
            reboot_unless_told(hv)
        }
    };
    hv.machine.power(action);
}

const fn reboot_unless_told<M: Machine>(hv: &Hypervisor<M>) -> PowerAction {
    if hv.settings.no_reboot { PowerAction::Halt } else { PowerAction::Reboot }
}
