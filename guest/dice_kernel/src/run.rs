//! One instruction with all registers given, and what became of them.

use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use xenolith_guest_kit::cpu;
use xenolith_guest_kit::pages::Page;

use crate::segments;

/// Exceptions of the processor.
const VECTORS: usize = 32;

/// What an instruction begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Input {
    pub registers: [u64; 16],
    pub flags: u64,
    pub rip: u64,
    pub cs: u64,
    pub es: u64,
    pub ss: u64,
    pub ds: u64,
    pub fs: u64,
    pub gs: u64,
    /// Where the registers of vectors come from, and where they go to; 0 if the instruction does not use them.
    pub vectors: u64,
    pub vectors_to: u64,
}

/// What it ends with.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Output {
    pub registers: [u64; 16],
    pub vector: u64,
    pub code: u64,
    pub rip: u64,
    pub cs: u64,
    pub flags: u64,
    pub ss: u64,
    /// CR2, which was 0.
    pub address: u64,
}

#[repr(C, align(4096))]
struct Table([AtomicU64; VECTORS * 2]);
static TABLE: Table = Table([const { AtomicU64::new(0) }; VECTORS * 2]);

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

unsafe extern "C" {
    static dice_stubs: u8;
    fn dice_run(input: *const Input, output: *mut Output);
}

global_asm!(
    r#"
    .bss
    .balign 8
dice_stack:
    .skip 8
dice_output:
    .skip 8
dice_vectors_to:
    .skip 8

    .text
    .global dice_run
dice_run:                           // rdi = input, rsi = output
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov [rip + dice_stack], rsp
    mov [rip + dice_output], rsi
    mov rax, [rdi + {vectors_to}]
    mov [rip + dice_vectors_to], rax
    test rax, rax
    jz 5f
    mov rax, [rdi + {vectors_from}]
    fxrstor64 [rax]
5:  xor eax, eax
    mov cr2, rax
    mov eax, [rdi + {es}]
    mov es, eax
    mov eax, [rdi + {ds}]
    mov ds, eax
    mov eax, [rdi + {fs}]
    mov fs, eax
    mov eax, [rdi + {gs}]
    mov gs, eax
    push qword ptr [rdi + {ss}]
    push qword ptr [rdi + 8 * 4]
    push qword ptr [rdi + {flags}]
    push qword ptr [rdi + {cs}]
    push qword ptr [rdi + {rip}]
    mov rax, [rdi]
    mov rcx, [rdi + 8]
    mov rdx, [rdi + 16]
    mov rbx, [rdi + 24]
    mov rbp, [rdi + 40]
    mov rsi, [rdi + 48]
    mov r8, [rdi + 64]
    mov r9, [rdi + 72]
    mov r10, [rdi + 80]
    mov r11, [rdi + 88]
    mov r12, [rdi + 96]
    mov r13, [rdi + 104]
    mov r14, [rdi + 112]
    mov r15, [rdi + 120]
    mov rdi, [rdi + 56]
    iretq

    // The exceptions, on a stack of their own. The one that ends the instruction leads back to where it was begun.
    .balign 16
    .global dice_stubs
dice_stubs:
    .set vector, 0
    .rept {vectors}
    .balign 16
    .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    .byte 0x6a, 0
    .endif
    .byte 0x68
    .long vector
    jmp 2f
    .set vector, vector + 1
    .endr

2:  cmp qword ptr [rip + dice_stack], 0
    je 3f
    push rax
    mov rax, [rip + dice_output]
    mov [rax + 8], rcx
    mov [rax + 16], rdx
    mov [rax + 24], rbx
    mov [rax + 40], rbp
    mov [rax + 48], rsi
    mov [rax + 56], rdi
    mov [rax + 64], r8
    mov [rax + 72], r9
    mov [rax + 80], r10
    mov [rax + 88], r11
    mov [rax + 96], r12
    mov [rax + 104], r13
    mov [rax + 112], r14
    mov [rax + 120], r15
    pop qword ptr [rax]
    pop qword ptr [rax + {out_vector}]
    pop qword ptr [rax + {out_code}]
    pop qword ptr [rax + {out_rip}]
    pop qword ptr [rax + {out_cs}]
    pop qword ptr [rax + {out_flags}]
    pop qword ptr [rax + 8 * 4]
    pop qword ptr [rax + {out_ss}]
    mov rcx, cr2
    mov [rax + {out_address}], rcx
    mov rcx, [rip + dice_vectors_to]
    jrcxz 4f
    fxsave64 [rcx]
4:
    cld
    mov ecx, 0x18
    mov ds, ecx
    mov es, ecx
    mov ss, ecx
    mov ecx, {own_gs}
    mov gs, ecx
    mov rsp, [rip + dice_stack]
    mov qword ptr [rip + dice_stack], 0
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

3:  pop rdi
    pop rsi
    pop rdx
    cld
    call dice_broken
"#,
    vectors_from = const offset_of!(Input, vectors),
    vectors_to = const offset_of!(Input, vectors_to),
    es = const offset_of!(Input, es),
    ds = const offset_of!(Input, ds),
    fs = const offset_of!(Input, fs),
    gs = const offset_of!(Input, gs),
    ss = const offset_of!(Input, ss),
    flags = const offset_of!(Input, flags),
    cs = const offset_of!(Input, cs),
    rip = const offset_of!(Input, rip),
    vectors = const VECTORS,
    out_vector = const offset_of!(Output, vector),
    out_code = const offset_of!(Output, code),
    out_rip = const offset_of!(Output, rip),
    out_cs = const offset_of!(Output, cs),
    out_flags = const offset_of!(Output, flags),
    out_ss = const offset_of!(Output, ss),
    out_address = const offset_of!(Output, address),
    own_gs = const segments::own_gs(),
);

