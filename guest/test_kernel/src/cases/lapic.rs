//! The virtual local APIC, by its x2APIC registers.

use core::sync::atomic::Ordering;

use xenolith_guest_kit::cpu::{let_interrupts_in, read_msr, ticks};
use xenolith_guest_kit::lapic::{
    EOI, ICR, ID, IRR, LVT_TIMER, SELF_IPI, SVR, TIMER_CURRENT, TIMER_DIVIDE, TIMER_INITIAL, TPR, in_service,
    requested, send, send_to_self, write,
};
use xenolith_guest_kit::traps::{LEAVE_IN_SERVICE, count, nth, taken};
use xenolith_guest_kit::{catch, wait_until};

use crate::runner::{Report, Runner};
use crate::waits::{LONG, SHORT, at_this_rate};

/// Writes to registers: name, register, value. The register is read back where it can be, then put back.
const WRITE: &[(&str, u32, u64)] = &[
    ("id", 0x802, 0),
    ("version", 0x803, 0),
    ("tpr/0x20", TPR, 0x20),
    ("tpr/0xff", TPR, 0xff),
    ("tpr/reserved-bit", TPR, 0x100),
    ("apr", 0x809, 0),
    ("ppr", 0x80a, 0),
    ("eoi/zero", EOI, 0),
    ("eoi/not-zero", EOI, 1),
    ("remote-read", 0x80c, 0),
    ("ldr", 0x80d, 1),
    ("dfr", 0x80e, 0),
    ("svr/0x1ff", SVR, 0x1ff),
    ("svr/focus-bit", SVR, 0x3ff),
    ("svr/suppress-eoi-broadcast", SVR, 0x11ff),
    ("svr/reserved-bit", SVR, 0x21ff),
    ("isr0", 0x810, 0),
    ("tmr0", 0x818, 0),
    ("irr0", 0x820, 0),
    ("esr/zero", 0x828, 0),
    ("esr/not-zero", 0x828, 1),
    ("lvt-cmci/masked", 0x82f, 0x1_0000),
    ("icr/reserved-bit-12", ICR, 0x1_1000),
    ("icr/reserved-bit-20", ICR, 0x10_0000),
    ("icr2", 0x831, 0),
    ("lvt-timer/masked-periodic", LVT_TIMER, 0x3_0040),
    ("lvt-timer/tsc-deadline", LVT_TIMER, 0x5_0040),
    ("lvt-timer/reserved-bit", LVT_TIMER, 0x1_2040),
    ("lvt-thermal/masked", 0x833, 0x1_00fa),
    ("lvt-performance/nmi", 0x834, 0x400),
    ("lvt-performance/reserved-bit", 0x834, 0x2_0000),
    ("lvt-lint0/extint", 0x835, 0x1_0700),
    ("lvt-lint0/reserved-bit", 0x835, 0x10_0000),
    ("lvt-lint1/nmi", 0x836, 0x1_0400),
    ("lvt-error/0xfe", 0x837, 0xfe),
    ("lvt-error/delivery-mode", 0x837, 0x1_0400),
    ("timer-initial/zero", TIMER_INITIAL, 0),
    ("timer-initial/above-32-bits", TIMER_INITIAL, 1 << 32),
    ("timer-current", TIMER_CURRENT, 0),
    ("timer-divide/0xb", TIMER_DIVIDE, 0xb),
    ("timer-divide/bit-2", TIMER_DIVIDE, 0x4),
    ("timer-divide/reserved-bit", TIMER_DIVIDE, 0x10),
    ("self-ipi/above-8-bits", SELF_IPI, 0x100),
    ("unknown/0x800", 0x800, 0),
    ("unknown/0x840", 0x840, 0),
    ("unknown/0x8ff", 0x8ff, 0),
];

/// Runs the cases.
pub fn run(t: &mut Runner) {
    for register in 0x800..=0x840_u32 {
        t.case_of(format_args!("lapic/read/{register:#x}"), |r| {
            r.caught(catch(|| read_msr(register)));
        });
    }
    for (name, register, value) in WRITE.iter().copied() {
        t.case_of(format_args!("lapic/write/{name}"), |r| write_and_read_back(r, register, value));
    }
    interrupts(t);
    priorities(t);
    timer(t);
}

