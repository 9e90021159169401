//! Microsoft's hypervisor interface (Viridian), of twins with several sets of its features.

use core::sync::atomic::Ordering;

use xen_abi::DomId;
use xen_abi::domctl::{ArchDomainconfig, DomctlCreatedomain, EmulationFlags};
use xen_abi::hvm_op::{HVMOP_GET_PARAM, HVMOP_SET_PARAM, HvmParam};
use xen_abi::hvm_param::HVM_PARAM_VIRIDIAN;
use xenolith_guest_kit::cpu::{cpuid, read_msr, ticks, write_msr};
use xenolith_guest_kit::hypercall::call_viridian;
use xenolith_guest_kit::pages::{self, Page};
use xenolith_guest_kit::traps::{LEAVE_IN_SERVICE, count};
use xenolith_guest_kit::{catch, lapic, wait_until};

use crate::calls::hvm;
use crate::runner::{Report, Runner};
use crate::toolstack::{SmallDomain, options};
use crate::waits::LONG;

use super::domu::run_twin;

/// A set of features that one twin has.
pub struct Group {
    /// The word on the twin's command line.
    pub role: &'static str,
    /// What the names of its cases begin with.
    pub names: &'static str,
    features: u64,
}

/// The sets of features: everything, what `base` alone means, and what Linux uses.
pub const GROUPS: [Group; 3] = [
    Group { role: "viridian-all", names: "viridian/all/", features: 0x1ffd },
    Group { role: "viridian-base", names: "viridian/base/", features: 0x3 },
    Group { role: "viridian-linux", names: "viridian/linux/", features: 0x3fd },
];

const GUEST_OS_ID: u32 = 0x4000_0000;
const HYPERCALL: u32 = 0x4000_0001;
const TIME_REFERENCE: u32 = 0x4000_0020;
const REFERENCE_TSC: u32 = 0x4000_0021;
const EOI: u32 = 0x4000_0070;
const ICR: u32 = 0x4000_0071;
const TPR: u32 = 0x4000_0072;
const ASSIST: u32 = 0x4000_0073;
const SCONTROL: u32 = 0x4000_0080;
const SIMP: u32 = 0x4000_0083;
const EOM: u32 = 0x4000_0084;
const SINT0: u32 = 0x4000_0090;
const TIMER0: u32 = 0x4000_00b0;
const CRASH0: u32 = 0x4000_0100;
const CRASH_CONTROL: u32 = 0x4000_0105;

/// Linux 6.1, by its own scheme.
const LINUX: u64 = 0x8100_0601_0000_0000;

/// Frames that are no RAM of the twin's.
const NOT_RAM: u64 = 0xfe00_0000;

fn write(register: u32, value: u64) -> Result<(), xenolith_guest_kit::Fault> {
    // SAFETY: what these registers make the hypervisor write is pages of the pool.
    catch(|| unsafe { write_msr(register, value) })
}

fn read(register: u32) -> Result<u64, xenolith_guest_kit::Fault> {
    catch(|| read_msr(register))
}

fn set(domid: DomId, value: u64) -> i64 {
    hvm(HVMOP_SET_PARAM, &mut HvmParam { domid, pad: 0, index: HVM_PARAM_VIRIDIAN, value })
}

/// Runs the cases of domain 0: the parameter, and the twins.
pub fn run(t: &mut Runner) {
    for value in [0_u64, 1, 2, 3, 0x1fff, 0x1ffe, 0x2001, 1 << 32 | 1] {
        t.case_of(format_args!("viridian/param/{value:#x}"), |r| {
            let taken = pages::taken();
            match SmallDomain::new(pages::take()) {
                Err(errno) => {
                    r.named_result("failed", errno);
                }
                Ok(small) => {
                    r.result(set(small.id, value));
                    let mut now = HvmParam { domid: small.id, pad: 0, index: HVM_PARAM_VIRIDIAN, value: 0 };
                    r.result(hvm(HVMOP_GET_PARAM, &mut now)).hex(now.value);
                    r.named_result("same", set(small.id, value)).named_result("more", set(small.id, value | 4));
                    r.named_result("none", set(small.id, 0));
                    small.destroy();
                    r.holds("gone", wait_until(LONG, || small.is_gone()));
                }
            }
            pages::give_back(taken);
        });
    }
    for group in &GROUPS {
        run_twin(t, group.role, group.names, whole_pc(), |id| match set(id, group.features) {
            0 => Ok(()),
            errno => Err(errno),
        });
    }
}

