//! Dirty logging: what the toolstack is told of the pages of a running domain.

use super::toolstack::*;
use xen_abi::domctl::{
    DomctlShadowOp, XEN_DOMCTL_DESTROYDOMAIN, XEN_DOMCTL_SHADOW_OP, XEN_DOMCTL_SHADOW_OP_CLEAN,
    XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, XEN_DOMCTL_SHADOW_OP_OFF, XEN_DOMCTL_SHADOW_OP_PEEK,
};
use xen_abi::{DomId, Errno, GuestHandle};
use xenolith_core::components::grant::World as _;
use xenolith_core::memory::guest_memory::{GuestView, Layout, write_physical};
use xenolith_hal::{Gfn, Gpa, PagingRegisters};
use xenolith_world::World;

/// A domain with RAM at the frames from 10 on.
fn with_memory(world: &World, frames: u64) -> DomId {
    let id = create(world);
    give_vcpus(world, id, 2).unwrap();
    give_memory(world, id, 256).unwrap();
    populate(world, id, 10, frames);
    id
}

/// Asks which of the first `pages` frames were written.
fn ask(world: &World, id: DomId, op: u32, pages: u64, at: u64) -> Result<DomctlShadowOp, Errno> {
    let mut domctl = domctl(XEN_DOMCTL_SHADOW_OP, id);
    let dirty_bitmap = GuestHandle::new(at);
    domctl.set_shadow_op(DomctlShadowOp { op, pages, dirty_bitmap, ..DomctlShadowOp::default() });
    call(world, &mut domctl).map(|_| domctl.shadow_op())
}

/// Returns the first bytes of the bitmap, and how many pages it was said to count.
fn bits(world: &World, id: DomId, op: u32, pages: u64) -> ([u8; 4], u32) {
    let page = world.page(0, SECOND_BUFFER);
    assert!(page.write_bytes(0, &[0x55; 4096]));
    let told = ask(world, id, op, pages, address(SECOND_BUFFER)).unwrap();
    assert_eq!(told.pages, pages);
    let mut bytes = [0; 4];
    assert!(page.read_bytes(0, &mut bytes));
    (bytes, told.stats.dirty_count)
}

fn begin(world: &World, id: DomId) {
    assert_eq!(ask(world, id, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, 0, 0).map(drop), Ok(()));
}

#[test]
fn only_what_was_written_since_the_last_query_is_told() {
    let world = World::new(&[1]);
    let id = with_memory(&world, 3);
    begin(&world, id);
    assert_eq!(bits(&world, id, XEN_DOMCTL_SHADOW_OP_CLEAN, 32), ([0; 4], 0), "nothing yet");
    let written = domain(&world, id);
    written.space.guest_writes(Gfn(11));
    written.space.guest_writes(Gfn(20));
    assert_eq!(bits(&world, id, XEN_DOMCTL_SHADOW_OP_PEEK, 32), ([0, 8, 0, 0], 1), "no page is at frame 20");
    assert_eq!(bits(&world, id, XEN_DOMCTL_SHADOW_OP_CLEAN, 16), ([0, 8, 0x55, 0x55], 1));
    assert_eq!(bits(&world, id, XEN_DOMCTL_SHADOW_OP_CLEAN, 16), ([0, 0, 0x55, 0x55], 0));
    populate(&world, id, 14, 1);
    assert_eq!(bits(&world, id, XEN_DOMCTL_SHADOW_OP_CLEAN, 16).0[..2], [0, 0x40], "what is new is told");
}

#[test]
fn it_is_on_from_the_begin_to_the_end_alone() {
    let world = World::new(&[1]);
    let id = with_memory(&world, 3);
    for op in [XEN_DOMCTL_SHADOW_OP_CLEAN, XEN_DOMCTL_SHADOW_OP_PEEK] {
        assert_eq!(ask(&world, id, op, 64, 0), Err(Errno::EINVAL), "before");
    }
    begin(&world, id);
    assert_eq!(ask(&world, id, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY, 0, 0), Err(Errno::EINVAL), "twice");
    domain(&world, id).space.guest_writes(Gfn(11));
    for _ in 0..2 {
        assert_eq!(ask(&world, id, XEN_DOMCTL_SHADOW_OP_OFF, 0, 0).map(drop), Ok(()));
    }
    assert_eq!(ask(&world, id, XEN_DOMCTL_SHADOW_OP_CLEAN, 64, 0), Err(Errno::EINVAL), "after");
    begin(&world, id);
    assert_eq!(bits(&world, id, XEN_DOMCTL_SHADOW_OP_CLEAN, 16).1, 0, "it begins anew");
}

