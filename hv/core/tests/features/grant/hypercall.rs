//! `grant_table_op` from the caller's registers to what it finds afterwards.

use crate::call_lists::{LIST, SECOND_LIST, SLOW, address, looks, read_list, write_list};
use xen_abi::grant_entry::*;
use xen_abi::grant_table::*;
use xen_abi::hypercall::{GRANT_TABLE_OP, MEMORY_OP};
use xen_abi::memory::XENMEM_ADD_TO_PHYSMAP;
use xen_abi::physmap::*;
use xen_abi::{DomId, Errno, Gfn, GrantHandle, GrantRef, GuestHandle};
use xenolith_core::components::grant::Part;
use xenolith_hal::{Machine, PageWords};
use xenolith_world::{Answer, GUEST_PAGES, World};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Where the caller has no page.
const HOLE: u64 = 0x100;

fn table_page(world: &World, dom: u16) -> &PageWords {
    let table = world.domain(dom).grants.with_shape(|shape| shape.part(Part::Entries)[0].frame.mfn());
    world.hv.machine.page(table).unwrap()
}

/// Domain 1 grants its frames from 20 on to domain 0, by the entries from 100 on.
fn grants(world: &World, count: u64) {
    for n in 0..count {
        let word = u64::from(GTF_PERMIT_ACCESS) | (20 + n % 12) << 32;
        table_page(world, 1).store_u64((100 + n as usize) * 8, word).unwrap();
    }
}

fn map_request(n: u64) -> GnttabMapGrantRef {
    GnttabMapGrantRef {
        host_addr: (HOLE + n) << 12,
        flags: GrantMapFlags::HOST_MAP,
        gref: GrantRef(100 + n as u32),
        dom: DomId(1),
        ..GnttabMapGrantRef::default()
    }
}

fn list_call(world: &World, op: u32, count: u64) -> Answer {
    world.call(0, GRANT_TABLE_OP, [op.into(), address(LIST), count, 0, 0, 0])
}

#[test]
fn long_lists_of_grants_are_worked_on_in_parts() {
    let world = World::new(&[1, 1]);
    world.hv.machine.set_pace(SLOW);
    let count = 100_u64;
    grants(&world, count);
    let requests: Vec<_> = (0..count).map(map_request).collect();
    write_list(&world, 0, LIST, &requests);
    assert_eq!(list_call(&world, GNTTABOP_MAP_GRANT_REF, count), Ok(0));
    assert_eq!(looks(&world), 7, "in four parts");
    let mapped: Vec<GnttabMapGrantRef> = read_list(&world, 0, LIST, count as usize);
    assert!(mapped.iter().all(|op| op.status == GNTST_OKAY));
    let unmaps: Vec<_> = mapped
        .iter()
        .map(|op| GnttabUnmapGrantRef { host_addr: op.host_addr, handle: op.handle, ..GnttabUnmapGrantRef::default() })
        .collect();
    write_list(&world, 0, LIST, &unmaps);
    assert_eq!(list_call(&world, GNTTABOP_UNMAP_GRANT_REF, count), Ok(0));
    let unmapped: Vec<GnttabUnmapGrantRef> = read_list(&world, 0, LIST, count as usize);
    assert!(unmapped.iter().all(|op| op.status == GNTST_OKAY));
    assert_eq!(table_page(&world, 1).load_u16(100 * 8), Some(GTF_PERMIT_ACCESS));
    assert_eq!(list_call(&world, GNTTABOP_UNMAP_GRANT_REF, 1), Ok(0));
    let again: Vec<GnttabUnmapGrantRef> = read_list(&world, 0, LIST, 1);
    assert_eq!(again[0].status, GNTST_BAD_HANDLE);
}

#[test]
fn a_handle_named_twice_in_a_list_is_unmapped_once() {
    let world = World::new(&[1, 1]);
    grants(&world, 1);
    write_list(&world, 0, LIST, &[map_request(0)]);
    assert_eq!(list_call(&world, GNTTABOP_MAP_GRANT_REF, 1), Ok(0));
    let handle = read_list::<GnttabMapGrantRef>(&world, 0, LIST, 1)[0].handle;
    let unmap = GnttabUnmapGrantRef { host_addr: HOLE << 12, handle, ..GnttabUnmapGrantRef::default() };
    let never = GnttabUnmapGrantRef { handle: GrantHandle(7777), ..unmap };
    write_list(&world, 0, LIST, &[never, unmap, unmap]);
    assert_eq!(list_call(&world, GNTTABOP_UNMAP_GRANT_REF, 3), Ok(0));
    let statuses: Vec<i16> = read_list::<GnttabUnmapGrantRef>(&world, 0, LIST, 3).iter().map(|op| op.status).collect();
    assert_eq!(statuses, [GNTST_BAD_HANDLE, GNTST_OKAY, GNTST_BAD_HANDLE]);
}