/// Returns what xl asks for an HVM guest: only such a one may have the interface by its configuration.
fn whole_pc() -> DomctlCreatedomain {
    let emulation_flags = EmulationFlags::from_bits_retain(0x3ff);
    DomctlCreatedomain { arch: ArchDomainconfig { emulation_flags, ..ArchDomainconfig::default() }, ..options() }
}

/// Runs the cases of a twin.
pub fn run_in_twin(t: &mut Runner) {
    leaves(t, "before");
    registers(t);
    identity(t);
    leaves(t, "after");
    hypercall_page(t);
    refusals(t);
    flushes(t);
    inter_processor(t);
    clocks(t);
    local_apic(t);
    assist(t);
    interrupt_controller(t);
    timers(t);
    crash(t);
}

fn leaves(t: &mut Runner, when: &str) {
    for leaf in (0x4000_0000..=0x4000_000a_u32).chain([0x4000_00ff, 0x4000_0100, 0x4000_0101, 0x4000_0102, 0x4000_0106])
    {
        t.case_of(format_args!("cpuid/{leaf:#x}/{when}"), |r| {
            let found = cpuid(leaf, 0);
            for value in [found.eax, found.ebx, found.ecx, found.edx] {
                r.hex(value.into());
            }
        });
    }
    t.case_of(format_args!("cpuid/0x40000104/{when}"), |r| {
        let found = cpuid(0x4000_0104, 0);
        r.hex(found.eax.into()).hex(found.ebx.into());
    });
}

/// Registers whose value is the same on every run.
fn is_steady(register: u32) -> bool {
    !matches!(register, TIME_REFERENCE | 0x4000_0022)
}

fn registers(t: &mut Runner) {
    let all = (0x4000_0000..=0x4000_0003_u32)
        .chain([0x4000_0010])
        .chain(0x4000_0020..=0x4000_0024)
        .chain(0x4000_0070..=0x4000_0074)
        .chain(0x4000_0080..=0x4000_0085)
        .chain(0x4000_0090..=0x4000_00a0)
        .chain(0x4000_00b0..=0x4000_00b8)
        .chain(0x4000_00f0..=0x4000_00f3)
        .chain(0x4000_0100..=0x4000_0106)
        .chain([0x4000_0118, 0x4000_01ff, 0x4000_0200, 0x4000_0201]);
    for register in all {
        t.case_of(format_args!("msr/read/{register:#x}"), |r| match read(register) {
            Ok(_) if !is_steady(register) => {
                r.field("a-value");
            }
            value => {
                r.caught(value);
            }
        });
        if matches!(register, 0x4000_0200 | CRASH_CONTROL | 0x4000_0003) {
            continue;
        }
        t.case_of(format_args!("msr/write-zero/{register:#x}"), |r| {
            let before = read(register);
            r.done(write(register, 0));
            if is_steady(register)
                && let Ok(before) = before
                && before != 0
            {
                r.done(write(register, before));
            }
        });
    }
}

fn identity(t: &mut Runner) {
    t.case("msr/hypercall-page-before-the-guest-os-id", |r| {
        let page = pages::take();
        page.fill(0x77);
        r.done(write(HYPERCALL, page.address() | 1)).hex(page.read(0));
        r.holds("reads-back", read(HYPERCALL) == Ok(page.address() | 1));
        r.done(write(HYPERCALL, 0));
    });
    t.case("msr/guest-os-id", |r| {
        r.done(write(GUEST_OS_ID, LINUX)).caught(read(GUEST_OS_ID));
    });
    t.case("msr/index-is-read-only", |r| {
        r.done(write(0x4000_0002, 1)).caught(read(0x4000_0002));
    });
}

