//! Hypercall numbers: which exist for a domain of this kind, what small calls answer, and the two ways in.

use xen_abi::console_io::{CONSOLEIO_READ, CONSOLEIO_WRITE};
use xen_abi::hypercall::*;
use xen_abi::version::{XENVER_EXTRAVERSION, XENVER_VERSION};
use xen_abi::vm_assist::*;
use xenolith_guest_kit::cpu::cpuid;
use xenolith_guest_kit::hypercall::StubPage;
use xenolith_guest_kit::pages;

use crate::calls::call;
use crate::runner::Runner;

/// Numbers that take an operation which no number of this list knows as 0x7f; the others would do something.
const REFUSE: &[(&str, u32)] = &[
    ("set-trap-table", SET_TRAP_TABLE),
    ("mmu-update", MMU_UPDATE),
    ("set-gdt", SET_GDT),
    ("stack-switch", STACK_SWITCH),
    ("set-callbacks", SET_CALLBACKS),
    ("fpu-taskswitch", FPU_TASKSWITCH),
    ("platform-op", PLATFORM_OP),
    ("set-debugreg", SET_DEBUGREG),
    ("get-debugreg", GET_DEBUGREG),
    ("update-descriptor", UPDATE_DESCRIPTOR),
    ("number-11", 11),
    ("update-va-mapping", UPDATE_VA_MAPPING),
    ("update-va-mapping-otherdomain", UPDATE_VA_MAPPING_OTHERDOMAIN),
    ("iret", IRET),
    ("set-segment-base", SET_SEGMENT_BASE),
    ("mmuext-op", MMUEXT_OP),
    ("xsm-op", XSM_OP),
    ("nmi-op", NMI_OP),
    ("callback-op", CALLBACK_OP),
    ("xenoprof-op", XENOPROF_OP),
    ("sysctl", SYSCTL),
    ("domctl", DOMCTL),
    ("kexec-op", KEXEC_OP),
    ("tmem-op", TMEM_OP),
    ("argo-op", ARGO_OP),
    ("xenpmu-op", XENPMU_OP),
    ("dm-op", DM_OP),
    ("hypfs-op", HYPFS_OP),
    ("number-43", 43),
    ("number-47", 47),
    ("arch-0", ARCH_0),
    ("arch-1", ARCH_1),
    ("arch-2", ARCH_2),
    ("arch-7", ARCH_7),
    ("number-56", 56),
    ("number-63", 63),
    ("number-64", 64),
    ("number-127", 127),
    ("number-128", 128),
    ("number-255", 255),
    ("number-0x7fffffff", 0x7fff_ffff),
    ("number-0x80000000", 0x8000_0000),
    ("number-0xffffffff", 0xffff_ffff),
];

/// Runs the cases.
pub fn run(t: &mut Runner) {
    for (name, number) in REFUSE.iter().copied() {
        t.case_of(format_args!("number/{name}"), |r| {
            let page = pages::take();
            page.write(0, 0x7f_u32);
            r.result(call(number, [page.address(), 0, 0, 0, 0]));
        });
    }
    stubs(t);
    console(t);
    assist(t);
    small(t);
}

fn stubs(t: &mut Runner) {
    let register = cpuid(0x4000_0002, 0).ebx;
    t.case("number/upper-half-of-the-number", |r| {
        // SAFETY: xen_version(version) writes no memory, whatever becomes of the number.
        let result = unsafe { xenolith_guest_kit::hypercall::call(0x1_0000_0000 | u64::from(XEN_VERSION), [0; 5]) };
        r.result(result);
    });
    t.case("stub-page/calls-as-in-line", |r| {
        let stubs = StubPage::new(register);
        let page = pages::take();
        // SAFETY: the second call writes 16 bytes to a page of the pool, the first none.
        let (version, extra) = unsafe {
            (
                stubs.call(XEN_VERSION.into(), [XENVER_VERSION.into(), 0, 0, 0, 0]),
                stubs.call(XEN_VERSION.into(), [XENVER_EXTRAVERSION.into(), page.address(), 0, 0, 0]),
            )
        };
        r.hex(version as u64).result(extra).hex(page.read::<u8>(0).into());
    });
    t.case("stub-page/unknown-number", |r| {
        let stubs = StubPage::new(register);
        // SAFETY: an unknown call does nothing.
        r.result(unsafe { stubs.call(60, [0; 5]) });
    });
    t.case("stub-page/stubs-hold-their-number", |r| {
        let page = StubPage::new(register).page();
        // mov eax, imm32 is 0xb8; the number follows.
        let right = (0..64_u32).filter(|n| page.read::<u8>(*n as usize * 32) == 0xb8).count();
        r.named("of-64", right).hex(page.read::<u8>(17 * 32 + 1).into());
    });
    t.case("stub-page/iret-stub", |r| {
        r.hex(StubPage::new(register).page().read::<u16>(IRET as usize * 32).into());
    });
}

