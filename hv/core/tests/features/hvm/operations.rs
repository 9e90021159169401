//! `dm_op`: every operation, its errors and their order.

use super::emulator::*;
use xen_abi::dm_op::*;
use xen_abi::hvm_op::*;
use xen_abi::hvm_param::{
    HVM_PARAM_BUFIOREQ_PFN, HVM_PARAM_IOREQ_PFN, HVM_PARAM_IOREQ_SERVER_PFN, HVM_PARAM_NR_IOREQ_SERVER_PAGES,
};
use xen_abi::{Errno, Gfn};
use xenolith_core::components::control::DirtyLog;
use xenolith_core::components::grant::World as _;
use xenolith_core::domains::domain::Shutdown;
use xenolith_hal::{NestedSpace, PageKind, Rights};
use xenolith_world::{World, vectors};
use zerocopy::IntoBytes;

/// Makes a request about the guest, whose arguments `set` writes.
fn ask(world: &World, op: u32, set: impl FnOnce(&mut DmOp)) -> Result<u64, Errno> {
    request(world, &mut dm_op(op, set))
}

#[test]
fn the_request_is_looked_at_in_xens_order() {
    let world = world();
    let short = |op, size| request_of(&world, GUEST, &mut dm_op(op, |op| op.pad = 1), size, None);
    assert_eq!(short(99, 7), Err(Errno::EFAULT), "too short to say what it is");
    assert_eq!(short(99, 8), Err(Errno::EOPNOTSUPP));
    assert_eq!(short(XEN_DMOP_CREATE_IOREQ_SERVER, 13), Err(Errno::EFAULT));
    assert_eq!(short(XEN_DMOP_CREATE_IOREQ_SERVER, 14), Err(Errno::EINVAL), "padding");
    assert_eq!(short(XEN_DMOP_SET_IRQ_LEVEL, 8), Err(Errno::EINVAL));
    let of = |target, op| request_of(&world, target, &mut dm_op(op, |_| {}), 32, None);
    assert_eq!(of(GUEST, 0), Err(Errno::EOPNOTSUPP));
    assert_eq!(of(GUEST, XEN_DMOP_SET_IRQ_LEVEL), Err(Errno::EOPNOTSUPP));
    assert_eq!(of(9, 99), Err(Errno::ESRCH));
    assert_eq!(of(0, 99), Err(Errno::EPERM));
}

#[test]
fn a_pvh_guest_has_no_device_model() {
    let world = World::new(&[1, 1]);
    assert_eq!(create(&world, 2), Err(Errno::EOPNOTSUPP));
    assert_eq!(range(&world, true, 0, 0, 1, 2), Err(Errno::EOPNOTSUPP));
    assert_eq!(acquire(&world, 0, 0, &[Gfn(0x200)]), Err(Errno::EINVAL));
}

#[test]
fn servers_are_made_and_ended() {
    let world = world();
    let heap = || world.hv.frames.account(xen_abi::DomId(GUEST)).unwrap().heap_bytes();
    let before = heap();
    assert_eq!(create(&world, 3), Err(Errno::EINVAL));
    for id in 0..8 {
        assert_eq!(create(&world, 2), Ok(id));
    }
    let full = heap();
    assert_eq!(create(&world, 0), Err(Errno::ENOSPC));
    assert_eq!(heap(), full);
    assert_eq!(destroy(&world, 8), Err(Errno::ENOENT));
    for id in 0..8 {
        assert_eq!(destroy(&world, id), Ok(0));
        assert_eq!(destroy(&world, id), Err(Errno::ENOENT));
    }
    assert_eq!(heap(), before, "what they took is free");
    for _ in 0..200 {
        assert_eq!(create(&world, 2), Ok(0), "ports are free as well");
        assert_eq!(destroy(&world, 0), Ok(0));
    }
}

#[test]
fn ranges_have_xens_errors() {
    let world = world();
    assert_eq!(range(&world, true, 0, 0, 2, 1), Err(Errno::EINVAL));
    assert_eq!(range(&world, true, 0, 0, 1, 1), Err(Errno::ENOENT));
    create(&world, 0).unwrap();
    assert_eq!(range(&world, true, 0, 3, 1, 1), Err(Errno::EINVAL));
    assert_eq!(range(&world, true, 0, 0, 0x10, 0x1f), Ok(0));
    assert_eq!(range(&world, true, 0, 0, 0x1f, 0x20), Err(Errno::EEXIST));
    assert_eq!(range(&world, false, 0, 0, 0x1f, 0x20), Err(Errno::ENOENT));
    assert_eq!(range(&world, false, 0, 0, 0x10, 0x1f), Ok(0));
    for index in 0..256 {
        assert_eq!(range(&world, true, 0, 1, index * 2, index * 2), Ok(0));
    }
    assert_eq!(range(&world, true, 0, 1, 1000, 1000), Err(Errno::ENOMEM));
    let padded = DmOpIoreqServerRange { pad: 1, ..Default::default() };
    for op in [XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER, XEN_DMOP_UNMAP_IO_RANGE_FROM_IOREQ_SERVER] {
        assert_eq!(ask(&world, op, |op| op.set_ioreq_server_range(padded)), Err(Errno::EINVAL));
    }
}

