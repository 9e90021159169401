//! Each operation of each hypercall by its number, as an ordinary domain asks for it: with arguments of zeroes, with
//! arguments of ones, and with none that could be read. What is for domain 0 alone is refused here before it is looked
//! at, or after; which of the two is told by the error.

use core::ops::Range;

use xen_abi::DomId;
use xen_abi::domctl::{Domctl, XEN_DOMCTL_INTERFACE_VERSION};
use xen_abi::hypercall::*;
use xen_abi::platform::{PlatformOp, XENPF_INTERFACE_VERSION};
use xen_abi::sysctl::XEN_SYSCTL_INTERFACE_VERSION;
use xenolith_guest_kit::pages::{self, Page};

use crate::calls::call;
use crate::domain::own_id;
use crate::runner::Runner;

/// Hypercalls that take an operation and a pointer to its arguments: the name, the number, and operations that do nothing
/// to the domain which it would notice.
const BY_OPERATION: &[(&str, u32, Range<u64>)] = &[
    ("memory", MEMORY_OP, 0..36),
    ("event-channel", EVENT_CHANNEL_OP, 0..18),
    ("physdev", PHYSDEV_OP, 0..36),
    ("hvm", HVM_OP, 0..30),
    ("xenpmu", XENPMU_OP, 0..10),
    ("nmi", NMI_OP, 0..4),
    ("callback", CALLBACK_OP, 0..4),
    ("kexec", KEXEC_OP, 0..8),
    ("hypfs", HYPFS_OP, 0..5),
    ("argo", ARGO_OP, 0..6),
    ("xenoprof", XENOPROF_OP, 0..18),
    ("version", XEN_VERSION, 0..14),
];
/// Arguments: zeroes, ones, or none.
const FILLINGS: &[(&str, Option<u8>)] = &[("zeroes", Some(0)), ("ones", Some(0xff)), ("unreadable", None)];
/// What zeroes would do to the domain: take its memory or its events to another place.
const NOT_WITH_ZEROES: &[(u32, u64)] = &[(MEMORY_OP, 7), (MEMORY_OP, 15), (MEMORY_OP, 23), (EVENT_CHANNEL_OP, 11)];

fn arguments(page: &'static Page, filling: Option<u8>) -> u64 {
    match filling {
        Some(byte) => {
            page.fill(byte);
            page.address()
        }
        None => pages::unmap(10),
    }
}

/// Runs the cases.
pub fn run(t: &mut Runner) {
    let page = pages::take();
    for (name, number, operations) in BY_OPERATION.iter().cloned() {
        for operation in operations {
            for (what, filling) in FILLINGS.iter().copied() {
                if filling == Some(0) && NOT_WITH_ZEROES.contains(&(number, operation)) {
                    continue;
                }
                t.case_of(format_args!("refused/{name}/operation-{operation}-of-{what}"), |r| {
                    r.result(call(number, [operation, arguments(page, filling), 1]));
                });
            }
        }
    }
    for operation in 0..40_u32 {
        t.case_of(format_args!("refused/sysctl/operation-{operation}"), |r| {
            page.fill(0);
            page.write(0, [operation, XEN_SYSCTL_INTERFACE_VERSION]);
            r.result(call(SYSCTL, [page.address()]));
        });
    }
    for cmd in (0..72_u32).chain([100]) {
        t.case_of(format_args!("refused/platform/operation-{cmd}"), |r| {
            let op = PlatformOp { cmd, interface_version: XENPF_INTERFACE_VERSION, ..PlatformOp::default() };
            page.write(0, op);
            r.result(call(PLATFORM_OP, [page.address()]));
        });
    }
    for (who, domain) in [("itself", own_id()), ("domain-0", DomId::DOM0), ("self", DomId::SELF)] {
        for cmd in 0..88_u32 {
            t.case_of(format_args!("refused/domctl/operation-{cmd}-of-{who}"), |r| {
                let version = XEN_DOMCTL_INTERFACE_VERSION;
                page.write(0, Domctl { cmd, interface_version: version, domain, ..Domctl::default() });
                r.result(call(DOMCTL, [page.address()]));
            });
        }
    }
    device_models(t, page);
    mmuext(t, page);
}

/// Operations of a device model, on this domain and on others.
fn device_models(t: &mut Runner, page: &'static Page) {
    for (who, domain) in [("itself", own_id()), ("domain-0", DomId::DOM0), ("self", DomId::SELF), ("nobody", DomId(77))]
    {
        for operation in 0..21_u32 {
            t.case_of(format_args!("refused/dm/operation-{operation}-of-{who}"), |r| {
                page.fill(0);
                page.write(256, operation);
                page.write(0, [page.address() + 256, 64]);
                r.result(call(DM_OP, [domain.0.into(), 1, page.address()]));
            });
        }
        t.case_of(format_args!("refused/dm/no-buffers-of-{who}"), |r| {
            r.result(call(DM_OP, [domain.0.into(), 0, page.address()]));
        });
        t.case_of(format_args!("refused/dm/unreadable-of-{who}"), |r| {
            r.result(call(DM_OP, [domain.0.into(), 1, pages::unmap(10)]));
        });
    }
}

/// Operations on page tables, which only the frames of others are a matter of here.
fn mmuext(t: &mut Runner, page: &'static Page) {
    for (who, domain) in [("self", DomId::SELF), ("domain-0", DomId::DOM0), ("nobody", DomId(77))] {
        for operation in 0..24_u32 {
            t.case_of(format_args!("refused/mmuext/operation-{operation}-of-{who}"), |r| {
                page.fill(0);
                page.write(0, operation);
                r.result(call(MMUEXT_OP, [page.address(), 1, 0, domain.0.into()]));
            });
        }
    }
}
