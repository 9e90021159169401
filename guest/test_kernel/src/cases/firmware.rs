//! The hypercalls of 32-bit firmware, boot loaders and kernels (hvmloader, SeaBIOS, GRUB, Linux), each as they make it.

use xen_abi::console_io::CONSOLEIO_WRITE;
use xen_abi::grant_table::{GNTTABOP_QUERY_SIZE, GnttabQuerySize};
use xen_abi::hvm_op::{HVMOP_GET_PARAM, HVMOP_SET_PARAM, HvmParam};
use xen_abi::hvm_param::{HVM_PARAM_CALLBACK_IRQ, HVM_PARAM_STORE_PFN};
use xen_abi::hypercall::{CONSOLE_IO, VCPU_OP, XEN_VERSION};
use xen_abi::memory::*;
use xen_abi::memory_map::{MemoryMap, VnumaTopologyInfo};
use xen_abi::physmap::*;
use xen_abi::sched::{SCHEDOP_POLL, SchedPoll};
use xen_abi::vcpu::{VCPUOP_IS_UP, VCPUOP_SET_SINGLESHOT_TIMER, VcpuSetSingleshotTimer};
use xen_abi::version::*;
use xen_abi::virq::VIRQ_TIMER;
use xen_abi::{DomId, GuestHandle, Port};
use xenolith_guest_kit::pages;

use crate::calls::{self, call, hvm, memory, sched, vcpu};
use crate::domain::*;
use crate::runner::Runner;

/// Runs the cases, in the mode that is chosen.
pub fn run(t: &mut Runner) {
    for (name, number) in [
        ("version", XENVER_VERSION),
        ("extraversion", XENVER_EXTRAVERSION),
        ("guest-handle", XENVER_GUEST_HANDLE),
        ("features", XENVER_GET_FEATURES),
    ] {
        t.case_of(format_args!("firmware/xen-version/{name}"), |r| {
            r.result(call(XEN_VERSION, [number.into(), pages::take().address()]).min(0));
        });
    }
    memory_calls(t);
    events(t);
    t.case("firmware/hvm/get-and-set-param", |r| {
        for index in [HVM_PARAM_STORE_PFN, HVM_PARAM_CALLBACK_IRQ] {
            let mut param = HvmParam { domid: DomId::SELF, pad: 0, index, value: 0x55 };
            r.result(hvm(HVMOP_GET_PARAM, &mut param)).hex(param.value);
        }
        let mut param = HvmParam { domid: DomId::SELF, pad: 0, index: HVM_PARAM_STORE_PFN, value: 0x1234 };
        r.result(hvm(HVMOP_SET_PARAM, &mut param));
    });
    t.case("firmware/grant-table/query-size", |r| {
        let mut a = GnttabQuerySize { dom: DomId::SELF, ..GnttabQuerySize::default() };
        r.result(calls::grant(GNTTABOP_QUERY_SIZE, &mut a)).named("status", a.status).named("most", a.max_nr_frames);
    });
    t.case("firmware/vcpu/is-up", |r| {
        r.result(call(VCPU_OP, [VCPUOP_IS_UP.into(), 0])).result(call(VCPU_OP, [VCPUOP_IS_UP.into(), 900]));
    });
    t.case("firmware/console/nothing", |r| {
        r.result(call(CONSOLE_IO, [CONSOLEIO_WRITE.into(), 0, pages::take().address()]));
    });
}

fn memory_calls(t: &mut Runner) {
    t.case("firmware/memory/map", |r| {
        let buffer = pages::take();
        let mut a = MemoryMap { nr_entries: 128, pad: [0; 4], buffer: GuestHandle::new(buffer.address()) };
        r.result(memory(XENMEM_MEMORY_MAP, &mut a)).hex(buffer.read(0)).hex(buffer.read(8));
    });
    t.case("firmware/memory/one-page-is-populated-and-given-back", |r| {
        let list = pages::take();
        calls::put(list.address(), 0, after(SPARE, 0x60));
        let mut a = MemoryReservation {
            extent_start: GuestHandle::new(list.address()),
            nr_extents: 1,
            domid: DomId::SELF,
            ..MemoryReservation::default()
        };
        r.result(memory(XENMEM_POPULATE_PHYSMAP, &mut a)).result(memory(XENMEM_DECREASE_RESERVATION, &mut a));
    });
    t.case("firmware/memory/a-page-of-ram-is-moved-and-back", |r| {
        let (page, to) = (pages::take(), after(SPARE, 0x61));
        page.write(0, 0x77_u64);
        let mut a = AddToPhysmap { domid: DomId::SELF, size: 0, space: XENMAPSPACE_GMFN, idx: page.gfn().0, gpfn: to };
        r.result(memory(XENMEM_ADD_TO_PHYSMAP, &mut a)).hex(pages::read_at(address(to)));
        (a.idx, a.gpfn) = (to.0, page.gfn());
        r.result(memory(XENMEM_ADD_TO_PHYSMAP, &mut a)).hex(page.read(0));
    });
    t.case("firmware/memory/the-shared-page-is-placed", |r| {
        r.result(set_up()).holds("time", now() != 0);
    });
    t.case("firmware/memory/virtual-nodes", |r| {
        let mut a = VnumaTopologyInfo { domid: DomId::SELF, ..VnumaTopologyInfo::default() };
        r.result(memory(XENMEM_GET_VNUMAINFO, &mut a));
    });
}

fn events(t: &mut Runner) {
    t.case("firmware/events/sent-and-polled-for", |r| {
        let (allocated, port) = alloc_unbound(DomId::SELF, DomId::SELF);
        let (bound, own) = bind_interdomain(DomId::SELF, port);
        r.result(allocated).result(bound).result(send(own));
        r.result(poll(port)).holds("pending", pending(port)).result(close(own)).result(close(port));
        quiet();
    });
    t.case("firmware/events/a-timer-is-polled-for", |r| {
        let (bound, port) = bind_virq(VIRQ_TIMER, 0);
        set_mask(port, true);
        let mut timer =
            VcpuSetSingleshotTimer { timeout_abs_ns: now() + 2_000_000, ..VcpuSetSingleshotTimer::default() };
        r.result(bound).result(vcpu(VCPUOP_SET_SINGLESHOT_TIMER, 0, &mut timer));
        r.result(poll(port)).holds("pending", pending(port)).result(close(port));
        quiet();
    });
}

/// Waits for a port, a second at most.
fn poll(port: Port) -> i64 {
    let list = pages::take();
    list.write(0, port);
    let timeout = now() + 1_000_000_000;
    sched(SCHEDOP_POLL, &mut SchedPoll { ports: GuestHandle::new(list.address()), nr_ports: 1, pad: [0; 4], timeout })
}
