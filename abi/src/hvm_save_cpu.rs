//! The record of a vCPU's registers in a saved state.
//!
//! **Source:** `arch-x86/hvm/save.h`.

use crate::describe::{flags, wire};

flags! {
    /// Flags of [`HvmHwCpu`].
    pub struct HvmCpuFlags("XEN_X86_"): u32 {
        /// The floating-point state counts.
        const FPU_INITIALISED = 1 << 0;
    }
}

wire! {
    fixed;

    /// The registers of a vCPU.
    ///
    /// An access word `*_arbytes` holds type (bits 0 to 3), system (4), privilege (5 and 6), present (7), available
    /// (8), long (9), big (10) and granularity (11), as a VMCB does.
    pub struct HvmHwCpu: "struct hvm_hw_cpu" {
        /// Floating-point state, as FXSAVE writes it.
        pub fpu_regs: [u8; 512],
        /// Register.
        pub rax: u64,
        /// Register.
        pub rbx: u64,
        /// Register.
        pub rcx: u64,
        /// Register.
        pub rdx: u64,
        /// Register.
        pub rbp: u64,
        /// Register.
        pub rsi: u64,
        /// Register.
        pub rdi: u64,
        /// Register.
        pub rsp: u64,
        /// Register.
        pub r8: u64,
        /// Register.
        pub r9: u64,
        /// Register.
        pub r10: u64,
        /// Register.
        pub r11: u64,
        /// Register.
        pub r12: u64,
        /// Register.
        pub r13: u64,
        /// Register.
        pub r14: u64,
        /// Register.
        pub r15: u64,
        /// Instruction pointer.
        pub rip: u64,
        /// Flags.
        pub rflags: u64,
        /// Control register.
        pub cr0: u64,
        /// Control register.
        pub cr2: u64,
        /// Control register.
        pub cr3: u64,
        /// Control register.
        pub cr4: u64,
        /// Debug register.
        pub dr0: u64,
        /// Debug register.
        pub dr1: u64,
        /// Debug register.
        pub dr2: u64,
        /// Debug register.
        pub dr3: u64,
        /// Debug register.
        pub dr6: u64,
        /// Debug register.
        pub dr7: u64,
        /// Selector of `cs`.
        pub cs_sel: u32,
        /// Selector of `ds`.
        pub ds_sel: u32,
        /// Selector of `es`.
        pub es_sel: u32,
        /// Selector of `fs`.
        pub fs_sel: u32,
        /// Selector of `gs`.
        pub gs_sel: u32,
        /// Selector of `ss`.
        pub ss_sel: u32,
        /// Selector of `tr`.
        pub tr_sel: u32,
        /// Selector of `ldtr`.
        pub ldtr_sel: u32,
        /// Limit of `cs` in bytes.
        pub cs_limit: u32,
        /// Limit of `ds` in bytes.
        pub ds_limit: u32,
        /// Limit of `es` in bytes.
        pub es_limit: u32,
        /// Limit of `fs` in bytes.
        pub fs_limit: u32,
        /// Limit of `gs` in bytes.
        pub gs_limit: u32,
        /// Limit of `ss` in bytes.
        pub ss_limit: u32,
        /// Limit of `tr` in bytes.
        pub tr_limit: u32,
        /// Limit of `ldtr` in bytes.
        pub ldtr_limit: u32,
        /// Limit of `idtr` in bytes.
        pub idtr_limit: u32,
        /// Limit of `gdtr` in bytes.
        pub gdtr_limit: u32,
        /// Base of `cs`.
        pub cs_base: u64,
        /// Base of `ds`.
        pub ds_base: u64,
        /// Base of `es`.
        pub es_base: u64,
        /// Base of `fs`.
        pub fs_base: u64,
        /// Base of `gs`.
        pub gs_base: u64,
        /// Base of `ss`.
        pub ss_base: u64,
        /// Base of `tr`.
        pub tr_base: u64,
        /// Base of `ldtr`.
        pub ldtr_base: u64,
        /// Base of `idtr`.
        pub idtr_base: u64,
        /// Base of `gdtr`.
        pub gdtr_base: u64,
        /// Access word of `cs`.
        pub cs_arbytes: u32,
        /// Access word of `ds`.
        pub ds_arbytes: u32,
        /// Access word of `es`.
        pub es_arbytes: u32,
        /// Access word of `fs`.
        pub fs_arbytes: u32,
        /// Access word of `gs`.
        pub gs_arbytes: u32,
        /// Access word of `ss`.
        pub ss_arbytes: u32,
        /// Access word of `tr`.
        pub tr_arbytes: u32,
        /// Access word of `ldtr`.
        pub ldtr_arbytes: u32,
        /// Code segment of SYSENTER.
        pub sysenter_cs: u64,
        /// Stack pointer of SYSENTER.
        pub sysenter_esp: u64,
        /// Instruction pointer of SYSENTER.
        pub sysenter_eip: u64,
        /// Base of `gs` that SWAPGS brings.
        pub shadow_gs: u64,
        /// Ignored.
        pub msr_flags: u64,
        /// MSR: where SYSCALL enters.
        pub msr_lstar: u64,
        /// MSR: segments of SYSCALL.
        pub msr_star: u64,
        /// MSR: where SYSCALL from 32-bit code enters.
        pub msr_cstar: u64,
        /// MSR: flags that SYSCALL clears.
        pub msr_syscall_mask: u64,
        /// MSR: extended features.
        pub msr_efer: u64,
        /// MSR: what RDTSCP returns besides.
        pub msr_tsc_aux: u64,
        /// The guest's time stamp counter.
        pub tsc: u64,
        /// An event that waits: vector (bits 0 to 7), type (8 to 10), has an error code (11), valid (31).
        pub pending_event: u32,
        /// The error code of that event.
        pub error_code: u32,
        /// Flags.
        pub flags: HvmCpuFlags,
        /// Padding.
        pub pad0: u32,
    }
}
