//! Model-specific registers: which can be read, with what in them, and which writes fault.

use xenolith_guest_kit::cpu::{read_msr, write_msr};
use xenolith_guest_kit::{Fault, catch};

use crate::runner::Runner;

/// Registers whose value is the same on every run.
const READ: &[u32] = &[
    0x0,
    0x1,
    0x17,
    0x1b,
    0x2a,
    0x2c,
    0x34,
    0x35,
    0x3a,
    0x3b,
    0x48,
    0x49,
    0x79,
    0x8b,
    0xc1,
    0xc2,
    0xce,
    0xcd,
    0xe7,
    0xe8,
    0xfe,
    0x10a,
    0x10b,
    0x11e,
    0x122,
    0x140,
    0x174,
    0x175,
    0x176,
    0x179,
    0x17a,
    0x17b,
    0x180,
    0x186,
    0x198,
    0x199,
    0x19a,
    0x19c,
    0x1a0,
    0x1a2,
    0x1a4,
    0x1ad,
    0x1b0,
    0x1c8,
    0x1c9,
    0x1d9,
    0x1db,
    0x1dc,
    0x1dd,
    0x1de,
    0x1fc,
    0x200,
    0x201,
    0x202,
    0x203,
    0x20e,
    0x20f,
    0x210,
    0x250,
    0x258,
    0x259,
    0x268,
    0x26f,
    0x277,
    0x280,
    0x281,
    0x2ff,
    0x300,
    0x309,
    0x345,
    0x38d,
    0x38f,
    0x390,
    0x3f1,
    0x400,
    0x401,
    0x402,
    0x403,
    0x404,
    0x405,
    0x407,
    0x408,
    0x480,
    0x48d,
    0x4c1,
    0x560,
    0x570,
    0x600,
    0x606,
    0x6a0,
    0x6e0,
    0x770,
    0xc8f,
    0xd90,
    0xda0,
    0x8ff,
    0x900,
    0xc80,
    0x4000_0000,
    0x4000_0001,
    0x4000_0073,
    0x4000_0100,
    0x4000_01ff,
    0x4000_0200,
    0x4b56_4d00,
    0xc000_0080,
    0xc000_0081,
    0xc000_0082,
    0xc000_0083,
    0xc000_0084,
    0xc000_0100,
    0xc000_0102,
    0xc000_0103,
    0xc000_0104,
    0xc000_0105,
    0xc000_0408,
    0xc000_0410,
    0xc001_0000,
    0xc001_0003,
    0xc001_0004,
    0xc001_0007,
    0xc001_0010,
    0xc001_0015,
    0xc001_0016,
    0xc001_0017,
    0xc001_0018,
    0xc001_0019,
    0xc001_001a,
    0xc001_001d,
    0xc001_001f,
    0xc001_0020,
    0xc001_0022,
    0xc001_0055,
    0xc001_0058,
    0xc001_0061,
    0xc001_0062,
    0xc001_0063,
    0xc001_0064,
    0xc001_0111,
    0xc001_0112,
    0xc001_0113,
    0xc001_0114,
    0xc001_0115,
    0xc001_0117,
    0xc001_0118,
    0xc001_011a,
    0xc001_011f,
    0xc001_0130,
    0xc001_0131,
    0xc001_0140,
    0xc001_0141,
    0xc001_0200,
    0xc001_020b,
    0xc001_1000,
    0xc001_1004,
    0xc001_1005,
    0xc001_1019,
    0xc001_1020,
    0xc001_1022,
    0xc001_1023,
    0xc001_1029,
    0xc001_102a,
    0xc001_102c,
    0xc001_1030,
    0xc001_1039,
    0xc001_103a,
    0xdead_beef,
    0xffff_ffff,
];

