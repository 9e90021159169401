//! Event channels: what each operation answers. How events arrive is in the other files.

use xen_abi::event_channel::*;
use xen_abi::virq::*;
use xen_abi::{DomId, Port, VcpuId};

use crate::calls::{call, evtchn};
use crate::domain::*;
use crate::runner::{Report, Runner};

/// A domain that does not exist.
const NOBODY: DomId = DomId(77);
/// Domain numbers and what they are called in the names of cases.
const DOMAINS: &[(&str, DomId)] = &[
    ("self", DomId::SELF),
    ("dom0", DomId::DOM0),
    ("nobody", NOBODY),
    ("io", DomId::IO),
    ("xen", DomId::XEN),
    ("cow", DomId::COW),
    ("invalid", DomId::INVALID),
    ("idle", DomId::IDLE),
    ("0x8000", DomId(0x8000)),
    ("0xffff", DomId(0xffff)),
];
/// How to open a port of some kind.
type Open = fn() -> Port;
/// Ports that are never open.
const BAD_PORTS: &[(&str, u32)] =
    &[("0", 0), ("closed", 40), ("4095", 4095), ("4096", 4096), ("131072", 131_072), ("0xffffffff", u32::MAX)];

/// Runs the cases.
pub fn run(t: &mut Runner) {
    alloc_unbound_cases(t);
    bind_interdomain_cases(t);
    bind_virq_cases(t);
    bind_ipi_cases(t);
    bind_pirq_cases(t);
    close_cases(t);
    send_cases(t);
    status_cases(t);
    bind_vcpu_cases(t);
    unmask_cases(t);
    reset_cases(t);
    fifo_errors(t);
    unknown(t);
}

fn port(r: &mut Report, (result, port): (i64, Port)) -> Port {
    r.result(result);
    if result == 0 {
        r.named("port", port);
    }
    port
}

fn say_status(r: &mut Report, dom: DomId, of: Port) {
    let (result, s) = status(dom, of);
    r.result(result);
    if result != 0 {
        return;
    }
    match s.status {
        EVTCHNSTAT_CLOSED => r.field("closed"),
        EVTCHNSTAT_UNBOUND => r.field("unbound").named("remote", s.unbound()),
        EVTCHNSTAT_INTERDOMAIN => {
            let peer = s.interdomain();
            r.field("interdomain").named("remote", peer.dom).named("its-port", peer.port)
        }
        EVTCHNSTAT_PIRQ => r.field("pirq").named("pirq", s.pirq()),
        EVTCHNSTAT_VIRQ => r.field("virq").named("virq", s.virq()),
        EVTCHNSTAT_IPI => r.field("ipi"),
        other => r.field(other),
    };
    r.named("vcpu", s.vcpu);
}

fn alloc_unbound_cases(t: &mut Runner) {
    for (name, dom) in DOMAINS.iter().copied() {
        t.case_of(format_args!("evtchn/alloc-unbound/of-{name}"), |r| {
            let got = alloc_unbound(dom, DomId::SELF);
            let p = port(r, got);
            if got.0 == 0 {
                r.named_result("close", close(p));
            }
        });
        t.case_of(format_args!("evtchn/alloc-unbound/for-{name}"), |r| {
            let got = alloc_unbound(DomId::SELF, dom);
            let p = port(r, got);
            if got.0 == 0 {
                say_status(r, DomId::SELF, p);
                r.named_result("close", close(p));
            }
        });
    }
    t.case("evtchn/alloc-unbound/lowest-free-port-comes-next", |r| {
        let first = port(r, alloc_unbound(DomId::SELF, DomId::SELF));
        let second = port(r, alloc_unbound(DomId::SELF, DomId::SELF));
        let third = port(r, alloc_unbound(DomId::SELF, DomId::SELF));
        r.result(close(second));
        let again = port(r, alloc_unbound(DomId::SELF, DomId::SELF));
        for p in [first, again, third] {
            close(p);
        }
    });
    t.case("evtchn/alloc-unbound/until-none-is-left", |r| {
        let mut count = 0_u32;
        let mut last = Port(0);
        let refused = loop {
            match alloc_unbound(DomId::SELF, DomId::SELF) {
                (0, p) => (count, last) = (count + 1, p),
                (refused, _) => break refused,
            }
            if count > 200_000 {
                break 0;
            }
        };
        r.named("count", count).named("last", last).result(refused);
        r.result(bind_virq(VIRQ_TIMER, 0).0).result(bind_ipi(0).0);
        for p in 1..=last.0 {
            close(Port(p));
        }
        say_status(r, DomId::SELF, last);
    });
}

