//! The way into a mode of 32-bit code and back, for one instruction.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::Mode;
use crate::pages;

static CURRENT: AtomicU8 = AtomicU8::new(Mode::Long as u8);

/// Chooses the mode in which [`crate::calls`] makes hypercalls from now on, on every processor.
pub fn set(mode: Mode) {
    fill_tables();
    CURRENT.store(mode as u8, Ordering::Relaxed);
}

/// Returns the mode in which hypercalls are made.
#[must_use]
pub fn current() -> Mode {
    match CURRENT.load(Ordering::Relaxed) {
        1 => Mode::Compatibility,
        2 => Mode::Unpaged,
        3 => Mode::Pae,
        4 => Mode::TwoLevels,
        _ => Mode::Long,
    }
}

#[repr(C, align(4096))]
struct Pointers([AtomicU64; 512]);
#[repr(C, align(4096))]
struct Directory([AtomicU32; 1024]);

#[unsafe(no_mangle)]
static KIT_PAE_POINTERS: Pointers = Pointers([const { AtomicU64::new(0) }; 512]);
#[unsafe(no_mangle)]
static KIT_TWO_LEVELS: Directory = Directory([const { AtomicU32::new(0) }; 1024]);

unsafe extern "C" {
    static kit_page_directories: [AtomicU64; 2048];
    fn kit_call_32(block: *mut Block) -> u64;
}

/// Fills both kinds of top table: with PAE the directories are those of long mode, with two levels there are pages of
/// 4 MiB and the window's own table.
fn fill_tables() {
    let directories = &raw const kit_page_directories as u64;
    for (pointer, at) in KIT_PAE_POINTERS.0.iter().take(4).zip((directories..).step_by(4096)) {
        pointer.store(at | 1, Ordering::Relaxed);
    }
    for (entry, at) in KIT_TWO_LEVELS.0.iter().zip((0_u32..).step_by(1 << 22)) {
        entry.store(at | 0x83, Ordering::Relaxed);
    }
    let [window, table] = [pages::WINDOW >> 22, pages::two_level_table()];
    if let Some(entry) = KIT_TWO_LEVELS.0.get(window as usize) {
        entry.store(table as u32 | 3, Ordering::Relaxed);
    }
}

/// The instruction that the processor executes in the other mode.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Instruction {
    Vmmcall = 0,
    Wrmsr = 1,
    /// A call of a stub of the hypercall page.
    Stub = 2,
}

/// The registers EAX, EBX, ECX, EDX, ESI, EDI, EBP, in the low halves, and what to do with them. EAX comes back.
#[repr(C)]
struct Block {
    registers: [u64; 7],
    mode: u64,
    instruction: u64,
    stub: u64,
}

/// Returns what stands for the address of a stub where none is called: it is read all the same.
fn no_stub() -> u64 {
    kit_call_32 as *const () as u64
}

/// Calls hypercall `number` in this mode, which is not [`Mode::Long`], with the low halves of the arguments.
///
/// # Safety
/// As for [`crate::hypercall::call`].
pub unsafe fn call(mode: Mode, number: u32, arguments: [u64; 5]) -> i32 {
    let [a1, a2, a3, a4, a5] = arguments;
    let registers = [u64::from(number), a1, a2, a3, a4, a5, 0];
    let mut block = Block { registers, mode: mode as u64, instruction: Instruction::Vmmcall as u64, stub: no_stub() };
    // SAFETY: the caller answers for memory; the way there and back keeps what Rust relies on.
    unsafe { kit_call_32(&raw mut block) as i32 }
}

/// Calls hypercall `number` in this mode by its stub in the hypercall page at `page`.
///
/// # Safety
/// As for [`crate::hypercall::call`]; and the page must hold the stubs.
pub unsafe fn call_stub(mode: Mode, page: u64, number: u32, arguments: [u64; 5]) -> i32 {
    let [a1, a2, a3, a4, a5] = arguments;
    let registers = [0, a1, a2, a3, a4, a5, 0];
    let stub = page + u64::from(number) * 32;
    let mut block = Block { registers, mode: mode as u64, instruction: Instruction::Stub as u64, stub };
    // SAFETY: as above.
    unsafe { kit_call_32(&raw mut block) as i32 }
}