#[test]
fn the_pages_of_a_server_are_mapped_as_a_resource() {
    let world = world();
    let (buffered, synchronous) = (Gfn(0x200), Gfn(0x201));
    assert_eq!(acquire(&world, 0, 0, &[buffered]), Err(Errno::ENOENT));
    create(&world, 2).unwrap();
    assert_eq!(acquire(&world, 0x1_0000, 0, &[buffered]), Err(Errno::EINVAL));
    assert_eq!(acquire(&world, 0, 2, &[buffered]), Err(Errno::EINVAL));
    assert_eq!(acquire(&world, 0, 0, &[buffered, synchronous]), Ok(0));
    let frames = [buffered, synchronous].map(|gfn| world.domain(0).space.lookup(gfn).unwrap());
    assert!(frames.iter().all(|there| there.kind == PageKind::Foreign));
    assert_ne!(frames[0].mfn, frames[1].mfn);
    assert_eq!(acquire(&world, 0, 1, &[Gfn(0x202)]), Ok(0));
    assert_eq!(world.domain(0).space.lookup(Gfn(0x202)).unwrap().mfn, frames[1].mfn, "the same page again");
    assert_eq!(info(&world, 0, 0).err(), Some(Errno::EPERM), "not by number as well");
    let unbuffered = create(&world, 0).unwrap();
    assert_eq!(acquire(&world, unbuffered.into(), 0, &[Gfn(0x203)]), Err(Errno::ENOENT));
    assert_eq!(acquire(&world, unbuffered.into(), 1, &[Gfn(0x203)]), Ok(0));
    assert_eq!(info(&world, unbuffered, XEN_DMOP_NO_GFNS).unwrap().bufioreq_port.0, 0);
}

#[test]
fn frames_of_the_guest_serve_as_pages_the_older_way() {
    let world = world();
    let domain = world.domain(GUEST);
    create(&world, 2).unwrap();
    assert_eq!(info(&world, 0, 2).err(), Some(Errno::EINVAL), "unknown flags");
    assert_eq!(info(&world, 0, 0).err(), Some(Errno::ENOMEM), "the toolstack left no frames");
    domain.params.set(HVM_PARAM_IOREQ_SERVER_PFN, 20, false).unwrap();
    domain.params.set(HVM_PARAM_NR_IOREQ_SERVER_PAGES, 2, false).unwrap();
    let pages = info(&world, 0, 0).unwrap();
    assert_eq!((pages.ioreq_gfn, pages.bufioreq_gfn), (Gfn(20), Gfn(21)));
    assert_eq!(info(&world, 0, 0), Ok(pages), "they stay");
    assert_eq!(acquire(&world, 0, 0, &[Gfn(0x200)]), Err(Errno::EPERM));
    let page = world.page(GUEST, Gfn(20));
    page.store_u64(0, 7).unwrap();
    assert_eq!(set_state(&world, 0, 1), Ok(0));
    assert_eq!(domain.space.lookup(Gfn(20)), None, "the guest does not see it");
    assert_eq!((page.load_u64(0), page.load_u32(24) != Some(0)), (Some(0), true));
    assert_eq!(set_state(&world, 0, 0), Ok(0));
    assert!(domain.space.lookup(Gfn(20)).is_some_and(|there| there.kind == PageKind::Ram));
    assert_eq!(page.load_u32(24), Some(0), "nothing is left in it");
    set_state(&world, 0, 1).unwrap();
    assert_eq!(destroy(&world, 0), Ok(0));
    assert!(domain.space.lookup(Gfn(21)).is_some());
    create(&world, 2).unwrap();
    assert_eq!(info(&world, 0, 0), Ok(DmOpGetIoreqServerInfo { id: 0, ..pages }), "the frames are free again");
    let second = create(&world, 2).unwrap();
    assert_eq!(info(&world, second, 0).err(), Some(Errno::ENOMEM));
    domain.params.set(HVM_PARAM_IOREQ_PFN, 22, false).unwrap();
    domain.params.set(HVM_PARAM_BUFIOREQ_PFN, 23, false).unwrap();
    let pages = info(&world, second, 0).unwrap();
    assert_eq!((pages.ioreq_gfn, pages.bufioreq_gfn), (Gfn(22), Gfn(23)), "the two of the oldest way");
}

