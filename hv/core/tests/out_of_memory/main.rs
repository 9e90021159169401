//! What calls do when the hypervisor's heap has nothing left: each allocation that a call makes is refused in turn. The call
//! fails, and nothing is lost; an allocation that cannot fail would end the process here, and there the host.
#![cfg(not(loom))]

#[allow(dead_code, reason = "each test uses its own part")]
#[path = "../features/domctl/toolstack.rs"]
mod toolstack;

use std::process::Command;
use toolstack::*;
use xen_abi::domctl::*;
use xen_abi::event_channel::*;
use xen_abi::grant_table::*;
use xen_abi::hypercall::*;
use xen_abi::memory::*;
use xen_abi::memory_map::{ForeignMemoryMap, MemoryMap};
use xen_abi::physmap::*;
use xen_abi::{DomId, Errno, Gfn, GuestHandle, VcpuId};
use xenolith_core::components::devices::{DevicePlan, HostDevices};
use xenolith_core::components::grant::World as _;
use xenolith_core::memory::frames::ANYWHERE;
use xenolith_core::memory::populate::{Extent, populate_extent};
use xenolith_core::x86::interrupts::with_owner;
use xenolith_fake::FakeFunction;
use xenolith_hal::{GrantRef, IoAccess, IoSize, PageOrder};
use xenolith_sync::refusing::Refusing;
use xenolith_world::{Answer, World};

#[global_allocator]
static HEAP: Refusing = Refusing;

/// The machine of these tests, and the tests themselves, take what they need.
const EXEMPT: &[&str] = &["hv/fake/", "hv/core/tests/", "./tests/"];
/// What takes nothing of the heap.
const NEEDS_NO_HEAP: &[&str] = &["populate", "destroydomain", "fifo"];
/// Which case a process of its own is for.
const CASE: &str = "OUT_OF_MEMORY_CASE";

/// A case: makes what the call needs, and gives the call.
type Case = fn(&World) -> Box<dyn Fn(&World) -> Answer>;

const CASES: &[(&str, Case)] = &[
    ("createdomain", |_| Box::new(|world| create_with(world, DomId(0), options()).map(|id| u64::from(id.0)))),
    ("max_vcpus", |world| {
        let id = create(world);
        Box::new(move |world| give_vcpus(world, id, 2))
    }),
    ("populate", |world| {
        let id = create(world);
        give_memory(world, id, 64).unwrap();
        Box::new(move |world| {
            for gfn in (0..32).map(Gfn) {
                let extent = Extent { gfn, order: PageOrder::SIZE_4K };
                populate_extent(&world.hv.memory(&domain(world, id)), extent, ANYWHERE)?;
            }
            Ok(0)
        })
    }),
    ("alloc_unbound", |_| {
        Box::new(|world| {
            for _ in 0..200 {
                let mut op = EvtchnAllocUnbound { dom: DomId::SELF, remote_dom: DomId(0), ..Default::default() };
                world.call_with(1, EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, &mut op)?;
            }
            Ok(0)
        })
    }),
    ("fifo", |_| {
        Box::new(|world| {
            let mut op = EvtchnInitControl { control_gfn: Gfn(6), offset: 0, vcpu: VcpuId(0), ..Default::default() };
            world.call_with(1, EVENT_CHANNEL_OP, EVTCHNOP_INIT_CONTROL, &mut op)?;
            let mut op = EvtchnExpandArray { array_gfn: Gfn(7) };
            world.call_with(1, EVENT_CHANNEL_OP, EVTCHNOP_EXPAND_ARRAY, &mut op)
        })
    }),
    ("grant_frames", |_| Box::new(|world| (0..8).try_fold(0, |_, index| add_grant_frame(world, 1, index)))),
    ("map_grant_ref", |world| {
        add_grant_frame(world, 1, 0).unwrap();
        world.page(1, Gfn(0x1000)).store_u64(8 * 8, 1 | 9 << 32).unwrap();
        Box::new(|world| {
            for at in 0..3 {
                let mut op = GnttabMapGrantRef {
                    host_addr: (0x2000 + at) << 12,
                    flags: GrantMapFlags::HOST_MAP,
                    gref: GrantRef(8),
                    dom: DomId(1),
                    ..Default::default()
                };
                let page = world.page(0, STRUCTURE);
                assert!(page.write_bytes(0, zerocopy::IntoBytes::as_bytes(&op)));
                world.call(0, GRANT_TABLE_OP, [GNTTABOP_MAP_GRANT_REF.into(), address(STRUCTURE), 1, 0, 0, 0])?;
                assert!(page.read_bytes(0, zerocopy::IntoBytes::as_mut_bytes(&mut op)));
                if op.status != GNTST_OKAY {
                    return Err(Errno::ENOMEM);
                }
            }
            Ok(0)
        })
    }),
    ("set_cpu_policy", |world| {
        let id = create(world);
        Box::new(move |world| {
            let mut op = domctl(XEN_DOMCTL_SET_CPU_POLICY, id);
            let leaves = GuestHandle::new(address(FIRST_BUFFER));
            op.set_cpu_policy(DomctlCpuPolicy { nr_leaves: 0, leaves, ..Default::default() });
            call(world, &mut op)
        })
    }),
    ("memory_map", |world| {
        let id = create(world);
        Box::new(move |world| {
            let map =
                MemoryMap { nr_entries: 3, buffer: GuestHandle::new(address(FIRST_BUFFER)), ..Default::default() };
            let mut op = ForeignMemoryMap { domid: id, map, ..Default::default() };
            world.call_with(0, MEMORY_OP, XENMEM_SET_MEMORY_MAP, &mut op)
        })
    }),
    ("gethvmcontext", |world| {
        let id = create(world);
        give_vcpus(world, id, 2).unwrap();
        Box::new(move |world| {
            let mut op = domctl(XEN_DOMCTL_GETHVMCONTEXT, id);
            let buffer = GuestHandle::new(address(Gfn(8)));
            op.set_hvmcontext(DomctlHvmcontext { size: 1 << 16, buffer, ..Default::default() });
            call(world, &mut op)
        })
    }),
    ("new_function", |world| {
        let plan = DevicePlan { io_apics: &[], configuration: &[], kept: &[] };
        let devices = HostDevices::new(&world.hv.machine, &plan);
        assert!(domain(world, DomId(0)).devices.set(devices).is_ok());
        let mut card = FakeFunction::new(0x8086, 0x10d3);
        card.set(4, 0x0010_0000, 0);
        card.set(0x34, 0xa0, 0);
        card.set(0xa0, 0x0004_0011, 0);
        // It appears after the machine was looked through.
        world.hv.machine.plug(0x10, card);
        Box::new(|world| {
            let at = |port, write| IoAccess { port, size: IoSize::Dword, write, string: false, repeat: false };
            let dom0 = domain(world, DomId(0));
            with_owner(&world.hv, &dom0, |devices, owner| devices.write_port(owner, at(0xcf8, true), 0x8000_1000));
            match dom0.devices.get().and_then(|devices| devices.read_port(&world.hv.machine, at(0xcfc, false))) {
                Some(0x10d3_8086) => Ok(0),
                Some(u32::MAX) => Err(Errno::ENOMEM),
                other => panic!("{other:?}"),
            }
        })
    }),
    ("destroydomain", |world| {
        let id = create(world);
        give_vcpus(world, id, 2).unwrap();
        give_memory(world, id, 64).unwrap();
        populate(world, id, 0, 32);
        Box::new(move |world| {
            let answer = destroy(world, id);
            settle(world);
            answer
        })
    }),
];

