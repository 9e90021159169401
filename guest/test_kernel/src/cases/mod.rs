//! The cases, one file for each concern.

use crate::runner::Runner;

mod compat;
mod control;
mod cpuid;
mod device;
mod domains;
mod domu;
mod evtchn;
mod evtchn_delivery;
mod evtchn_fifo;
mod firmware;
mod grant;
mod grant_copy;
mod grant_map;
mod hvm;
mod instruction;
mod lapic;
mod machine;
mod memory;
mod msr;
mod multicall;
mod number;
mod pointer;
mod port;
mod refused;
mod sched;
mod smp;
mod string_io;
mod vcpu;
mod version;

pub use domu::ROLE as DOMU;

/// Runs all of them, in an order that lets later ones rely on what earlier ones set up.
pub fn run(t: &mut Runner) {
    cpuid::run(t);
    msr::run(t);
    lapic::run(t);
    instruction::run(t);
    port::run(t);
    string_io::run(t);
    device::run(t);
    evtchn_delivery::set_up();
    evtchn::run(t);
    evtchn_delivery::run(t);
    evtchn_fifo::run(t);
    grant::run(t);
    grant_map::run(t);
    grant_copy::run(t);
    version::run(t);
    vcpu::run(t);
    sched::run(t);
    hvm::run(t);
    number::run(t);
    multicall::run(t);
    pointer::run(t);
    memory::run(t);
    compat::run(t, true);
    vcpu::run_last(t);
    smp::run(t);
    domains::run(t);
    domu::run(t);
    evtchn_delivery::run_last(t);
    machine::run(t);
    control::run(t);
    memory::run_last(t);
}

/// Runs the cases of an ordinary domain, in such an order too.
pub fn run_in_domu(t: &mut Runner) {
    cpuid::run(t);
    msr::run(t);
    lapic::run(t);
    instruction::run(t);
    port::run(t);
    string_io::run(t);
    evtchn_delivery::set_up();
    evtchn::run(t);
    evtchn_delivery::run(t);
    evtchn_fifo::run(t);
    grant::run(t);
    grant_map::run(t);
    grant_copy::run(t);
    version::run(t);
    vcpu::run(t);
    sched::run(t);
    hvm::run(t);
    number::run(t);
    multicall::run(t);
    pointer::run(t);
    memory::run(t);
    compat::run(t, false);
    vcpu::run_last(t);
    smp::run(t);
    evtchn_delivery::run_last(t);
    machine::run(t);
    control::run(t);
    refused::run(t);
    memory::run_last(t);
}