#[test]
fn states_need_a_server() {
    let world = world();
    assert_eq!(set_state(&world, 0, 1), Err(Errno::ENOENT));
    create(&world, 2).unwrap();
    assert_eq!([1, 1, 0, 0, 7].map(|on| set_state(&world, 0, on)), [Ok(0); 5]);
    let padded = DmOpSetIoreqServerState { pad: 1, ..Default::default() };
    assert_eq!(
        ask(&world, XEN_DMOP_SET_IOREQ_SERVER_STATE, |op| op.set_ioreq_server_state(padded)),
        Err(Errno::EINVAL)
    );
}

fn set_type(world: &World, mem_type: u16, first: u64, nr: u32) -> Result<u64, Errno> {
    let wanted = DmOpSetMemType { nr, mem_type, pad: 0, first_pfn: Gfn(first) };
    ask(world, XEN_DMOP_SET_MEM_TYPE, |op| op.set_mem_type(wanted))
}

#[test]
fn memory_becomes_read_only_and_the_device_models() {
    let world = world();
    let rights = |gfn| world.domain(GUEST).space.lookup(Gfn(gfn)).unwrap().rights;
    assert_eq!(set_type(&world, HVMMEM_RAM_RO, 4, 20), Ok(0));
    assert_eq!([3, 4, 23, 24].map(|gfn| rights(gfn).contains(Rights::WRITE)), [true, false, false, true]);
    assert_eq!(set_type(&world, HVMMEM_MMIO_DM, 4, 1), Ok(0));
    assert_eq!(rights(4), Rights::empty());
    assert_eq!(set_type(&world, HVMMEM_RAM_RW, 5, 19), Ok(0));
    assert_eq!(set_type(&world, HVMMEM_RAM_RW, 4, 1), Err(Errno::EINVAL), "a device's place stays that");
    assert_eq!((rights(4), rights(5)), (Rights::empty(), Rights::ALL));
    assert_eq!(set_type(&world, HVMMEM_RAM_RW, 4, 0), Err(Errno::EINVAL), "no pages");
    for (mem_type, first, nr) in [(HVMMEM_RAM_RO, 0x1000, 1), (3, 5, 1), (5, 5, 1), (HVMMEM_IOREQ_SERVER, 5, 1)] {
        assert_eq!(set_type(&world, mem_type, first, nr), Err(Errno::EINVAL));
    }
    assert_eq!(set_type(&world, HVMMEM_RAM_RO, u64::MAX, 2), Err(Errno::EINVAL));
    assert_eq!(set_type(&world, HVMMEM_RAM_RO, 31, 2), Err(Errno::EINVAL), "the shared page");
}

#[test]
fn memory_moves_and_goes_on_where_it_was_preempted() {
    let world = world();
    let relocate = |size, from, to| {
        let wanted = DmOpRelocateMemory { size, pad: 0, src_gfn: Gfn(from), dst_gfn: Gfn(to) };
        ask(&world, XEN_DMOP_RELOCATE_MEMORY, |op| op.set_relocate_memory(wanted))
    };
    let lookup = |gfn| world.domain(GUEST).space.lookup(Gfn(gfn)).map(|there| there.mfn);
    let before: Vec<_> = (8..28).map(lookup).collect();
    world.hv.machine.set_pace(200_000);
    assert_eq!(relocate(20, 8, 0x500), Ok(0));
    assert_eq!((0x500..0x514).map(lookup).collect::<Vec<_>>(), before);
    assert_eq!(lookup(8), None);
    assert_eq!(relocate(1, 8, 0x600), Err(Errno::EINVAL), "nothing is there");
    assert_eq!(relocate(2, u64::MAX, 0), Err(Errno::EOVERFLOW));
    assert_eq!(relocate(0, 8, 8), Ok(0));
}

