//! A toolstack: what a control domain does by `domctl`.

use xen_abi::domctl::*;
use xen_abi::hypercall::DOMCTL;
use xen_abi::{DomId, Errno, Gfn};
use xenolith_core::components::grant::World as _;
use xenolith_core::domains::domain::Domain;
use xenolith_core::lifecycle::destruction::reap;
use xenolith_core::memory::frames::ANYWHERE;
use xenolith_core::memory::populate::{Extent, populate_extent};
use xenolith_fake::FakeMachine;
use xenolith_hal::{CpuId, PAGE_SIZE, PageOrder};
use xenolith_sync::Arc;
use xenolith_world::{Answer, World};
use zerocopy::IntoBytes;

/// Guest frames: one for the structure, and two for what it points to.
pub const STRUCTURE: Gfn = Gfn(3);
pub const FIRST_BUFFER: Gfn = Gfn(4);
pub const SECOND_BUFFER: Gfn = Gfn(5);
/// Where nothing is.
pub const NOWHERE: u64 = 0x100_0000;

pub const fn address(gfn: Gfn) -> u64 {
    gfn.0 * PAGE_SIZE as u64
}

/// A structure for an operation on a domain.
pub fn domctl(cmd: u32, domain: DomId) -> Domctl {
    Domctl { cmd, interface_version: XEN_DOMCTL_INTERFACE_VERSION, domain, ..Domctl::default() }
}

/// Makes a call of `caller` with a structure, which comes back as the call left it.
pub fn call_by(world: &World, caller: u16, op: &mut Domctl) -> Answer {
    let page = world.page(caller, STRUCTURE);
    assert!(page.write_bytes(0, op.as_bytes()));
    let answer = world.call(caller, DOMCTL, [address(STRUCTURE), 0, 0, 0, 0, 0]);
    assert!(page.read_bytes(0, op.as_mut_bytes()));
    answer
}

/// Makes a call of the control domain.
pub fn call(world: &World, op: &mut Domctl) -> Answer {
    call_by(world, 0, op)
}

/// An operation without arguments.
pub fn plain(world: &World, cmd: u32, domain: DomId) -> Answer {
    call(world, &mut domctl(cmd, domain))
}

/// What `xl` asks for a PVH guest.
pub fn options() -> DomctlCreatedomain {
    DomctlCreatedomain {
        handle: [7; 16],
        flags: CreateFlags::HVM | CreateFlags::HAP,
        max_vcpus: 2,
        max_evtchn_port: 1023,
        max_grant_frames: -1,
        max_maptrack_frames: -1,
        grant_opts: 2,
        arch: ArchDomainconfig { emulation_flags: EmulationFlags::LAPIC, ..ArchDomainconfig::default() },
        ..DomctlCreatedomain::default()
    }
}

pub fn create_with(world: &World, number: DomId, options: DomctlCreatedomain) -> Result<DomId, Errno> {
    let mut op = domctl(XEN_DOMCTL_CREATEDOMAIN, number);
    op.set_createdomain(options);
    call(world, &mut op)?;
    Ok(op.domain)
}

pub fn create(world: &World) -> DomId {
    create_with(world, DomId(0), options()).unwrap()
}

pub fn give_vcpus(world: &World, domain: DomId, max: u32) -> Answer {
    let mut op = domctl(XEN_DOMCTL_MAX_VCPUS, domain);
    op.set_max_vcpus(DomctlMaxVcpus { max });
    call(world, &mut op)
}

pub fn give_memory(world: &World, domain: DomId, pages: u64) -> Answer {
    let mut op = domctl(XEN_DOMCTL_MAX_MEM, domain);
    op.set_max_mem(DomctlMaxMem { max_memkb: pages * 4 });
    call(world, &mut op)
}

pub fn info(world: &World, domain: DomId) -> Result<DomctlGetdomaininfo, Errno> {
    let mut op = domctl(XEN_DOMCTL_GETDOMAININFO, domain);
    call(world, &mut op)?;
    assert_eq!(op.domain, op.getdomaininfo().domain);
    Ok(op.getdomaininfo())
}

pub fn flags(world: &World, domain: DomId) -> DomainFlags {
    DomainFlags(info(world, domain).unwrap().flags.0 & 0xffff)
}

pub fn destroy(world: &World, domain: DomId) -> Answer {
    plain(world, XEN_DOMCTL_DESTROYDOMAIN, domain)
}

pub fn domain(world: &World, id: DomId) -> Arc<Domain<FakeMachine>> {
    world.hv.domains.get(id).unwrap()
}

/// Gives a domain pages at a run of frames.
pub fn populate(world: &World, id: DomId, first: u64, count: u64) {
    let domain = domain(world, id);
    for gfn in (first..first + count).map(Gfn) {
        let extent = Extent { gfn, order: PageOrder::SIZE_4K };
        populate_extent(&world.hv.memory(&domain), extent, ANYWHERE).unwrap();
    }
}

/// Lets grace periods pass and the dead be buried; gives how many frames are free then.
pub fn settle(world: &World) -> u64 {
    // Two for the grace period, and one for each part of what is freed, of which there may be many.
    for turn in 0..1024 {
        if turn >= 32 && world.hv.frames.waiting() == 0 {
            break;
        }
        world.hv.frames.quiet(CpuId(0));
        world.hv.machine.pass_ns(10_000_000);
        let _ = world.hv.frames.poll(&world.hv.machine, || false);
        let _ = reap(&world.hv);
    }
    assert_eq!(world.hv.frames.waiting(), 0);
    world.hv.frames.free_pages()
}