/// Writes a model-specific register in this mode, which is not [`Mode::Long`].
///
/// # Safety
/// As for [`crate::cpu::write_msr`]; and the register must be there, as nothing catches a fault.
pub unsafe fn write_msr(mode: Mode, register: u32, value: u64) {
    let registers = [value & 0xffff_ffff, 0, register.into(), value >> 32, 0, 0, 0];
    let mut block = Block { registers, mode: mode as u64, instruction: Instruction::Wrmsr as u64, stub: no_stub() };
    // SAFETY: as above.
    unsafe { kit_call_32(&raw mut block) };
}

global_asm!(
    r#"
    // QEMU marks the four top entries of PAE as accessed, which no processor does: the bit is reserved, and a hypervisor
    // that walks the tables takes such an entry for a bad one. Flags are lost.
    .macro kit_clear_marks
    and dword ptr [KIT_PAE_POINTERS], 0xffffffdf
    and dword ptr [KIT_PAE_POINTERS + 8], 0xffffffdf
    and dword ptr [KIT_PAE_POINTERS + 16], 0xffffffdf
    and dword ptr [KIT_PAE_POINTERS + 24], 0xffffffdf
    .endm

    // All of it lies in one page: the processor would walk to a second one between a clearing of the marks and what is done
    // without them, and QEMU would mark the entries again.
    .text
    .balign 512
    .global kit_call_32
kit_call_32:                        // rdi = the block
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    pushfq
    push rdi
    cmp qword ptr [rdi + 56], 1
    je 2f
    cli                             // the table of interrupts is one of long mode
2:  mov eax, 0x18                   // 32-bit code looks at them, and a way back to user mode empties them
    mov ds, eax
    mov es, eax
    mov ss, eax
    push 0x08
    lea rax, [rip + 3f]
    push rax
    retfq

    .code32
3:  mov ecx, [edi + 56]
    cmp ecx, 1
    je 5f
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax                    // long mode is over
    cmp ecx, 2
    je 5f
    mov esi, ecx
    mov ecx, 0xc0000080             // EFER
    rdmsr
    and eax, 0xfffffeff             // LME
    wrmsr
    mov eax, offset KIT_PAE_POINTERS
    cmp esi, 3
    je 4f
    mov eax, cr4
    and eax, 0xffffffdf             // PAE
    or eax, 0x10                    // PSE
    mov cr4, eax
    mov eax, offset KIT_TWO_LEVELS
4:  mov cr3, eax
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    jmp 5f
    // Everything that the instruction touches is touched before the marks go.
5:  mov eax, [edi]
    mov ecx, [edi + 72]
    push ecx
    mov ecx, [ecx]
    kit_clear_marks
    cmp dword ptr [edi + 64], 1
    mov eax, [edi]
    mov ebx, [edi + 8]
    mov ecx, [edi + 16]
    mov edx, [edi + 24]
    mov esi, [edi + 32]
    mov ebp, [edi + 48]
    mov edi, [edi + 40]
    je 6f
    ja 20f
    vmmcall
    jmp 7f
20: call dword ptr [esp]
    jmp 7f
6:  wrmsr
7:  add esp, 4
    mov edi, [esp]
    mov [edi], eax
    cmp dword ptr [edi + 56], 1
    je 8f
    kit_clear_marks
    mov eax, cr0
    and eax, 0x7fffffff
    kit_clear_marks
    mov cr0, eax
    mov eax, cr4
    and eax, 0xffffffef
    or eax, 0x20
    mov cr4, eax
    mov eax, offset kit_pml4
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
8:  .byte 0xea                      // far jump to the 64-bit segment
    .long 9f
    .word 0x10

    .code64
9:  pop rdi
    popfq
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    mov eax, dword ptr [rdi]
    ret
    .org kit_call_32 + 512          // an error where it is longer
"#
);
