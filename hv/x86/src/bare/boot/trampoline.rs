//! The trampoline of the application processors: from real mode to long mode in one step.
//!
//! The code is copied to a page below 1 MiB and patched there; it contains no other addresses.
//!
//! **Source:** AMD APM volume 2, 14.6 and 14.8.1 (long mode may be entered from real mode: CR0.PE and CR0.PG together).

use core::arch::global_asm;

use crate::plain::layout;

global_asm!(
    r#"
    .section .rodata.trampoline, "a"
    .balign 16
    .global trampoline_start
trampoline_start:
    .code16
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl trampoline_gdt_pointer - trampoline_start
    movl $0x20, %eax             // PAE
    movl %eax, %cr4
    movl trampoline_tables - trampoline_start, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx       // EFER: LME, NXE
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl $0x80010031, %eax       // PG, WP, NE, ET, PE
    movl %eax, %cr0
    ljmpl *(trampoline_far - trampoline_start)
    .code64
trampoline_long:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movq trampoline_stack(%rip), %rsp
    movl trampoline_index(%rip), %edi
    movq trampoline_next(%rip), %rax
    xorl %ebp, %ebp
    pushq $0                     // the end of every backtrace
    jmpq *%rax
    .balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00af9b000000ffff     // 64-bit code
trampoline_gdt_pointer:
    .short 15
trampoline_gdt_address:
    .long trampoline_gdt - trampoline_start
    .balign 4
trampoline_far:
    .long trampoline_long - trampoline_start
    .short 8
    .balign 4
trampoline_tables:
    .long 0
    .balign 8
    .global trampoline_stack
trampoline_stack:
    .quad 0
    .global trampoline_next
trampoline_next:
    .quad 0
    .global trampoline_index
trampoline_index:
    .long 0
    .global trampoline_end
trampoline_end:
    .text
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static trampoline_start: u8;
    static trampoline_gdt_address: u8;
    static trampoline_far: u8;
    static trampoline_tables: u8;
    static trampoline_stack: u8;
    static trampoline_next: u8;
    static trampoline_index: u8;
    static trampoline_end: u8;
}

/// The code in its page.
pub(super) struct Trampoline {
    page: u64,
}

impl Trampoline {
    /// Copies the code to the page at machine address `page`, to run on the page tables at `tables`.
    ///
    /// # Safety
    /// The page is RAM below 1 MiB that nobody uses, in the direct map; `tables` lies below 4 GiB.
    pub(super) unsafe fn new(page: u64, tables: u64) -> Self {
        let length = (&raw const trampoline_end as usize).wrapping_sub(&raw const trampoline_start as usize);
        // SAFETY: the code is a few hundred bytes of the image; the page is promised to be ours.
        unsafe {
            core::ptr::copy_nonoverlapping(&raw const trampoline_start, layout::direct(page) as *mut u8, length);
        }
        let trampoline = Self { page };
        // The two offsets become addresses.
        for place in [&raw const trampoline_gdt_address, &raw const trampoline_far] {
            let pointer = trampoline.at::<u32>(place);
            // SAFETY: the place lies in the copy, and is as long as what is written.
            unsafe { pointer.write_unaligned(pointer.read_unaligned().wrapping_add(page as u32)) };
        }
        // SAFETY: as above.
        unsafe { trampoline.at::<u32>(&raw const trampoline_tables).write_unaligned(tables as u32) };
        trampoline
    }

    /// Returns the address in the copy of a place in the image.
    fn at<T>(&self, place: *const u8) -> *mut T {
        let offset = (place as u64).wrapping_sub(&raw const trampoline_start as u64);
        layout::direct(self.page.wrapping_add(offset)) as *mut T
    }

    /// Sets which CPU starts next, on which stack, and what it runs.
    pub(super) fn prepare(&self, index: u32, stack: u64, next: extern "C" fn(u32) -> !) {
        // SAFETY: the places lie in the copy, which no CPU runs at the moment: they are started one at a time.
        unsafe {
            self.at::<u64>(&raw const trampoline_stack).write_volatile(stack);
            self.at::<u64>(&raw const trampoline_next).write_volatile(next as *const () as u64);
            self.at::<u32>(&raw const trampoline_index).write_volatile(index);
        }
    }

    /// Returns the page at which a CPU starts (the SIPI vector's page).
    pub(super) const fn page(&self) -> u64 {
        self.page
    }
}
