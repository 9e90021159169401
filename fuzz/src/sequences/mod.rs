//! Sequences of valid calls: grants are made, mapped and copied, FIFO events set up, domains made and ended, a device
//! model serves the HVM guest and leaves, while the clock moves, CPUs pass quiescent states, memory is refused at random and other vCPUs write to arguments. Every so
//! often each frame that a domain can reach is checked against the frame table.

pub mod audit;
mod control;
mod events;
mod grants;
mod memory;
mod models;
pub mod stage;

use fastrand::Rng;
use xen_abi::DomId;
use xenolith_hal::CpuId;

use stage::Stage;

use crate::guests;

/// Calls of one sequence. A world costs as much to build as a thousand calls.
const CALLS: std::ops::Range<u32> = 1_000..8_000;
/// Calls between two audits of the frames.
const AUDIT_EVERY: u32 = 256;

/// Runs one sequence in a new world, and returns how many hypercalls it made.
pub fn run(dice: &mut Rng) -> u64 {
    let hv = guests::hypervisor();
    let domains: Vec<_> = [DomId(0), DomId(1)].into_iter().filter_map(|id| hv.domains.get(id)).collect();
    let mut stage = Stage::new(&hv, dice);
    let steps = stage.dice.u32(CALLS);
    for step in 0..steps {
        let Some(guest) = domains.get(stage.dice.usize(..domains.len())) else { break };
        if guest.is_dying() {
            if guest.privileged {
                break;
            }
            continue;
        }
        stage.unsettle(guest);
        let went_on = match stage.dice.u8(..20) {
            0..=5 => stage.use_grants(guest),
            6..=9 => stage.use_events(guest),
            10..=12 => stage.use_memory(guest),
            13 => stage.use_anything(guest),
            14 | 15 if guest.privileged => stage.use_control(guest),
            _ if guest.privileged => stage.use_device_model(guest),
            _ => stage.use_devices(guest),
        };
        hv.machine.set_pace(0);
        hv.machine.disturbance.set(0, &[]);
        if went_on.is_none() {
            break;
        }
        hv.machine.pass_ns(stage.dice.u64(..200_000));
        match stage.dice.u8(..8) {
            0 => stage.pass_quiescent_states(),
            1 => hv.frames.quiet(CpuId(0)),
            _ => {}
        }
        if step % AUDIT_EVERY == 0 {
            hv.machine.forget_output();
            audit::check(&hv);
        }
    }
    audit::check(&hv);
    stage.calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_reach_behind_the_first_check_of_most_calls() {
        let hv = guests::hypervisor();
        let guest = hv.domains.get(DomId(0)).unwrap();
        let mut dice = Rng::with_seed(1);
        let mut stage = Stage::new(&hv, &mut dice);
        for _ in 0..3_000 {
            stage.use_grants(&guest).unwrap();
            stage.use_events(&guest).unwrap();
            stage.use_memory(&guest).unwrap();
            stage.pass_quiescent_states();
        }
        let device = hv.domains.get(DomId(1)).unwrap();
        for _ in 0..3_000 {
            stage.use_device_model(&guest).unwrap();
            stage.use_devices(&device).unwrap();
        }
        let went_on = 3_000 - stage.waits;
        assert!(stage.waits > 20 && went_on > 20, "it waited after {} steps, and went on after {went_on}", stage.waits);
        assert!(stage.mapped > 20, "only {} grants were mapped", stage.mapped);
        assert!(stage.good * 4 > stage.calls, "only {} of {} calls succeeded", stage.good, stage.calls);
    }
}