/// Writes of a value: name, register, value. What can be read back is, and is put back as it was.
const WRITE: &[(&str, u32, u64)] = &[
    ("apic-base/reserved-bit", 0x1b, 0x1_0000_0000_0000 | 0xfee0_0d00),
    ("apic-base/from-x2apic-to-xapic", 0x1b, 0xfee0_0900),
    ("apic-base/extended-without-enable", 0x1b, 0xfee0_0500),
    ("apic-base/low-reserved-bit", 0x1b, 0xfee0_0d01),
    ("tsc-adjust/zero", 0x3b, 0),
    ("spec-ctrl/ibrs", 0x48, 1),
    ("spec-ctrl/reserved", 0x48, 1 << 40),
    ("pred-cmd/ibpb", 0x49, 1),
    ("pred-cmd/reserved", 0x49, 2),
    ("flush-cmd/l1d", 0x10b, 1),
    ("microcode-revision/zero", 0x8b, 0),
    ("microcode-update/zero", 0x79, 0),
    ("mtrr-cap/write", 0xfe, 0x508),
    ("sysenter-cs/value", 0x174, 0x10),
    ("sysenter-esp/canonical", 0x175, 0x1234_5678),
    ("sysenter-esp/not-canonical", 0x175, 0x8000_0000_0000_0000),
    ("sysenter-eip/not-canonical", 0x176, 0x8000_0000_0000_0000),
    ("mcg-cap/write", 0x179, 0),
    ("mcg-status/zero", 0x17a, 0),
    ("mcg-status/ones", 0x17a, !0),
    ("mcg-ctl/ones", 0x17b, !0),
    ("misc-enable/zero", 0x1a0, 0),
    ("debug-control/zero", 0x1d9, 0),
    ("debug-control/lbr", 0x1d9, 1),
    ("debug-control/reserved", 0x1d9, 1 << 31),
    ("mtrr-physbase0/write-back", 0x200, 6),
    ("mtrr-physbase0/bad-type", 0x200, 2),
    ("mtrr-physbase0/reserved-bits", 0x200, 0xf00),
    ("mtrr-physmask0/valid", 0x201, 0xff_c000_0800),
    ("mtrr-physmask0/reserved-bits", 0x201, 0x1),
    ("mtrr-physmask0/beyond-the-address-width", 0x201, 0xff00_0000_0000_0800),
    ("mtrr-physbase8/beyond-the-last", 0x210, 0),
    ("mtrr-fixed-64k/uncached", 0x250, 0),
    ("mtrr-fixed-64k/bad-type", 0x250, 2),
    ("mtrr-default/enable-write-back", 0x2ff, 0xc06),
    ("mtrr-default/bad-type", 0x2ff, 0xc02),
    ("mtrr-default/reserved-bits", 0x2ff, 0x1c06),
    ("pat/reset-value", 0x277, 0x0007_0406_0007_0406),
    ("pat/linux-value", 0x277, 0x0407_0506_0007_0106),
    ("pat/bad-type-2", 0x277, 0x0007_0406_0007_0402),
    ("pat/bad-type-8", 0x277, 0x0007_0406_0007_0408),
    ("mc0-ctl/ones", 0x400, !0),
    ("mc0-status/zero", 0x401, 0),
    ("mc0-status/ones", 0x401, !0),
    ("mc0-addr/zero", 0x402, 0),
    ("mc0-addr/ones", 0x402, !0),
    ("mc9-ctl/beyond-the-last", 0x424, 0),
    ("unknown/low", 0x900, 0),
    ("unknown/hypervisor-range", 0x4000_0010, 0),
    ("hypercall-page/second-page", 0x4000_0000, 0x0fff_f001),
    ("hypercall-page/not-ram", 0x4000_0000, 0xffff_ffff_f000),
    ("hyperv/guest-os-id", 0x4000_0001, 1),
    ("star/value", 0xc000_0081, 0x0023_0010_0000_0000),
    ("lstar/canonical", 0xc000_0082, 0x1000),
    ("lstar/not-canonical", 0xc000_0082, 0x8000_0000_0000_0000),
    ("cstar/not-canonical", 0xc000_0083, 0x8000_0000_0000_0000),
    ("syscall-mask/value", 0xc000_0084, 0x4_7700),
    ("fs-base/canonical", 0xc000_0100, 0xffff_8000_0000_0000),
    ("fs-base/not-canonical", 0xc000_0100, 0x8000_0000_0000_0000),
    ("kernel-gs-base/not-canonical", 0xc000_0102, 0x8000_0000_0000_0000),
    ("tsc-aux/value", 0xc000_0103, 1),
    ("tsc-ratio/value", 0xc000_0104, 0x1_0000_0000),
    ("performance-select/zero", 0xc001_0000, 0),
    ("performance-counter-3/ffff", 0xc001_0007, 0xffff),
    ("syscfg/zero", 0xc001_0010, 0),
    ("hwcr/tlb-cache-disable", 0xc001_0015, 8),
    ("hwcr/ignore-ignne", 0xc001_0015, 0x40),
    ("hwcr/zero", 0xc001_0015, 0),
    ("iorr-base0/zero", 0xc001_0016, 0),
    ("top-mem/zero", 0xc001_001a, 0),
    ("patch-loader/zero", 0xc001_0020, 0),
    ("vm-cr/zero", 0xc001_0114, 0),
    ("vm-cr/svm-disable", 0xc001_0114, 0x10),
    ("vm-hsave/page", 0xc001_0117, 0x1000),
    ("decode-config/lfence-serialising", 0xc001_1029, 2),
    ("decode-config/zero", 0xc001_1029, 0),
    ("dr0-mask/value", 0xc001_1027, 1),
    ("unknown/amd-range", 0xc001_2fff, 0),
    ("unknown/top", 0xffff_ffff, 0),
];

