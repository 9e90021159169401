//! Hypercall numbers, and how an x86-64 guest passes them.
//!
//! 64-bit convention: number in `rax`, arguments 1 to 5 in `rdi`, `rsi`, `rdx`, `r10`, `r8`, result in `rax`.
//! **Source:** `xen.h`, `arch-x86/xen-x86_64.h`.

use crate::describe::{constants, wire};

constants! {
    table CONSTANTS, prefix "__HYPERVISOR_";
    /// Sets the virtual IDT of a PV guest.
    pub const SET_TRAP_TABLE: u32 = 0;
    /// Changes page table entries of a PV guest.
    pub const MMU_UPDATE: u32 = 1;
    /// Sets the GDT frames of a PV guest.
    pub const SET_GDT: u32 = 2;
    /// Sets the kernel stack of a PV guest.
    pub const STACK_SWITCH: u32 = 3;
    /// Sets the callbacks of a PV guest, in the old form.
    pub const SET_CALLBACKS: u32 = 4;
    /// Sets or clears `CR0.TS` of a PV guest.
    pub const FPU_TASKSWITCH: u32 = 5;
    /// [`SCHED_OP`] in the old form.
    pub const SCHED_OP_COMPAT: u32 = 6;
    /// Operations on the machine, for the control domain.
    pub const PLATFORM_OP: u32 = 7;
    /// Writes a debug register.
    pub const SET_DEBUGREG: u32 = 8;
    /// Reads a debug register.
    pub const GET_DEBUGREG: u32 = 9;
    /// Changes a descriptor of a PV guest.
    pub const UPDATE_DESCRIPTOR: u32 = 10;
    /// Memory of domains; see [`crate::memory`].
    pub const MEMORY_OP: u32 = 12;
    /// Several hypercalls in one; see [`MulticallEntry`].
    pub const MULTICALL: u32 = 13;
    /// Changes the mapping of one address of a PV guest.
    pub const UPDATE_VA_MAPPING: u32 = 14;
    /// Sets the one-shot timer of the calling vCPU: system time in nanoseconds.
    pub const SET_TIMER_OP: u32 = 15;
    /// [`EVENT_CHANNEL_OP`] in the old form.
    pub const EVENT_CHANNEL_OP_COMPAT: u32 = 16;
    /// What this hypervisor is; see [`crate::version`].
    pub const XEN_VERSION: u32 = 17;
    /// The hypervisor's console; see [`crate::console_io`].
    pub const CONSOLE_IO: u32 = 18;
    /// [`PHYSDEV_OP`] in the old form.
    pub const PHYSDEV_OP_COMPAT: u32 = 19;
    /// Shared memory; see [`crate::grant_table`].
    pub const GRANT_TABLE_OP: u32 = 20;
    /// Optional behaviour of a domain; see [`crate::vm_assist`].
    pub const VM_ASSIST: u32 = 21;
    /// [`UPDATE_VA_MAPPING`] of another domain.
    pub const UPDATE_VA_MAPPING_OTHERDOMAIN: u32 = 22;
    /// Returns from an event or exception of a PV guest.
    pub const IRET: u32 = 23;
    /// vCPUs of the calling domain; see [`crate::vcpu`].
    pub const VCPU_OP: u32 = 24;
    /// Sets a segment base of a PV guest.
    pub const SET_SEGMENT_BASE: u32 = 25;
    /// Page tables of a PV guest, beyond single entries.
    pub const MMUEXT_OP: u32 = 26;
    /// The security module; see [`crate::xsm`].
    pub const XSM_OP: u32 = 27;
    /// NMI callbacks of a PV guest; see [`crate::nmi`].
    pub const NMI_OP: u32 = 28;
    /// Scheduling of the calling domain; see [`crate::sched`].
    pub const SCHED_OP: u32 = 29;
    /// Callbacks of a PV guest; see [`crate::callback`].
    pub const CALLBACK_OP: u32 = 30;
    /// The old profiler.
    pub const XENOPROF_OP: u32 = 31;
    /// Event channels; see [`crate::event_channel`].
    pub const EVENT_CHANNEL_OP: u32 = 32;
    /// Physical devices and interrupts; see [`crate::physdev`].
    pub const PHYSDEV_OP: u32 = 33;
    /// What belongs to fully virtualised domains; see [`crate::hvm_op`].
    pub const HVM_OP: u32 = 34;
    /// Control of the machine; see [`crate::sysctl`].
    pub const SYSCTL: u32 = 35;
    /// Control of domains; see [`crate::domctl`].
    pub const DOMCTL: u32 = 36;
    /// Loads another kernel.
    pub const KEXEC_OP: u32 = 37;
    /// Transcendent memory, long gone.
    pub const TMEM_OP: u32 = 38;
    /// Messages between domains.
    pub const ARGO_OP: u32 = 39;
    /// Performance counters; see [`crate::pmu`].
    pub const XENPMU_OP: u32 = 40;
    /// What a device model asks for.
    pub const DM_OP: u32 = 41;
    /// The hypervisor's file system of settings.
    pub const HYPFS_OP: u32 = 42;
    /// Belongs to the architecture; on x86 machine checks.
    pub const ARCH_0: u32 = 48;
    /// Belongs to the architecture; on x86 the hypervisor's own.
    pub const ARCH_1: u32 = 49;
    /// Belongs to the architecture.
    pub const ARCH_2: u32 = 50;
    /// Belongs to the architecture.
    pub const ARCH_3: u32 = 51;
    /// Belongs to the architecture.
    pub const ARCH_4: u32 = 52;
    /// Belongs to the architecture.
    pub const ARCH_5: u32 = 53;
    /// Belongs to the architecture.
    pub const ARCH_6: u32 = 54;
    /// Belongs to the architecture.
    pub const ARCH_7: u32 = 55;
}

/// Size in bytes of one entry of the hypercall page; hypercall `n` is called at `n` times this.
pub const HYPERCALL_PAGE_STRIDE: usize = 32;

wire! {
    /// One call of a [`MULTICALL`]. **Source:** `xen.h`.
    pub struct MulticallEntry: "struct multicall_entry" {
        /// In: the hypercall's number.
        pub op: u64 as long,
        /// Out: what the call returned.
        pub result: u64 as long,
        /// In: its arguments; a preempted call leaves its progress here.
        pub args: [u64; 6] as long,
    }
}

wire! {
    fixed;

    /// A bitmap in the caller's memory, as the control calls pass it. **Source:** `xen.h`.
    pub struct CtlBitmap: "struct xenctl_bitmap" {
        /// The bytes, lowest bit first.
        pub bitmap: crate::GuestHandle,
        /// Length of the bitmap in bits.
        pub nr_bits: u32,
        /// Padding.
        pub pad: [u8; 4],
    }
}

/// A domain's identifier that the toolstack chose: a UUID (`xen_domain_handle_t`). **Source:** `xen.h`.
pub type DomainHandle = [u8; 16];
