//! CPUID as the domain sees it.

use xenolith_guest_kit::cpu::{Cpuid, cpuid};

use crate::runner::{Report, Runner};

/// The leaves whose four registers are printed as they are: leaf, sub-leaf.
const WHOLE: &[(u32, u32)] = &[
    (0x4000_0001, 0),
    (0x4000_0001, 1),
    (0x4000_0002, 0),
    (0x4000_0002, 1),
    (0x4000_0003, 3),
    (0x4000_0004, 0),
    (0x4000_0004, 1),
    (0x4000_0005, 0),
    (0x4000_0005, 1),
    (0x4000_0005, 2),
    (0x4000_0006, 0),
    (0x4000_0010, 0),
    (0x4000_00ff, 0),
    (0x4000_0100, 0),
    (0x4000_0200, 0),
    (0x4000_ff00, 0),
    (0x2, 0),
    (0x3, 0),
    (0x4, 0),
    (0x4, 1),
    (0x4, 2),
    (0x4, 3),
    (0x4, 4),
    (0x5, 0),
    (0x6, 0),
    (0x7, 0),
    (0x7, 1),
    (0x7, 2),
    (0x7, 3),
    (0x8, 0),
    (0x9, 0),
    (0xa, 0),
    (0xb, 0),
    (0xb, 1),
    (0xb, 2),
    (0xc, 0),
    (0xd, 0),
    (0xd, 1),
    (0xd, 2),
    (0xd, 63),
    (0xe, 0),
    (0xf, 0),
    (0x10, 0),
    (0x12, 0),
    (0x14, 0),
    (0x15, 0),
    (0x16, 0),
    (0x1f, 0),
    (0x21, 0),
    (0x8000_0002, 0),
    (0x8000_0003, 0),
    (0x8000_0004, 0),
    (0x8000_0005, 0),
    (0x8000_0006, 0),
    (0x8000_0007, 0),
    (0x8000_0008, 0),
    (0x8000_0009, 0),
    (0x8000_000a, 0),
    (0x8000_0019, 0),
    (0x8000_001a, 0),
    (0x8000_001b, 0),
    (0x8000_001c, 0),
    (0x8000_001d, 0),
    (0x8000_001e, 0),
    (0x8000_001f, 0),
    (0x8000_0021, 0),
    (0x8000_0022, 0),
    (0x8000_ffff, 0),
    (0x8086_0000, 0),
    (0xc000_0000, 0),
    (0xffff_ffff, 0),
];

fn registers(r: &mut Report, c: Cpuid) {
    for value in [c.eax, c.ebx, c.ecx, c.edx] {
        r.hex(value.into());
    }
}

fn text(r: &mut Report, words: [u32; 3]) {
    for word in words {
        let bytes = word.to_le_bytes();
        r.field(core::str::from_utf8(&bytes).unwrap_or("????"));
    }
}

/// Runs the cases.
pub fn run(t: &mut Runner) {
    t.case("cpuid/0x40000000/maximum-and-signature", |r| {
        let c = cpuid(0x4000_0000, 0);
        r.hex(c.eax.into());
        text(r, [c.ebx, c.ecx, c.edx]);
    });
    t.case("cpuid/0x40000000.1/maximum-and-signature", |r| {
        registers(r, cpuid(0x4000_0000, 1));
    });
    time(t);
    t.case("cpuid/0x0/maximum-and-vendor", |r| {
        let c = cpuid(0, 0);
        r.hex(c.eax.into());
        text(r, [c.ebx, c.edx, c.ecx]);
    });
    t.case("cpuid/0x1/signature", |r| {
        r.hex(cpuid(1, 0).eax.into());
    });
    t.case("cpuid/0x1/identity", |r| {
        let ebx = cpuid(1, 0).ebx;
        r.named("apic-id", ebx >> 24).named("logical", ebx >> 16 & 0xff);
        r.named("clflush", ebx >> 8 & 0xff).named("brand", ebx & 0xff);
    });
    t.case("cpuid/0x1/features", |r| {
        let c = cpuid(1, 0);
        r.hex(c.ecx.into()).hex(c.edx.into());
    });
    t.case("cpuid/0x1/features-one-by-one", |r| {
        let c = cpuid(1, 0);
        let wanted = [("x2apic", 21), ("tsc-deadline", 24), ("xsave", 26), ("osxsave", 27), ("hypervisor", 31)];
        for (name, bit) in wanted {
            r.named(name, c.ecx >> bit & 1);
        }
        for (name, bit) in [("apic", 9), ("mtrr", 12), ("pat", 16), ("htt", 28)] {
            r.named(name, c.edx >> bit & 1);
        }
    });
    t.case("cpuid/0x80000000/maximum-and-vendor", |r| {
        let c = cpuid(0x8000_0000, 0);
        r.hex(c.eax.into());
        text(r, [c.ebx, c.edx, c.ecx]);
    });
    t.case("cpuid/0x80000001/signature-and-features", |r| {
        registers(r, cpuid(0x8000_0001, 0));
    });
    for (leaf, sub_leaf) in WHOLE.iter().copied() {
        t.case_of(format_args!("cpuid/{leaf:#x}.{sub_leaf}"), |r| registers(r, cpuid(leaf, sub_leaf)));
    }
}

/// The leaf about time: frequencies are measured anew at each boot, so only what must hold of them is printed.
fn time(t: &mut Runner) {
    t.case("cpuid/0x40000003.0/flags-mode-incarnation", |r| {
        let c = cpuid(0x4000_0003, 0);
        r.hex(c.eax.into()).hex(c.ebx.into()).hex(c.edx.into());
        r.holds("khz-known", c.ecx != 0);
    });
    t.case("cpuid/0x40000003.1/scale", |r| {
        let c = cpuid(0x4000_0003, 1);
        r.holds("multiplier-known", c.ecx != 0).holds("shift-small", (c.edx as i32).abs() < 32);
    });
    t.case("cpuid/0x40000003.1/scale-matches-the-frequency", |r| {
        let (scale, khz) = (cpuid(0x4000_0003, 1), u64::from(cpuid(0x4000_0003, 0).ecx));
        // One second of ticks, scaled as a guest scales them, is about a billion nanoseconds.
        let ticks = khz * 1000;
        let shift = scale.edx as i32;
        let shifted = if shift < 0 { ticks >> -shift } else { ticks << shift };
        let ns = (u128::from(shifted) * u128::from(scale.ecx)) >> 32;
        r.holds("within-a-thousandth", ns.abs_diff(1_000_000_000) < 1_000_000);
    });
    t.case("cpuid/0x40000003.2/host-frequency", |r| {
        let c = cpuid(0x4000_0003, 2);
        r.holds("khz-known", c.eax != 0).hex(c.ebx.into()).hex(c.ecx.into()).hex(c.edx.into());
    });
}
