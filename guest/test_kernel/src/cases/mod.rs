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
mod pirq;
mod pointer;
mod port;
mod refused;
mod sched;
mod smp;
mod string_io;
mod vcpu;
mod version;
mod viridian;
mod watched;

pub use domu::ROLE as DOMU;
pub use pirq::{NAMES as PIRQ_NAMES, ROLE as PIRQ};
pub use viridian::GROUPS as VIRIDIAN;

/// Runs domain 0's cases.
pub fn run(t: &mut Runner) {
    run_those_of(t, Asked::Domain0);
}

/// Runs an ordinary domain's cases.
pub fn run_in_domu(t: &mut Runner) {
    run_those_of(t, Asked::Domu);
}

/// Runs the cases of an ordinary domain with Microsoft's interface.
pub fn run_in_viridian(t: &mut Runner) {
    viridian::run_in_twin(t);
}

/// Runs the cases of an HVM guest's interrupts that come as events.
pub fn run_in_pirq(t: &mut Runner) {
    pirq::run_in_twin(t);
}

/// The domain that is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Domain0,
    Domu,
}

/// Runs the cases that a domain has, in an order that lets later ones rely on what earlier ones set up. Devices, and making
/// domains, are domain 0's alone; that each operation is refused is asked of an ordinary domain alone.
fn run_those_of(t: &mut Runner, asked: Asked) {
    let in_domain_0 = asked == Asked::Domain0;
    cpuid::run(t);
    msr::run(t);
    lapic::run(t);
    instruction::run(t);
    port::run(t);
    string_io::run(t);
    if in_domain_0 {
        device::run(t);
    }
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
    compat::run(t, in_domain_0);
    vcpu::run_last(t);
    smp::run(t);
    if in_domain_0 {
        domains::run(t);
        watched::run(t);
        domu::run(t);
        viridian::run(t);
        pirq::run(t);
    }
    evtchn_delivery::run_last(t);
    machine::run(t);
    control::run(t);
    if !in_domain_0 {
        refused::run(t);
    }
    memory::run_last(t);
}
