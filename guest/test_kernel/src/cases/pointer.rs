//! Arguments at bad addresses, for one operation of each hypercall.

use xen_abi::event_channel::*;
use xen_abi::grant_table::*;
use xen_abi::hvm_op::*;
use xen_abi::hypercall::*;
use xen_abi::memory::*;
use xen_abi::sched::*;
use xen_abi::version::*;
use xen_abi::{DomId, Port};
use xenolith_guest_kit::pages::{self, Access, Page, write_at};

use crate::calls::{self, call};
use crate::domain::{SPARE, close};
use crate::runner::Runner;

/// How the pointer is bad.
#[derive(Clone, Copy)]
enum Bad {
    Null,
    Unmapped,
    NotCanonical,
    TopOfMemory,
    ReadOnly,
    NotRam,
    EndsUnmapped,
    NotAligned,
}

const KINDS: &[(&str, Bad)] = &[
    ("null", Bad::Null),
    ("unmapped", Bad::Unmapped),
    ("not-canonical", Bad::NotCanonical),
    ("top-of-memory", Bad::TopOfMemory),
    ("read-only", Bad::ReadOnly),
    ("not-ram", Bad::NotRam),
    ("ends-in-an-unmapped-page", Bad::EndsUnmapped),
    ("not-aligned", Bad::NotAligned),
];

/// Returns the address for `bytes` of arguments, filled in as far as it can be.
fn place(bad: Bad, bytes: &[u8]) -> u64 {
    let page = pages::take();
    let fill = |page: &Page, from: usize| {
        for (index, byte) in bytes.iter().enumerate() {
            if from + index < pages::PAGE_BYTES {
                page.write(from + index, *byte);
            }
        }
    };
    match bad {
        // The first page is mapped by this kernel's tables, and the domain may have RAM there. A walk of page tables
        // that looks at 48 bits only finds it by the other address as well.
        Bad::Null | Bad::NotCanonical => {
            for (at, byte) in bytes.iter().enumerate() {
                write_at(at as u64, *byte);
            }
            if matches!(bad, Bad::Null) { 0 } else { 0x8000_0000_0000_0000 }
        }
        Bad::Unmapped => pages::unmap(10),
        Bad::TopOfMemory => 0xffff_ffff_ffff_fff0,
        Bad::ReadOnly => {
            fill(page, 0);
            pages::map(11, page.gfn(), Access::ReadOnly)
        }
        Bad::NotRam => pages::map(14, SPARE, Access::ReadWrite),
        Bad::EndsUnmapped => {
            let from = pages::PAGE_BYTES - bytes.len() / 2;
            fill(page, from);
            pages::unmap(13);
            pages::map(12, page.gfn(), Access::ReadWrite) + from as u64
        }
        Bad::NotAligned => {
            fill(page, 1);
            page.address() + 1
        }
    }
}

/// A call: its name, number, operation, argument as bytes, and the third argument.
struct Call {
    name: &'static str,
    number: u32,
    operation: u32,
    argument: [u8; 48],
    size: usize,
    third: u64,
}

fn of<T: crate::calls::Plain>(name: &'static str, number: u32, operation: u32, value: T, third: u64) -> Call {
    let mut argument = [0; 48];
    let page = pages::take();
    calls::put(page.address(), 0, value);
    for (at, slot) in argument.iter_mut().enumerate() {
        *slot = page.read(at);
    }
    Call { name, number, operation, argument, size: calls::size::<T>(), third }
}

/// Runs the cases.
pub fn run(t: &mut Runner) {
    let calls = [
        of("version-extra", XEN_VERSION, XENVER_EXTRAVERSION, [0_u8; 16], 0),
        of("version-features", XEN_VERSION, XENVER_GET_FEATURES, FeatureInfo::default(), 0),
        of("version-platform", XEN_VERSION, XENVER_PLATFORM_PARAMETERS, PlatformParameters::default(), 0),
        of(
            "evtchn-alloc-unbound",
            EVENT_CHANNEL_OP,
            EVTCHNOP_ALLOC_UNBOUND,
            EvtchnAllocUnbound { dom: DomId::SELF, remote_dom: DomId::SELF, port: Port(0) },
            0,
        ),
        of(
            "evtchn-status",
            EVENT_CHANNEL_OP,
            EVTCHNOP_STATUS,
            EvtchnStatus { dom: DomId::SELF, ..EvtchnStatus::default() },
            0,
        ),
        of("evtchn-send", EVENT_CHANNEL_OP, EVTCHNOP_SEND, EvtchnSend { port: Port(1) }, 0),
        of(
            "grant-query-size",
            GRANT_TABLE_OP,
            GNTTABOP_QUERY_SIZE,
            GnttabQuerySize { dom: DomId::SELF, ..GnttabQuerySize::default() },
            1,
        ),
        of(
            "grant-get-version",
            GRANT_TABLE_OP,
            GNTTABOP_GET_VERSION,
            GnttabGetVersion { dom: DomId::SELF, ..GnttabGetVersion::default() },
            1,
        ),
        of(
            "grant-map",
            GRANT_TABLE_OP,
            GNTTABOP_MAP_GRANT_REF,
            GnttabMapGrantRef { dom: DomId(77), flags: GrantMapFlags::HOST_MAP, ..GnttabMapGrantRef::default() },
            1,
        ),
        of("grant-unmap", GRANT_TABLE_OP, GNTTABOP_UNMAP_GRANT_REF, GnttabUnmapGrantRef::default(), 1),
        of("grant-copy", GRANT_TABLE_OP, GNTTABOP_COPY, GnttabCopy::default(), 1),
        of("memory-current", MEMORY_OP, XENMEM_CURRENT_RESERVATION, MemoryDomain { domid: DomId(77) }, 0),
        of("memory-populate", MEMORY_OP, XENMEM_POPULATE_PHYSMAP, MemoryReservation::default(), 0),
        of("sched-poll", SCHED_OP, SCHEDOP_POLL, SchedPoll { timeout: 1, ..SchedPoll::default() }, 0),
        of(
            "sched-remote-shutdown",
            SCHED_OP,
            SCHEDOP_REMOTE_SHUTDOWN,
            SchedRemoteShutdown { domain_id: DomId(77), ..SchedRemoteShutdown::default() },
            0,
        ),
        of(
            "hvm-get-param",
            HVM_OP,
            HVMOP_GET_PARAM,
            HvmParam { domid: DomId::SELF, index: 1, ..HvmParam::default() },
            0,
        ),
        of("hvm-get-time", HVM_OP, HVMOP_GET_TIME, HvmGetTime::default(), 0),
    ];
    for one in &calls {
        for (kind, bad) in KINDS.iter().copied() {
            t.case_of(format_args!("pointer/{}/{kind}", one.name), |r| {
                let bytes = one.argument.get(..one.size.min(48)).unwrap_or_default();
                let at = place(bad, bytes);
                r.result(call(one.number, [one.operation.into(), at, one.third]));
                for port in 1..8 {
                    close(Port(port));
                }
            });
        }
    }
}
