//! Virtual interrupts that the hypervisor raises.
//!
//! A *per-vCPU* one may be bound once on each vCPU and stays there. A *global* one may be bound once in a domain, on
//! vCPU 0, and then moved. **Source:** `xen.h`.

use crate::describe::constants;

constants! {
    table CONSTANTS;
    /// Per vCPU: a timer of the vCPU fired, or the time base changed.
    pub const VIRQ_TIMER: u32 = 0;
    /// Per vCPU: the domain is asked to print its state.
    pub const VIRQ_DEBUG: u32 = 1;
    /// Global, control domain: the emergency console received something.
    pub const VIRQ_CONSOLE: u32 = 2;
    /// Global, control domain: some domain shut down, died, or wants attention.
    pub const VIRQ_DOM_EXC: u32 = 3;
    /// Global, control domain: the trace buffer has records.
    pub const VIRQ_TBUF: u32 = 4;
    /// Global, control domain: a domain stopped for its debugger.
    pub const VIRQ_DEBUGGER: u32 = 6;
    /// Per vCPU: the old profiler has a sample.
    pub const VIRQ_XENOPROF: u32 = 7;
    /// Global, control domain: the hypervisor's log has new lines.
    pub const VIRQ_CON_RING: u32 = 8;
    /// Global, control domain: a physical CPU came or went.
    pub const VIRQ_PCPU_STATE: u32 = 9;
    /// Global, control domain: a memory event happened.
    pub const VIRQ_MEM_EVENT: u32 = 10;
    /// Global: a message between domains arrived.
    pub const VIRQ_ARGO: u32 = 11;
    /// Global, control domain: the hypervisor's memory runs low.
    pub const VIRQ_ENOMEM: u32 = 12;
    /// Per vCPU: a performance counter overflowed.
    pub const VIRQ_XENPMU: u32 = 13;
    /// The first that belongs to the architecture; on x86 machine checks (global, control domain).
    pub const VIRQ_ARCH_0: u32 = 16;
    /// The last that belongs to the architecture.
    pub const VIRQ_ARCH_7: u32 = 23;
    /// How many numbers there are.
    pub const NR_VIRQS: u32 = 24;
}

/// Machine checks, on x86.
pub const VIRQ_MCA: u32 = VIRQ_ARCH_0;
