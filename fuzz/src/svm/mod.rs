//! The vCPUs of SVM on a scripted processor: each entry is checked against what the guest left and what the core did
//! since, with the CPU's caches of control blocks and translations; then the guest changes what is its own, events are
//! delivered or cut short, and it exits for any reason that there is. At last exits come that no CPU makes.

mod clean;
mod control;
mod core;
mod exits;
mod guest;
mod processor;
mod stage;

use std::cell::RefCell;
use std::rc::Rc;

use fastrand::Rng;
use xenolith_hal::{CpuState, GuestCpu, Registers, RunControl};
use xenolith_x86::guest::svm::scripted;
use xenolith_x86::guest::svm::vmcb::{Field, Vmcb};

use stage::Stage;

/// Runs of one input.
const RUNS: std::ops::Range<u32> = 50..600;
/// Exits of one input that no CPU makes.
const WILD: u32 = 20;

/// Plays one input, and returns how many entries were made.
pub fn run(dice: &mut Rng) -> u64 {
    let mut stage = Stage::new(dice);
    for _ in 0..stage.dice.u32(RUNS) {
        let at = stage.any();
        stage.run(at);
        for _ in 0..stage.dice.u8(..4) {
            stage.touch(at);
        }
    }
    let entries = stage.end();
    go_wild(dice);
    entries + u64::from(WILD)
}

/// Lets the processor write anything anywhere into the control block, so that nothing but the absence of a panic can be
/// asked for.
fn go_wild(dice: &mut Rng) {
    let mut noise = dice.fork();
    scripted::always(Some(Rc::new(RefCell::new(move |registers: &mut Registers, vmcb: Vmcb| {
        for _ in 0..noise.usize(..32) {
            vmcb.set_word(noise.usize(..0x700 / 8), noise.u64(..) >> noise.u32(..64));
        }
        registers.rcx = noise.u64(..) >> noise.u32(..64);
        let code = if noise.u8(..4) > 0 { noise.u64(..0x410) } else { noise.u64(..) | 0xffff_ff00 };
        vmcb.set(Field::EXIT_CODE, code);
    }))));
    let mut pool = xenolith_x86::guest::frame_pool::Pool::new(1);
    let limits = xenolith_x86::guest::nested::TableLimits { address_bits: 40, huge_pages: false };
    let space = processor::Space::new(pool.clone(), limits, 256, &mut pool).expect("the pool is full");
    let mut vcpu = scripted::vcpu();
    for _ in 0..WILD {
        let control = RunControl { interrupt: Some(dice.u8(..)), task_priority: dice.u8(..), nmi: dice.bool() };
        let _ = vcpu.run(&space, control, &mut ());
        assert!(vcpu.instruction_bytes().1 <= 15 && vcpu.task_priority() < 16 && vcpu.paging().cpl < 4);
        vcpu.skip_instruction();
        let state = vcpu.state();
        if vcpu.set_state(&state).is_err() && dice.bool() {
            assert_eq!(vcpu.set_state(&CpuState::after_init()), Ok(()));
        }
    }
    vcpu.park();
    scripted::always(None);
    scripted::tear_down(vcpu);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_reach_the_fast_path_and_nmis() {
        let (mut answered, mut nmis) = (0, 0);
        for seed in 0..30 {
            let mut dice = Rng::with_seed(seed);
            let mut stage = Stage::new(&mut dice);
            for _ in 0..200 {
                let at = stage.any();
                stage.run(at);
                stage.touch(at);
            }
            answered += stage.answered;
            nmis += stage.taken;
            stage.end();
        }
        assert!(answered > 30 && nmis > 100, "{answered} answered, {nmis} NMIs");
    }
}
