//! Waiting for what dom0 says, past a fault of the emulator.
//!
//! Under QEMU's TCG with a thread for each CPU, an idle CPU of real Xen now and then sleeps through the interrupt that was
//! to wake it, and the vCPU that waits for that CPU waits for ever. Any later interrupt wakes it, so where nothing is
//! said any more Xen is made to interrupt all of its CPUs. What dom0 and the guests say stays as it is.

use std::time::{Duration, Instant};

use anyhow::Result;
use xenolith_tests::Machine;
use xenolith_tests::console::Wait;

use super::job::Run;
use crate::boot::Hypervisor;

/// The line that ends the jobs.
const END: &str = "JOBS END";
/// A step that says nothing for this long may stand still.
const SILENCE: Duration = Duration::from_secs(20);
/// The key by which Xen shows its clocks, for which it asks every CPU.
const CLOCKS: &[u8] = b"t";

/// What is done where nothing is said.
pub struct Silence {
    hypervisor: Hypervisor,
    /// How much had been said when it was looked at last.
    seen: usize,
}

impl Silence {
    /// Watches a machine of this hypervisor that has said nothing yet.
    pub const fn of(hypervisor: Hypervisor) -> Self {
        Self { hypervisor, seen: 0 }
    }

    /// Returns until when to wait for what is to come by `until`: if it has not come then, [`Silence::passed`] is
    /// called.
    pub fn until(&self, until: Instant) -> Instant {
        match self.hypervisor {
            Hypervisor::Xen => until.min(Instant::now() + SILENCE),
            Hypervisor::Xenolith => until,
        }
    }

    /// Acts on a wait in vain: if nothing at all was said meanwhile, makes Xen interrupt its CPUs.
    pub fn passed(&mut self, machine: &mut Machine) {
        if machine.console.position() == self.seen {
            // One that does not answer will not go on either, and shows when its time is up.
            let _ = machine.press_keys(CLOCKS);
        }
        self.seen = machine.console.position();
    }
}

/// Waits for the line that ends the jobs.
///
/// **Errors:** the machine ended before, or its time was up.
pub fn jobs_end(run: &mut Run, hypervisor: Hypervisor) -> Result<String> {
    let (mut read, mut silence) = (0, Silence::of(hypervisor));
    while hypervisor == Hypervisor::Xen && !run.machine.is_overdue() {
        let (wait, after) = run.machine.console.wait_for_after(END, read, Instant::now() + SILENCE);
        read = after;
        match wait {
            Wait::Line(_) | Wait::Closed => break,
            Wait::TimedOut => silence.passed(&mut run.machine),
        }
    }
    run.machine.expect(END)
}
