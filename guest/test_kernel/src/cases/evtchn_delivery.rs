//! How events reach a vCPU in the 2-level ABI.

use xen_abi::hvm_op::{HVMOP_SET_EVTCHN_UPCALL_VECTOR, HVMOP_SET_PARAM, HvmEvtchnUpcallVector, HvmParam};
use xen_abi::hvm_param::*;
use xen_abi::shared_info::{VCPU_INFO_PENDING_SEL, VCPU_INFO_UPCALL_MASK, VCPU_INFO_UPCALL_PENDING};
use xen_abi::virq::VIRQ_TIMER;
use xen_abi::{DomId, Port, VcpuId};
use xenolith_guest_kit::pages::write_at;
use xenolith_guest_kit::{lapic, traps, wait_until};

use crate::calls::hvm;
use crate::domain::*;
use crate::runner::{Report, Runner};
use crate::waits::{LONG, SHORT};

/// Runs the cases about the callback of the whole domain, which cannot be taken back: they must come last of all.
pub fn run_last(t: &mut Runner) {
    t.case("events/callback-vector/raised-until-the-flag-is-cleared", |r| {
        traps::clear_byte_on(CALLBACK, vcpu_info(0) + VCPU_INFO_UPCALL_PENDING as u64);
        r.result(set_callback_vector());
        let (_, p) = bind_ipi(0);
        let (before, own) = (traps::count(0, CALLBACK), upcalls());
        r.result(send(p));
        state(r, p);
        r.holds("requested", lapic::requested(CALLBACK));
        r.holds("taken", wait_until(LONG, || traps::count(0, CALLBACK) != before));
        r.holds("own", wait_until(LONG, || upcalls() != own));
        r.holds("in-service", lapic::in_service(CALLBACK)).holds("upcall", upcall_pending());
        let after = traps::count(0, CALLBACK);
        r.holds("again", wait_until(SHORT, || traps::count(0, CALLBACK) != after));
        close(p);
        quiet();
    });
    for (name, value) in [("to-0", 0), ("to-gsi-1", 1), ("to-pci-intx", 1 << 56 | 0x0000_0800), ("to-type-3", 3 << 56)]
    {
        t.case_of(format_args!("events/callback-vector/set-{name}"), |r| {
            r.result(set_callback(value));
            let (_, p) = bind_ipi(0);
            let before = (upcalls(), traps::count(0, CALLBACK));
            r.result(send(p)).holds("callback", wait_until(LONG, || traps::count(0, CALLBACK) != before.1));
            r.holds("own", upcalls() != before.0);
            close(p);
            quiet();
        });
    }
}

/// Gives vCPU 0 its vector for upcalls. Answers the result.
pub fn set_up() -> i64 {
    set_vector(0, UPCALL)
}

/// Runs the other cases.
pub fn run(t: &mut Runner) {
    plain(t);
    masks(t);
    words(t);
    vectors(t);
}

/// The vector of the domain-wide callback.
const CALLBACK: u8 = 0xe3;

fn clear_upcall() {
    write_at(vcpu_info(0) + VCPU_INFO_UPCALL_PENDING as u64, 0_u8);
}

fn state(r: &mut Report, port: Port) {
    r.holds("pending", pending(port)).hex(selector()).holds("upcall", upcall_pending());
}

