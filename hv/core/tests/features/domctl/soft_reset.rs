//! A domain's soft reset: what a kernel that `kexec` started finds.

use super::toolstack::*;
use xen_abi::domctl::*;
use xen_abi::event_channel::*;
use xen_abi::hypercall::{EVENT_CHANNEL_OP, MEMORY_OP, VCPU_OP};
use xen_abi::memory::XENMEM_ADD_TO_PHYSMAP;
use xen_abi::physmap::{AddToPhysmap, XENMAPSPACE_SHARED_INFO};
use xen_abi::sched::SHUTDOWN_SOFT_RESET;
use xen_abi::shared_info::VCPU_INFO_SIZE;
use xen_abi::vcpu::{VCPUOP_REGISTER_VCPU_INFO, VcpuRegisterVcpuInfo};
use xen_abi::{DomId, Errno, Gfn, Port, VcpuId};
use xenolith_core::domains::domain::Shutdown;
use xenolith_core::lifecycle::waking;
use xenolith_hal::{NestedSpace, PageKind};
use xenolith_world::{Answer, GUEST_PAGES, Plan, SHARED_INFO, World};
use zerocopy::FromZeros;

const GUEST: u16 = 1;

fn world() -> World {
    let world = World::planned(Plan { spare_pages: 1, ..Plan::TESTS }, &[1, 2]);
    // As a guest's kernel places it.
    let mut place =
        AddToPhysmap { domid: DomId::SELF, space: XENMAPSPACE_SHARED_INFO, gpfn: SHARED_INFO, ..Default::default() };
    assert_eq!(world.call_with(GUEST, MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, &mut place), Ok(0));
    world
}

fn reset(world: &World) -> Answer {
    plain(world, XEN_DOMCTL_SOFT_RESET, DomId(GUEST))
}

fn register_info(world: &World, vcpu: u64) -> Answer {
    let place = VcpuRegisterVcpuInfo { gfn: Gfn(3), offset: 64, ..VcpuRegisterVcpuInfo::new_zeroed() };
    assert!(world.page(GUEST, Gfn(4)).write_bytes(0, zerocopy::IntoBytes::as_bytes(&place)));
    world.call(GUEST, VCPU_OP, [VCPUOP_REGISTER_VCPU_INFO.into(), vcpu, Gfn(4).0 << 12, 0, 0, 0])
}

fn alloc_port(world: &World) -> Port {
    let mut op = EvtchnAllocUnbound { dom: DomId::SELF, remote_dom: DomId(0), ..Default::default() };
    assert_eq!(world.call_with(GUEST, EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, &mut op), Ok(0));
    op.port
}

#[test]
fn the_next_kernel_finds_no_ports_its_own_memory_and_its_vcpus_info_where_it_began() {
    let world = world();
    let domain = world.domain(GUEST);
    let port = alloc_port(&world);
    assert_eq!(register_info(&world, 0), Ok(0));
    assert_eq!(register_info(&world, 0), Err(Errno::EINVAL), "it may be moved once");
    let shared = domain.space.lookup(SHARED_INFO).unwrap();
    let memory = || (0..GUEST_PAGES).map(|gfn| domain.space.lookup(Gfn(gfn))).collect::<Vec<_>>();
    let (before, free) = (memory(), settle(&world));
    assert_eq!(reset(&world), Err(Errno::EINVAL), "it runs");
    assert!(waking::shut_down(&world.hv, &domain, SHUTDOWN_SOFT_RESET));
    assert_eq!(reset(&world), Ok(0));
    assert_eq!(domain.shutdown_reason(), Shutdown::NONE);
    assert_eq!(
        (memory(), settle(&world)),
        (before, free - 1),
        "a page for the shared one's place, and no other change"
    );
    assert!(domain.vcpus.iter().all(|vcpu| !vcpu.is_paused()));
    let now = domain.space.lookup(SHARED_INFO).unwrap();
    assert!(now.kind == PageKind::Ram && now.mfn != shared.mfn);
    let (page, offset) = domain.vcpu(VcpuId(1)).unwrap().info(&world.hv.machine).unwrap();
    assert!(core::ptr::eq(page, xenolith_hal::Machine::page(&world.hv.machine, shared.mfn).unwrap()));
    assert_eq!((offset, register_info(&world, 0)), (VCPU_INFO_SIZE, Ok(0)));
    assert_eq!(alloc_port(&world), port, "ports are given anew");
    assert_eq!(reset(&world), Err(Errno::EINVAL));
    // Once more, without a shared page that it sees.
    assert!(waking::shut_down(&world.hv, &domain, SHUTDOWN_SOFT_RESET));
    assert_eq!(reset(&world), Ok(0));
    assert_eq!(domain.space.lookup(SHARED_INFO).unwrap(), now);
}

#[test]
fn without_a_page_for_it_the_domain_stays_down_and_the_caller_cannot_reset_itself() {
    let world = world();
    assert_eq!(plain(&world, XEN_DOMCTL_SOFT_RESET, DomId(0)), Err(Errno::EINVAL));
    let domain = world.domain(GUEST);
    world.hv.frames.account(DomId(GUEST)).unwrap().set_max(xenolith_world::GUEST_PAGES as u32);
    assert!(waking::shut_down(&world.hv, &domain, SHUTDOWN_SOFT_RESET));
    assert_eq!(reset(&world), Err(Errno::EPERM));
    assert_eq!(domain.shutdown_reason(), Shutdown(SHUTDOWN_SOFT_RESET));
    assert_eq!(domain.space.lookup(SHARED_INFO).unwrap().kind, PageKind::Shared);
}

#[test]
fn a_device_model_ends_and_the_next_one_is_taken() {
    let world = crate::hvm::emulator::world();
    let domain = world.domain(crate::hvm::emulator::GUEST);
    let create = || crate::hvm::emulator::create(&world, 0);
    assert_eq!((create(), create()), (Ok(0), Ok(1)));
    assert!(waking::shut_down(&world.hv, &domain, SHUTDOWN_SOFT_RESET));
    assert_eq!(reset(&world), Ok(0));
    assert_eq!(create(), Ok(0));
}