#[test]
fn pages_that_a_device_model_wrote_count_as_written_while_dirty_logging_is_on() {
    let world = world();
    let modified = |nr_extents, opaque, extent: DmOpModifiedMemoryExtent| {
        assert!(world.page(0, EXTRA).write_bytes(0, extent.as_bytes()));
        let header = DmOpModifiedMemory { nr_extents, opaque };
        let mut op = dm_op(XEN_DMOP_MODIFIED_MEMORY, |op| op.set_modified_memory(header));
        request_of(&world, GUEST, &mut op, 32, Some(16))
    };
    let extent = |nr, first, pad| DmOpModifiedMemoryExtent { nr, pad, first_pfn: Gfn(first) };
    assert_eq!(modified(9, 9, extent(0, 0, 1)), Ok(0), "dirty logging is off");
    world.domain(GUEST).control.change(|state| state.dirty_log = DirtyLog::On { next: 0, counted: 0 });
    world.domain(GUEST).space.set_tracked(0..u64::MAX);
    assert_eq!(modified(2, 0, extent(1, 4, 0)), Err(Errno::EINVAL), "the buffer holds one");
    assert_eq!(modified(1, 0, extent(3, 4, 0)), Ok(0));
    let written = world.hv.memory(&world.domain(GUEST)).edit(|editor| editor.written(Gfn(0), true));
    assert_eq!(written[0], 0b111 << 4);
    for (opaque, wrong) in [(0, extent(3, 4, 1)), (0, extent(0, 4, 0)), (0, extent(1, 0x1000, 0)), (3, extent(3, 4, 0))]
    {
        assert_eq!(modified(1, opaque, wrong), Err(Errno::EINVAL));
    }
    assert_eq!(modified(1, 0, extent(1, u64::MAX, 0)), Err(Errno::EINVAL));
    assert_eq!(modified(0, 0, extent(0, 0, 0)), Ok(0));
}

#[test]
fn lines_are_checked() {
    let world = world();
    let pci = |domain, bus, device, intx, level| {
        let wanted = DmOpSetPciIntxLevel { domain, bus, device, intx, level };
        ask(&world, XEN_DMOP_SET_PCI_INTX_LEVEL, |op| op.set_pci_intx_level(wanted))
    };
    for wrong in [pci(1, 0, 0, 0, 0), pci(0, 1, 0, 0, 0), pci(0, 0, 32, 0, 0), pci(0, 0, 0, 4, 0), pci(0, 0, 0, 0, 2)] {
        assert_eq!(wrong, Err(Errno::EINVAL));
    }
    let isa = |isa_irq, level| {
        let wanted = DmOpSetIsaIrqLevel { isa_irq, level };
        ask(&world, XEN_DMOP_SET_ISA_IRQ_LEVEL, |op| op.set_isa_irq_level(wanted))
    };
    assert_eq!((isa(16, 0), isa(15, 2)), (Err(Errno::EINVAL), Err(Errno::EINVAL)));
    let route = |link, isa_irq| {
        let wanted = DmOpSetPciLinkRoute { link, isa_irq };
        ask(&world, XEN_DMOP_SET_PCI_LINK_ROUTE, |op| op.set_pci_link_route(wanted))
    };
    assert_eq!((route(4, 0), route(3, 16)), (Err(Errno::EINVAL), Err(Errno::EINVAL)));
    assert_eq!([pci(0, 0, 31, 3, 1), isa(15, 1), route(3, 15)], [Ok(0); 3]);
}

#[test]
fn messages_and_nmis_reach_the_vcpu() {
    let world = world();
    let msi =
        |addr, data| ask(&world, XEN_DMOP_INJECT_MSI, |op| op.set_inject_msi(DmOpInjectMsi { data, pad: 0, addr }));
    assert_eq!(msi(0xfee0_0000, 0x341), Err(Errno::EINVAL));
    let domain = world.domain(GUEST);
    // QEMU says where among messages a device wrote, and not where those are.
    for (addr, vector) in [(0xfee0_0000, 0x41), (0, 0x25)] {
        assert_eq!(msi(addr, u32::from(vector)), Ok(0));
        assert_eq!(vectors(domain.vcpus[0].requests.take()), [vector]);
    }
    assert_eq!(msi(0x2000, 0x26), Ok(0));
    assert_eq!(vectors(domain.vcpus[1].requests.take()), [0x26]);
    let event = |vcpuid, kind| {
        let wanted = DmOpInjectEvent { vcpuid, kind, ..Default::default() };
        ask(&world, XEN_DMOP_INJECT_EVENT, |op| op.set_inject_event(wanted))
    };
    assert_eq!(event(2, XEN_DMOP_EVENT_NMI), Err(Errno::EINVAL));
    assert_eq!(event(1, XEN_DMOP_EVENT_HW_EXC), Err(Errno::EOPNOTSUPP));
    assert_eq!(event(1, XEN_DMOP_EVENT_NMI), Ok(0));
    assert!(domain.vcpus[1].requests.take().nmi);
}

