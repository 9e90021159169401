//! The way from the hypervisor's first jump to Rust, for the boot processor and for the others.
//!
//! The boot processor arrives by the PVH note: 32-bit protected mode, paging off, `ebx` = the start information. The
//! others arrive by INIT-SIPI-SIPI in real mode at [`TRAMPOLINE`]. Both meet in 64-bit mode on a stack of their own,
//! with the first 4 GiB mapped one to one by 2 MiB pages, all of it writable and executable, none of it for CPL 3.

use core::arch::global_asm;

use crate::processors::{MAX_PROCESSORS, STACK_BYTES};

/// Where the real-mode start of the other processors is copied: below 1 MiB, page-aligned, ordinary RAM on every map.
pub const TRAMPOLINE: u64 = 0x8000;

global_asm!(
    r#"
    .section .note.Xen, "a", @note
    .balign 4
    .long 4
    .long 4
    .long 18                        // XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long kit_pvh_entry

    .section .text.kit_entry, "ax", @progbits
    .code32
    .global kit_pvh_entry
kit_pvh_entry:
    cli
    cld
    mov esi, ebx
    mov edi, offset kit_page_directories
    xor ecx, ecx
2:  mov eax, ecx
    shl eax, 21
    or eax, 0x83                    // present, writable, 2 MiB
    mov [edi + ecx * 8], eax
    mov dword ptr [edi + ecx * 8 + 4], 0
    inc ecx
    cmp ecx, 2048
    jne 2b
    mov eax, offset kit_page_directories + 3
    mov edi, offset kit_pdpt
    xor ecx, ecx
3:  mov [edi + ecx * 8], eax
    add eax, 4096
    inc ecx
    cmp ecx, 4
    jne 3b
    mov eax, offset kit_pdpt + 3
    mov dword ptr [kit_pml4], eax
    xor ebp, ebp                    // processor 0
    jmp kit_enter_long_mode

    // The others: ds is flat, paging is off.
kit_processor_entry32:
    mov ax, 0x18
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov ebp, dword ptr [kit_starting_processor]
    xor esi, esi

    // ebp = index of this processor, esi = start information (boot processor only)
kit_enter_long_mode:
    mov eax, cr4
    or eax, 0x20                    // PAE
    mov cr4, eax
    mov eax, offset kit_pml4
    mov cr3, eax
    mov ecx, 0xc0000080             // EFER
    rdmsr
    or eax, 0x900                   // LME, NXE
    wrmsr
    mov eax, cr0
    or eax, 0x80010021              // PG, WP, NE, PE
    mov cr0, eax
    lgdt [kit_gdt_pointer]
    .byte 0xea                      // far jump to the 64-bit segment
    .long kit_entry64
    .word 0x10

    .code64
kit_entry64:
    mov ax, 0x18
    mov ds, ax
    mov es, ax
    mov ss, ax
    xor eax, eax
    mov fs, ax
    mov gs, ax
    mov edi, ebp
    mov eax, ebp
    inc eax
    imul rax, rax, {stack_bytes}
    lea rsp, [kit_stacks + rax]
    xor ebp, ebp
    call kit_start
4:  hlt
    jmp 4b

    // Copied to the trampoline page; nothing in it is addressed but by its place there.
    .section .rodata.kit_trampoline, "a", @progbits
    .code16
    .global kit_trampoline_start
    .global kit_trampoline_end
kit_trampoline_start:
    cli
    cld
    xor ax, ax
    mov ds, ax
    .byte 0x66, 0x0f, 0x01, 0x16    // lgdt with a 32-bit base
    .word {trampoline} + (5f - kit_trampoline_start)
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0x66, 0xea                // far jump with a 32-bit offset
    .long kit_processor_entry32
    .word 0x08
    .balign 8
5:  .word kit_gdt_end - kit_gdt - 1
    .long kit_gdt
kit_trampoline_end:
    .code64

    .section .data.kit_tables, "aw", @progbits
    .balign 8
    .global kit_gdt
    .global kit_gdt_pointer
kit_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff        // 0x08: 32-bit code
    .quad 0x00af9b000000ffff        // 0x10: 64-bit code
    .quad 0x00cf93000000ffff        // 0x18: data
    .quad 0x00cff3000000ffff        // 0x20: data for CPL 3
    .quad 0x00affb000000ffff        // 0x28: 64-bit code for CPL 3
    .fill {processors} * 2, 8, 0    // 0x30: one task state segment a processor
kit_gdt_end:
kit_gdt_pointer:
    .word kit_gdt_end - kit_gdt - 1
    .quad kit_gdt
    .balign 4
    .global kit_starting_processor
kit_starting_processor:
    .long 0

    .section .bss.kit_tables, "aw", @nobits
    .balign 4096
    .global kit_pml4
kit_pml4:
    .skip 4096
    .global kit_pdpt
kit_pdpt:
    .skip 4096
    .global kit_page_directories
kit_page_directories:
    .skip 4 * 4096
kit_stacks:
    .skip {processors} * {stack_bytes}
    .text
"#,
    stack_bytes = const STACK_BYTES,
    processors = const MAX_PROCESSORS,
    trampoline = const TRAMPOLINE,
);
