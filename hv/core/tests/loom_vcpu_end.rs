//! Every interleaving of somebody who sets a vCPU's registers with the end of its domain, the code that is shipped:
//! `RUSTFLAGS="--cfg loom" cargo test -p xenolith-core --profile checked --test loom_vcpu_end`.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use xen_abi::{DomId, VcpuId};
use xenolith_core::domains::vcpu::NoCore;
use xenolith_core::lifecycle::making;
use xenolith_hal::GuestCpu;
use xenolith_world::World;

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

fn tear_down(world: &World) -> bool {
    let domain = world.domain(0);
    domain.physmap.with_pool(|pool| making::tear_down(&world.hv, &domain.vcpus, DomId(0), pool))
}

#[test]
fn nobody_works_on_a_vcpu_whose_frames_were_given_back() {
    model(|| {
        let world = Arc::new(World::new(&[1]));
        let given_back = Arc::new(AtomicBool::new(false));
        let (other, frames_are_free) = (Arc::clone(&world), Arc::clone(&given_back));
        let ends = thread::spawn(move || {
            let done = tear_down(&other);
            frames_are_free.store(done, Ordering::SeqCst);
            done
        });
        let domain = world.domain(0);
        let vcpu = domain.vcpu(VcpuId(0)).unwrap();
        let worked = vcpu.with_core_apart(|core| {
            assert!(!given_back.load(Ordering::SeqCst), "the frames are somebody else's by now");
            core.hardware.registers_mut().rip = 0x1234;
            assert!(!given_back.load(Ordering::SeqCst), "they were given back meanwhile");
        });
        let ended = ends.join().unwrap();
        assert!(ended || worked.is_ok(), "one of the two had it");
        assert!(tear_down(&world), "nobody has it any more");
        assert_eq!(vcpu.with_core_apart(|_| ()), Err(NoCore::Gone));
        assert!(vcpu.take_core().is_none());
    });
}
