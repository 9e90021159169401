//! Control calls that a domain 0 alone can ask for: with a wrong version, at bad addresses, about nobody, about itself.

use xen_abi::domctl::*;
use xen_abi::event_channel::EVTCHNSTAT_CLOSED;
use xen_abi::hypercall::*;
use xen_abi::sysctl::*;
use xen_abi::{DomId, Port};
use xenolith_guest_kit::pages;

use crate::calls::call;
use crate::domain::{own_id, status};
use crate::runner::Runner;

/// Operations of `domctl`: those of the interface, and some numbers between them.
const DOMAIN_OPERATIONS: &[u32] = &[
    0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 33,
    34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 46, 47, 48, 49, 50, 54, 55, 57, 58, 59, 60, 61, 62, 63, 64, 65, 66, 67,
    68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 100, 1000, 1001, 1002, 1003, 1004,
];

/// Asks for an operation of `domctl` with all zeroes as its arguments.
fn domain_call(cmd: u32, domain: DomId) -> i64 {
    let page = pages::take();
    page.write(0, Domctl { cmd, interface_version: XEN_DOMCTL_INTERFACE_VERSION, domain, ..Domctl::default() });
    call(DOMCTL, [page.address()])
}

/// Asks for an operation of `sysctl` with all zeroes as its arguments.
fn system_call(cmd: u32) -> i64 {
    let page = pages::take();
    page.write(0, [cmd, XEN_SYSCTL_INTERFACE_VERSION]);
    call(SYSCTL, [page.address()])
}

/// Runs the cases.
pub fn run(t: &mut Runner) {
    for (name, number) in [("sysctl", SYSCTL), ("domctl", DOMCTL)] {
        for version in [0_u32, 1, 0x14, 0x16, u32::MAX] {
            t.case_of(format_args!("{name}/interface-version-{version:#x}-of-an-unknown-command"), |r| {
                let page = pages::take();
                page.write(0, [0xffff_u32, version]);
                page.write(8, 77_u16);
                r.result(call(number, [page.address()]));
            });
        }
        t.case_of(format_args!("{name}/bad-pointer"), |r| {
            r.result(call(number, [pages::unmap(10)]));
        });
    }
    domains(t);
    system(t);
    t.case("evtchn/status/ports-are-all-closed-again", |r| {
        let open = (1..4096_u32)
            .filter(|port| {
                let (result, s) = status(DomId::SELF, Port(*port));
                result == 0 && s.status != EVTCHNSTAT_CLOSED
            })
            .count();
        r.named("open", open);
    });
}

fn domains(t: &mut Runner) {
    for cmd in DOMAIN_OPERATIONS.iter().copied() {
        t.case_of(format_args!("domctl/of-nobody/operation-{cmd}"), |r| {
            r.result(domain_call(cmd, DomId(77)));
        });
    }
    for (name, domain) in [("self", DomId::SELF), ("xen", DomId::XEN), ("invalid", DomId::INVALID)] {
        for (what, cmd) in [
            ("pause", XEN_DOMCTL_PAUSEDOMAIN),
            ("destroy", XEN_DOMCTL_DESTROYDOMAIN),
            ("get-vcpu-info", XEN_DOMCTL_GETVCPUINFO),
            ("get-domain-info", XEN_DOMCTL_GETDOMAININFO),
        ] {
            t.case_of(format_args!("domctl/of-{name}/{what}"), |r| {
                r.result(domain_call(cmd, domain));
            });
        }
    }
    // What it may not do to itself.
    for (what, cmd) in [
        ("pause", XEN_DOMCTL_PAUSEDOMAIN),
        ("unpause", XEN_DOMCTL_UNPAUSEDOMAIN),
        ("destroy", XEN_DOMCTL_DESTROYDOMAIN),
        ("resume", XEN_DOMCTL_RESUMEDOMAIN),
        ("set-debugging", XEN_DOMCTL_SETDEBUGGING),
        ("soft-reset", XEN_DOMCTL_SOFT_RESET),
        ("set-target", XEN_DOMCTL_SET_TARGET),
        ("max-vcpus-0", XEN_DOMCTL_MAX_VCPUS),
        ("set-vcpu-context", XEN_DOMCTL_SETVCPUCONTEXT),
    ] {
        t.case_of(format_args!("domctl/of-its-own-number/{what}"), |r| {
            r.result(domain_call(cmd, own_id()));
        });
    }
    t.case("domctl/of-its-own-number/get-domain-info", |r| {
        let page = pages::take();
        let (cmd, interface_version) = (XEN_DOMCTL_GETDOMAININFO, XEN_DOMCTL_INTERFACE_VERSION);
        page.write(0, Domctl { cmd, interface_version, domain: own_id(), ..Domctl::default() });
        r.result(call(DOMCTL, [page.address()]));
        let info: DomctlGetdomaininfo = page.read::<Domctl>(0).u.read();
        r.named("domain", info.domain.0).named("most-vcpu", info.max_vcpu_id);
        r.holds("has-memory", info.tot_pages > 1000).holds("ran", info.cpu_time != 0).named("pool", info.cpupool);
    });
    for vcpu in [0_u32, 1, 2, 1000] {
        t.case_of(format_args!("domctl/of-its-own-number/vcpu-info-of-{vcpu}"), |r| {
            let page = pages::take();
            let (cmd, interface_version) = (XEN_DOMCTL_GETVCPUINFO, XEN_DOMCTL_INTERFACE_VERSION);
            page.write(0, Domctl { cmd, interface_version, domain: own_id(), ..Domctl::default() });
            page.write(16, vcpu);
            r.result(call(DOMCTL, [page.address()]));
        });
    }
}

fn system(t: &mut Runner) {
    for cmd in [
        0,
        XEN_SYSCTL_TBUF_OP,
        XEN_SYSCTL_SCHED_ID,
        XEN_SYSCTL_PERFC_OP,
        XEN_SYSCTL_GETDOMAININFOLIST,
        XEN_SYSCTL_DEBUG_KEYS,
        XEN_SYSCTL_GETCPUINFO,
        XEN_SYSCTL_AVAILHEAP,
        13,
        XEN_SYSCTL_LOCKPROF_OP,
        XEN_SYSCTL_COVERAGE_OP,
        XEN_SYSCTL_PSR_CMT_OP,
        XEN_SYSCTL_PSR_ALLOC,
        24,
        28,
        30,
        100,
    ] {
        t.case_of(format_args!("sysctl/operation-{cmd}-of-zeroes"), |r| {
            r.result(system_call(cmd));
        });
    }
}
