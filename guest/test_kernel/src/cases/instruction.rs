//! Instructions that a hypervisor may intercept, allow or refuse.

use core::arch::asm;

use xenolith_guest_kit::cpu::{cpuid, ticks};
use xenolith_guest_kit::{Fault, catch, user};

use crate::runner::Runner;

/// Runs one instruction that changes no register this kernel relies on, with eax, ecx and edx as given; answers rax.
macro_rules! try_instruction {
    ($code:literal, $eax:expr, $ecx:expr, $edx:expr) => {
        catch(|| {
            let rax: u64;
            // SAFETY: the instruction faults or writes to the named registers only, and a fault is caught.
            unsafe {
                asm!("push rbx", $code, "pop rbx", inout("rax") u64::from($eax) => rax, inout("rcx") u64::from($ecx) => _,
                    inout("rdx") u64::from($edx) => _, out("rsi") _, out("rdi") _)
            };
            rax
        })
    };
}

fn outcome(result: Result<u64, Fault>) -> Result<(), Fault> {
    result.map(|_| ())
}

/// Runs the cases.
pub fn run(t: &mut Runner) {
    svm(t);
    plain(t);
    control_registers(t);
    at_cpl_3(t);
}

fn svm(t: &mut Runner) {
    t.case("instruction/vmrun", |r| {
        r.done(outcome(try_instruction!("vmrun", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/vmload", |r| {
        r.done(outcome(try_instruction!("vmload", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/vmsave", |r| {
        r.done(outcome(try_instruction!("vmsave", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/stgi", |r| {
        r.done(outcome(try_instruction!("stgi", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/clgi", |r| {
        r.done(outcome(try_instruction!("clgi", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/skinit", |r| {
        r.done(outcome(try_instruction!("skinit", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/invlpga", |r| {
        r.done(outcome(try_instruction!("invlpga", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/vmcall-on-amd", |r| {
        // xen_version(version)
        let result = catch(|| {
            let rax: i64;
            // SAFETY: the call reads no memory; a fault is caught.
            unsafe { asm!("vmcall", inout("rax") 17_i64 => rax, in("rdi") 0, in("rsi") 0, options(nostack)) };
            rax as u64
        });
        r.caught(result);
    });
}

fn plain(t: &mut Runner) {
    t.case("instruction/rdtsc-advances", |r| {
        r.holds("advances", ticks() < ticks());
    });
    t.case("instruction/rdtscp", |r| {
        r.done(outcome(try_instruction!("rdtscp", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/rdpmc-0", |r| {
        r.done(outcome(try_instruction!("rdpmc", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/xgetbv", |r| {
        r.done(outcome(try_instruction!("xgetbv", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/xsetbv", |r| {
        r.done(outcome(try_instruction!("xsetbv", 1_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/monitor", |r| {
        r.done(outcome(try_instruction!("lea rax, [rsp]; monitor", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/mwait", |r| {
        r.done(outcome(try_instruction!("mwait", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/rdrand", |r| {
        r.done(outcome(try_instruction!("rdrand eax", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/rdfsbase", |r| {
        r.done(outcome(try_instruction!("rdfsbase rax", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/wbinvd", |r| {
        r.done(outcome(try_instruction!("wbinvd", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/invpcid", |r| {
        r.done(outcome(try_instruction!("invpcid rax, [rsp]", 3_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/ud2", |r| {
        r.done(outcome(try_instruction!("ud2", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/int3", |r| {
        r.done(outcome(try_instruction!("int3", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/divide-by-zero", |r| {
        r.done(outcome(try_instruction!("xor ecx, ecx; div ecx", 1_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/forced-emulation-prefix", |r| {
        r.done(outcome(try_instruction!(".byte 0x0f, 0x0b, 0x78, 0x65, 0x6e; cpuid", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/load-from-an-address-that-is-not-canonical", |r| {
        r.done(outcome(try_instruction!("mov rcx, 0x8000000000000000; mov rax, [rcx]", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/load-from-an-unmapped-address", |r| {
        let fault = try_instruction!("mov rcx, 0x7f0000000000; mov rax, [rcx]", 0_u32, 0_u32, 0_u32);
        r.done(outcome(fault));
        r.hex(fault.map_or_else(|f| f.address, |_| 0));
    });
    t.case("instruction/debug-register-7-reads-back", |r| {
        let result = try_instruction!("mov rax, dr7", 0_u32, 0_u32, 0_u32);
        r.caught(result);
        let result = try_instruction!("mov rax, dr6", 0_u32, 0_u32, 0_u32);
        r.caught(result);
    });
    t.case("instruction/debug-register-0-keeps-its-value", |r| {
        let result =
            try_instruction!("mov rax, 0x12345678; mov dr0, rax; xor eax, eax; mov rax, dr0", 0_u32, 0_u32, 0_u32);
        r.caught(result);
    });
    t.case("instruction/debug-register-7-upper-half", |r| {
        r.done(outcome(try_instruction!("mov rax, 0x100000000; mov dr7, rax", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/single-step", |r| {
        r.done(outcome(try_instruction!("pushfq; or dword ptr [rsp], 0x100; popfq; nop", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/single-step-over-cpuid", |r| {
        r.done(outcome(try_instruction!("pushfq; or dword ptr [rsp], 0x100; popfq; cpuid; nop", 0_u32, 0_u32, 0_u32)));
    });
}

fn control_registers(t: &mut Runner) {
    const CR4_BITS: &[(&str, u32)] = &[
        ("vme", 0),
        ("tsd", 2),
        ("de", 3),
        ("pse", 4),
        ("mce", 6),
        ("pge", 7),
        ("pce", 8),
        ("osfxsr", 9),
        ("osxmmexcpt", 10),
        ("umip", 11),
        ("la57", 12),
        ("vmxe", 13),
        ("smxe", 14),
        ("reserved-15", 15),
        ("fsgsbase", 16),
        ("pcide", 17),
        ("osxsave", 18),
        ("smep", 20),
        ("smap", 21),
        ("pke", 22),
        ("cet", 23),
        ("reserved-31", 31),
    ];
    for (name, bit) in CR4_BITS.iter().copied() {
        t.case_of(format_args!("instruction/cr4/set-{name}"), |r| {
            let outcome = catch(|| {
                let after: u64;
                // SAFETY: the bit is set for two instructions, and is taken back before anything else runs.
                unsafe {
                    asm!("mov {before}, cr4", "mov {after}, {before}", "or {after}, {bit}", "mov cr4, {after}",
                        "mov {after}, cr4", "mov cr4, {before}", "xor {after}, {before}",
                        before = out(reg) _, after = out(reg) after, bit = in(reg) 1_u64 << bit, options(nostack))
                };
                after
            });
            r.caught(outcome);
        });
    }
    t.case("instruction/cr4/clear-pae-in-long-mode", |r| {
        r.done(outcome(try_instruction!("mov rax, cr4; and rax, -33; mov cr4, rax", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/cr0/value", |r| {
        r.caught(try_instruction!("mov rax, cr0", 0_u32, 0_u32, 0_u32));
    });
    t.case("instruction/cr4/value", |r| {
        r.caught(try_instruction!("mov rax, cr4", 0_u32, 0_u32, 0_u32));
    });
    t.case("instruction/cr0/paging-without-protection", |r| {
        r.done(outcome(try_instruction!("mov rax, cr0; and eax, 0xfffffffe; mov cr0, rax", 0_u32, 0_u32, 0_u32)));
    });
    t.case("instruction/cr0/upper-half", |r| {
        r.done(outcome(try_instruction!(
            "mov rax, cr0; mov rcx, 0x100000000; or rax, rcx; mov cr0, rax",
            0_u32,
            0_u32,
            0_u32
        )));
    });
    t.case("instruction/cr0/task-switched-makes-fpu-fault", |r| {
        let fault = try_instruction!("mov rax, cr0; or eax, 8; mov cr0, rax; fninit; clts", 0_u32, 0_u32, 0_u32);
        r.done(outcome(fault));
        r.done(outcome(try_instruction!("clts; fninit", 0_u32, 0_u32, 0_u32)));
    });
}

fn at_cpl_3(t: &mut Runner) {
    let run = |code: &[u8], eax: u64| {
        let fault = user::run(code, eax, [0; 5]);
        if fault.vector == 3 { Ok(fault.rax) } else { Err(fault) }
    };
    t.case("instruction/cpl3/cpuid-0x40000000", |r| {
        r.caught(run(&[0x0f, 0xa2, 0xcc], 0x4000_0000));
    });
    t.case("instruction/cpl3/cpuid-1-same-as-cpl0", |r| {
        r.holds("same", run(&[0x0f, 0xa2, 0xcc], 1) == Ok(cpuid(1, 0).eax.into()));
    });
    t.case("instruction/cpl3/rdtsc", |r| {
        r.done(run(&[0x0f, 0x31, 0xcc], 0).map(|_| ()));
    });
    t.case("instruction/cpl3/hlt", |r| {
        r.caught(run(&[0xf4, 0xcc], 0));
    });
    t.case("instruction/cpl3/in-port-0x80", |r| {
        r.caught(run(&[0xe4, 0x80, 0xcc], 0));
    });
    t.case("instruction/cpl3/rdmsr", |r| {
        r.caught(run(&[0x0f, 0x32, 0xcc], 0));
    });
    t.case("instruction/cpl3/vmmcall-xen-version", |r| {
        let result = run(&[0x0f, 0x01, 0xd9, 0xcc], 17);
        match result {
            Ok(value) => r.result(value as i64),
            Err(fault) => r.fault(&fault),
        };
    });
    t.case("instruction/cpl3/vmmcall-unknown-number", |r| {
        match run(&[0x0f, 0x01, 0xd9, 0xcc], 1000) {
            Ok(value) => r.result(value as i64),
            Err(fault) => r.fault(&fault),
        };
    });
    t.case("instruction/cpl3/sgdt", |r| {
        r.done(run(&[0x0f, 0x01, 0x44, 0x24, 0xf0, 0xcc], 0).map(|_| ()));
    });
    t.case("instruction/cpl3/wbinvd", |r| {
        r.caught(run(&[0x0f, 0x09, 0xcc], 0));
    });
    t.case("instruction/cpl3/vmrun", |r| {
        r.caught(run(&[0x0f, 0x01, 0xd8, 0xcc], 0));
    });
    t.case("instruction/cpl3/mov-from-cr0", |r| {
        r.caught(run(&[0x0f, 0x20, 0xc0, 0xcc], 0));
    });
}