fn bind_interdomain_cases(t: &mut Runner) {
    t.case("evtchn/bind-interdomain/self", |r| {
        let first = port(r, alloc_unbound(DomId::SELF, DomId::SELF));
        let second = port(r, bind_interdomain(DomId::SELF, first));
        say_status(r, DomId::SELF, first);
        say_status(r, DomId::SELF, second);
        r.holds("local-pending", pending(second)).holds("remote-pending", pending(first));
        close(first);
        close(second);
        quiet();
    });
    t.case("evtchn/bind-interdomain/by-own-number", |r| {
        let first = port(r, alloc_unbound(own_id(), own_id()));
        let second = port(r, bind_interdomain(own_id(), first));
        close(first);
        close(second);
        quiet();
    });
    t.case("evtchn/bind-interdomain/a-third-domain's-port", |r| {
        let first = port(r, alloc_unbound(DomId::SELF, NOBODY));
        port(r, bind_interdomain(DomId::SELF, first));
        close(first);
    });
    t.case("evtchn/bind-interdomain/already-connected", |r| {
        let (first, second) = connected_pair();
        port(r, bind_interdomain(DomId::SELF, first));
        port(r, bind_interdomain(DomId::SELF, second));
        close(first);
        close(second);
        quiet();
    });
    t.case("evtchn/bind-interdomain/to-an-ipi-port", |r| {
        let (_, ipi) = bind_ipi(0);
        port(r, bind_interdomain(DomId::SELF, ipi));
        close(ipi);
    });
    for (name, bad) in BAD_PORTS.iter().copied() {
        t.case_of(format_args!("evtchn/bind-interdomain/bad-port-{name}"), |r| {
            port(r, bind_interdomain(DomId::SELF, Port(bad)));
        });
    }
    for (name, dom) in DOMAINS.iter().skip(2).copied() {
        t.case_of(format_args!("evtchn/bind-interdomain/of-{name}"), |r| {
            port(r, bind_interdomain(dom, Port(1)));
        });
    }
}

fn bind_virq_cases(t: &mut Runner) {
    for virq in 0..NR_VIRQS {
        t.case_of(format_args!("evtchn/bind-virq/{virq}-on-vcpu-0"), |r| {
            let got = bind_virq(virq, 0);
            let p = port(r, got);
            if got.0 == 0 {
                say_status(r, DomId::SELF, p);
                r.named_result("again", bind_virq(virq, 0).0);
                close(p);
            }
            quiet();
        });
    }
    for virq in [VIRQ_TIMER, VIRQ_DEBUG, VIRQ_CONSOLE, VIRQ_DOM_EXC, VIRQ_XENPMU, VIRQ_ARCH_0] {
        t.case_of(format_args!("evtchn/bind-virq/{virq}-on-vcpu-1"), |r| {
            let got = bind_virq(virq, 1);
            let p = port(r, got);
            if got.0 == 0 {
                say_status(r, DomId::SELF, p);
                close(p);
            }
        });
    }
    for (name, virq, vcpu) in [
        ("number-24", 24, 0),
        ("number-0xffffffff", u32::MAX, 0),
        ("vcpu-2", VIRQ_TIMER, 2),
        ("vcpu-0xffffffff", VIRQ_TIMER, u32::MAX),
        ("vcpu-8192", VIRQ_TIMER, 8192),
        ("global-on-vcpu-2", VIRQ_DOM_EXC, 2),
        ("bad-number-on-vcpu-2", 24, 2),
    ] {
        t.case_of(format_args!("evtchn/bind-virq/bad-{name}"), |r| {
            port(r, bind_virq(virq, vcpu));
        });
    }
    t.case("evtchn/bind-virq/again-after-close", |r| {
        let first = port(r, bind_virq(VIRQ_TIMER, 0));
        r.result(close(first));
        let second = port(r, bind_virq(VIRQ_TIMER, 0));
        close(second);
    });
    t.case("evtchn/bind-virq/same-virq-on-two-vcpus", |r| {
        let first = port(r, bind_virq(VIRQ_TIMER, 0));
        let second = port(r, bind_virq(VIRQ_TIMER, 1));
        close(first);
        close(second);
    });
}