#[test]
fn lists_that_cannot_be_read_and_lengths_that_cannot_be_are_refused() {
    let world = World::new(&[1, 1]);
    let nowhere = (GUEST_PAGES + 5) << 12;
    for op in [GNTTABOP_MAP_GRANT_REF, GNTTABOP_UNMAP_GRANT_REF, GNTTABOP_COPY, GNTTABOP_SWAP_GRANT_REF] {
        let call = |at, count| world.call(0, GRANT_TABLE_OP, [op.into(), at, count, 0, 0, 0]);
        assert_eq!(call(nowhere, 0), Ok(0));
        assert_eq!(call(nowhere, 1), Err(Errno::EFAULT));
        assert_eq!(call(nowhere, 0x8000_0000), Err(Errno::EINVAL));
    }
    for op in [GNTTABOP_QUERY_SIZE, GNTTABOP_SETUP_TABLE] {
        assert_eq!(world.call(0, GRANT_TABLE_OP, [op.into(), address(LIST), 2, 0, 0, 0]), Err(Errno::EINVAL));
    }
}

fn only<T: FromBytes + IntoBytes + Immutable + Clone>(world: &World, caller: u16, op: u32, value: T) -> (Answer, T) {
    write_list(world, caller, LIST, std::slice::from_ref(&value));
    let answer = world.call(caller, GRANT_TABLE_OP, [op.into(), address(LIST), 1, 0, 0, 0]);
    (answer, read_list::<T>(world, caller, LIST, 1)[0].clone())
}

#[test]
fn the_size_and_the_form_of_a_table_are_told_to_its_owner_and_the_control_domain() {
    let world = World::new(&[1, 1]);
    let size = |caller, dom| {
        let (answer, op) =
            only(&world, caller, GNTTABOP_QUERY_SIZE, GnttabQuerySize { dom, ..GnttabQuerySize::default() });
        (answer, op.status, op.nr_frames, op.max_nr_frames)
    };
    assert_eq!(size(1, DomId::SELF), (Ok(0), GNTST_OKAY, 1, 64));
    assert_eq!(size(0, DomId(1)), (Ok(0), GNTST_OKAY, 1, 64));
    assert_eq!(size(1, DomId(0)), (Ok(0), GNTST_PERMISSION_DENIED, 0, 0));
    assert_eq!(size(0, DomId(9)), (Ok(0), GNTST_BAD_DOMAIN, 0, 0));
    let form = |caller, dom| {
        let (answer, op) =
            only(&world, caller, GNTTABOP_GET_VERSION, GnttabGetVersion { dom, ..GnttabGetVersion::default() });
        answer.map(|_| op.version)
    };
    assert_eq!(
        (form(1, DomId::SELF), form(1, DomId(0)), form(0, DomId(9))),
        (Ok(1), Err(Errno::EPERM), Err(Errno::ESRCH))
    );
    let set = |version| {
        let (answer, op) = only(&world, 1, GNTTABOP_SET_VERSION, GnttabSetVersion { version });
        (answer, op.version)
    };
    assert_eq!(set(3), (Err(Errno::EINVAL), 1));
    assert_eq!(set(2), (Ok(0), 2));
    assert_eq!(form(0, DomId(1)), Ok(2));
}

#[test]
fn setting_a_table_up_tells_where_its_frames_are_seen() {
    let world = World::new(&[1]);
    let mut op =
        AddToPhysmap { domid: DomId::SELF, space: XENMAPSPACE_GRANT_TABLE, gpfn: Gfn(HOLE), ..AddToPhysmap::default() };
    assert_eq!(world.call_with(0, MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, &mut op), Ok(0));
    let setup = |nr_frames| {
        let frame_list = GuestHandle::new(address(SECOND_LIST));
        let (answer, op) = only(
            &world,
            0,
            GNTTABOP_SETUP_TABLE,
            GnttabSetupTable { dom: DomId::SELF, nr_frames, frame_list, ..GnttabSetupTable::default() },
        );
        (answer, op.status)
    };
    assert_eq!(setup(65), (Ok(0), GNTST_GENERAL_ERROR));
    assert_eq!(setup(2), (Ok(0), GNTST_OKAY));
    assert_eq!(read_list::<u64>(&world, 0, SECOND_LIST, 2), [HOLE, u64::MAX]);
}