fn plain(t: &mut Runner) {
    t.case("events/ipi-raises-the-upcall-vector", |r| {
        let (_, p) = bind_ipi(0);
        let before = upcalls();
        r.result(send(p));
        state(r, p);
        r.holds("requested", lapic::requested(UPCALL));
        r.holds("taken", upcall_after(before, LONG));
        close(p);
        quiet();
    });
    t.case("events/interdomain-raises-the-upcall-vector", |r| {
        let (first, second) = connected_pair();
        quiet();
        let before = upcalls();
        r.result(send(first));
        state(r, second);
        r.holds("taken", upcall_after(before, LONG));
        close(first);
        close(second);
        quiet();
    });
    t.case("events/connecting-raises-the-connecting-end", |r| {
        let before = upcalls();
        let (first, second) = connected_pair();
        r.holds("first", pending(first));
        state(r, second);
        r.holds("taken", upcall_after(before, LONG));
        close(first);
        close(second);
        quiet();
    });
    t.case("events/second-send-while-pending-is-lost-in-the-first", |r| {
        let (_, p) = bind_ipi(0);
        let before = upcalls();
        r.result(send(p)).result(send(p));
        r.holds("taken", upcall_after(before, LONG));
        consume(p);
        let after = upcalls();
        r.holds("again", upcall_after(after, SHORT)).holds("pending", pending(p));
        close(p);
        quiet();
    });
    t.case("events/no-upcall-while-one-is-pending", |r| {
        let (_, first) = bind_ipi(0);
        let (_, second) = bind_ipi(0);
        let before = upcalls();
        r.result(send(first)).holds("taken", upcall_after(before, LONG));
        let after = upcalls();
        r.result(send(second)).holds("again", upcall_after(after, SHORT));
        state(r, second);
        close(first);
        close(second);
        quiet();
    });
    t.case("events/flag-cleared-but-not-the-selector", |r| {
        let (_, first) = bind_ipi(0);
        let (_, second) = bind_ipi(0);
        let before = upcalls();
        r.result(send(first)).holds("taken", upcall_after(before, LONG));
        clear_upcall();
        let after = upcalls();
        r.result(send(second)).holds("again", upcall_after(after, SHORT)).holds("upcall", upcall_pending());
        close(first);
        close(second);
        quiet();
    });
    t.case("events/upcall-again-when-flag-and-selector-were-cleared", |r| {
        let (_, first) = bind_ipi(0);
        let (_, second) = bind_ipi(0);
        let before = upcalls();
        r.result(send(first)).holds("taken", upcall_after(before, LONG));
        clear_upcall();
        write_at(vcpu_info(0) + VCPU_INFO_PENDING_SEL as u64, 0_u64);
        let after = upcalls();
        r.result(send(second)).holds("again", upcall_after(after, LONG));
        close(first);
        close(second);
        quiet();
    });
    t.case("events/flag-cleared-before-interrupts-are-let-in", |r| {
        let (_, p) = bind_ipi(0);
        let before = upcalls();
        r.result(send(p));
        consume(p);
        r.holds("taken", upcall_after(before, LONG));
        close(p);
        quiet();
    });
}

fn masks(t: &mut Runner) {
    t.case("events/masked-port-is-pending-without-upcall", |r| {
        let (_, p) = bind_ipi(0);
        set_mask(p, true);
        let before = upcalls();
        r.result(send(p));
        state(r, p);
        r.holds("taken", upcall_after(before, SHORT));
        close(p);
        quiet();
    });
    t.case("events/unmask-delivers-what-is-pending", |r| {
        let (_, p) = bind_ipi(0);
        set_mask(p, true);
        let before = upcalls();
        r.result(send(p)).result(unmask(p));
        state(r, p);
        r.holds("taken", upcall_after(before, LONG));
        close(p);
        quiet();
    });
    t.case("events/clearing-the-mask-alone-does-not-deliver", |r| {
        let (_, p) = bind_ipi(0);
        set_mask(p, true);
        let before = upcalls();
        r.result(send(p));
        set_mask(p, false);
        state(r, p);
        r.holds("taken", upcall_after(before, SHORT));
        r.result(send(p)).holds("after-another-send", upcall_after(before, SHORT));
        close(p);
        quiet();
    });
    t.case("events/unmask-clears-the-mask", |r| {
        let (_, p) = bind_ipi(0);
        set_mask(p, true);
        r.result(unmask(p));
        let before = upcalls();
        r.result(send(p)).holds("taken", upcall_after(before, LONG));
        close(p);
        quiet();
    });
    t.case("events/upcall-mask-of-the-vcpu-is-for-pv-only", |r| {
        let (_, p) = bind_ipi(0);
        let at = vcpu_info(0) + VCPU_INFO_UPCALL_MASK as u64;
        write_at(at, 1_u8);
        let before = upcalls();
        r.result(send(p));
        state(r, p);
        r.holds("taken", upcall_after(before, LONG));
        write_at(at, 0_u8);
        r.holds("after-unmask", upcall_after(before, LONG));
        close(p);
        quiet();
    });
    t.case("events/masked-virq-is-remembered", |r| {
        let (_, p) = bind_virq(VIRQ_TIMER, 0);
        set_mask(p, true);
        let until = now() + 1_000_000;
        let mut timer = xen_abi::vcpu::VcpuSetSingleshotTimer { timeout_abs_ns: until, ..Default::default() };
        r.result(crate::calls::vcpu(xen_abi::vcpu::VCPUOP_SET_SINGLESHOT_TIMER, 0, &mut timer));
        r.holds("pending", wait_until(LONG, || pending(p))).holds("upcall", upcall_pending());
        let before = upcalls();
        r.result(unmask(p)).holds("taken", upcall_after(before, LONG));
        close(p);
        quiet();
    });
}

