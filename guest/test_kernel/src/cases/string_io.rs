//! INS and OUTS at ports that the hypervisor answers: what they move, and what they raise where the memory is not there.

use xenolith_guest_kit::catch;
use xenolith_guest_kit::cpu::{Direction, Width, ins, outs};
use xenolith_guest_kit::pages::{self, Access, Page};

use crate::runner::{Report, Runner};

/// Ports behind which there is no device for a guest: an interrupt controller's, and that of the debug console.
const PORTS: &[u16] = &[0x20, 0xe9];
const WIDTHS: &[(&str, Width)] = &[("8", Width::Byte), ("16", Width::Word), ("32", Width::DoubleWord)];
/// What memory holds before it is read into.
const FILLING: u64 = 0x5a5a_5a5a_5a5a_5a5a;
/// Two pages of the window that lie side by side, and a third that is for reading alone.
const FIRST: u64 = 12;
const SECOND: u64 = 13;
const READ_ONLY: u64 = 11;
const NOT_CANONICAL: u64 = 0x8000_0000_0000_0000;

/// Reads from a port, and says how the registers came back.
fn read(r: &mut Report, (port, width): (u16, Width), at: u64, count: u64, direction: Direction) {
    let mut left = (at, count);
    // SAFETY: the memory is a page's, or nobody's.
    let done = catch(|| left = unsafe { ins(port, width, at, count, direction) });
    said(r, done, at, left);
}

/// Writes to a port, and says how the registers came back.
fn write(r: &mut Report, (port, width): (u16, Width), at: u64, count: u64) {
    let mut left = (at, count);
    // SAFETY: no device is behind the ports.
    let done = catch(|| left = unsafe { outs(port, width, at, count, Direction::Up) });
    said(r, done, at, left);
}

fn said(r: &mut Report, done: Result<(), xenolith_guest_kit::Fault>, at: u64, (end, count): (u64, u64)) {
    if let Err(fault) = &done {
        r.holds("at-the-memory", fault.address == at || fault.address == (at & !0xfff) + 4096);
    }
    r.done(done).named("moved", end.wrapping_sub(at).cast_signed()).named("left", count);
}

fn filled() -> &'static Page {
    let page = pages::take();
    (0..4096).step_by(8).for_each(|offset| page.write(offset, FILLING));
    page
}

/// Runs the cases.
pub fn run(t: &mut Runner) {
    let page = filled();
    for port in PORTS.iter().copied() {
        for (bits, width) in WIDTHS.iter().copied() {
            let what = (port, width);
            for (name, count, direction) in [
                ("one", 1, Direction::Up),
                ("three", 3, Direction::Up),
                ("none", 0, Direction::Up),
                ("down", 3, Direction::Down),
            ] {
                t.case_of(format_args!("string-io/ins{bits}/{port:#x}/{name}"), |r| {
                    page.write(64, FILLING);
                    page.write(72, FILLING);
                    read(r, what, page.address() + 64, count, direction);
                    r.hex(page.read(56)).hex(page.read(64)).hex(page.read(72));
                    (48..80).step_by(8).for_each(|offset| page.write(offset, FILLING));
                });
            }
            bad_memory(t, bits, what);
        }
    }
    debug_console(t, page);
}

fn bad_memory(t: &mut Runner, bits: &str, what: (u16, Width)) {
    let port = what.0;
    for (name, at) in [("unmapped", pages::unmap(10)), ("not-canonical", NOT_CANONICAL), ("no-memory", 0xd800_0000)] {
        t.case_of(format_args!("string-io/ins{bits}/{port:#x}/{name}"), |r| read(r, what, at, 1, Direction::Up));
        t.case_of(format_args!("string-io/outs{bits}/{port:#x}/{name}"), |r| write(r, what, at, 1));
    }
    t.case_of(format_args!("string-io/ins{bits}/{port:#x}/read-only"), |r| {
        let page = filled();
        let at = pages::map(READ_ONLY, page.gfn(), Access::ReadOnly);
        read(r, what, at, 1, Direction::Up);
        r.hex(page.read(0));
    });
    t.case_of(format_args!("string-io/ins{bits}/{port:#x}/into-the-next-page"), |r| {
        let (low, high) = (filled(), filled());
        let at = pages::map(FIRST, low.gfn(), Access::ReadWrite) + 4096 - 6;
        pages::map(SECOND, high.gfn(), Access::ReadWrite);
        read(r, what, at, 3, Direction::Up);
        r.hex(low.read(4088)).hex(high.read(0));
    });
    t.case_of(format_args!("string-io/ins{bits}/{port:#x}/ends-unmapped"), |r| {
        let low = filled();
        let at = pages::map(FIRST, low.gfn(), Access::ReadWrite) + 4096 - 6;
        pages::unmap(SECOND);
        read(r, what, at, 4, Direction::Up);
        r.hex(low.read(4088));
    });
}

/// Words for the hypervisor's log, and the same port by more than a byte, which it does not take.
fn debug_console(t: &mut Runner, page: &Page) {
    for (name, count) in [("a-line", 12), ("nothing", 0)] {
        t.case_of(format_args!("string-io/outs8/0xe9/{name}"), |r| {
            b"early words\n".iter().zip(0..).for_each(|(byte, at)| page.write(at, *byte));
            write(r, (0xe9, Width::Byte), page.address(), count);
        });
    }
    for (name, width) in [("outs16", Width::Word), ("outs32", Width::DoubleWord)] {
        t.case_of(format_args!("string-io/{name}/0xe9/two"), |r| write(r, (0xe9, width), page.address(), 2));
    }
    for (bits, width) in WIDTHS.iter().copied() {
        t.case_of(format_args!("string-io/outs{bits}/0x20/two"), |r| write(r, (0x20, width), page.address(), 2));
    }
}
