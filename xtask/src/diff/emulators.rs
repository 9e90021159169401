//! The test kernel in a second emulator: Xenolith beside Xen there, and each of them beside itself in QEMU.
//!
//! What differs between the hypervisors in QEMU may differ here for the same reason. What differs only here is a fault, or
//! stands with its reason in [`EXPLAINED`]. What one hypervisor says in one emulator and not in the other comes of the
//! machine, and stands with its reason in [`MACHINES`].

use anyhow::Result;
use xenolith_tests::Emulator;

use super::comparison::{Cases, compare};
use super::{DiffArguments, on_xen, on_xenolith};
use crate::boot::Hypervisor;

/// The differences between the hypervisors that are seen in Bochs only, in `tests/`.
const EXPLAINED: &str = "explained-bochs.toml";
/// The differences between the emulators, in `tests/`.
const MACHINES: &str = "explained-emulators.toml";

/// The cases that Bochs does not come through, which stand in [`MACHINES`]: it ends where a guest ends by a triple fault, and
/// on its one CPU it stays for ever in a guest that spins with interrupts off.
pub(super) const LEFT_OUT: &str = "domain/triple-fault-is-a-reboot,domain/paused-does-not-run,\
                                   domain/two-run-beside-this-one,domain/ended-while-it-runs,domu/";

/// What the names of an ordinary domain's cases begin with. They are not asked in Bochs: it would take an hour, and the answers
/// are the core's, which the processor has no part in.
const DOMU: &str = "domu/";

/// Returns what more a hypervisor is told of its console: in Bochs real Xen's serial line is slower than the test kernel
/// writes, and it drops lines unless it waits for each character.
pub(super) fn console(hypervisor: Hypervisor, emulator: Emulator) -> &'static str {
    if hypervisor == Hypervisor::Xen && emulator == Emulator::Bochs { " sync_console" } else { "" }
}

/// Runs both hypervisors in Bochs and makes the three comparisons; returns whether each is good. `xen` and `xenolith` are
/// what they said in QEMU.
///
/// **Errors:** a run did not end, a list of reasons cannot be read.
pub(super) fn compare_all(arguments: &DiffArguments, xen: &Cases, xenolith: &Cases) -> Result<bool> {
    let asked = |cases: &Cases| -> Cases {
        let of_domain_0 = cases.iter().filter(|(name, _)| !name.starts_with(DOMU));
        of_domain_0.map(|(name, answer)| (name.clone(), answer.clone())).collect()
    };
    let (xen, xenolith) = (&asked(xen), &asked(xenolith));
    let xenolith_in_bochs = on_xenolith(Emulator::Bochs, arguments)?;
    let xen_in_bochs = on_xen(Emulator::Bochs, arguments)?;
    let (everywhere, here) = (arguments.reasons(super::EXPLAINED)?, arguments.reasons(EXPLAINED)?);
    let both = everywhere.into_iter().chain(here.clone()).collect();
    let mut beside = compare([("xen", &xen_in_bochs), ("xenolith", &xenolith_in_bochs)], &both);
    // What differs for a reason in QEMU need not differ here.
    beside.idle_reasons.retain(|name| here.contains_key(name));

    let machines = arguments.reasons(MACHINES)?;
    let mut of_xen = compare([("xen in qemu", xen), ("xen in bochs", &xen_in_bochs)], &machines);
    let mut of_xenolith =
        compare([("xenolith in qemu", xenolith), ("xenolith in bochs", &xenolith_in_bochs)], &machines);
    // QEMU's time goes by the host's clock, so its answers may differ from one run to the next.
    if !of_xen.unexplained.is_empty() {
        of_xen.pass_over_wavering(&on_xen(Emulator::Qemu, arguments)?);
    }
    if !of_xenolith.unexplained.is_empty() {
        of_xenolith.pass_over_wavering(&on_xenolith(Emulator::Qemu, arguments)?);
    }
    // A reason serves where one of the two differs.
    let idle_in_xen = std::mem::take(&mut of_xen.idle_reasons);
    of_xenolith.idle_reasons.retain(|name| idle_in_xen.contains(name));
    let judged = [
        beside.judge("diff in bochs", EXPLAINED),
        of_xen.judge("xen in bochs beside qemu", MACHINES),
        of_xenolith.judge("xenolith in bochs beside qemu", MACHINES),
    ];
    Ok(judged.iter().all(|is_good| *is_good))
}
