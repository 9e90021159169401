//! What becomes of the machine when its control domain ends.

use xen_abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT, SHUTDOWN_SUSPEND, SHUTDOWN_WATCHDOG};
use xenolith_core::lifecycle::power::domain_shutdown;
use xenolith_hal::PowerAction;
use xenolith_world::World;

/// Shuts domain `id` down for `reason`: what the machine does, and the lines that say so.
fn ends(no_reboot: bool, id: u16, reason: u32) -> (Option<PowerAction>, Vec<String>) {
    let mut world = World::new(&[1, 1]);
    world.hv.settings.no_reboot = no_reboot;
    // The machine of these tests records its end and goes on.
    world.with_call(id, |call| domain_shutdown(call.hv, call.domain, reason));
    let lines = world.hv.machine.logged().into_iter().filter(|line| line.contains("Hardware Dom0")).collect();
    (world.hv.machine.ended(), lines)
}

fn at_once() -> PowerAction {
    PowerAction::Reboot { delay_ms: 0 }
}

#[test]
fn a_control_domain_that_restarts_or_powers_off_takes_the_machine_along_and_one_line_says_so() {
    let restarted = vec!["Hardware Dom0 shutdown: rebooting machine".to_owned()];
    assert_eq!(ends(false, 0, SHUTDOWN_REBOOT), (Some(at_once()), restarted));
    let halted = vec!["Hardware Dom0 halted: halting machine".to_owned()];
    assert_eq!(ends(false, 0, SHUTDOWN_POWEROFF), (Some(PowerAction::PowerOff), halted));
    let watched = vec!["Hardware Dom0 shutdown: watchdog rebooting machine".to_owned()];
    assert_eq!(ends(false, 0, SHUTDOWN_WATCHDOG), (Some(at_once()), watched));
}

#[test]
fn after_a_crash_of_the_control_domain_the_console_can_be_read_for_five_seconds() {
    let (action, lines) = ends(false, 0, SHUTDOWN_CRASH);
    assert_eq!(action, Some(PowerAction::Reboot { delay_ms: 5000 }));
    assert_eq!(lines, ["Hardware Dom0 crashed: rebooting machine in 5 seconds."]);
    let (action, lines) = ends(false, 0, SHUTDOWN_SUSPEND);
    assert_eq!(action, Some(PowerAction::Reboot { delay_ms: 5000 }));
    assert_eq!(lines, ["Hardware Dom0 shutdown (unknown reason 2): rebooting machine in 5 seconds."]);
}

#[test]
fn noreboot_keeps_the_machine_from_restarting_after_a_crash_and_not_from_a_restart_that_was_asked_for() {
    let (action, lines) = ends(true, 0, SHUTDOWN_CRASH);
    assert_eq!(action, Some(PowerAction::Halt));
    assert_eq!(lines, ["Hardware Dom0 crashed: 'noreboot' set - not rebooting."]);
    assert_eq!(ends(true, 0, SHUTDOWN_REBOOT).0, Some(at_once()));
}

#[test]
fn another_domain_ends_without_the_machine() {
    for reason in [SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT, SHUTDOWN_CRASH] {
        assert_eq!(ends(false, 1, reason), (None, vec![]));
    }
}
