//! The first registers that a fully virtualised domain gives a vCPU.
//!
//! Argument of [`VCPUOP_INITIALISE`](crate::vcpu::VCPUOP_INITIALISE). An access word `*_ar` holds type (bits 0 to
//! 3), system (4), privilege (5 and 6), present (7), available (8), long (9), big (10) and granularity (11).
//! **Source:** `hvm/hvm_vcpu.h`.

use crate::Union;
use crate::describe::{constants, union_members, wire};

constants! {
    table CONSTANTS;
    /// [`VcpuHvmContext::mode`]: [`VcpuHvmX8632`] counts.
    pub const VCPU_HVM_MODE_32B: u32 = 0;
    /// [`VcpuHvmContext::mode`]: [`VcpuHvmX8664`] counts.
    pub const VCPU_HVM_MODE_64B: u32 = 1;
}

wire! {
    /// The first registers of a vCPU.
    pub struct VcpuHvmContext: "struct vcpu_hvm_context" {
        /// A `VCPU_HVM_MODE_*`.
        pub mode: u32,
        /// Padding.
        pub pad: u32,
        /// By `mode`.
        pub cpu_regs: Union<120>,
    }
}

wire! {
    /// Registers of a vCPU that starts outside long mode, or in compatibility mode.
    pub struct VcpuHvmX8632: "struct vcpu_hvm_x86_32" {
        /// Register.
        pub eax: u32,
        /// Register.
        pub ecx: u32,
        /// Register.
        pub edx: u32,
        /// Register.
        pub ebx: u32,
        /// Register.
        pub esp: u32,
        /// Register.
        pub ebp: u32,
        /// Register.
        pub esi: u32,
        /// Register.
        pub edi: u32,
        /// Instruction pointer.
        pub eip: u32,
        /// Flags.
        pub eflags: u32,
        /// Control register.
        pub cr0: u32,
        /// Control register.
        pub cr3: u32,
        /// Control register.
        pub cr4: u32,
        /// Padding.
        pub pad1: u32,
        /// The extended features register.
        pub efer: u64,
        /// Base of `cs`.
        pub cs_base: u32,
        /// Base of `ds`.
        pub ds_base: u32,
        /// Base of `ss`.
        pub ss_base: u32,
        /// Base of `es`.
        pub es_base: u32,
        /// Base of `tr`.
        pub tr_base: u32,
        /// Limit in bytes of `cs`.
        pub cs_limit: u32,
        /// Limit in bytes of `ds`.
        pub ds_limit: u32,
        /// Limit in bytes of `ss`.
        pub ss_limit: u32,
        /// Limit in bytes of `es`.
        pub es_limit: u32,
        /// Limit in bytes of `tr`.
        pub tr_limit: u32,
        /// Access word of `cs`.
        pub cs_ar: u16,
        /// Access word of `ds`.
        pub ds_ar: u16,
        /// Access word of `ss`.
        pub ss_ar: u16,
        /// Access word of `es`.
        pub es_ar: u16,
        /// Access word of `tr`.
        pub tr_ar: u16,
        /// Padding.
        pub pad2: [u16; 3],
    }

    /// Registers of a vCPU that starts in 64-bit mode, with flat segments.
    pub struct VcpuHvmX8664: "struct vcpu_hvm_x86_64" {
        /// Register.
        pub rax: u64,
        /// Register.
        pub rcx: u64,
        /// Register.
        pub rdx: u64,
        /// Register.
        pub rbx: u64,
        /// Register.
        pub rsp: u64,
        /// Register.
        pub rbp: u64,
        /// Register.
        pub rsi: u64,
        /// Register.
        pub rdi: u64,
        /// Instruction pointer.
        pub rip: u64,
        /// Flags.
        pub rflags: u64,
        /// Control register.
        pub cr0: u64,
        /// Control register.
        pub cr3: u64,
        /// Control register.
        pub cr4: u64,
        /// The extended features register.
        pub efer: u64,
    }
}

union_members! {
    VcpuHvmContext, cpu_regs:
    /// With [`VCPU_HVM_MODE_32B`].
    x86_32, set_x86_32: VcpuHvmX8632;
    /// With [`VCPU_HVM_MODE_64B`].
    x86_64, set_x86_64: VcpuHvmX8664;
}
