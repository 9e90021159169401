//! Shutdown: of a vCPU, of a domain, of the machine.

use crate::domains::domain::{Domain, Shutdown};
use crate::domains::hypervisor::Hypervisor;
use crate::domains::vcpu::Vcpu;
use crate::lifecycle::event_domain::raise_for_handler;
use crate::lifecycle::waking::shut_down;
use core::fmt;
use core::sync::atomic::Ordering;
use xen_abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT, SHUTDOWN_WATCHDOG};
use xen_abi::virq::VIRQ_DOM_EXC;
use xenolith_hal::{LogLevel, Machine, PowerAction};

/// How long the console can be read before the machine reboots after a crash.
const CRASH_DELAY_MS: u32 = 5000;

/// Takes a vCPU down. When the last one of a domain goes down, the domain has powered off: that is how a PVH kernel
/// ends.
pub fn vcpu_down<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>) {
    vcpu.take_down();
    if !domain.vcpus.iter().any(Vcpu::is_up) {
        domain_shutdown(hv, domain, SHUTDOWN_POWEROFF);
    }
}

/// Shuts a domain down for its own reason. The control domain takes the machine with it; for others the control domain
/// is notified.
pub fn domain_shutdown<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, reason: u32) {
    // What an ordinary guest said before of its crash goes before what it says now.
    let reason = match Shutdown(domain.shutdown_code.load(Ordering::SeqCst)) {
        Shutdown::NONE => reason,
        _ if domain.privileged => reason,
        Shutdown(code) => code,
    };
    if !shut_down(hv, domain, reason) {
        return;
    }
    if domain.privileged {
        machine_shutdown(hv, reason);
    } else {
        notify_control_domain(hv);
    }
}

/// Notifies the control domain that a domain has changed its state (`VIRQ_DOM_EXC`).
pub fn notify_control_domain<M: Machine>(hv: &Hypervisor<M>) {
    raise_for_handler(hv, VIRQ_DOM_EXC);
}

/// Returns what the control domain's shutdown means for the machine, and logs it.
///
/// **Source:** Xen's documentation of `noreboot`: the machine does not reboot by itself after an error. A requested
/// reboot goes ahead.
fn machine_shutdown<M: Machine>(hv: &Hypervisor<M>, reason: u32) {
    let say = |level, what: fmt::Arguments<'_>| hv.machine.log(level, false, format_args!("Hardware Dom0 {what}"));
    let (restarts, then) = if hv.settings.no_reboot {
        (PowerAction::Halt, "'noreboot' set - not rebooting.")
    } else {
        (PowerAction::Reboot { delay_ms: CRASH_DELAY_MS }, "rebooting machine in 5 seconds.")
    };
    // This CPU waits or halts from here on.
    hv.watchdog.stop();
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
