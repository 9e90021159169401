//! The registers of a vCPU as PV guests and the toolstack pass them.
//!
//! For a fully virtualised domain only the floating-point state, the flags, the general and the debug registers are
//! looked at. **Source:** `arch-x86/xen.h`, `arch-x86/xen-x86_64.h`.

use crate::describe::{flags, wire};

flags! {
    /// Flags of [`VcpuGuestContext`].
    pub struct GuestContextFlags("VGCF_"): u64 {
        /// The floating-point state counts.
        const I387_VALID = 1 << 0;
        /// PV: the vCPU is in its kernel.
        const IN_KERNEL = 1 << 2;
        /// PV: the failsafe callback masks events.
        const FAILSAFE_DISABLES_EVENTS = 1 << 3;
        /// PV: the system call callback masks events.
        const SYSCALL_DISABLES_EVENTS = 1 << 4;
        /// The vCPU is started.
        const ONLINE = 1 << 5;
    }
}

wire! {
    fixed;

    /// General registers.
    pub struct CpuUserRegs: "struct cpu_user_regs" {
        /// Register.
        pub r15: u64,
        /// Register.
        pub r14: u64,
        /// Register.
        pub r13: u64,
        /// Register.
        pub r12: u64,
        /// Register.
        pub rbp: u64,
        /// Register.
        pub rbx: u64,
        /// Register.
        pub r11: u64,
        /// Register.
        pub r10: u64,
        /// Register.
        pub r9: u64,
        /// Register.
        pub r8: u64,
        /// Register.
        pub rax: u64,
        /// Register.
        pub rcx: u64,
        /// Register.
        pub rdx: u64,
        /// Register.
        pub rsi: u64,
        /// Register.
        pub rdi: u64,
        /// The hypervisor's own.
        pub error_code: u32,
        /// The hypervisor's own.
        pub entry_vector: u32,
        /// Instruction pointer.
        pub rip: u64,
        /// Code segment.
        pub cs: u16,
        /// Padding.
        pub pad0: u16,
        /// PV: whether events were masked.
        pub saved_upcall_mask: u8,
        /// Padding.
        pub pad1: [u8; 3],
        /// Flags.
        pub rflags: u64,
        /// Stack pointer.
        pub rsp: u64,
        /// Segment register.
        pub ss: u16,
        /// Padding.
        pub pad2: [u16; 3],
        /// Segment register.
        pub es: u16,
        /// Padding.
        pub pad3: [u16; 3],
        /// Segment register.
        pub ds: u16,
        /// Padding.
        pub pad4: [u16; 3],
        /// Segment register.
        pub fs: u16,
        /// Padding.
        pub pad5: [u16; 3],
        /// Segment register.
        pub gs: u16,
        /// Padding.
        pub pad6: [u16; 3],
    }

    /// One entry of a virtual IDT, for PV.
    pub struct TrapInfo: "struct trap_info" {
        /// The exception.
        pub vector: u8,
        /// Bits 0 and 1 who may raise it by instruction, bit 2 whether events are masked.
        pub flags: u8,
        /// Code segment of the handler.
        pub cs: u16,
        /// Padding.
        pub pad: [u8; 4],
        /// Guest virtual address of the handler.
        pub address: u64,
    }

    /// All registers of a vCPU.
    pub struct VcpuGuestContext: "struct vcpu_guest_context" {
        /// Floating-point state, as FXSAVE writes it.
        pub fpu_ctxt: [u8; 512],
        /// Flags.
        pub flags: GuestContextFlags,
        /// General registers.
        pub user_regs: CpuUserRegs,
        /// PV: the virtual IDT.
        pub trap_ctxt: [TrapInfo; 256],
        /// PV: linear address of the LDT.
        pub ldt_base: u64,
        /// PV: how many entries it has.
        pub ldt_ents: u64,
        /// PV: machine frames of the GDT.
        pub gdt_frames: [u64; 16],
        /// PV: how many entries it has.
        pub gdt_ents: u64,
        /// PV: the kernel's stack segment.
        pub kernel_ss: u64,
        /// PV: the kernel's stack pointer.
        pub kernel_sp: u64,
        /// Control registers; PV: number 1 holds the user page table.
        pub ctrlreg: [u64; 8],
        /// Debug registers.
        pub debugreg: [u64; 8],
        /// PV: where events enter.
        pub event_callback_eip: u64,
        /// PV: where failures to restore enter.
        pub failsafe_callback_eip: u64,
        /// PV: where system calls enter.
        pub syscall_callback_eip: u64,
        /// PV: a bit for each `VMASST_TYPE_*`.
        pub vm_assist: u64,
        /// Base of `fs`.
        pub fs_base: u64,
        /// Base of `gs` in the kernel.
        pub gs_base_kernel: u64,
        /// Base of `gs` in user space.
        pub gs_base_user: u64,
    }
}
