//! The first instructions: three boot headers, the way from 32-bit protected mode to the high half.
//!
//! All of it runs once, on the boot CPU, with paging off. The page tables below map the first 4 GiB twice: at their
//! own addresses and, the first 2 GiB of them, at `KERNEL_BASE`. They serve until `paging` has built the real ones.
//!
//! **Source:** Multiboot 0.6.96, Multiboot2 2.0, Xen's `elfnote.h` (`XEN_ELFNOTE_PHYS32_ENTRY`) and
//! `docs/misc/pvh.pandoc`; AMD APM volume 2, 14.6 (entering long mode).

use core::arch::global_asm;

/// The room for the names of functions, in bytes. Without optimisation there are twenty times as many.
const SYMBOL_BYTES: usize = if cfg!(debug_assertions) { 2 << 20 } else { (128 << 10) - 8 };

global_asm!(
    r#"
    .section .boot.header, "a"

    // Multiboot1. Bit 16 says that the load addresses stand here, so that a loader need not understand ELF64.
    .balign 8
multiboot1_header:
    .set MB1_FLAGS, (1 << 16) | 3
    .long 0x1badb002
    .long MB1_FLAGS
    .long -(0x1badb002 + MB1_FLAGS)
    .long multiboot1_header
    .long image_load_start
    .long image_load_end
    .long image_bss_end
    .long boot_entry

    // Multiboot2. Each tag is 8-aligned.
    .balign 8
multiboot2_header:
    .long 0xe85250d6
    .long 0
    .long multiboot2_end - multiboot2_header
    .long -(0xe85250d6 + (multiboot2_end - multiboot2_header))
    // Information request, optional: memory map, both RSDPs.
    .short 1, 1
    .long 8 + 3 * 4
    .long 6, 14, 15
    .balign 8
    // Modules at page boundaries.
    .short 6, 0
    .long 8
    // End.
    .short 0, 0
    .long 8
multiboot2_end:

    .section .note.Xen, "a", @note
    .balign 4
    .long 4
    .long 4
    .long 18
    .asciz "Xen"
    .long boot_entry_pvh

    .section .boot.text, "ax"
    .code32
    .global boot_entry
boot_entry:
    // Multiboot: the magic is in eax, the address of the information in ebx.
    movl %eax, %edi
    jmp boot_common
    .global boot_entry_pvh
boot_entry_pvh:
    // PVH passes no magic, only start_info in ebx: give it start_info's own.
    movl $0x336ec578, %edi
boot_common:
    cli
    cld
    movl %ebx, %esi

    // Long mode and no-execute, or nothing.
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb boot_unfit
    movl $0x80000001, %eax
    cpuid
    andl $0x20100000, %edx
    cmpl $0x20100000, %edx
    jne boot_unfit

    movl %cr4, %eax
    orl $0x20, %eax          // PAE
    movl %eax, %cr4
    movl $boot_pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx   // EFER: LME, NXE
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl %cr0, %eax
    andl $0x9fffffff, %eax   // caches on
    orl $0x80010001, %eax    // PG, WP, PE
    movl %eax, %cr0
    lgdt boot_gdt_pointer
    ljmp $8, $boot_long

boot_unfit:
    // No console exists yet: write the reason to the first serial port as it stands, and stop.
    movl $boot_unfit_text, %esi
1:  lodsb
    testb %al, %al
    jz 2f
    movw $0x3f8, %dx
    outb %al, %dx
    jmp 1b
2:  hlt
    jmp 2b
boot_unfit_text:
    .asciz "(XEN) This CPU has no long mode or no NX: Xenolith cannot run on it.\r\n"

    .code64
boot_long:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movl %edi, %edi
    movl %esi, %esi
    movq $boot_stack_end, %rsp
    xorl %ebp, %ebp
    movabsq $xenolith_main, %rax
    pushq $0                 // the end of every backtrace
    jmpq *%rax

    .section .boot.data, "aw"
    .balign 4096
boot_pml4:
    .quad boot_pdpt_low + 3
    .fill 510, 8, 0
    .quad boot_pdpt_high + 3
boot_pdpt_low:
    .quad boot_directories + 3
    .quad boot_directories + 0x1003
    .quad boot_directories + 0x2003
    .quad boot_directories + 0x3003
    .fill 508, 8, 0
boot_pdpt_high:
    .fill 510, 8, 0
    .quad boot_directories + 3
    .quad boot_directories + 0x1003
boot_directories:
    .set boot_page, 0
    .rept 2048
    .quad (boot_page << 21) + 0x83
    .set boot_page, boot_page + 1
    .endr
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff // 64-bit code
boot_gdt_pointer:
    .short 15
    .long boot_gdt
    .balign 8

    .section .bss.boot_stack, "aw", @nobits
    .balign 16
    .global boot_stack_start
boot_stack_start:
    // Used only until our own page tables stand, by code that handles tables of tens of KiB by value.
    .skip 262144
    .global boot_stack_end
boot_stack_end:

    .section .symbols, "a", @progbits
    .balign 16
    .global symbol_table_start
symbol_table_start:
    .long 0x4d595358
    .long 0
    .fill {symbols}, 1, 0
    .global symbol_table_end
symbol_table_end:

    .text
    "#,
    symbols = const SYMBOL_BYTES,
    options(att_syntax)
);
