//! The registers of a vCPU, as PV guests and the toolstack pass them.
//!
//! For an HVM or PVH domain only the x87 state, the flags, the general and the debug registers are used. **Source:**
//! `arch-x86/xen.h`, `arch-x86/xen-x86_64.h`.

use crate::describe::{flags, wire};

flags! {
    /// Flags of [`VcpuGuestContext`].
    pub struct GuestContextFlags("VGCF_"): u64 {
        /// `fpu_ctxt` is valid.
        const I387_VALID = 1 << 0;
        /// PV: the vCPU is in guest kernel mode.
        const IN_KERNEL = 1 << 2;
        /// PV: the failsafe callback masks upcalls.
        const FAILSAFE_DISABLES_EVENTS = 1 << 3;
        /// PV: the system-call callback masks upcalls.
        const SYSCALL_DISABLES_EVENTS = 1 << 4;
        /// The vCPU is up (online).
        const ONLINE = 1 << 5;
    }
}

wire! {
    fixed;

    /// General registers.
    pub struct CpuUserRegs: "struct cpu_user_regs" {
        /// General register R15.
        pub r15: u64,
        /// General register R14.
        pub r14: u64,
        /// General register R13.
        pub r13: u64,
        /// General register R12.
        pub r12: u64,
        /// General register RBP.
        pub rbp: u64,
        /// General register RBX.
        pub rbx: u64,
        /// General register R11.
        pub r11: u64,
        /// General register R10.
        pub r10: u64,
        /// General register R9.
        pub r9: u64,
        /// General register R8.
        pub r8: u64,
        /// General register RAX.
        pub rax: u64,
        /// General register RCX.
        pub rcx: u64,
        /// General register RDX.
        pub rdx: u64,
        /// General register RSI.
        pub rsi: u64,
        /// General register RDI.
        pub rdi: u64,
        /// Scratch of the hypervisor; the guest's value is ignored.
        pub error_code: u32,
        /// Scratch of the hypervisor; the guest's value is ignored.
        pub entry_vector: u32,
        /// Instruction pointer.
        pub rip: u64,
        /// Selector of the code segment.
        pub cs: u16,
        /// Padding.
        pub pad0: u16,
        /// PV: `evtchn_upcall_mask` at the time of the exception.
        pub saved_upcall_mask: u8,
        /// Padding.
        pub pad1: [u8; 3],
        /// RFLAGS.
        pub rflags: u64,
        /// Stack pointer.
        pub rsp: u64,
        /// Selector of the stack segment.
        pub ss: u16,
        /// Padding.
        pub pad2: [u16; 3],
        /// Selector of ES.
        pub es: u16,
        /// Padding.
        pub pad3: [u16; 3],
        /// Selector of DS.
        pub ds: u16,
        /// Padding.
        pub pad4: [u16; 3],
        /// Selector of FS.
        pub fs: u16,
        /// Padding.
        pub pad5: [u16; 3],
        /// Selector of GS.
        pub gs: u16,
        /// Padding.
        pub pad6: [u16; 3],
    }

    /// PV: one entry of the virtual IDT.
    pub struct TrapInfo: "struct trap_info" {
        /// Vector of the exception.
        pub vector: u8,
        /// Bits 0 and 1: the highest privilege level that may raise it by an instruction. Bit 2: the handler starts
        /// with upcalls masked.
        pub flags: u8,
        /// Selector of the handler's code segment.
        pub cs: u16,
        /// Padding.
        pub pad: [u8; 4],
        /// Guest virtual address of the handler.
        pub address: u64,
    }

    /// The registers of a vCPU.
    pub struct VcpuGuestContext: "struct vcpu_guest_context" {
        /// x87 and SSE state, in the format of FXSAVE.
        pub fpu_ctxt: [u8; 512],
        /// See [`GuestContextFlags`].
        pub flags: GuestContextFlags,
        /// General registers.
        pub user_regs: CpuUserRegs,
        /// PV: the virtual IDT.
        pub trap_ctxt: [TrapInfo; 256],
        /// PV: linear address of the LDT.
        pub ldt_base: u64,
        /// PV: number of entries of the LDT.
        pub ldt_ents: u64,
        /// PV: MFNs of the frames of the GDT.
        pub gdt_frames: [u64; 16],
        /// PV: number of entries of the GDT.
        pub gdt_ents: u64,
        /// PV: selector of the kernel's stack segment.
        pub kernel_ss: u64,
        /// PV: stack pointer of the kernel.
        pub kernel_sp: u64,
        /// Control registers, indexed by number. PV: number 1 holds the page table of user mode.
        pub ctrlreg: [u64; 8],
        /// Debug registers, indexed by number.
        pub debugreg: [u64; 8],
        /// PV: entry point of upcalls.
        pub event_callback_eip: u64,
        /// PV: entry point for a failed return to the guest (failsafe callback).
        pub failsafe_callback_eip: u64,
        /// PV: entry point of system calls.
        pub syscall_callback_eip: u64,
        /// PV: a bit for each `VMASST_TYPE_*`.
        pub vm_assist: u64,
        /// FS base.
        pub fs_base: u64,
        /// GS base of kernel mode.
        pub gs_base_kernel: u64,
        /// GS base of user mode.
        pub gs_base_user: u64,
    }
}