fn bind_ipi_cases(t: &mut Runner) {
    for (name, vcpu) in
        [("0", 0), ("1", 1), ("2", 2), ("127", 127), ("128", 128), ("8192", 8192), ("0xffffffff", u32::MAX)]
    {
        t.case_of(format_args!("evtchn/bind-ipi/vcpu-{name}"), |r| {
            let got = bind_ipi(vcpu);
            let p = port(r, got);
            if got.0 == 0 {
                say_status(r, DomId::SELF, p);
                close(p);
            }
        });
    }
    t.case("evtchn/bind-ipi/many-on-one-vcpu", |r| {
        let first = port(r, bind_ipi(0));
        let second = port(r, bind_ipi(0));
        close(first);
        close(second);
    });
}

fn bind_pirq_cases(t: &mut Runner) {
    for (name, pirq, flags) in [
        ("0", 0, 0),
        ("1", 1, 0),
        ("4", 4, 0),
        ("16", 16, 0),
        ("shared-17", 17, 1),
        ("4096", 4096, 0),
        ("0xffffffff", u32::MAX, 0),
        ("unknown-flags", 16, 0xff),
    ] {
        t.case_of(format_args!("evtchn/bind-pirq/{name}"), |r| {
            let mut a = EvtchnBindPirq { pirq, flags: BindPirq(flags), port: Port(0) };
            let result = evtchn(EVTCHNOP_BIND_PIRQ, &mut a);
            port(r, (result, a.port));
            if result == 0 {
                close(a.port);
            }
        });
    }
}

fn close_cases(t: &mut Runner) {
    for (name, bad) in BAD_PORTS.iter().copied() {
        t.case_of(format_args!("evtchn/close/bad-port-{name}"), |r| {
            r.result(close(Port(bad)));
        });
    }
    t.case("evtchn/close/twice", |r| {
        let (_, p) = alloc_unbound(DomId::SELF, DomId::SELF);
        r.result(close(p)).result(close(p));
    });
    t.case("evtchn/close/one-end-leaves-the-other-unbound", |r| {
        let (first, second) = connected_pair();
        r.result(close(first));
        say_status(r, DomId::SELF, first);
        say_status(r, DomId::SELF, second);
        r.result(send(second));
        close(second);
        quiet();
    });
    t.case("evtchn/close/other-end-can-be-connected-again", |r| {
        let (first, second) = connected_pair();
        r.result(close(second));
        let third = port(r, bind_interdomain(DomId::SELF, first));
        say_status(r, DomId::SELF, third);
        close(first);
        close(third);
        quiet();
    });
    t.case("evtchn/close/clears-what-was-pending", |r| {
        let (_, p) = bind_ipi(0);
        r.result(send(p)).holds("pending", pending(p));
        r.result(close(p)).holds("pending", pending(p));
        quiet();
    });
    t.case("evtchn/close/keeps-the-mask", |r| {
        let (_, p) = bind_ipi(0);
        set_mask(p, true);
        r.result(close(p));
        let masked = shared::<u64>(xen_abi::shared_info::SHARED_INFO_EVTCHN_MASK + (p.0 as usize / 64) * 8);
        r.holds("masked", masked >> (p.0 % 64) & 1 != 0);
        quiet();
    });
}