fn add_grant_frame(world: &World, id: u16, index: u64) -> Answer {
    let mut op = AddToPhysmap {
        domid: DomId::SELF,
        space: XENMAPSPACE_GRANT_TABLE,
        idx: index,
        gpfn: Gfn(0x1000 + index),
        ..AddToPhysmap::default()
    };
    world.call_with(id, MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, &mut op)
}

/// Refuses each allocation of a case in turn; gives how many there are.
fn refuse_each(name: &str, case: Case) -> usize {
    for given in 0..1000 {
        let world = World::new(&[1, 1]);
        let call = case(&world);
        let before = settle(&world);
        let (answer, refused) = Refusing::with_one_refused(given, EXEMPT, || call(&world));
        eprintln!("{name}, after {given} allocations: {answer:?}");
        if !refused {
            assert!(answer.is_ok(), "{name}: {answer:?}");
            return given;
        }
        let is_short = matches!(answer, Ok(_) | Err(Errno::ENOMEM | Errno::ENOSPC | Errno::EINVAL));
        assert!(is_short, "{name} says {answer:?} where memory is short");
        if answer.is_err() && matches!(name, "createdomain" | "max_vcpus") {
            assert_eq!(settle(&world), before, "{name}: frames are lost");
        }
        // Nothing is left in the way.
        if answer.is_err() {
            let again = call(&world);
            assert!(again.is_ok(), "{name}, made once more: {again:?}");
        }
    }
    panic!("{name} never ends");
}

/// The part of the next test that runs in a process of its own.
#[test]
fn one_case() {
    let Ok(name) = std::env::var(CASE) else { return };
    let (name, case) = CASES.iter().find(|(known, _)| *known == name).unwrap();
    assert!(refuse_each(name, *case) > 0 || NEEDS_NO_HEAP.contains(name), "{name} was refused nothing");
}

#[test]
fn no_call_ends_the_host_when_the_heap_has_nothing_left() {
    let mut failed = Vec::new();
    for (name, _) in CASES {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.args(["--exact", "one_case", "--nocapture"]).env(CASE, name).output().unwrap();
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let last: Vec<&str> = text.lines().rev().take(12).collect();
            failed.push(format!("{name}:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n")));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}
