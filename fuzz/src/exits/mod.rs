//! The loops of two CPUs, whose guests exit for every reason there is, with what a hostile guest may choose of it, and
//! make hypercalls between: MSRs, CPUID, ports, device registers, faults, halts. Each guest checks at its next entry
//! that its registers are what the exit makes of them, and nothing else. Device interrupts come, time passes.

pub mod choose;
mod expect;
mod guest;
mod machine;

use std::sync::atomic::Ordering;

use fastrand::Rng;
use xen_abi::{DomId, Gfn};
use xenolith_core::domains::domain::Shutdown;
use xenolith_core::lifecycle::waking::{notify, resume};
use xenolith_core::run::CpuLoop;
use xenolith_core::{Hypervisor, Vcpu};
use xenolith_fake::FakeMachine;
use xenolith_hal::{CpuId, HostEvents, MessageAddress};

use crate::hypercalls::write_structures;
use crate::sequences::audit;
use crate::sequences::stage::{Guest, Stage};

use guest::Shared;
use machine::CODE;

/// Turns of one input.
const TURNS: std::ops::Range<u32> = 400..4_000;
/// Turns between two audits of the frames.
const AUDIT_EVERY: u32 = 256;
/// Exits that a guest makes in one turn at most.
const EXITS: u32 = 48;
/// Nanoseconds between two looks at the clock: a CPU that waits for another is to lose its patience.
const PACE_NS: u64 = 20_000;

/// Plays one input, and returns how many exits there were.
pub fn run(dice: &mut Rng) -> u64 {
    let hv = machine::hypervisor();
    let shared = Shared::default();
    let domains: Vec<_> = [DomId(0), DomId(1)].into_iter().filter_map(|id| hv.domains.get(id)).collect();
    for domain in &domains {
        machine::prepare(&hv, domain, &shared, dice);
    }
    let mut cpus = [CpuLoop::new(CpuId(0)), CpuLoop::new(CpuId(1))];
    let mut stage = Stage::new(&hv, dice);
    for turn in 0..stage.dice.u32(TURNS) {
        let Some(domain) = domains.get(stage.dice.usize(..domains.len())) else { break };
        if stage.dice.u8(..16) == 0 && stops(&shared, &hv, &mut cpus, &domains) {
            call(&mut stage, domain, &shared);
        }
        hv.machine.set_pace(PACE_NS);
        disturb(&mut stage, domain, &shared);
        shared.budget.store(stage.dice.u32(1..EXITS), Ordering::Relaxed);
        let number = stage.dice.usize(..cpus.len());
        hv.machine.go_to(CpuId(number as u32));
        cpus[number].turn(&hv);
        hv.machine.disturbance.set(0, &[]);
        check(&shared, &stage, &domains);
        if hv.machine.ended().is_some() || domains.iter().any(|domain| domain.privileged && domain.is_dying()) {
            break;
        }
        hv.machine.pass_ns(stage.dice.u64(..400_000));
        if turn % AUDIT_EVERY == 0 {
            audit::check(&hv);
            hv.machine.forget_output();
        }
    }
    audit::check(&hv);
    shared.exits.load(Ordering::Relaxed) + stage.calls
}

/// What happens around the guests before a turn.
fn disturb(stage: &mut Stage<'_>, domain: &Guest, shared: &Shared) {
    if stage.dice.u8(..8) == 0 {
        stage.unsettle(domain);
    }
    let hv = stage.hv;
    match stage.dice.u8(..16) {
        0..=3 => write_structures(stage.dice, hv, domain),
        4 => machine::write_code(stage.dice, hv, domain, Gfn(CODE)),
        5 => {
            let events = HostEvents::from_bits_truncate(stage.dice.u32(..32));
            hv.machine.raise(CpuId(stage.dice.u32(..2)), events);
        }
        6 => drop(hv.machine.raise_line(stage.dice.u32(..24))),
        7 => {
            let (address, data) = (0xfee0_0000 | stage.dice.u64(..4) << 12, stage.dice.u32(0x30..0x40));
            hv.machine.raise_message(MessageAddress { address, data });
        }
        8 if !domain.privileged => revive(stage.hv, domain),
        9 => stage.pass_quiescent_states(),
        _ => {}
    }
    for vcpu in &domain.vcpus {
        match stage.dice.u8(..16) {
            0 => {
                shared.nmi_sent(domain.id, vcpu.id);
                vcpu.requests.post_nmi();
            }
            1 => vcpu.requests.post_vector(stage.dice.u8(16..)),
            2 => vcpu.requests.post_level_vector(stage.dice.u8(16..)),
            _ => {}
        }
        if stage.dice.u8(..4) > 0 {
            notify(hv, domain, vcpu);
        }
    }
}

/// Resumes a domain that was shut down, and brings its vCPUs up.
fn revive(hv: &Hypervisor<FakeMachine>, domain: &Guest) {
    resume(hv, domain);
    for vcpu in &domain.vcpus {
        if vcpu.bring_up() {
            hv.scheduler.wake(&hv.machine, domain, vcpu);
        }
    }
}

/// Lets the guests halt, and returns whether none is on a CPU then.
fn stops(
    shared: &Shared,
    hv: &Hypervisor<FakeMachine>,
    cpus: &mut [CpuLoop<FakeMachine>; 2],
    domains: &[Guest],
) -> bool {
    shared.budget.store(0, Ordering::Relaxed);
    for _ in 0..2 {
        for (number, cpu) in (0..).zip(cpus.iter_mut()) {
            hv.machine.go_to(CpuId(number));
            cpu.turn(hv);
        }
    }
    !domains.iter().any(|domain| domain.vcpus.iter().any(Vcpu::is_running))
}

/// Makes some valid calls of a domain while no vCPU is on a CPU, so that there is something to exit for.
fn call(stage: &mut Stage<'_>, domain: &Guest, shared: &Shared) {
    shared.meddled.fetch_add(1, Ordering::Relaxed);
    for _ in 0..stage.dice.u8(..16) {
        let went_on = match stage.dice.u8(..8) {
            0..=2 => stage.use_grants(domain),
            3 | 4 => stage.use_events(domain),
            5 | 6 => stage.use_memory(domain),
            _ if domain.privileged => stage.use_control(domain),
            _ => Some(()),
        };
        if went_on.is_none() {
            return;
        }
    }
}

/// Checks what must hold after each turn.
fn check(shared: &Shared, stage: &Stage<'_>, domains: &[Guest]) {
    let ended = stage.hv.machine.ended().is_some();
    if let Some(id) = shared.take_fatal() {
        let domain = domains.iter().find(|domain| domain.id == id);
        let down = |domain: &Guest| domain.shutdown_reason() != Shutdown::NONE || domain.is_dying();
        assert!(ended || domain.is_none_or(down), "{id} goes on after an exit that ends it");
    }
    let twice = |line: &String| line.contains("on two CPUs");
    assert!(!stage.hv.machine.logged().iter().any(twice), "a vCPU was to run twice");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_make_many_exits_before_they_end() {
        let exits: u64 = (0..20).map(|seed| run(&mut Rng::with_seed(seed))).sum();
        assert!(exits > 20_000, "{exits} exits of 20 inputs");
    }
}