/// Ports that lie in another word of bits.
fn words(t: &mut Runner) {
    t.case("events/port-in-the-second-word", |r| {
        let mut ports = [Port(0); 70];
        for slot in &mut ports {
            *slot = bind_ipi(0).1;
        }
        let last = ports.last().copied().unwrap_or_default();
        let before = upcalls();
        r.named("port", last).result(send(last));
        state(r, last);
        r.holds("taken", upcall_after(before, LONG));
        for port in ports {
            close(port);
        }
        quiet();
    });
    t.case("events/selector-gathers-words", |r| {
        let mut ports = [Port(0); 130];
        for slot in &mut ports {
            *slot = alloc_unbound(DomId::SELF, DomId::SELF).1;
        }
        // Three connected ends, each in a word of its own.
        let ends = [1_u32, 64, 128].map(|p| bind_interdomain(DomId::SELF, Port(p)).1);
        quiet();
        for end in ends {
            r.result(send(end));
        }
        r.hex(selector());
        for port in 1..=133 {
            close(Port(port));
        }
        quiet();
    });
}

fn set_vector(vcpu: u32, vector: u8) -> i64 {
    hvm(HVMOP_SET_EVTCHN_UPCALL_VECTOR, &mut HvmEvtchnUpcallVector { vcpu: VcpuId(vcpu), vector, pad: [0; 3] })
}

/// Gives the whole domain a vector for upcalls. Answers the result.
pub fn set_callback_vector() -> i64 {
    set_callback(HVM_PARAM_CALLBACK_TYPE_VECTOR << 56 | u64::from(CALLBACK))
}

fn set_callback(value: u64) -> i64 {
    let mut a = HvmParam { domid: DomId::SELF, pad: 0, index: HVM_PARAM_CALLBACK_IRQ, value };
    hvm(HVMOP_SET_PARAM, &mut a)
}

fn vectors(t: &mut Runner) {
    for (name, vcpu, vector) in [
        ("vector-0", 0, 0),
        ("vector-15", 0, 15),
        ("vector-16", 0, 16),
        ("vector-31", 0, 31),
        ("vector-255", 0, 255),
        ("vcpu-1", 1, UPCALL),
        ("vcpu-2", 2, UPCALL),
        ("vcpu-0xffffffff", u32::MAX, UPCALL),
    ] {
        t.case_of(format_args!("events/set-upcall-vector/{name}"), |r| {
            quiet();
            let before = traps::count(0, vector);
            r.result(set_vector(vcpu, vector));
            if vcpu == 0 {
                r.holds(
                    "raised-at-once",
                    wait_until(if vector < 16 { SHORT } else { LONG }, || traps::count(0, vector) != before),
                );
            }
            r.named_result("back", set_vector(0, UPCALL));
        });
    }
    t.case("events/set-upcall-vector/another-vector-is-used-at-once", |r| {
        let (_, p) = bind_ipi(0);
        r.result(set_vector(0, 0xe1));
        quiet();
        let before = (upcalls(), traps::count(0, 0xe1));
        r.result(send(p)).holds("new", wait_until(LONG, || traps::count(0, 0xe1) != before.1));
        r.holds("old", upcalls() != before.0).result(set_vector(0, UPCALL));
        close(p);
        quiet();
    });
    t.case("events/set-upcall-vector/while-an-event-is-pending", |r| {
        let (_, p) = bind_ipi(0);
        r.result(send(p));
        let taken = upcalls();
        upcall_after(taken, LONG);
        let before = traps::count(0, 0xe2);
        r.result(set_vector(0, 0xe2)).holds("raised", wait_until(LONG, || traps::count(0, 0xe2) != before));
        r.result(set_vector(0, UPCALL));
        close(p);
        quiet();
    });
}
