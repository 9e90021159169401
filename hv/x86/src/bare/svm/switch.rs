//! The world switch: VMRUN and back.
//!
//! **Source:** AMD manual volume 2, 15.5 (VMRUN), 15.6 (#VMEXIT), 15.14 (VMSAVE and VMLOAD), 15.17 (global interrupt
//! flag).

use core::mem::offset_of;
use core::ops::Range;
use xenolith_hal::Registers;

unsafe extern "C" {
    static world_switch_guest_state: u8;
    static world_switch_host_state: u8;
}

/// Returns the addresses of the code that runs after an exit and before the host's GS base and task register are
/// loaded.
///
/// No interrupt, NMI or machine check comes in there, for #VMEXIT leaves the global interrupt flag clear. An emulator
/// may let a guest's single-step trap come over with the exit all the same (Bochs 2.7: a guest that steps over an
/// intercepted instruction).
pub fn before_host_state() -> Range<u64> {
    &raw const world_switch_guest_state as u64..&raw const world_switch_host_state as u64
}

/// Enters a guest; see [`super::processor::Processor::enter`].
///
/// Interrupts are off on the way in and out. Between CLGI and STGI no interrupt, NMI or machine check comes in, so the
/// guest's segment bases and task register may lie in the CPU there; `sti` says only that host interrupts end the run.
/// Exceptions may: their handlers find this CPU's area whatever GS holds, and those of exceptions that can come here
/// take no stack from the task register, which is the guest's.
///
/// VMRUN keeps RAX and RSP for the host, VMSAVE and VMLOAD the rest of what is the guest's alone: FS, GS, TR, LDTR
/// and the system call MSRs. Both guest and host halves are switched each time: a host that runs with a guest's task
/// register would take its next NMI on a stack of the guest's choice.
///
/// # Safety
/// See [`super::processor::Processor::enter`].
#[unsafe(naked)]
pub(super) unsafe extern "sysv64" fn enter(registers: *mut Registers, guest: u64, host: u64) {
    core::arch::naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdi",
        "push rdx",
        "mov rax, rsi",
        "mov rbx, [rdi + {rbx}]",
        "mov rcx, [rdi + {rcx}]",
        "mov rdx, [rdi + {rdx}]",
        "mov rsi, [rdi + {rsi}]",
        "mov rbp, [rdi + {rbp}]",
        "mov r8, [rdi + {r8}]",
        "mov r9, [rdi + {r9}]",
        "mov r10, [rdi + {r10}]",
        "mov r11, [rdi + {r11}]",
        "mov r12, [rdi + {r12}]",
        "mov r13, [rdi + {r13}]",
        "mov r14, [rdi + {r14}]",
        "mov r15, [rdi + {r15}]",
        "mov rdi, [rdi + {rdi}]",
        "clgi",
        "sti",
        "vmload rax",
        "vmrun rax",
        ".global world_switch_guest_state",
        "world_switch_guest_state:",
        "vmsave rax",
        "cli",
        // The host's half, before anything of the host's may run.
        "pop rax",
        "vmload rax",
        ".global world_switch_host_state",
        "world_switch_host_state:",
        "pop rax",
        "mov [rax + {rbx}], rbx",
        "mov [rax + {rcx}], rcx",
        "mov [rax + {rdx}], rdx",
        "mov [rax + {rsi}], rsi",
        "mov [rax + {rdi}], rdi",
        "mov [rax + {rbp}], rbp",
        "mov [rax + {r8}], r8",
        "mov [rax + {r9}], r9",
        "mov [rax + {r10}], r10",
        "mov [rax + {r11}], r11",
        "mov [rax + {r12}], r12",
        "mov [rax + {r13}], r13",
        "mov [rax + {r14}], r14",
        "mov [rax + {r15}], r15",
        "stgi",
        // Nothing of the guest's stays in a register for a mistaken guess of the CPU to use.
        "xor ecx, ecx",
        "xor edx, edx",
        "xor esi, esi",
        "xor edi, edi",
        "xor r8d, r8d",
        "xor r9d, r9d",
        "xor r10d, r10d",
        "xor r11d, r11d",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
        rbx = const offset_of!(Registers, rbx),
        rcx = const offset_of!(Registers, rcx),
        rdx = const offset_of!(Registers, rdx),
        rsi = const offset_of!(Registers, rsi),
        rdi = const offset_of!(Registers, rdi),
        rbp = const offset_of!(Registers, rbp),
        r8 = const offset_of!(Registers, r8),
        r9 = const offset_of!(Registers, r9),
        r10 = const offset_of!(Registers, r10),
        r11 = const offset_of!(Registers, r11),
        r12 = const offset_of!(Registers, r12),
        r13 = const offset_of!(Registers, r13),
        r14 = const offset_of!(Registers, r14),
        r15 = const offset_of!(Registers, r15),
    )
}
