//! Every interleaving of a CPU's loop that puts a vCPU to sleep with somebody who wakes it, the code that is shipped:
//! `RUSTFLAGS="--cfg loom" cargo test -p xenolith-core --profile checked --test loom_block_and_wake`.
#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use xen_abi::VcpuId;
use xenolith_core::lifecycle::waking;
use xenolith_core::run::CpuLoop;
use xenolith_hal::{CpuId, GuestCpu};
use xenolith_world::World;

const VECTOR: u8 = 0xf3;
const STACK_BYTES: usize = 1 << 20;

fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    let body = std::sync::Arc::new(body);
    builder.check(move || {
        // A model begins on a stack of a few pages, which is too small to make a hypervisor on.
        let body = std::sync::Arc::clone(&body);
        thread::Builder::new().stack_size(STACK_BYTES).spawn(move || body()).unwrap().join().unwrap();
    });
}

/// The guest takes interrupts.
const RFLAGS_IF: u64 = 1 << 9;

/// A guest of one vCPU that halts, with interrupts on, whenever it is entered.
fn halting_guest() -> Arc<World> {
    let world = Arc::new(World::new(&[1]));
    let domain = world.domain(0);
    let vcpu = domain.vcpu(VcpuId(0)).unwrap();
    vcpu.bring_up();
    vcpu.with_core(|core| core.hardware.registers_mut().rflags |= RFLAGS_IF);
    world.hv.scheduler.wake(&world.hv.machine, &domain, vcpu);
    world
}

#[test]
fn an_interrupt_that_meets_a_halt_is_taken() {
    model(|| {
        let world = halting_guest();
        let raiser = Arc::clone(&world);
        let thread = thread::spawn(move || {
            let domain = raiser.domain(0);
            domain.vcpu(VcpuId(0)).unwrap().requests.post_vector(VECTOR);
            waking::notify_number(&raiser.hv, &domain, VcpuId(0));
        });
        let mut cpu = CpuLoop::new(CpuId(0));
        cpu.turn(&world.hv);
        cpu.turn(&world.hv);
        thread.join().unwrap();
        // The CPU is let out of its idling by the wake, and looks again.
        cpu.turn(&world.hv);
        let domain = world.domain(0);
        assert!(!domain.vcpu(VcpuId(0)).unwrap().requests.pending(), "the vCPU sleeps through its interrupt");
    });
}

#[test]
fn a_vcpu_that_is_paused_and_let_go_while_it_halts_is_not_forgotten() {
    model(|| {
        let world = halting_guest();
        let other = Arc::clone(&world);
        let thread = thread::spawn(move || {
            let domain = other.domain(0);
            waking::pause_all(&other.hv, &domain);
            waking::unpause_all(&other.hv, &domain);
            domain.vcpu(VcpuId(0)).unwrap().requests.post_vector(VECTOR);
            waking::notify_number(&other.hv, &domain, VcpuId(0));
        });
        let mut cpu = CpuLoop::new(CpuId(0));
        cpu.turn(&world.hv);
        thread.join().unwrap();
        cpu.turn(&world.hv);
        cpu.turn(&world.hv);
        let domain = world.domain(0);
        assert!(!domain.vcpu(VcpuId(0)).unwrap().requests.pending(), "the vCPU sleeps through its interrupt");
    });
}