fn hypercall_page(t: &mut Runner) {
    let show = |r: &mut Report, page: &Page| {
        for offset in [0, 8, 16, 4088] {
            r.hex(page.read(offset));
        }
    };
    t.case("hypercall-page/disabled", |r| {
        let page = pages::take();
        page.fill(0x77);
        r.done(write(HYPERCALL, page.address()));
        show(r, page);
    });
    t.case("hypercall-page/enabled", |r| {
        let page = pages::take();
        page.fill(0x77);
        r.done(write(HYPERCALL, page.address() | 1));
        show(r, page);
        r.holds("reads-back", read(HYPERCALL) == Ok(page.address() | 1));
    });
    t.case("hypercall-page/other-bits", |r| {
        let page = pages::take();
        r.done(write(HYPERCALL, page.address() | 0xffd));
        r.caught(read(HYPERCALL).map(|value| value & 0xfff)).hex(page.read(0));
    });
    t.case("hypercall-page/moves", |r| {
        let (first, second) = (pages::take(), pages::take());
        r.done(write(HYPERCALL, first.address() | 1)).done(write(HYPERCALL, second.address() | 1));
        r.hex(first.read(0)).hex(second.read(0));
        r.done(write(HYPERCALL, 0)).hex(second.read(0));
    });
    for (name, value) in [("not-ram", NOT_RAM | 1), ("beyond-all", 0xffff_ffff_ffff_f001), ("shared-info", 0xc800_0001)]
    {
        t.case_of(format_args!("hypercall-page/{name}"), |r| {
            r.done(write(HYPERCALL, value)).holds("reads-back", read(HYPERCALL) == Ok(value));
        });
    }
    t.case("hypercall-page/without-a-guest-os-id", |r| {
        let page = pages::take();
        r.done(write(HYPERCALL, page.address() | 1)).done(write(GUEST_OS_ID, 0));
        r.holds("reads-back", read(HYPERCALL) == Ok(page.address() | 1)).hex(page.read(0));
        r.named("status", make(0x8, 0, 0));
        r.done(write(GUEST_OS_ID, LINUX));
    });
}

const FAST: u64 = 1 << 16;

/// Makes a hypercall.
fn make(control: u64, input: u64, output: u64) -> u64 {
    // SAFETY: addresses are those of pages of the pool, or of nothing.
    unsafe { call_viridian(control, input, output) }
}

/// Fills a page with words and returns its address.
fn words(words: &[u64]) -> u64 {
    let page = pages::take();
    (0..).step_by(8).zip(words).for_each(|(offset, word)| page.write(offset, *word));
    page.address()
}

fn refusals(t: &mut Runner) {
    for code in (0..=0x16_u64).chain([0x40, 0x4e, 0x50, 0x51, 0x5c, 0x5d, 0x69, 0xaf, 0xb0, 0xffff, 0x8001]) {
        for (name, flags) in [("slow", 0), ("fast", FAST), ("repeated", 1 << 32)] {
            if matches!(code, 0x2 | 0x3 | 0x8 | 0xb | 0x13 | 0x14 | 0x15) {
                continue;
            }
            t.case_of(format_args!("hypercall/{code:#x}/{name}"), |r| {
                r.hex(make(code | flags, 0, 0));
            });
        }
    }
    for (name, control) in [
        ("plain", 0x8),
        ("fast", 0x8 | FAST),
        ("repeated", 0x8 | 1 << 32),
        ("begun", 0x8 | 1 << 48),
        ("variable-header", 0x8 | FAST | 1 << 17),
        ("nested", 0x8 | FAST | 1 << 31),
        ("reserved-27", 0x8 | FAST | 1 << 27),
        ("reserved-44", 0x8 | FAST | 1 << 44),
        ("reserved-60", 0x8 | FAST | 1 << 60),
    ] {
        t.case_of(format_args!("hypercall/spin-wait/{name}"), |r| {
            r.hex(make(control, words(&[10]), 0));
        });
    }
    t.case("hypercall/spin-wait/from-the-page", |r| {
        let page = pages::take();
        r.done(write(HYPERCALL, page.address() | 1));
        if page.read::<u8>(0) != 0 {
            let result: u64;
            // SAFETY: the page holds code that calls the hypervisor and returns.
            unsafe {
                core::arch::asm!("call {page}", page = in(reg) page.address(), inlateout("rax") 0_u64 => result,
                    inlateout("rcx") 0x8 | FAST => _, inlateout("rdx") 10_u64 => _, inlateout("r8") 0_u64 => _)
            };
            r.hex(result);
        }
    });
}

