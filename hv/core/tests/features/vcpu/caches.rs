//! WBINVD and INVD: whose devices may read memory past the caches.

use xen_abi::VcpuId;
use xenolith_core::run::CpuLoop;
use xenolith_hal::{CpuId, Exit, GuestCpu};
use xenolith_world::World;

/// Returns how often the caches are written back for two such instructions of a domain, which runs on afterwards.
fn flushes_for(id: u16) -> u64 {
    let world = World::new(&[1, 1]);
    let domain = world.domain(id);
    let vcpu = domain.vcpu(VcpuId(0)).unwrap();
    vcpu.with_core(|core| core.hardware.exits.extend([Exit::CacheFlush, Exit::CacheFlush, Exit::Interrupted]));
    let rip = || vcpu.with_core(|core| core.hardware.registers().rip).unwrap();
    let before = rip();
    vcpu.bring_up();
    world.hv.scheduler.wake(&world.hv.machine, &domain, vcpu);
    let mut cpu = CpuLoop::new(CpuId(0));
    cpu.turn(&world.hv);
    vcpu.pause();
    cpu.turn(&world.hv);
    assert_eq!(rip() - before, 2 * 3, "both instructions are over");
    world.hv.machine.cache_flushes()
}

#[test]
fn the_caches_are_written_back_for_the_domain_that_has_devices_and_for_no_other() {
    assert_eq!(flushes_for(0), 2);
    assert_eq!(flushes_for(1), 0);
}