fn console(t: &mut Runner) {
    let page = pages::take();
    for (name, count, address) in [
        ("nothing", 0, page.address()),
        ("nothing-from-null", 0, 0),
        ("one-from-null", 1, 0),
        ("one-from-unmapped", 1, pages::unmap(10)),
        ("one-from-not-canonical", 1, 0x8000_0000_0000_0000),
    ] {
        t.case_of(format_args!("console/write/{name}"), |r| {
            // Should the byte at address 0 be written after all, the next line must begin as a line.
            pages::write_at(0, b'\n');
            r.result(call(CONSOLE_IO, [CONSOLEIO_WRITE.into(), count, address]));
        });
    }
    for (name, count) in [("negative", 0xffff_ffff_u64), ("two-to-31", 0x8000_0000)] {
        t.case_of(format_args!("console/write/{name}"), |r| {
            r.result(call(CONSOLE_IO, [CONSOLEIO_WRITE.into(), count, pages::unmap(10)]));
        });
    }
    t.case("console/read/nothing-there", |r| {
        r.result(call(CONSOLE_IO, [CONSOLEIO_READ.into(), 16, page.address()]));
    });
    t.case("console/read/bad-pointer", |r| {
        r.result(call(CONSOLE_IO, [CONSOLEIO_READ.into(), 16, pages::unmap(10)]));
    });
    for (name, count) in [("none", 0_u64), ("negative", 0xffff_ffff)] {
        t.case_of(format_args!("console/read/count-{name}"), |r| {
            r.result(call(CONSOLE_IO, [CONSOLEIO_READ.into(), count, page.address()]));
        });
    }
    for operation in [2_u64, 3, 100, 0xffff_ffff] {
        t.case_of(format_args!("console/unknown-operation/{operation:#x}"), |r| {
            r.result(call(CONSOLE_IO, [operation, 1, page.address()]));
        });
    }
}

fn assist(t: &mut Runner) {
    for kind in [
        VMASST_TYPE_4GB_SEGMENTS,
        VMASST_TYPE_4GB_SEGMENTS_NOTIFY,
        VMASST_TYPE_WRITABLE_PAGETABLES,
        VMASST_TYPE_PAE_EXTENDED_CR3,
        VMASST_TYPE_ARCHITECTURAL_IOPL,
        VMASST_TYPE_RUNSTATE_UPDATE_FLAG,
        6,
        31,
        VMASST_TYPE_M2P_STRICT,
        33,
        63,
        64,
        u32::MAX,
    ] {
        t.case_of(format_args!("assist/type-{kind:#x}"), |r| {
            r.result(call(VM_ASSIST, [VMASST_CMD_ENABLE.into(), kind.into()]));
            r.result(call(VM_ASSIST, [VMASST_CMD_DISABLE.into(), kind.into()]));
        });
    }
    t.case("assist/unknown-command", |r| {
        r.result(call(VM_ASSIST, [2, 5])).result(call(VM_ASSIST, [0xffff_ffff, 5]));
    });
}

fn small(t: &mut Runner) {
    for operation in 0..8 {
        t.case_of(format_args!("pmu/operation-{operation}"), |r| {
            r.result(call(XENPMU_OP, [operation, pages::take().address()]));
        });
    }
    for operation in [0, 1, 5, 100] {
        t.case_of(format_args!("xsm/operation-{operation}"), |r| {
            let page = pages::take();
            page.write(0, operation);
            page.write(4, 1_u32);
            r.result(call(XSM_OP, [page.address()]));
        });
    }
    for operation in [0, 1, 2] {
        t.case_of(format_args!("nmi/operation-{operation}"), |r| {
            r.result(call(NMI_OP, [operation, pages::take().address()]));
        });
    }
    t.case("machine-check/fetch", |r| {
        let page = pages::take();
        page.write(0, [1_u32, 0x03ff_ff01]);
        r.result(call(ARCH_0, [page.address()])).result(call(ARCH_0, [0]));
    });
}
