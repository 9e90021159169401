//! The first and last instructions of every interrupt and exception: save all registers, call, restore.

use core::arch::global_asm;

global_asm!(
    r#"
    .section .text.interrupt_entry, "ax"
    // One stub of 16 bytes for each vector. Where the CPU pushes no error code, a zero stands for it.
    .balign 16
    .global interrupt_stubs
interrupt_stubs:
    .set stub_vector, 0
    .rept 256
    .balign 16
    .if (stub_vector == 8) || (stub_vector == 10) || (stub_vector == 11) || (stub_vector == 12) || (stub_vector == 13) || (stub_vector == 14) || (stub_vector == 17) || (stub_vector == 21) || (stub_vector == 29) || (stub_vector == 30)
    .else
    pushq $0
    .endif
    pushq $stub_vector
    jmp interrupt_common
    .set stub_vector, stub_vector + 1
    .endr

    .type interrupt_common, @function
interrupt_common:
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    // The CPU aligned the stack before it pushed; 22 words later it is aligned again.
    movq %rsp, %rdi
    // The saved frame pointer stays in rbp, so that a backtrace goes on in what was interrupted.
    call handle_interrupt
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rbp
    popq %rbx
    popq %rdx
    popq %rcx
    popq %rax
    addq $16, %rsp           // vector and error code
    iretq
    .size interrupt_common, . - interrupt_common
    .text
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static interrupt_stubs: u8;
}

/// Returns the address of the entry code for a vector below 256.
pub fn entry_of(vector: usize) -> u64 {
    (&raw const interrupt_stubs as u64).wrapping_add((vector % 256 * 16) as u64)
}

/// What the entry code saves, lowest address first.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "the names of the registers say it all")]
pub struct InterruptFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rax: u64,
    /// Which interrupt it was.
    pub vector: u64,
    /// The exception's error code, 0 for those without.
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}