fn flushes(t: &mut Runner) {
    for (name, code) in [("space", 0x2_u64), ("list", 0x3)] {
        let case = |t: &mut Runner, what: &str, control: u64, input: &dyn Fn() -> u64| {
            t.case_of(format_args!("hypercall/flush-{name}/{what}"), |r| {
                r.hex(make(code | control, input(), 0));
            });
        };
        case(t, "all", 0, &|| words(&[0, 3, 0]));
        case(t, "all-repeated", 1 << 32, &|| words(&[0, 3, 0, 0x1000]));
        case(t, "mask", 1 << 32, &|| words(&[0, 2, 1, 0x1000]));
        case(t, "mask-of-all-64", 1 << 32, &|| words(&[0, 2, u64::MAX, 0x1000]));
        case(t, "mask-of-none", 1 << 32, &|| words(&[0, 2, 0, 0x1000]));
        case(t, "other-space", 1 << 32, &|| words(&[0x1234_5000, 0, 1, 0x1000]));
        case(t, "unknown-flags", 1 << 32, &|| words(&[0, 0xffff_fffc, 1, 0x1000]));
        case(t, "begun-past-the-end", 1 << 32 | 2 << 48, &|| words(&[0, 3, 0, 0x1000]));
        case(t, "most", 0xfff << 32, &|| words(&[0, 3, 0, 0x1000]));
        case(t, "fast", FAST, &|| 0);
        case(t, "unaligned", 1 << 32, &|| words(&[0, 3, 0, 0x1000]) + 4);
        case(t, "across-pages", 0, &|| words(&[0, 3, 0, 0x1000]) + 4080);
        case(t, "not-ram", 0, &|| NOT_RAM);
        case(t, "beyond-all", 0, &|| 0xffff_ffff_ffff_f000);
    }
    for (name, code) in [("space-ex", 0x13_u64), ("list-ex", 0x14)] {
        let case = |t: &mut Runner, what: &str, control: u64, input: &dyn Fn() -> u64| {
            t.case_of(format_args!("hypercall/flush-{name}/{what}"), |r| {
                r.hex(make(code | control, input(), 0));
            });
        };
        sparse(t, &case, &|set: &[u64]| {
            let page = pages::take();
            (0..).step_by(8).zip([0, 2].iter().chain(set)).for_each(|(offset, word)| page.write(offset, *word));
            page.address()
        });
        case(t, "all-by-flag", 0, &|| words(&[0, 3, 9, 9]));
        case(t, "fast", FAST, &|| 0);
    }
}

/// Makes a case: its name, the control word, the address of its input.
type Asks<'a> = dyn Fn(&mut Runner, &str, u64, &dyn Fn() -> u64) + 'a;

/// Cases of sets of processors: format, mask of banks, banks.
fn sparse(t: &mut Runner, case: &Asks<'_>, page: &dyn Fn(&[u64]) -> u64) {
    let header = |words: u64| words << 17;
    let list = 1 << 32;
    for (what, control, set) in [
        ("all", list, &[1_u64, 0, 0x1000][..]),
        ("first-bank", header(1) | list, &[0, 1, 1, 0x1000]),
        ("first-bank-of-all-64", header(1) | list, &[0, 1, u64::MAX, 0x1000]),
        ("no-bank", list, &[0, 0, 0, 0x1000]),
        ("bank-without-header-words", list, &[0, 1, 1, 0x1000]),
        ("two-banks-in-one-header-word", header(1) | list, &[0, 3, 1, 1, 0x1000]),
        ("two-banks", header(2) | list, &[0, 3, 1, 1, 0x1000]),
        ("header-words-too-many", header(2) | list, &[0, 1, 1, 1, 0x1000]),
        ("last-bank", header(1) | list, &[0, 1 << 63, 1, 0x1000]),
        ("64-banks", header(64) | list, &[0, u64::MAX, u64::MAX, u64::MAX]),
        ("most-header-words", header(0x3ff) | list, &[0, u64::MAX, u64::MAX, u64::MAX]),
        ("unknown-format", header(1) | list, &[2, 1, 1, 0x1000]),
        ("unknown-format-of-many", header(1) | list, &[1 << 40, 1, 1, 0x1000]),
    ] {
        case(t, what, control, &|| page(set));
    }
    case(t, "unaligned", list, &|| page(&[1, 0, 0]) + 4);
    case(t, "across-pages", list, &|| page(&[1, 0, 0]) + 4080);
    case(t, "not-ram", list, &|| NOT_RAM);
}

