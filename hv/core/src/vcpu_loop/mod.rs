//! What a CPU does, for ever: picks a vCPU, runs it, answers why it came back, and runs it again.

mod exits;
mod interrupts;
mod run;
mod turn;

pub(crate) use exits::apic_effect;
pub use interrupts::{send_message, take_requests};
pub use turn::CpuLoop;

use crate::hypervisor::Hypervisor;
use xenolith_hal::Machine;

/// Runs the calling CPU; called once on each. Does not return.
pub fn run<M: Machine>(hv: &Hypervisor<M>) -> ! {
    let mut cpu = CpuLoop::new(hv.machine.this_cpu());
    loop {
        cpu.turn(hv);
    }
}
