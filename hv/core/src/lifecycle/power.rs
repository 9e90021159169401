//! The end: of a vCPU, of a domain, of the machine.

use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::vcpu::Vcpu;
use crate::lifecycle::event_domain::raise_for_handler;
use crate::lifecycle::waking::shut_down;
use core::fmt;
use xen_abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT, SHUTDOWN_WATCHDOG};
use xen_abi::virq::VIRQ_DOM_EXC;
use xenolith_hal::{LogLevel, Machine, PowerAction};

/// How long what is on the console may be read before the machine starts again after a crash.
const CRASH_DELAY_MS: u32 = 5000;

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
    if !shut_down(hv, domain, reason) {
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

/// What the end of the control domain means for the machine, and the line that says so.
///
/// **Source:** Xen's documentation of `noreboot`: the machine is not started again by itself after an error. One that was
/// asked for goes ahead.
fn machine_shutdown<M: Machine>(hv: &Hypervisor<M>, reason: u32) {
    let say = |level, what: fmt::Arguments<'_>| hv.machine.log(level, false, format_args!("Hardware Dom0 {what}"));
    let (restarts, then) = if hv.settings.no_reboot {
        (PowerAction::Halt, "'noreboot' set - not rebooting.")
    } else {
        (PowerAction::Reboot { delay_ms: CRASH_DELAY_MS }, "rebooting machine in 5 seconds.")
    };
    let at_once = PowerAction::Reboot { delay_ms: 0 };
    let action = match reason {
        SHUTDOWN_POWEROFF => {
            say(LogLevel::Info, format_args!("halted: halting machine"));
            PowerAction::PowerOff
        }
        SHUTDOWN_CRASH => {
            say(LogLevel::Error, format_args!("crashed: {then}"));
            restarts
        }
        SHUTDOWN_REBOOT => {
            say(LogLevel::Info, format_args!("shutdown: rebooting machine"));
            at_once
        }
        SHUTDOWN_WATCHDOG => {
            say(LogLevel::Error, format_args!("shutdown: watchdog rebooting machine"));
            at_once
        }
        other => {
            say(LogLevel::Error, format_args!("shutdown (unknown reason {other}): {then}"));
            restarts
        }
    };
    hv.machine.power(action);
}