fn inter_processor(t: &mut Runner) {
    const VECTOR: u8 = 0x61;
    let report = |r: &mut Report, call: &dyn Fn() -> u64| {
        let before = count(0, VECTOR);
        r.hex(call()).holds("came", wait_until(LONG / 20, || count(0, VECTOR) != before));
    };
    let vector = u64::from(VECTOR);
    for (what, control, first, second) in [
        ("fast", FAST, vector, 1),
        ("fast-to-all-64", FAST, vector, u64::MAX),
        ("fast-to-none", FAST, vector, 0),
        ("fast-to-no-vcpu", FAST, vector, 1 << 63),
        ("fast-vector-0xf", FAST, 0xf, 1),
        ("fast-vector-0x10", FAST, 0x10, 1 << 63),
        ("fast-vector-0x100", FAST, 0x100 | vector, 1),
        ("fast-other-level", FAST, 1 << 32 | vector, 1),
        ("fast-repeated", FAST | 1 << 32, vector, 1),
    ] {
        t.case_of(format_args!("hypercall/ipi/{what}"), |r| report(r, &|| make(0xb | control, first, second)));
    }
    for (what, input) in
        [("slow", [vector, 1]), ("slow-vector-0xf", [0xf, 1]), ("slow-padding", [0xff << 40 | vector, 1])]
    {
        t.case_of(format_args!("hypercall/ipi/{what}"), |r| report(r, &|| make(0xb, words(&input), 0)));
    }
    t.case("hypercall/ipi/unaligned", |r| {
        r.hex(make(0xb, words(&[vector, 1]) + 4, 0));
    });
    t.case("hypercall/ipi/not-ram", |r| {
        r.hex(make(0xb, NOT_RAM, 0));
    });
    let case = |t: &mut Runner, what: &str, control: u64, input: &dyn Fn() -> u64| {
        // Not a list.
        let control = control & !(1 << 32);
        t.case_of(format_args!("hypercall/ipi-ex/{what}"), |r| report(r, &|| make(0x15 | control, input(), 0)));
    };
    sparse(t, &case, &|set: &[u64]| {
        let page = pages::take();
        page.write(0, vector);
        (8..).step_by(8).zip(set).for_each(|(offset, word)| page.write(offset, *word));
        page.address()
    });
    case(t, "fast", FAST, &|| vector);
}

fn clocks(t: &mut Runner) {
    t.case("clock/reference-count", |r| match read(TIME_REFERENCE) {
        Ok(first) => {
            let begin = first;
            wait_until(LONG / 20, || read_msr(TIME_REFERENCE) > begin + 10_000);
            r.holds("advances", read_msr(TIME_REFERENCE) > first).done(write(TIME_REFERENCE, 0));
        }
        Err(fault) => {
            r.fault(&fault);
        }
    });
    t.case("clock/frequencies", |r| {
        let tsc = read(0x4000_0022);
        r.holds("tsc-known", tsc.is_ok_and(|hertz| hertz > 1_000_000)).caught(read(0x4000_0023));
        r.done(write(0x4000_0022, 1)).done(write(0x4000_0023, 1));
    });
    t.case("clock/page", |r| {
        let page = pages::take();
        page.fill(0x77);
        r.done(write(REFERENCE_TSC, page.address() | 1));
        r.holds("reads-back", read(REFERENCE_TSC) == Ok(page.address() | 1));
        r.holds("sequence", !matches!(page.read::<u32>(0), 0 | u32::MAX | 0x7777_7777)).hex(page.read::<u32>(4).into());
        let (scale, offset): (u64, u64) = (page.read(8), page.read(16));
        r.hex(page.read(24)).hex(page.read(4088));
        if let Ok(by_register) = read(TIME_REFERENCE) {
            let by_page = ((u128::from(ticks()) * u128::from(scale)) >> 64) as u64;
            let apart = by_page.wrapping_add(offset).wrapping_sub(by_register) as i64;
            r.holds("as-the-counter", apart.unsigned_abs() < 500_000);
        }
        r.done(write(REFERENCE_TSC, 0)).holds("sequence-after", page.read::<u32>(0) != 0);
    });
    for (name, value) in [("not-ram", NOT_RAM | 1), ("beyond-all", 0xffff_ffff_ffff_f001), ("other-bits", 0xffe)] {
        t.case_of(format_args!("clock/page-{name}"), |r| {
            r.done(write(REFERENCE_TSC, value)).caught(read(REFERENCE_TSC));
            r.done(write(REFERENCE_TSC, 0));
        });
    }
}

