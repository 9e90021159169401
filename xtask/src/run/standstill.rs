//! Waiting for the end of dom0's jobs, past a fault of the emulator.
//!
//! Under QEMU's TCG with a thread for each CPU, an idle CPU of real Xen now and then sleeps through the interrupt that was
//! to wake it, and the vCPU that waits for that CPU waits for ever. Any later interrupt wakes it, so where nothing is
//! said any more Xen is made to interrupt all of its CPUs. What dom0 and the guests say stays as it is.

use std::time::{Duration, Instant};

use anyhow::Result;
use xenolith_tests::console::Wait;

use super::job::Run;
use crate::boot::Hypervisor;

/// The line that ends the jobs.
const END: &str = "JOBS END";
/// A step that says nothing for so long may stand still.
const SILENCE: Duration = Duration::from_secs(20);
/// Three times Ctrl-a: what is typed goes to Xen from then on.
const TO_XEN: &[u8] = b"\x01\x01\x01";
/// The key by which Xen shows its clocks, for which it asks every CPU.
const CLOCKS: &[u8] = b"t";

/// Waits for the line that ends the jobs.
///
/// **Errors:** the machine ended before, or its time was up.
pub fn jobs_end(run: &mut Run, hypervisor: Hypervisor) -> Result<String> {
    let (mut read, mut seen, mut switched) = (0, 0, false);
    while hypervisor == Hypervisor::Xen && !run.machine.is_overdue() {
        let (wait, after) = run.machine.console.wait_for_after(END, read, Instant::now() + SILENCE);
        read = after;
        match wait {
            Wait::Line(_) | Wait::Closed => break,
            Wait::TimedOut if run.machine.console.position() == seen => {
                if !std::mem::replace(&mut switched, true) {
                    run.machine.send(TO_XEN)?;
                }
                run.machine.send(CLOCKS)?;
            }
            Wait::TimedOut => {}
        }
        seen = run.machine.console.position();
    }
    run.machine.expect(END)
}