/// Says what this kernel's own code raised.
#[unsafe(no_mangle)]
extern "C" fn dice_broken(vector: u64, code: u64, rip: u64) -> ! {
    panic!("exception {vector} code {code:#x} at {rip:#x}, address {:#x}", cpu::fault_address());
}

/// What FXSAVE saves.
const VECTOR_BYTES: usize = 512;
const VECTOR_PAGES: [usize; 3] = [0, 1024, 2048];
static VECTORS_PAGE: Page = Page::new();
/// What of it is compared: status and tags, the eight registers of MMX, the sixteen of SSE, in words of 8 bytes.
const COMPARED: core::ops::Range<usize> = 4..52;

/// Fills the registers of vectors from `next`, and returns where they lie and where they are to go.
pub fn fill_vectors(mut next: impl FnMut() -> u64) -> (u64, u64) {
    let [from, to, _] = VECTOR_PAGES;
    for at in (0..VECTOR_BYTES).step_by(8) {
        // Control words as after a reset; the sixteen bits above each of the eight registers are not kept.
        let word = match at / 8 {
            0 => 0x37f,
            3 => 0x1f80,
            word @ 4..20 if word % 2 == 0 => next(),
            4..20 => 0xffff,
            20..52 => next(),
            _ => 0,
        };
        VECTORS_PAGE.write(from + at, word);
    }
    (VECTORS_PAGE.address() + from as u64, VECTORS_PAGE.address() + to as u64)
}

/// Puts what the registers of vectors are now aside.
pub fn keep_vectors() {
    let [_, to, kept] = VECTOR_PAGES;
    (0..VECTOR_BYTES).step_by(8).for_each(|at| VECTORS_PAGE.write::<u64>(kept + at, VECTORS_PAGE.read(to + at)));
}

/// Returns the first word in which the registers of vectors differ from what was put aside: its number, that, and what it
/// is now.
pub fn differing_vectors() -> Option<(usize, u64, u64)> {
    let [_, to, kept] = VECTOR_PAGES;
    // The last four bytes of the first word are the last instruction, which processors need not keep.
    let words = core::iter::once(0).chain(COMPARED);
    let mask = |word| if word == 0 { 0xff_ffff_ffff } else { u64::MAX };
    let read = |from: usize, word: usize| VECTORS_PAGE.read::<u64>(from + word * 8) & mask(word);
    words.map(|word| (word, read(kept, word), read(to, word))).find(|(_, first, second)| first != second)
}

/// Makes exceptions come here, from now on. There must be no interrupts.
pub fn set_up() {
    let stubs = &raw const dice_stubs as u64;
    for (index, pair) in TABLE.0.chunks_exact(2).enumerate() {
        let stub = stubs + 16 * index as u64;
        let level = if index == 3 { 3 << 45 } else { 0 };
        let low = stub & 0xffff | 0x10 << 16 | 1 << 32 | 0x8e00 << 32 | level | (stub >> 16 & 0xffff) << 48;
        pair[0].store(low, Ordering::Relaxed);
        pair[1].store(stub >> 32, Ordering::Relaxed);
    }
    let pointer = Pointer { limit: size_of::<[u64; VECTORS * 2]>() as u16 - 1, base: &raw const TABLE as u64 };
    // SAFETY: the table is static and filled, and its code keeps this kernel's registers and stack.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack, readonly)) };
    // SAFETY: this kernel's own code uses no registers of vectors; OSFXSR and OSXMMEXCPT let instructions use them.
    unsafe { asm!("mov {0}, cr4", "or {0}, 0x600", "mov cr4, {0}", out(reg) _, options(nostack)) };
}

/// Runs the instruction to which `input` points, which ends with a breakpoint.
pub fn run(input: &Input) -> Output {
    let mut output = Output::default();
    // SAFETY: the instruction writes to the window alone, which Rust knows as volatile memory alone; the exception that
    // ends it brings stack, segments and all registers back that a call must keep.
    unsafe { dice_run(input, &raw mut output) };
    output
}