fn local_apic(t: &mut Runner) {
    t.case("apic/task-priority", |r| {
        r.done(write(TPR, 0x20)).caught(read(TPR)).hex(read_msr(lapic::TPR));
        r.done(write(TPR, 0x1ff)).caught(read(TPR));
        r.done(write(TPR, 0));
    });
    t.case("apic/command", |r| {
        let before = count(0, 0x62);
        r.done(write(ICR, 0x4_4062)).holds("came", wait_until(LONG, || count(0, 0x62) != before));
        r.caught(read(ICR));
        r.done(write(ICR, 0x77_0000_4057)).caught(read(ICR)).done(write(ICR, 0x77_0000_5057)).caught(read(ICR));
        // They came to this vCPU, and are not to be in the way of what follows.
        let before = count(0, 0x57);
        r.holds("came", wait_until(LONG, || count(0, 0x57) != before));
    });
    t.case("apic/end-of-interrupt", |r| {
        LEAVE_IN_SERVICE.store(true, Ordering::Relaxed);
        let before = count(0, 0x63);
        lapic::send_to_self(0x63);
        r.holds("came", wait_until(LONG, || count(0, 0x63) != before)).holds("in-service", lapic::in_service(0x63));
        r.done(write(EOI, 0)).holds("in-service", lapic::in_service(0x63)).done(write(EOI, 1)).caught(read(EOI));
        if lapic::in_service(0x63) {
            lapic::end_of_interrupt();
        }
    });
}

fn assist(t: &mut Runner) {
    t.case("assist/page", |r| {
        let page = pages::take();
        page.fill(0x77);
        r.done(write(ASSIST, page.address() | 1)).holds("reads-back", read(ASSIST) == Ok(page.address() | 1));
        r.hex(page.read(0)).hex(page.read(4088));
        r.done(write(ASSIST, page.address())).hex(page.read(0));
        r.done(write(ASSIST, page.address() | 0xffe)).caught(read(ASSIST).map(|value| value & 0xfff));
        r.done(write(ASSIST, 0));
    });
    for (name, value) in [("not-ram", NOT_RAM | 1), ("beyond-all", 0xffff_ffff_ffff_f001)] {
        t.case_of(format_args!("assist/page-{name}"), |r| {
            r.done(write(ASSIST, value)).caught(read(ASSIST)).done(write(ASSIST, 0));
        });
    }
    // An interrupt that needs no end: the guest takes the bit away instead.
    t.case("assist/no-end-needed", |r| {
        let page = pages::take();
        r.done(write(ASSIST, page.address() | 1));
        LEAVE_IN_SERVICE.store(true, Ordering::Relaxed);
        for vector in [0x64, 0x65] {
            let before = count(0, vector);
            lapic::send_to_self(vector);
            r.holds("came", wait_until(LONG, || count(0, vector) != before));
            r.hex(page.read::<u32>(0).into()).holds("in-service", lapic::in_service(vector));
            page.write(0, 0_u32);
        }
        r.holds("first-in-service", lapic::in_service(0x64)).holds("second-in-service", lapic::in_service(0x65));
        // A third one makes the hypervisor look.
        let before = count(0, 0x54);
        lapic::send_to_self(0x54);
        r.holds("lower-came", wait_until(LONG, || count(0, 0x54) != before)).hex(page.read::<u32>(0).into());
        r.holds("second-in-service", lapic::in_service(0x65));
        // Of a higher class, while that one is in service and the bit stands.
        let before = count(0, 0x74);
        lapic::send_to_self(0x74);
        r.holds("higher-came", wait_until(LONG, || count(0, 0x74) != before)).hex(page.read::<u32>(0).into());
        while lapic::in_service(0x74) || lapic::in_service(0x54) || lapic::in_service(0x65) || lapic::in_service(0x64) {
            lapic::end_of_interrupt();
        }
        r.hex(page.read::<u32>(0).into()).done(write(ASSIST, 0));
    });
}

