//! A domain with devices of its own unmaps a grant: the granter hears of it when the devices do not reach the page either.

use crate::call_lists::address;
use xen_abi::grant_table::*;
use xen_abi::hypercall::{GRANT_TABLE_OP, MEMORY_OP};
use xen_abi::memory::XENMEM_ADD_TO_PHYSMAP;
use xen_abi::physmap::{AddToPhysmap, XENMAPSPACE_GRANT_TABLE};
use xen_abi::{DomId, Gfn, GrantHandle};
use xenolith_core::components::devices::{DevicePlan, HostDevices};
use xenolith_hal::{GrantRef, NestedSpace, PageWords};
use xenolith_world::World;
use zerocopy::IntoBytes;

const ENTRY: usize = 8;
const OPERATION: Gfn = Gfn(3);
const PLACE: u64 = 0x2000 << 12;
/// Marks of an entry that is read and written.
const IN_USE: u64 = 3 << 3;

fn operation<T: zerocopy::FromBytes + IntoBytes + zerocopy::Immutable>(world: &World, number: u32, op: &mut T) {
    assert!(world.page(0, OPERATION).write_bytes(0, op.as_bytes()));
    assert_eq!(world.call(0, GRANT_TABLE_OP, [number.into(), address(OPERATION), 1, 0, 0, 0]), Ok(0));
    assert!(world.page(0, OPERATION).read_bytes(0, op.as_mut_bytes()));
}

/// Domain 1 grants its frame 9; domain 0, which has the machine's devices, has mapped it.
fn mapped() -> (World, GrantHandle) {
    let world = World::new(&[1, 1]);
    let plan = DevicePlan { io_apics: &[], configuration: &[], kept: &[] };
    assert!(world.domain(0).devices.set(HostDevices::new(&world.hv.machine, &plan)).is_ok());
    let mut op = AddToPhysmap {
        domid: DomId::SELF,
        space: XENMAPSPACE_GRANT_TABLE,
        gpfn: Gfn(0x1000),
        ..AddToPhysmap::default()
    };
    world.call_with(1, MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, &mut op).unwrap();
    entry(&world).store_u64(ENTRY * 8, 1 | 9 << 32).unwrap();
    let mut op = GnttabMapGrantRef {
        host_addr: PLACE,
        flags: GrantMapFlags::HOST_MAP,
        gref: GrantRef(ENTRY as u32),
        dom: DomId(1),
        ..Default::default()
    };
    operation(&world, GNTTABOP_MAP_GRANT_REF, &mut op);
    assert_eq!(op.status, GNTST_OKAY);
    (world, op.handle)
}

fn entry(world: &World) -> &PageWords {
    world.page(1, Gfn(0x1000))
}

fn marks(world: &World) -> u64 {
    entry(world).load_u64(ENTRY * 8).unwrap() & IN_USE
}

fn unmap(world: &World, handle: GrantHandle) -> i16 {
    let mut op = GnttabUnmapGrantRef { host_addr: PLACE, handle, ..Default::default() };
    operation(world, GNTTABOP_UNMAP_GRANT_REF, &mut op);
    op.status
}

#[test]
fn the_granter_is_told_when_devices_have_forgotten_the_page() {
    let (world, handle) = mapped();
    world.hv.machine.let_iommus_answer(true);
    assert_eq!(marks(&world), IN_USE);
    assert_eq!(unmap(&world, handle), GNTST_OKAY);
    assert_eq!(marks(&world), 0);
}

#[test]
fn the_granter_is_not_told_while_an_iommu_does_not_answer() {
    let (world, handle) = mapped();
    world.hv.machine.let_iommus_answer(false);
    assert_eq!(unmap(&world, handle), GNTST_GENERAL_ERROR);
    assert_eq!(marks(&world), IN_USE, "a device may still write there");
    assert!(world.domain(0).space.lookup(Gfn(PLACE >> 12)).is_none(), "the CPUs do not reach it");
    assert_eq!(unmap(&world, handle), GNTST_GENERAL_ERROR, "it is tried again");
}