fn write_and_read_back(r: &mut Report, register: u32, value: u64) {
    let before = catch(|| read_msr(register));
    r.done(catch(|| write(register, value)));
    let after = catch(|| read_msr(register));
    r.caught(after);
    if let (Ok(before), Ok(after)) = (before, after)
        && before != after
    {
        r.holds("restored", catch(|| write(register, before)).is_ok() && read_msr(register) == before);
    }
}

/// Sends by `raise`, and says whether the vector waits while interrupts are off and comes when they are on.
fn delivery(r: &mut Report, vector: u8, raise: impl FnOnce()) {
    let before = count(0, vector);
    raise();
    r.holds("requested", wait_until_off(|| requested(vector)));
    r.holds("taken", wait_until(LONG, || count(0, vector) != before));
    r.holds("still-requested", requested(vector)).holds("in-service", in_service(vector));
}

/// Waits with interrupts off.
fn wait_until_off(done: impl Fn() -> bool) -> bool {
    let (begin, bound) = (ticks(), at_this_rate(SHORT));
    while !done() {
        if ticks().wrapping_sub(begin) > bound {
            return false;
        }
    }
    true
}

fn interrupts(t: &mut Runner) {
    t.case("lapic/self-ipi/vector-0x50", |r| delivery(r, 0x50, || send_to_self(0x50)));
    t.case("lapic/self-ipi/vector-0x0f-is-illegal", |r| {
        write(0x828, 0);
        r.done(catch(|| send_to_self(0x0f)));
        write(0x828, 0);
        r.named("esr", read_msr(0x828));
        write(0x828, 0);
        write(0x828, 0);
        r.named("then", read_msr(0x828));
    });
    t.case("lapic/icr/to-its-own-id", |r| {
        let id = read_msr(ID) as u32;
        delivery(r, 0x51, || send(id, 0x51));
    });
    t.case("lapic/icr/shorthand-self", |r| delivery(r, 0x52, || write(ICR, 0x4_4052)));
    t.case("lapic/icr/shorthand-all-with-self", |r| delivery(r, 0x53, || write(ICR, 0x8_4053)));
    t.case("lapic/icr/shorthand-all-but-self", |r| delivery(r, 0x54, || write(ICR, 0xc_4054)));
    t.case("lapic/icr/broadcast-id", |r| delivery(r, 0x55, || send(0xffff_ffff, 0x55)));
    t.case("lapic/icr/logical-to-itself", |r| {
        let logical = read_msr(0x80d);
        delivery(r, 0x56, || write(ICR, logical << 32 | 0x4856));
    });
    t.case("lapic/icr/to-no-one", |r| delivery(r, 0x57, || send(0x77, 0x57)));
    t.case("lapic/icr/vector-0x00-is-illegal", |r| {
        write(0x828, 0);
        r.done(catch(|| write(ICR, 0x4_4000)));
        write(0x828, 0);
        r.named("esr", read_msr(0x828));
    });
    t.case("lapic/icr/reads-back", |r| {
        write(ICR, 0x77_0000_4057);
        r.hex(read_msr(ICR));
    });
    t.case("lapic/same-vector-twice-is-one", |r| {
        let before = count(0, 0x58);
        send_to_self(0x58);
        send_to_self(0x58);
        let came = wait_until(LONG, || count(0, 0x58) != before);
        wait_until(SHORT, || false);
        r.holds("taken", came).named("times", count(0, 0x58).wrapping_sub(before));
    });
    t.case("lapic/software-disabled-apic-masks-its-table", |r| {
        write(LVT_TIMER, 0x40);
        write(SVR, 0xff);
        r.hex(read_msr(LVT_TIMER));
        write(LVT_TIMER, 0x40);
        r.hex(read_msr(LVT_TIMER));
        write(SVR, 0x1ff);
        r.hex(read_msr(LVT_TIMER));
        write(LVT_TIMER, 0x1_0000);
    });
}