#[test]
fn the_rest_of_the_operations() {
    let world = world();
    let mut op = dm_op(XEN_DMOP_NR_VCPUS, |_| {});
    assert_eq!((request(&world, &mut op), op.nr_vcpus().vcpus), (Ok(0), 2));
    let pin = |start, end, kind| {
        let wanted = DmOpPinMemoryCacheattr { start: Gfn(start), end: Gfn(end), kind, pad: 0 };
        ask(&world, XEN_DMOP_PIN_MEMORY_CACHEATTR, |op| op.set_pin_memory_cacheattr(wanted))
    };
    assert_eq!(pin(0xf1000, 0xf1fff, XEN_DMOP_MEM_CACHEATTR_WB), Ok(0));
    assert_eq!(
        (pin(2, 1, 6), pin(0, 1 << 40, 6), pin(0, 1, 2)),
        (Err(Errno::EINVAL), Err(Errno::EINVAL), Err(Errno::EINVAL))
    );
    assert_eq!(pin(0, 1, XEN_DMOP_DELETE_MEM_CACHEATTR), Err(Errno::ENOENT));
    let map = |id, kind, flags| {
        let wanted = DmOpMapMemTypeToIoreqServer { id, kind, flags, opaque: 0 };
        ask(&world, XEN_DMOP_MAP_MEM_TYPE_TO_IOREQ_SERVER, |op| op.set_map_mem_type(wanted))
    };
    assert_eq!(
        (map(0, 0, 2), map(0, 4, 1), map(0, 4, 2)),
        (Err(Errno::EINVAL), Err(Errno::EINVAL), Err(Errno::ENOENT))
    );
    create(&world, 2).unwrap();
    assert_eq!((map(0, 4, 0), map(0, 4, 2)), (Err(Errno::EINVAL), Ok(0)));
    create(&world, 2).unwrap();
    assert_eq!((map(0, 4, 2), map(1, 4, 2), map(1, 4, 0)), (Err(Errno::EBUSY), Err(Errno::EBUSY), Err(Errno::EINVAL)));
    let rights = |gfn| world.domain(GUEST).space.lookup(Gfn(gfn)).unwrap().rights;
    assert_eq!(set_type(&world, HVMMEM_IOREQ_SERVER, 4, 20), Ok(0));
    assert_eq!(set_type(&world, HVMMEM_RAM_RO, 4, 1), Err(Errno::EINVAL), "from watched to plain alone");
    assert_eq!([3, 4, 23, 24].map(rights), [Rights::ALL, Rights::READ, Rights::READ, Rights::ALL]);
    world.hv.machine.set_pace(200_000);
    assert_eq!((map(0, 4, 0), map(0, 4, 0)), (Ok(0), Err(Errno::EINVAL)));
    assert_eq!([4, 23].map(rights), [Rights::ALL; 2], "all memory is plain again");
    assert_eq!((map(1, 4, 2), destroy(&world, 1), map(0, 4, 2)), (Ok(0), Ok(0), Ok(0)), "it ends with its server");
    let reason = DmOpRemoteShutdown { reason: 1 };
    assert_eq!(ask(&world, XEN_DMOP_REMOTE_SHUTDOWN, |op| op.set_remote_shutdown(reason)), Ok(0));
    assert_eq!(world.domain(GUEST).shutdown_reason(), Shutdown(1));
}

#[test]
fn a_watch_ends_soon_where_the_highest_page_lies_far_beyond_the_others() {
    let world = world();
    create(&world, 2).unwrap();
    let map = |flags| {
        let wanted = DmOpMapMemTypeToIoreqServer { id: 0, kind: HVMMEM_IOREQ_SERVER, flags, opaque: 0 };
        ask(&world, XEN_DMOP_MAP_MEM_TYPE_TO_IOREQ_SERVER, |op| op.set_map_mem_type(wanted))
    };
    let far = Gfn(1 << 35);
    let moved = DmOpRelocateMemory { size: 1, pad: 0, src_gfn: Gfn(5), dst_gfn: far };
    assert_eq!(ask(&world, XEN_DMOP_RELOCATE_MEMORY, |op| op.set_relocate_memory(moved)), Ok(0));
    assert_eq!((map(XEN_DMOP_IOREQ_MEM_ACCESS_WRITE), set_type(&world, HVMMEM_IOREQ_SERVER, far.0, 1)), (Ok(0), Ok(0)));
    // Frame by frame through what lies between would take minutes.
    assert_eq!(map(0), Ok(0));
    assert_eq!(world.domain(GUEST).space.lookup(far).unwrap().rights, Rights::ALL);
}