/// Bits of EFER that are tried one by one.
const EFER_BITS: &[(&str, u64)] = &[
    ("sce", 0),
    ("reserved-1", 1),
    ("lme", 8),
    ("reserved-9", 9),
    ("lma", 10),
    ("nxe", 11),
    ("svme", 12),
    ("lmsle", 13),
    ("ffxsr", 14),
    ("tce", 15),
    ("reserved-16", 16),
    ("mcommit", 17),
    ("intwb", 18),
    ("uaie", 20),
    ("autoibrs", 21),
    ("reserved-32", 32),
];

fn read(register: u32) -> Result<u64, Fault> {
    catch(|| read_msr(register))
}

fn write(register: u32, value: u64) -> Result<(), Fault> {
    // SAFETY: no value in this file changes segments, paging or stacks for good: EFER keeps LME and LMA, and FS, the
    // system-call entries and the APIC base are not used by this kernel with interrupts off or are put back.
    catch(|| unsafe { write_msr(register, value) })
}

/// Runs the cases.
pub fn run(t: &mut Runner) {
    for register in READ.iter().copied() {
        t.case_of(format_args!("msr/read/{register:#x}"), |r| {
            r.caught(read(register));
        });
    }
    t.case("msr/read/0x10/advances", |r| {
        r.holds("advances", read_msr(0x10) < read_msr(0x10));
    });
    t.case("msr/read/0xc0000101/gs-base", |r| {
        r.holds("not-zero", read_msr(0xc000_0101) != 0);
    });
    for (name, register, value) in WRITE.iter().copied() {
        t.case_of(format_args!("msr/write/{name}"), |r| {
            let before = read(register);
            r.done(write(register, value));
            let after = read(register);
            match (before, after) {
                (Ok(before), Ok(after)) => {
                    let what = if after == value {
                        "reads-back"
                    } else if after == before {
                        "unchanged"
                    } else {
                        "other"
                    };
                    r.field(what);
                    r.holds("restored", write(register, before).is_ok() && read(register) == Ok(before));
                }
                (_, Err(fault)) => {
                    r.named("read", fault.name());
                }
                (Err(_), Ok(_)) => {
                    r.named("read", "only-after-the-write");
                }
            }
        });
    }
    efer(t);
    time_stamp(t);
}

fn efer(t: &mut Runner) {
    const EFER: u32 = 0xc000_0080;
    for (name, bit) in EFER_BITS.iter().copied() {
        t.case_of(format_args!("msr/efer/flip-{name}"), |r| {
            let before = read_msr(EFER);
            r.done(write(EFER, before ^ 1 << bit));
            r.hex(read_msr(EFER) ^ before);
            r.holds("restored", write(EFER, before).is_ok());
        });
    }
}

fn time_stamp(t: &mut Runner) {
    t.case("msr/write/tsc/is-taken", |r| {
        let before = read_msr(0x10);
        r.done(write(0x10, before.wrapping_add(1 << 40)));
        let moved = read_msr(0x10).wrapping_sub(before) >= 1 << 40;
        r.holds("moved", moved);
        if moved {
            r.done(write(0x10, read_msr(0x10).wrapping_sub(1 << 40)));
        }
    });
}
