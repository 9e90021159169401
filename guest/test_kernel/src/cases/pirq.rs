//! Interrupts of emulated devices as event channels, of an HVM twin. That they come is not asked here: real Xen stood still
//! in two of seven runs in which its clock interrupted so.

use xen_abi::domctl::{ArchDomainconfig, DomctlCreatedomain, EmulationFlags};
use xen_abi::event_channel::{EVTCHNOP_BIND_PIRQ, EvtchnBindPirq};
use xen_abi::hypercall::PHYSDEV_OP;
use xen_abi::physdev::*;
use xen_abi::{DomId, Port};
use xenolith_guest_kit::toolstack::options;

use super::domu::run_twin;
use super::evtchn_delivery::{set_callback_vector, set_up};
use crate::calls::{Plain, call, evtchn, operation};
use crate::domain::{close, own_id, quiet, status};
use crate::runner::{Report, Runner};

/// The word on the twin's command line, and what the names of its cases begin with.
pub const ROLE: &str = "pirq";
pub const NAMES: &str = "pirq/";

/// Makes the twin.
pub fn run(t: &mut Runner) {
    run_twin(t, ROLE, NAMES, whole_pc(), |_| Ok(()));
}

fn whole_pc() -> DomctlCreatedomain {
    let emulation_flags = EmulationFlags::from_bits_retain(0x3ff);
    DomctlCreatedomain { arch: ArchDomainconfig { emulation_flags, ..ArchDomainconfig::default() }, ..options() }
}

fn physdev<T: Plain>(number: u32, value: &mut T) -> i64 {
    operation(PHYSDEV_OP, number, value)
}

fn map(index: i32, pirq: i32) -> (i64, i32) {
    let mut a =
        PhysdevMapPirq { domid: DomId::SELF, kind: MAP_PIRQ_TYPE_GSI, index, pirq, ..PhysdevMapPirq::default() };
    (physdev(PHYSDEVOP_MAP_PIRQ, &mut a), a.pirq)
}

fn unmap(domid: DomId, pirq: i32) -> i64 {
    physdev(PHYSDEVOP_UNMAP_PIRQ, &mut PhysdevUnmapPirq { domid, pirq, ..PhysdevUnmapPirq::default() })
}

fn bind(pirq: u32) -> (i64, Port) {
    let mut a = EvtchnBindPirq { pirq, ..EvtchnBindPirq::default() };
    (evtchn(EVTCHNOP_BIND_PIRQ, &mut a), a.port)
}

fn end(irq: u32) -> i64 {
    physdev(PHYSDEVOP_EOI, &mut PhysdevEoi { irq })
}

fn query(r: &mut Report, irq: u32) {
    let mut a = PhysdevIrqStatusQuery { irq, ..PhysdevIrqStatusQuery::default() };
    r.named_result("status", physdev(PHYSDEVOP_IRQ_STATUS_QUERY, &mut a)).hex(a.flags.0.into());
}

/// Runs the cases of the twin.
pub fn run_in_twin(t: &mut Runner) {
    t.case("map/without-a-vector-for-events", |r| {
        let (result, pirq) = map(9, -1);
        r.result(result).field(pirq);
    });
    t.case("map/with-a-vector-of-a-vcpu", |r| {
        r.result(set_up());
        let (result, pirq) = map(9, -1);
        r.result(result).field(pirq).named_result("unmap", unmap(DomId::SELF, pirq));
    });
    t.case("map/with-a-vector-of-the-domain", |r| {
        r.result(set_callback_vector());
        let (result, pirq) = map(9, -1);
        r.result(result).field(pirq).named_result("unmap", unmap(DomId::SELF, pirq));
    });
    arguments(t);
    numbers(t);
    binding(t);
}

