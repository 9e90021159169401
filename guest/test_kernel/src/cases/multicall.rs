//! Several hypercalls in one.

use xen_abi::Errno;
use xen_abi::event_channel::{EVTCHNOP_SEND, EVTCHNOP_STATUS, EvtchnStatus};
use xen_abi::hypercall::*;
use xen_abi::memory::{XENMEM_CURRENT_RESERVATION, XENMEM_MAXIMUM_RAM_PAGE};
use xen_abi::version::{XENVER_PAGESIZE, XENVER_VERSION};
use xen_abi::{DomId, Port};
use xenolith_guest_kit::pages::{self, Access, Page};

use crate::calls::{self, call};
use crate::runner::{Report, Runner};
use xenolith_guest_kit::mode::{self, Mode};

fn entry(number: u32, args: [u64; 6]) -> MulticallEntry {
    MulticallEntry { op: number.into(), result: 0x5555, args }
}

fn put(page: &Page, list: &[MulticallEntry]) {
    for (index, one) in list.iter().enumerate() {
        calls::put(page.address(), index, *one);
    }
}

/// Makes the calls, and says the whole's result and each one's.
fn make(r: &mut Report, list: &[MulticallEntry]) -> &'static Page {
    let page = pages::take();
    put(page, list);
    r.result(call(MULTICALL, [page.address(), list.len() as u64]));
    for index in 0..list.len() {
        let one: MulticallEntry = calls::get(page.address(), index);
        // 32-bit code has the low half of it.
        let result = if mode::current() == Mode::Long { one.result.cast_signed() } else { one.result as i32 as i64 };
        match Errno::from_return(result) {
            Some(errno) => r.field(format_args!("-{errno}")),
            None => r.hex(one.result),
        };
    }
    page
}

/// Runs the cases.
pub fn run(t: &mut Runner) {
    let version = entry(XEN_VERSION, [XENVER_VERSION.into(), 0, 0, 0, 0, 0]);
    let page_size = entry(XEN_VERSION, [XENVER_PAGESIZE.into(), 0, 0, 0, 0, 0]);
    t.case("multicall/none", |r| {
        make(r, &[]);
    });
    t.case("multicall/one", |r| {
        make(r, &[version]);
    });
    t.case("multicall/keeps-number-and-arguments", |r| {
        let page = make(r, &[entry(XEN_VERSION, [XENVER_PAGESIZE.into(), 0, 3, 4, 5, 6])]);
        for index in 0..8 {
            r.hex(page.read(index * 8));
        }
    });
    t.case("multicall/bad-ones-between-good-ones", |r| {
        make(r, &[version, entry(60, [0; 6]), entry(XEN_VERSION, [99, 0, 0, 0, 0, 0]), page_size]);
    });
    t.case("multicall/numbers-out-of-range", |r| {
        let mut wide = version;
        wide.op = 0x1_0000_0011;
        make(r, &[entry(128, [0; 6]), entry(u32::MAX, [0; 6]), wide]);
    });
    t.case("multicall/nested", |r| {
        let inner = pages::take();
        put(inner, &[version]);
        make(r, &[entry(MULTICALL, [inner.address(), 1, 0, 0, 0, 0]), version]);
        r.hex(inner.read(8));
    });
    t.case("multicall/memory-calls", |r| {
        let dom = pages::take();
        dom.write(0, DomId::SELF);
        let list = [
            entry(MEMORY_OP, [XENMEM_MAXIMUM_RAM_PAGE.into(), 0, 0, 0, 0, 0]),
            entry(MEMORY_OP, [XENMEM_CURRENT_RESERVATION.into(), pages::unmap(10), 0, 0, 0, 0]),
            entry(MEMORY_OP, [63, dom.address(), 0, 0, 0, 0]),
        ];
        make(r, &list);
    });
    t.case("multicall/event-calls", |r| {
        let args = pages::take();
        args.write(0, Port(0));
        args.write(64, EvtchnStatus { dom: DomId::SELF, port: Port(1), ..EvtchnStatus::default() });
        let list = [
            entry(EVENT_CHANNEL_OP, [EVTCHNOP_SEND.into(), args.address(), 0, 0, 0, 0]),
            entry(EVENT_CHANNEL_OP, [EVTCHNOP_STATUS.into(), args.address() + 64, 0, 0, 0, 0]),
            entry(EVENT_CHANNEL_OP, [EVTCHNOP_SEND.into(), 0, 0, 0, 0, 0]),
        ];
        make(r, &list);
    });
    t.case("multicall/yield-inside", |r| {
        make(r, &[entry(SCHED_OP, [0; 6]), version]);
    });
    t.case("multicall/a-thousand", |r| {
        let many = pages::take_many(16, 1);
        let first = many.first().map_or(0, Page::address);
        for index in 0..1000 {
            calls::put(first, index, page_size);
        }
        r.result(call(MULTICALL, [first, 1000]));
        let done = (0..1000).filter(|i| calls::get::<MulticallEntry>(first, *i).result == 4096).count();
        r.named("done", done);
    });
    bad_lists(t, version);
}

fn bad_lists(t: &mut Runner, version: MulticallEntry) {
    for (name, address, count) in [
        ("null", 0, 1_u64),
        ("unmapped", pages::unmap(10), 1),
        ("not-canonical", 0x8000_0000_0000_0000, 1),
        ("not-canonical-none", 0x8000_0000_0000_0000, 0),
        ("wraps-around", 0xffff_ffff_ffff_ffc0, 2),
    ] {
        t.case_of(format_args!("multicall/list-{name}"), |r| {
            r.result(call(MULTICALL, [address, count]));
        });
    }
    t.case("multicall/list-runs-into-an-unmapped-page", |r| {
        let page = pages::take();
        let at = pages::map(12, page.gfn(), Access::ReadWrite) + 4096 - 64;
        pages::unmap(13);
        page.write(4096 - 64, version);
        r.result(call(MULTICALL, [at, 2])).hex(page.read(4096 - 56));
    });
    t.case("multicall/list-cannot-be-written", |r| {
        let page = pages::take();
        page.write(0, version);
        let at = pages::map(11, page.gfn(), Access::ReadOnly);
        r.result(call(MULTICALL, [at, 1])).hex(page.read(8));
    });
    t.case("multicall/count-beyond-32-bits", |r| {
        let page = pages::take();
        page.write(0, version);
        r.result(call(MULTICALL, [page.address(), 0x1_0000_0001])).hex(page.read(8));
    });
}