#[test]
fn frames_that_were_not_asked_for_keep_their_marks() {
    let world = World::new(&[1]);
    let id = with_memory(&world, 10);
    begin(&world, id);
    for frame in [10, 12, 13, 19] {
        domain(&world, id).space.guest_writes(Gfn(frame));
    }
    assert_eq!(bits(&world, id, XEN_DOMCTL_SHADOW_OP_CLEAN, 13), ([0, 0x14, 0x55, 0x55], 2));
    assert_eq!(bits(&world, id, XEN_DOMCTL_SHADOW_OP_CLEAN, 24), ([0, 0x20, 8, 0x55], 2));
}

#[test]
fn a_bitmap_that_cannot_be_written_loses_nothing() {
    let world = World::new(&[1]);
    let id = with_memory(&world, 3);
    begin(&world, id);
    domain(&world, id).space.guest_writes(Gfn(12));
    for nowhere in [NOWHERE, u64::MAX - 1] {
        assert_eq!(ask(&world, id, XEN_DOMCTL_SHADOW_OP_CLEAN, 4096, nowhere), Err(Errno::EFAULT));
    }
    assert_eq!(bits(&world, id, XEN_DOMCTL_SHADOW_OP_CLEAN, 16).0[..2], [0, 0x10]);
}

#[test]
fn a_long_bitmap_is_written_in_parts_and_wholly() {
    let world = World::new(&[1]);
    let id = with_memory(&world, 3);
    populate(&world, id, 20_000, 1);
    // The clock moves at each look, so that every look finds the time used up.
    world.hv.machine.set_pace(10_000_000);
    begin(&world, id);
    for frame in [11, 20_000] {
        domain(&world, id).space.guest_writes(Gfn(frame));
    }
    assert!(world.page(0, SECOND_BUFFER).write_bytes(0, &[0x55; 4096]));
    let told = ask(&world, id, XEN_DOMCTL_SHADOW_OP_CLEAN, 32_768, address(SECOND_BUFFER)).unwrap();
    assert_eq!((told.pages, told.stats.dirty_count), (32_768, 2));
    let mut bits = [0; 4096];
    assert!(world.page(0, SECOND_BUFFER).read_bytes(0, &mut bits));
    let set: Vec<_> = bits.iter().enumerate().filter(|(_, byte)| **byte != 0).collect();
    assert_eq!(set, [(1, &8), (2500, &1)]);
    let counted = ask(&world, id, XEN_DOMCTL_SHADOW_OP_CLEAN, u64::MAX, 0).unwrap();
    assert_eq!((counted.pages, counted.stats.dirty_count), (u64::MAX, 0), "without a bitmap");
}

#[test]
fn what_the_hypervisor_writes_for_the_guest_is_told() {
    let world = World::new(&[1]);
    let id = with_memory(&world, 3);
    begin(&world, id);
    let domain = domain(&world, id);
    let view = GuestView::new(world.hv.memory(&domain), PagingRegisters::default(), Layout::Native);
    view.write_bytes(12 << 12, &[1]).unwrap();
    view.read_bytes(11 << 12, &mut [0]).unwrap();
    write_physical(&world.hv.machine, &domain.space, Gpa(10 << 12), &[1]).unwrap();
    assert_eq!(bits(&world, id, XEN_DOMCTL_SHADOW_OP_CLEAN, 16).0[..2], [0, 0x14]);
}

#[test]
fn a_domain_that_is_destroyed_meanwhile_leaves_nothing() {
    let world = World::new(&[1]);
    let free = settle(&world);
    let id = with_memory(&world, 3);
    begin(&world, id);
    assert_eq!(plain(&world, XEN_DOMCTL_DESTROYDOMAIN, id), Ok(0));
    assert_eq!(settle(&world), free);
}
