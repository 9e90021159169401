//! What a domain makes the hypervisor take of its own heap is counted, and ends at a budget that is fixed when the domain is
//! made. Another domain does not notice.
use crate::domctl::toolstack;
use xen_abi::event_channel::{EVTCHNOP_ALLOC_UNBOUND, EvtchnAllocUnbound};
use xen_abi::grant_entry::GTF_PERMIT_ACCESS;
use xen_abi::grant_table::*;
use xen_abi::hypercall::{EVENT_CHANNEL_OP, GRANT_TABLE_OP, MEMORY_OP};
use xen_abi::memory::XENMEM_ADD_TO_PHYSMAP;
use xen_abi::physmap::{AddToPhysmap, XENMAPSPACE_GRANT_TABLE};
use xen_abi::{DomId, Errno, Gfn};
use xenolith_core::components::event_channel::{BUCKET_BYTES, PORTS_PER_BUCKET};
use xenolith_core::components::grant::{FRAME_BYTES, MAPTRACK_FRAME_BYTES};
use xenolith_core::memory::frames::Account;
use xenolith_hal::{GrantRef, Machine, NestedSpace};
use xenolith_world::{Answer, World};
use zerocopy::IntoBytes;

fn account(world: &World, id: u16) -> &Account {
    world.hv.frames.account(DomId(id)).unwrap()
}

fn grant_frame(world: &World, id: u16, index: u64) -> Answer {
    let mut op = AddToPhysmap {
        domid: DomId::SELF,
        space: XENMAPSPACE_GRANT_TABLE,
        idx: index,
        gpfn: Gfn(0x1000 + index),
        ..AddToPhysmap::default()
    };
    world.call_with(id, MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, &mut op)
}

fn port(world: &World, id: u16) -> Answer {
    let mut op = EvtchnAllocUnbound { dom: DomId::SELF, remote_dom: DomId(0), ..Default::default() };
    world.call_with(id, EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, &mut op)
}

/// The domain maps its own grant 8 at a frame of its choice; gives the status.
fn map(world: &World, id: u16, at: u64) -> i16 {
    let mut op = GnttabMapGrantRef {
        host_addr: (0x10_0000 + at) << 12,
        flags: GrantMapFlags::HOST_MAP | GrantMapFlags::READONLY,
        gref: GrantRef((8 + at / 128) as u32),
        dom: DomId(id),
        ..GnttabMapGrantRef::default()
    };
    let page = world.page(id, Gfn(3));
    assert!(page.write_bytes(0, op.as_bytes()));
    assert_eq!(world.call(id, GRANT_TABLE_OP, [GNTTABOP_MAP_GRANT_REF.into(), 0x3000, 1, 0, 0, 0]), Ok(0));
    assert!(page.read_bytes(0, op.as_mut_bytes()));
    op.status
}

#[test]
fn grant_frames_end_with_the_budget() {
    let world = World::new(&[1, 1, 1]);
    account(&world, 1).begin_heap(10 * FRAME_BYTES);
    // The first one was there before.
    for index in 1..=10 {
        assert_eq!(grant_frame(&world, 1, index), Ok(0));
    }
    assert_eq!(account(&world, 1).heap_bytes(), 10 * FRAME_BYTES);
    assert_eq!(grant_frame(&world, 1, 11), Err(Errno::EINVAL));
    assert_eq!(account(&world, 1).heap_bytes(), 10 * FRAME_BYTES, "what was not taken is not counted");
    assert_eq!(grant_frame(&world, 2, 11), Ok(0));
}

#[test]
fn ports_end_with_the_budget() {
    let world = World::new(&[1, 1, 1]);
    account(&world, 1).begin_heap(2 * BUCKET_BYTES);
    // A bucket is there from the start, and port 0 is nobody's.
    for _ in 1..3 * PORTS_PER_BUCKET {
        assert_eq!(port(&world, 1), Ok(0));
    }
    assert_eq!(port(&world, 1), Err(Errno::ENOMEM));
    assert_eq!(port(&world, 2), Ok(0));
}

#[test]
fn mappings_of_grants_end_with_the_budget() {
    let world = World::new(&[1, 1]);
    assert_eq!(grant_frame(&world, 1, 0), Ok(0));
    let table = world.domain(1).space.lookup(Gfn(0x1000)).unwrap().mfn;
    for entry in 8..64 {
        let readable = u64::from(GTF_PERMIT_ACCESS) | 1 << 16 | 9 << 32;
        world.hv.machine.page(table).unwrap().store_u64(entry * 8, readable).unwrap();
    }
    account(&world, 1).begin_heap(3 * MAPTRACK_FRAME_BYTES);
    for at in 0..3 * 256 {
        assert_eq!(map(&world, 1, at), GNTST_OKAY);
    }
    assert_eq!(map(&world, 1, 3 * 256), GNTST_NO_SPACE);
    assert_eq!(account(&world, 1).heap_bytes(), 3 * MAPTRACK_FRAME_BYTES);
}

#[test]
fn a_domain_that_xl_makes_has_a_budget_which_does_for_its_grant_frames() {
    let world = World::new(&[1]);
    let id = toolstack::create(&world);
    let account = account(&world, id.0);
    assert!(account.heap_bytes() > 0, "its first grant frame is counted");
    assert!(account.charge_heap(63 * FRAME_BYTES) && account.charge_heap(16 * BUCKET_BYTES));
    assert!(account.charge_heap(195 * MAPTRACK_FRAME_BYTES), "50,000 mappings");
    assert!(!account.charge_heap(4 << 20));
}
