//! Other domains: made, run, stopped and ended by this one.

use xen_abi::DomId;
use xen_abi::domctl::*;
use xen_abi::virq::VIRQ_DOM_EXC;
use xenolith_guest_kit::pages::{self, Page, read_at, write_at};
use xenolith_guest_kit::wait_until;

use crate::domain::{alloc_unbound, bind_interdomain, bind_virq, close, consume, pending};
use crate::runner::{Report, Runner};
use crate::toolstack::{Mode, RESULTS, SmallDomain, domctl, info, options, plain};
use crate::waits::{LONG, SHORT};

/// Writes 0x600d to 0x5000, sends by the port at 0x5100, writes the answer to 0x5008, and halts with interrupts off.
const SEND_AND_HALT: &[u8] = &[
    0xc7, 0x04, 0x25, 0x00, 0x50, 0x00, 0x00, 0x0d, 0x60, 0x00, 0x00, // mov dword [0x5000], 0x600d
    0xb8, 0x20, 0x00, 0x00, 0x00, // mov eax, 32 (event_channel_op)
    0xbf, 0x04, 0x00, 0x00, 0x00, // mov edi, 4 (send)
    0xbe, 0x00, 0x51, 0x00, 0x00, // mov esi, 0x5100
    0x0f, 0x01, 0xd9, // vmmcall
    0x89, 0x04, 0x25, 0x08, 0x50, 0x00, 0x00, // mov [0x5008], eax
    0xfa, 0xf4, // cli; hlt
];
/// In 32 bits: writes 0x32 to 0x5000 and halts with interrupts off.
const HALT_FLAT: &[u8] = &[0xc6, 0x05, 0x00, 0x50, 0x00, 0x00, 0x32, 0xfa, 0xf4];
/// Counts at 0x5000 for ever.
const COUNT: &[u8] = &[0x48, 0xff, 0x04, 0x25, 0x00, 0x50, 0x00, 0x00, 0xeb, 0xf6];
/// An exception without a table of handlers.
const FAULT: &[u8] = &[0x0f, 0x0b];

/// Runs the cases.
pub fn run(t: &mut Runner) {
    let list = pages::take();
    let other_list = pages::take();
    t.case("domain/list-of-domains", |r| {
        let (result, own) = info(DomId(0));
        r.result(result).holds("own", own.domain == DomId(0));
        r.result(info(DomId(1)).0).result(info(DomId::SELF).0);
    });
    t.case("domain/create-refused", refused);
    t.case("domain/runs-sends-and-powers-off", |r| whole_life(r, list));
    t.case("domain/flat-mode-powers-off", |r| flat(r, list));
    t.case("domain/triple-fault-is-a-reboot", |r| {
        ends_by(r, list, FAULT, Mode::Long);
    });
    t.case("domain/paused-does-not-run", |r| paused(r, list));
    t.case("domain/two-run-beside-this-one", |r| two(r, list, other_list));
    t.case("domain/ended-while-it-runs", |r| {
        let result = SmallDomain::new(list).and_then(|small| {
            small.load(COUNT, Mode::Long)?;
            small.unpause();
            wait_until(SHORT, || false);
            r.result(small.destroy()).holds("gone", wait_until(LONG, || small.is_gone()));
            Ok(())
        });
        failed(r, result);
    });
    t.case("domain/its-pages-come-back", |r| many(r, list));
}

fn failed(r: &mut Report, result: Result<(), i64>) {
    if let Err(errno) = result {
        r.named_result("failed", errno);
    }
}

fn refused(r: &mut Report) {
    let mut op = Domctl { cmd: XEN_DOMCTL_CREATEDOMAIN, ..Domctl::default() };
    for wrong in [
        DomctlCreatedomain { max_vcpus: 0, ..options() },
        DomctlCreatedomain { flags: CreateFlags(1 << 20), ..options() },
        DomctlCreatedomain { grant_opts: 0, ..options() },
    ] {
        op.set_createdomain(wrong);
        r.result(domctl(&mut op));
    }
    r.result(plain(XEN_DOMCTL_DESTROYDOMAIN, DomId(77))).result(plain(9999, DomId(0)));
}