fn interrupt_controller(t: &mut Runner) {
    for (name, register, values) in [
        ("control", SCONTROL, &[1_u64, 2, 0][..]),
        ("version", 0x4000_0081, &[0]),
        ("event-page", 0x4000_0082, &[NOT_RAM | 1, 0]),
        ("message-page-not-ram", SIMP, &[NOT_RAM | 1, 0xffff_ffff_ffff_f001, 0xffe, 0]),
        ("end-of-message", EOM, &[0, 1]),
        (
            "source",
            SINT0 + 3,
            &[
                0x1_0031,
                0x31,
                0xf,
                0x1_000f,
                0x10,
                0x7_0031,
                0x2_0032,
                0x4_0031,
                0xffff_ffff_fff8_0031,
                0x10_0033,
                0x1_0000,
            ],
        ),
    ] {
        t.case_of(format_args!("synic/{name}"), |r| {
            for value in values {
                r.done(write(register, *value)).caught(read(register));
            }
        });
    }
    t.case("synic/message-page", |r| {
        let page = pages::take();
        page.fill(0x77);
        r.done(write(SIMP, page.address() | 1)).holds("reads-back", read(SIMP) == Ok(page.address() | 1));
        r.hex(page.read(0)).hex(page.read(256)).hex(page.read(4088));
        r.done(write(SIMP, 0)).hex(page.read(0));
    });
}

const ENABLED: u64 = 1;
const PERIODIC: u64 = 1 << 1;
const LAZY: u64 = 1 << 2;
const AUTO: u64 = 1 << 3;
const DIRECT: u64 = 1 << 12;

fn timers(t: &mut Runner) {
    for (name, values) in [
        ("enabled-without-a-source", &[ENABLED][..]),
        ("enabled", &[1 << 16 | ENABLED, 0]),
        ("automatic", &[1 << 16 | AUTO, 0]),
        ("direct", &[DIRECT | 0x40 << 4, 1 << 16 | 0x40 << 4, 0]),
        ("reserved-bits", &[1 << 13, 1 << 20, 1 << 63, !ENABLED, 0]),
    ] {
        t.case_of(format_args!("timer/{name}"), |r| {
            for value in values {
                r.done(write(TIMER0, *value)).caught(read(TIMER0));
            }
            r.done(write(TIMER0, 0));
        });
    }
    t.case("timer/count-stops-and-starts", |r| {
        for (config, count) in
            [(2 << 16, 5), (2 << 16 | AUTO, 1 << 50), (2 << 16 | AUTO, 0), (2 << 16 | ENABLED, 1 << 50)]
        {
            r.done(write(TIMER0, config)).done(write(TIMER0 + 1, count));
            r.caught(read(TIMER0)).caught(read(TIMER0 + 1));
        }
        r.done(write(TIMER0, 0)).done(write(TIMER0 + 1, 0));
    });
    for (name, timer, kind) in [("one-shot", 1, 0), ("periodic", 2, PERIODIC), ("lazy-periodic", 3, PERIODIC | LAZY)] {
        t.case_of(format_args!("timer/{name}-sends-a-message"), |r| message(r, timer, kind));
    }
    t.case("timer/waits-for-the-slot", |r| {
        let page = begin_messages(r, 0x66);
        page.write(0x200, 1_u32);
        start(r, 0, 0);
        r.holds("flag", wait_until(LONG, || page.read::<u8>(0x205) != 0)).hex(page.read(0x200));
        let before = count(0, 0x66);
        page.write(0x200, 0_u32);
        r.done(write(EOM, 0)).holds("came", wait_until(LONG, || count(0, 0x66) != before));
        r.hex(page.read(0x200)).caught(read(TIMER0));
        end_messages(r);
    });
    t.case("timer/masked-source", |r| {
        let page = begin_messages(r, 0x66);
        r.done(write(SINT0 + 2, 0x1_0066));
        let before = count(0, 0x66);
        start(r, 0, 0);
        r.holds("message", wait_until(LONG / 20, || page.read::<u32>(0x200) != 0));
        r.holds("came", count(0, 0x66) != before).caught(read(TIMER0));
        end_messages(r);
    });
    t.case("timer/polled-source", |r| {
        let page = begin_messages(r, 0x66);
        r.done(write(SINT0 + 2, 0x4_0066));
        let before = count(0, 0x66);
        start(r, 0, 0);
        r.holds("message", wait_until(LONG / 20, || page.read::<u32>(0x200) != 0));
        r.holds("came", count(0, 0x66) != before).caught(read(TIMER0));
        end_messages(r);
    });
    t.case("timer/controller-off", |r| {
        let page = begin_messages(r, 0x66);
        r.done(write(SCONTROL, 0));
        start(r, 0, 0);
        r.holds("message", wait_until(LONG / 20, || page.read::<u32>(0x200) != 0)).caught(read(TIMER0));
        end_messages(r);
    });
    t.case("timer/no-message-page", |r| {
        let page = begin_messages(r, 0x66);
        r.done(write(SIMP, 0));
        start(r, 0, 0);
        r.holds("message", wait_until(LONG / 20, || page.read::<u32>(0x200) != 0)).caught(read(TIMER0));
        end_messages(r);
    });
    t.case("timer/automatic-end", |r| {
        let _page = begin_messages(r, 0x66);
        r.done(write(SINT0 + 2, 0x2_0066));
        LEAVE_IN_SERVICE.store(true, Ordering::Relaxed);
        let before = count(0, 0x66);
        start(r, 0, 0);
        r.holds("came", wait_until(LONG, || count(0, 0x66) != before)).holds("in-service", lapic::in_service(0x66));
        if lapic::in_service(0x66) {
            lapic::end_of_interrupt();
        }
        end_messages(r);
    });
    t.case("timer/past-is-now", |r| {
        let page = begin_messages(r, 0x66);
        r.done(write(TIMER0, 2 << 16 | AUTO)).done(write(TIMER0 + 1, 1));
        r.holds("message", wait_until(LONG, || page.read::<u32>(0x200) != 0)).caught(read(TIMER0));
        end_messages(r);
    });
    t.case("timer/shortest-period", |r| {
        let page = begin_messages(r, 0x66);
        r.done(write(TIMER0, 2 << 16 | AUTO | PERIODIC)).done(write(TIMER0 + 1, 1));
        r.holds("message", wait_until(LONG, || page.read::<u32>(0x200) != 0)).caught(read(TIMER0));
        end_messages(r);
    });
}