fn priorities(t: &mut Runner) {
    t.case("lapic/two-waiting-come-highest-first", |r| {
        let before = taken(0);
        send_to_self(0x61);
        send_to_self(0x91);
        r.holds("both", wait_until(LONG, || taken(0).wrapping_sub(before) >= 2));
        r.hex(nth(0, before).into()).hex(nth(0, before.wrapping_add(1)).into());
    });
    t.case("lapic/tpr-holds-lower-classes-back", |r| {
        write(TPR, 0x60);
        // Not of the same class as the task priority: the emulator lets that through to the hypervisor for ever.
        let before = (count(0, 0x52), count(0, 0x72));
        send_to_self(0x52);
        send_to_self(0x72);
        r.holds("higher", wait_until(LONG, || count(0, 0x72) != before.1));
        r.holds("lower", wait_until(SHORT, || count(0, 0x52) != before.0));
        r.named("ppr", read_msr(0x80a));
        write(TPR, 0);
        r.holds("lower-after", wait_until(LONG, || count(0, 0x52) != before.0));
    });
    t.case("lapic/vector-in-service-holds-its-class-back", |r| {
        LEAVE_IN_SERVICE.store(true, Ordering::Relaxed);
        let before = (count(0, 0x83), count(0, 0x82), count(0, 0x93));
        send_to_self(0x83);
        r.holds("first", wait_until(LONG, || count(0, 0x83) != before.0));
        r.holds("in-service", in_service(0x83)).named("ppr", read_msr(0x80a));
        send_to_self(0x82);
        send_to_self(0x93);
        r.holds("higher", wait_until(LONG, || count(0, 0x93) != before.2));
        r.holds("same-class", wait_until(SHORT, || count(0, 0x82) != before.1));
        LEAVE_IN_SERVICE.store(false, Ordering::Relaxed);
        write(EOI, 0);
        r.holds("0x93-ended-first", !in_service(0x93) && in_service(0x83));
        write(EOI, 0);
        r.holds("then", wait_until(LONG, || count(0, 0x82) != before.1));
    });
    t.case("lapic/cr8-is-the-task-priority", |r| {
        write(TPR, 0x50);
        r.named("cr8", read_cr8());
        write_cr8(7);
        r.named("tpr", read_msr(TPR));
        write_cr8(0);
        let_interrupts_in();
        r.named("then", read_msr(TPR));
    });
    t.case("lapic/no-vector-is-left", |r| {
        for bank in 0..8 {
            r.hex(read_msr(IRR + bank) | read_msr(0x810 + bank));
        }
    });
}

fn read_cr8() -> u64 {
    let value: u64;
    // SAFETY: reading the task priority changes nothing.
    unsafe { core::arch::asm!("mov {}, cr8", out(reg) value, options(nomem, nostack)) };
    value
}

fn write_cr8(value: u64) {
    // SAFETY: the task priority only holds interrupts back.
    unsafe { core::arch::asm!("mov cr8, {}", in(reg) value, options(nomem, nostack)) };
}

fn timer(t: &mut Runner) {
    t.case("lapic/timer/one-shot", |r| {
        let before = count(0, 0x40);
        write(TIMER_DIVIDE, 0xb);
        write(LVT_TIMER, 0x40);
        write(TIMER_INITIAL, 1_000_000);
        r.holds("taken", wait_until(LONG, || count(0, 0x40) != before));
        let once = count(0, 0x40);
        r.holds("again", wait_until(SHORT, || count(0, 0x40) != once));
        r.named("current", read_msr(TIMER_CURRENT));
        write(LVT_TIMER, 0x1_0000);
    });
    t.case("lapic/timer/periodic", |r| {
        let before = count(0, 0x41);
        write(LVT_TIMER, 0x2_0041);
        write(TIMER_INITIAL, 1_000_000);
        r.holds("three", wait_until(LONG, || count(0, 0x41).wrapping_sub(before) >= 3));
        write(TIMER_INITIAL, 0);
        wait_until(SHORT, || false);
        let stopped = count(0, 0x41);
        r.holds("goes-on-when-stopped", wait_until(SHORT, || count(0, 0x41) != stopped));
        write(LVT_TIMER, 0x1_0000);
    });
    t.case("lapic/timer/masked", |r| {
        let before = count(0, 0x42);
        write(LVT_TIMER, 0x1_0042);
        write(TIMER_INITIAL, 100_000);
        r.holds("taken", wait_until(SHORT, || count(0, 0x42) != before));
        write(TIMER_INITIAL, 0);
        write(LVT_TIMER, 0x1_0000);
    });
    t.case("lapic/timer/counts-down", |r| {
        write(LVT_TIMER, 0x1_0043);
        write(TIMER_INITIAL, 0xffff_ffff);
        let first = read_msr(TIMER_CURRENT);
        wait_until(SHORT / 16, || false);
        let second = read_msr(TIMER_CURRENT);
        r.holds("falls", second < first).holds("below-initial", first < 0xffff_ffff);
        write(TIMER_INITIAL, 0);
        r.named("stopped", read_msr(TIMER_CURRENT));
        write(LVT_TIMER, 0x1_0000);
    });
}