fn arguments(t: &mut Runner) {
    for (name, domid, kind, index, pirq) in [
        ("of-itself-by-number", own_id(), MAP_PIRQ_TYPE_GSI, 9, -1),
        ("of-domain-0", DomId(0), MAP_PIRQ_TYPE_GSI, 9, -1),
        ("of-nobody", DomId(77), MAP_PIRQ_TYPE_GSI, 9, -1),
        ("msi", DomId::SELF, MAP_PIRQ_TYPE_MSI, -1, -1),
        ("unknown-kind", DomId::SELF, 99, 0, -1),
        ("gsi-minus-1", DomId::SELF, MAP_PIRQ_TYPE_GSI, -1, -1),
        ("gsi-47", DomId::SELF, MAP_PIRQ_TYPE_GSI, 47, 3),
        ("gsi-48", DomId::SELF, MAP_PIRQ_TYPE_GSI, 48, 3),
        ("pirq-55", DomId::SELF, MAP_PIRQ_TYPE_GSI, 10, 55),
        ("pirq-56", DomId::SELF, MAP_PIRQ_TYPE_GSI, 11, 56),
        ("pirq-1000000", DomId::SELF, MAP_PIRQ_TYPE_GSI, 11, 1_000_000),
    ] {
        t.case_of(format_args!("map/{name}"), |r| {
            let mut a = PhysdevMapPirq { domid, kind, index, pirq, ..PhysdevMapPirq::default() };
            r.result(physdev(PHYSDEVOP_MAP_PIRQ, &mut a)).field(a.pirq);
        });
    }
    for (name, domid, pirq) in [
        ("mapped", DomId::SELF, 3),
        ("unmapped", DomId::SELF, 3),
        ("minus-1", DomId::SELF, -1),
        ("56", DomId::SELF, 56),
        ("1000000", DomId::SELF, 1_000_000),
        ("of-itself-by-number", own_id(), 55),
        ("of-domain-0", DomId(0), 9),
        ("of-nobody", DomId(77), 9),
        ("55", DomId::SELF, 55),
    ] {
        t.case_of(format_args!("unmap/{name}"), |r| {
            r.result(unmap(domid, pirq));
        });
    }
    for number in [
        PHYSDEVOP_MAP_PIRQ,
        PHYSDEVOP_UNMAP_PIRQ,
        PHYSDEVOP_EOI,
        PHYSDEVOP_IRQ_STATUS_QUERY,
        PHYSDEVOP_GET_FREE_PIRQ,
        PHYSDEVOP_PCI_MMCFG_RESERVED,
        PHYSDEVOP_PCI_DEVICE_ADD,
        PHYSDEVOP_SETUP_GSI,
        PHYSDEVOP_ALLOC_IRQ_VECTOR,
    ] {
        t.case_of(format_args!("nowhere/{number}"), |r| {
            r.result(call(PHYSDEV_OP, [number.into(), 0xffff_8000_0000_0000]));
        });
    }
}

fn numbers(t: &mut Runner) {
    t.case("map/a-pin-twice", |r| {
        for pirq in [40, 41, -1] {
            let (result, pirq) = map(12, pirq);
            r.result(result).field(pirq);
        }
        for pirq in [40, 41, 16] {
            query(r, pirq);
        }
        r.named_result("other-pin", map(13, 40).0);
        r.named_result("unmap", unmap(DomId::SELF, 40));
        query(r, 40);
    });
    t.case("status/of-what-is-not-mapped", |r| {
        for irq in [0, 16, 20, 55, 56, 1000, u32::MAX] {
            query(r, irq);
        }
    });
    t.case("status/of-pin-0", |r| {
        r.result(map(0, 30).0);
        query(r, 30);
        r.named_result("eoi", end(30)).named_result("unmap", unmap(DomId::SELF, 30));
    });
    t.case("eoi/of-what-is-not-mapped", |r| {
        for irq in [1, 20, 54, 56, 1000, u32::MAX] {
            r.result(end(irq));
        }
    });
    t.case("get-free/a-message's", |r| {
        for _ in 0..3 {
            let mut a = PhysdevGetFreePirq { kind: MAP_PIRQ_TYPE_MSI, ..PhysdevGetFreePirq::default() };
            r.result(physdev(PHYSDEVOP_GET_FREE_PIRQ, &mut a)).field(a.pirq);
            query(r, a.pirq);
            r.named_result("eoi", end(a.pirq));
        }
    });
    t.case("get-free/a-pin's", |r| {
        let mut a = PhysdevGetFreePirq { kind: MAP_PIRQ_TYPE_GSI, ..PhysdevGetFreePirq::default() };
        r.result(physdev(PHYSDEVOP_GET_FREE_PIRQ, &mut a)).field(a.pirq);
        let (result, pirq) = map(14, -1);
        r.result(result).field(pirq).named_result("unmap", unmap(DomId::SELF, pirq));
        r.named_result("given", map(14, a.pirq.cast_signed()).0);
        query(r, a.pirq);
        r.named_result("unmap", unmap(DomId::SELF, a.pirq.cast_signed()));
    });
}

fn binding(t: &mut Runner) {
    t.case("bind/not-mapped", |r| {
        let (result, port) = bind(35);
        r.result(result).named_result("again", bind(35).0);
        let (result, found) = status(DomId::SELF, port);
        r.result(result).field(found.status).field(found.pirq());
        query(r, 35);
        r.named_result("eoi", end(35)).named_result("close", close(port)).named_result("eoi", end(35));
    });
    t.case("bind/numbers", |r| {
        for pirq in [55, 56, 1000, u32::MAX] {
            let (result, port) = bind(pirq);
            r.result(result);
            if result == 0 {
                close(port);
            }
        }
    });
    quiet();
}