/// Turns the controller on, with messages of source 2 as interrupts of `vector`; returns the page of messages.
fn begin_messages(r: &mut Report, vector: u8) -> &'static Page {
    let page = pages::take();
    r.done(write(SIMP, page.address() | 1)).done(write(SCONTROL, 1)).done(write(SINT0 + 2, vector.into()));
    page
}

fn end_messages(r: &mut Report) {
    for timer in 0..4 {
        let _ = write(TIMER0 + 2 * timer, 0);
    }
    r.done(write(SINT0 + 2, 0x1_0000)).done(write(SCONTROL, 0)).done(write(SIMP, 0));
}

/// Starts a timer that is due soon.
fn start(r: &mut Report, timer: u32, kind: u64) {
    const MILLISECOND: u64 = 10_000;
    let now = if kind & PERIODIC != 0 { Ok(0) } else { read(TIME_REFERENCE) };
    r.done(write(TIMER0 + 2 * timer, 2 << 16 | AUTO | kind));
    r.done(write(TIMER0 + 2 * timer + 1, now.unwrap_or_default() + MILLISECOND));
}

fn message(r: &mut Report, timer: u32, kind: u64) {
    const VECTOR: u8 = 0x67;
    let page = begin_messages(r, VECTOR);
    let before = count(0, VECTOR);
    start(r, timer, kind);
    r.holds("came", wait_until(LONG, || count(0, VECTOR) != before));
    // Type, size and flags, sender; index; then two times.
    r.hex(page.read(0x200)).hex(page.read(0x208)).hex(page.read(0x210));
    let (expired, delivered): (u64, u64) = (page.read(0x218), page.read(0x220));
    r.holds("expired", expired != 0).holds("delivered-after", delivered >= expired).hex(page.read(0x228));
    let config = read(TIMER0 + 2 * timer);
    r.caught(config);
    page.write(0x200, 0_u32);
    let before = count(0, VECTOR);
    r.done(write(EOM, 0));
    r.holds("again", wait_until(if kind & PERIODIC != 0 { LONG } else { LONG / 20 }, || count(0, VECTOR) != before));
    end_messages(r);
}

fn crash(t: &mut Runner) {
    t.case("crash/parameters", |r| {
        for (index, register) in (CRASH0..CRASH0 + 5).enumerate() {
            r.done(write(register, 0x1000 + index as u64)).caught(read(register));
        }
    });
    t.case("crash/control", |r| {
        r.caught(read(CRASH_CONTROL)).done(write(CRASH_CONTROL, 1)).done(write(CRASH_CONTROL, 1 << 62));
        r.done(write(CRASH_CONTROL, 1 << 63)).caught(read(CRASH_CONTROL));
    });
}