/// A domain that sends an event to this one and powers itself off.
fn whole_life(r: &mut Report, list: &'static Page) {
    let (bound, death) = bind_virq(VIRQ_DOM_EXC, 0);
    r.result(bound);
    let result = SmallDomain::new(list).and_then(|small| {
        let (allocated, theirs) = alloc_unbound(small.id, DomId(0));
        let (connected, ours) = bind_interdomain(small.id, theirs);
        r.result(allocated).result(connected);
        small.load(SEND_AND_HALT, Mode::Long)?;
        let results = small.see(RESULTS >> 12)?;
        write_at(results + 0x100, theirs);
        consume(ours);
        consume(death);
        r.result(small.unpause());
        r.holds("event", wait_until(LONG, || pending(ours)));
        r.holds("told-of-shutdown", wait_until(LONG, || pending(death)));
        r.named("reason", small.shutdown().map_or(-1, i64::from));
        r.hex(read_at::<u32>(results).into()).named_result("sent", read_at::<i32>(results + 8).into());
        consume(death);
        r.result(small.destroy());
        // Its page is still seen here.
        r.holds("dead", info(small.id).1.flags.contains(DomainFlags::DYING) && !small.is_gone());
        r.result(small.unsee(RESULTS >> 12));
        r.holds("gone", wait_until(LONG, || small.is_gone()));
        r.holds("told-of-death", pending(death));
        r.result(close(ours));
        Ok(())
    });
    failed(r, result);
    close(death);
}

fn flat(r: &mut Report, list: &'static Page) {
    let result = SmallDomain::new(list).and_then(|small| {
        small.load(HALT_FLAT, Mode::Flat)?;
        small.unpause();
        wait_until(LONG, || small.shutdown().is_some());
        r.named("reason", small.shutdown().map_or(-1, i64::from));
        r.hex(read_at::<u32>(small.see(RESULTS >> 12)?).into());
        small.unsee(RESULTS >> 12);
        r.result(small.destroy()).holds("gone", wait_until(LONG, || small.is_gone()));
        Ok(())
    });
    failed(r, result);
}

fn ends_by(r: &mut Report, list: &'static Page, code: &[u8], mode: Mode) {
    let result = SmallDomain::new(list).and_then(|small| {
        small.load(code, mode)?;
        small.unpause();
        wait_until(LONG, || small.shutdown().is_some());
        r.named("reason", small.shutdown().map_or(-1, i64::from));
        r.result(small.destroy()).holds("gone", wait_until(LONG, || small.is_gone()));
        Ok(())
    });
    failed(r, result);
}

fn paused(r: &mut Report, list: &'static Page) {
    let result = SmallDomain::new(list).and_then(|small| {
        small.load(COUNT, Mode::Long)?;
        let counter = small.see(RESULTS >> 12)?;
        wait_until(SHORT, || false);
        r.holds("before", read_at::<u64>(counter) != 0);
        small.unpause();
        r.holds("runs", wait_until(LONG, || read_at::<u64>(counter) != 0));
        r.result(small.pause());
        let stopped_at: u64 = read_at(counter);
        wait_until(SHORT, || false);
        r.holds("still", read_at::<u64>(counter) == stopped_at);
        small.unpause();
        r.holds("goes-on", wait_until(LONG, || read_at::<u64>(counter) != stopped_at));
        small.unsee(RESULTS >> 12);
        r.result(small.destroy()).holds("gone", wait_until(LONG, || small.is_gone()));
        Ok(())
    });
    failed(r, result);
}

/// Two domains and this one, which want more than there are CPUs.
fn two(r: &mut Report, list: &'static Page, other_list: &'static Page) {
    let start = |list| -> Result<(SmallDomain, u64), i64> {
        let small = SmallDomain::new(list)?;
        small.load(COUNT, Mode::Long)?;
        small.unpause();
        Ok((small, 0))
    };
    let result = start(list).and_then(|(first, _)| {
        let (second, _) = start(other_list)?;
        for (name, small) in [("first", &first), ("second", &second)] {
            let counter = small.see(RESULTS >> 12)?;
            let before: u64 = read_at(counter);
            r.holds(name, wait_until(LONG, || read_at::<u64>(counter) > before));
            small.unsee(RESULTS >> 12);
        }
        for small in [first, second] {
            r.result(small.destroy()).holds("gone", wait_until(LONG, || small.is_gone()));
        }
        Ok(())
    });
    failed(r, result);
}

/// More domains one after the other than there would be memory for, if any of it were lost.
fn many(r: &mut Report, list: &'static Page) {
    let mut made = 0;
    for _ in 0..50 {
        let Ok(small) = SmallDomain::new(list) else { break };
        made += 1;
        if small.destroy() != 0 || !wait_until(LONG, || small.is_gone()) {
            break;
        }
    }
    r.named("made", made);
}