fn send_cases(t: &mut Runner) {
    for (name, bad) in BAD_PORTS.iter().copied() {
        t.case_of(format_args!("evtchn/send/bad-port-{name}"), |r| {
            r.result(send(Port(bad)));
        });
    }
    t.case("evtchn/send/by-an-unbound-port", |r| {
        let (_, p) = alloc_unbound(DomId::SELF, DomId::SELF);
        r.result(send(p)).holds("pending", pending(p));
        close(p);
    });
    t.case("evtchn/send/by-a-virq-port", |r| {
        let (_, p) = bind_virq(VIRQ_DEBUG, 0);
        r.result(send(p)).holds("pending", pending(p));
        close(p);
        quiet();
    });
    t.case("evtchn/send/by-an-ipi-port", |r| {
        let (_, p) = bind_ipi(0);
        r.result(send(p)).holds("pending", pending(p));
        close(p);
        quiet();
    });
    t.case("evtchn/send/reaches-the-other-end", |r| {
        let (first, second) = connected_pair();
        consume(second);
        r.result(send(first)).holds("first", pending(first)).holds("second", pending(second));
        quiet();
        r.result(send(second)).holds("first", pending(first)).holds("second", pending(second));
        close(first);
        close(second);
        quiet();
    });
}

fn status_cases(t: &mut Runner) {
    for (name, bad) in BAD_PORTS.iter().copied() {
        t.case_of(format_args!("evtchn/status/bad-port-{name}"), |r| say_status(r, DomId::SELF, Port(bad)));
    }
    for (name, dom) in DOMAINS.iter().copied() {
        t.case_of(format_args!("evtchn/status/of-{name}"), |r| {
            let (_, p) = bind_ipi(1);
            say_status(r, dom, p);
            close(p);
        });
    }
    t.case("evtchn/status/free-port-between-used-ones", |r| {
        let (_, first) = bind_ipi(0);
        let (_, second) = bind_ipi(0);
        close(first);
        say_status(r, DomId::SELF, first);
        close(second);
    });
}

fn bind_vcpu_cases(t: &mut Runner) {
    for (name, bad) in BAD_PORTS.iter().copied() {
        t.case_of(format_args!("evtchn/bind-vcpu/bad-port-{name}"), |r| {
            r.result(bind_vcpu(Port(bad), 0));
        });
    }
    for (name, vcpu) in [("2", 2), ("8192", 8192), ("0xffffffff", u32::MAX)] {
        t.case_of(format_args!("evtchn/bind-vcpu/bad-vcpu-{name}"), |r| {
            let (_, p) = alloc_unbound(DomId::SELF, DomId::SELF);
            r.result(bind_vcpu(p, vcpu));
            close(p);
        });
    }
    let kinds: [(&str, Open); 5] = [
        ("unbound", || alloc_unbound(DomId::SELF, DomId::SELF).1),
        ("ipi", || bind_ipi(0).1),
        ("per-vcpu-virq", || bind_virq(VIRQ_TIMER, 0).1),
        ("global-virq", || bind_virq(VIRQ_DOM_EXC, 0).1),
        ("architecture-virq", || bind_virq(VIRQ_ARCH_0, 0).1),
    ];
    for (name, open) in kinds {
        t.case_of(format_args!("evtchn/bind-vcpu/{name}-to-1-and-back"), |r| {
            let p = open();
            r.result(bind_vcpu(p, 1));
            say_status(r, DomId::SELF, p);
            r.result(bind_vcpu(p, 0));
            say_status(r, DomId::SELF, p);
            close(p);
            quiet();
        });
    }
    t.case("evtchn/bind-vcpu/interdomain-to-1", |r| {
        let (first, second) = connected_pair();
        r.result(bind_vcpu(first, 1));
        say_status(r, DomId::SELF, first);
        say_status(r, DomId::SELF, second);
        close(first);
        close(second);
        quiet();
    });
}

fn unmask_cases(t: &mut Runner) {
    for (name, bad) in BAD_PORTS.iter().copied() {
        t.case_of(format_args!("evtchn/unmask/bad-port-{name}"), |r| {
            r.result(unmask(Port(bad)));
        });
    }
    t.case("evtchn/unmask/not-masked", |r| {
        let (_, p) = bind_ipi(0);
        r.result(unmask(p)).holds("upcall", upcall_pending());
        close(p);
    });
}

