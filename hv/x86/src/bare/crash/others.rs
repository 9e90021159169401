//! What the other CPUs were doing when one of them brought the machine down.

use core::sync::atomic::{AtomicU32, Ordering};

use super::{halt, registers};
use crate::bare::base::{clock, cpu_area};
use crate::bare::interrupts::{InterruptFrame, local_apic};

/// How long a CPU may take to answer and report, in microseconds.
const PATIENCE: u64 = 500_000;
const STEP: u64 = 100;

/// CPUs report one after the other: the number of the one whose turn it is.
static TURN: AtomicU32 = AtomicU32::new(u32::MAX);
/// How many have reported.
static REPORTED: AtomicU32 = AtomicU32::new(0);

/// Makes every other CPU report and stop, each in its turn, by an NMI.
pub(super) fn stop_and_report() {
    let this = cpu_area::this_cpu();
    for (cpu, area) in cpu_area::all().filter(|(cpu, _)| *cpu != this) {
        let before = REPORTED.load(Ordering::Acquire);
        TURN.store(cpu.0, Ordering::Release);
        local_apic::send_nmi(area.apic_id.load(Ordering::Relaxed));
        let mut waited = 0;
        while REPORTED.load(Ordering::Acquire) == before && waited < PATIENCE {
            clock::wait_microseconds(STEP);
            waited += STEP;
        }
        if waited >= PATIENCE {
            crate::print!("*** CPU{} did not answer ***", cpu.0);
        }
    }
}

/// Reports what this CPU was doing when its turn comes, and stops it for good.
pub fn report_and_stop(frame: &InterruptFrame) -> ! {
    let cpu = cpu_area::this_cpu().0;
    // A CPU that came here on its own, by a fault of its own, waits to be asked; the NMI then finds it here.
    while TURN.load(Ordering::Acquire) != cpu {
        core::hint::spin_loop();
    }
    registers::show_bystander(frame);
    REPORTED.fetch_add(1, Ordering::AcqRel);
    halt();
}
