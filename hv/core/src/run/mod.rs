//! The loop of a CPU: picks a vCPU, runs it, handles its exits, and runs it again.

mod exits;
mod turn;
mod vcpu;

pub use turn::CpuLoop;

use crate::domains::hypervisor::Hypervisor;
use xenolith_hal::Machine;

/// Runs the loop of the calling CPU; called once on each. Does not return.
pub fn run<M: Machine>(hv: &Hypervisor<M>) -> ! {
    let mut cpu = CpuLoop::new(hv.machine.this_cpu());
    loop {
        cpu.turn(hv);
    }
}