fn reset_cases(t: &mut Runner) {
    for (name, dom) in DOMAINS.iter().copied() {
        t.case_of(format_args!("evtchn/reset/of-{name}"), |r| {
            let (_, first) = alloc_unbound(DomId::SELF, DomId::SELF);
            let (_, second) = bind_virq(VIRQ_TIMER, 0);
            r.result(evtchn(EVTCHNOP_RESET, &mut EvtchnReset { dom }));
            say_status(r, DomId::SELF, first);
            say_status(r, DomId::SELF, second);
            close(first);
            close(second);
        });
    }
    t.case("evtchn/reset/both-ends-of-a-pair", |r| {
        let (first, second) = connected_pair();
        r.result(evtchn(EVTCHNOP_RESET, &mut EvtchnReset { dom: DomId::SELF }));
        say_status(r, DomId::SELF, first);
        say_status(r, DomId::SELF, second);
        r.holds("pending", pending(second));
        quiet();
    });
}

/// The FIFO operations while the 2-level ABI is in use.
fn fifo_errors(t: &mut Runner) {
    t.case("evtchn/set-priority/two-level", |r| {
        let (_, p) = bind_ipi(0);
        r.result(evtchn(EVTCHNOP_SET_PRIORITY, &mut EvtchnSetPriority { port: p, priority: 3 }));
        r.result(evtchn(EVTCHNOP_SET_PRIORITY, &mut EvtchnSetPriority { port: p, priority: 16 }));
        r.result(evtchn(EVTCHNOP_SET_PRIORITY, &mut EvtchnSetPriority { port: Port(4096), priority: 3 }));
        close(p);
    });
    t.case("evtchn/expand-array/two-level", |r| {
        let page = xenolith_guest_kit::pages::take();
        r.result(evtchn(EVTCHNOP_EXPAND_ARRAY, &mut EvtchnExpandArray { array_gfn: page.gfn() }));
    });
    let page = xenolith_guest_kit::pages::take().gfn();
    for (name, gfn, offset, vcpu) in [
        ("offset-not-aligned", page, 4, 0),
        ("offset-4096", page, 4096, 0),
        ("offset-past-the-last-fit", page, 4032, 0),
        ("offset-0xfffffff8", page, 0xffff_fff8, 0),
        ("vcpu-2", page, 0, 2),
        ("vcpu-0xffffffff", page, 0, u32::MAX),
        ("frame-nowhere", SPARE, 0, 0),
        ("frame-beyond-the-address-width", xen_abi::Gfn(u64::MAX), 0, 0),
        ("frame-of-the-shared-page", SHARED_INFO, 0, 0),
    ] {
        t.case_of(format_args!("evtchn/init-control/bad-{name}"), |r| {
            let mut a =
                EvtchnInitControl { control_gfn: gfn, offset, vcpu: VcpuId(vcpu), ..EvtchnInitControl::default() };
            r.result(evtchn(EVTCHNOP_INIT_CONTROL, &mut a)).named("link-bits", a.link_bits);
            // Back to the two-level form, should it have been taken.
            evtchn(EVTCHNOP_RESET, &mut EvtchnReset { dom: DomId::SELF });
        });
    }
}

fn unknown(t: &mut Runner) {
    for number in [14_u64, 15, 100, 0xffff_ffff, 0x1_0000_0006] {
        t.case_of(format_args!("evtchn/unknown-operation/{number:#x}"), |r| {
            let page = xenolith_guest_kit::pages::take();
            page.write(0, 0x7ff0_7ff0_u32);
            r.result(call(xen_abi::hypercall::EVENT_CHANNEL_OP, [number, page.address()]));
            r.hex(page.read::<u64>(0));
            evtchn(EVTCHNOP_RESET, &mut EvtchnReset { dom: DomId::SELF });
        });
    }
    t.case("evtchn/compatible-form/any-operation", |r| {
        let page = xenolith_guest_kit::pages::take();
        r.result(call(xen_abi::hypercall::EVENT_CHANNEL_OP_COMPAT, [page.address()]));
    });
}
