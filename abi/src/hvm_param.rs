//! Parameters of fully virtualised domains.
//!
//! **Source:** `hvm/params.h`.

use crate::describe::constants;

constants! {
    table CONSTANTS;
    /// How events reach the domain: see [`CallbackVia`].
    pub const HVM_PARAM_CALLBACK_IRQ: u32 = 0;
    /// The frame of the xenstore ring.
    pub const HVM_PARAM_STORE_PFN: u32 = 1;
    /// The port of the xenstore ring.
    pub const HVM_PARAM_STORE_EVTCHN: u32 = 2;
    /// Unused.
    pub const HVM_PARAM_PAE_ENABLED: u32 = 4;
    /// The frame of I/O requests.
    pub const HVM_PARAM_IOREQ_PFN: u32 = 5;
    /// The frame of buffered I/O requests.
    pub const HVM_PARAM_BUFIOREQ_PFN: u32 = 6;
    /// Microsoft's hypervisor interface, a set of features.
    pub const HVM_PARAM_VIRIDIAN: u32 = 9;
    /// Microsoft's interface: hypercalls, frequencies, local APIC and index of a vCPU.
    pub const HVMPV_BASE_FREQ: u64 = 1 << 0 => "HVMPV_base_freq";
    /// No frequencies.
    pub const HVMPV_NO_FREQ: u64 = 1 << 1 => "HVMPV_no_freq";
    /// The counter of reference time.
    pub const HVMPV_TIME_REF_COUNT: u64 = 1 << 2 => "HVMPV_time_ref_count";
    /// The page by which the time stamp counter tells reference time.
    pub const HVMPV_REFERENCE_TSC: u64 = 1 << 3 => "HVMPV_reference_tsc";
    /// Flushes of other vCPUs' translations are recommended.
    pub const HVMPV_HCALL_REMOTE_TLB_FLUSH: u64 = 1 << 4 => "HVMPV_hcall_remote_tlb_flush";
    /// Interrupts that need no end.
    pub const HVMPV_APIC_ASSIST: u64 = 1 << 5 => "HVMPV_apic_assist";
    /// Reports of crashes.
    pub const HVMPV_CRASH_CTL: u64 = 1 << 6 => "HVMPV_crash_ctl";
    /// The synthetic interrupt controller.
    pub const HVMPV_SYNIC: u64 = 1 << 7 => "HVMPV_synic";
    /// Synthetic timers.
    pub const HVMPV_STIMER: u64 = 1 << 8 => "HVMPV_stimer";
    /// Interrupts of other vCPUs are recommended as hypercalls.
    pub const HVMPV_HCALL_IPI: u64 = 1 << 9 => "HVMPV_hcall_ipi";
    /// Sets of more than 64 vCPUs are recommended.
    pub const HVMPV_EX_PROCESSOR_MASKS: u64 = 1 << 10 => "HVMPV_ex_processor_masks";
    /// No limit of 64 vCPUs is told.
    pub const HVMPV_NO_VP_LIMIT: u64 = 1 << 11 => "HVMPV_no_vp_limit";
    /// vCPUs may come and go.
    pub const HVMPV_CPU_HOTPLUG: u64 = 1 << 12 => "HVMPV_cpu_hotplug";
    /// All of them.
    pub const HVMPV_FEATURE_MASK: u64 = 0x1fff => "HVMPV_feature_mask";
    /// What becomes of ticks that were missed.
    pub const HVM_PARAM_TIMER_MODE: u32 = 10;
    /// Whether there is an HPET.
    pub const HVM_PARAM_HPET_ENABLED: u32 = 11;
    /// The page table used on Intel while paging is off: a guest physical address.
    pub const HVM_PARAM_IDENT_PT: u32 = 12;
    /// Unused.
    pub const HVM_PARAM_DM_DOMAIN: u32 = 13;
    /// The ACPI sleep state: 0 or 3.
    pub const HVM_PARAM_ACPI_S_STATE: u32 = 14;
    /// The TSS used on Intel in real mode, in the old form.
    pub const HVM_PARAM_VM86_TSS: u32 = 15;
    /// Whether periodic timers are aligned to each other.
    pub const HVM_PARAM_VPT_ALIGN: u32 = 16;
    /// The frame of the console ring.
    pub const HVM_PARAM_CONSOLE_PFN: u32 = 17;
    /// The port of the console ring.
    pub const HVM_PARAM_CONSOLE_EVTCHN: u32 = 18;
    /// Where the ACPI ports are.
    pub const HVM_PARAM_ACPI_IOPORTS_LOCATION: u32 = 19;
    /// Unused.
    pub const HVM_PARAM_MEMORY_EVENT_CR0: u32 = 20;
    /// Unused.
    pub const HVM_PARAM_MEMORY_EVENT_CR3: u32 = 21;
    /// Unused.
    pub const HVM_PARAM_MEMORY_EVENT_CR4: u32 = 22;
    /// Unused.
    pub const HVM_PARAM_MEMORY_EVENT_INT3: u32 = 23;
    /// Unused.
    pub const HVM_PARAM_NESTEDHVM: u32 = 24;
    /// Unused.
    pub const HVM_PARAM_MEMORY_EVENT_SINGLE_STEP: u32 = 25;
    /// Unused.
    pub const HVM_PARAM_BUFIOREQ_EVTCHN: u32 = 26;
    /// The frame of the paging ring.
    pub const HVM_PARAM_PAGING_RING_PFN: u32 = 27;
    /// The frame of the monitor ring.
    pub const HVM_PARAM_MONITOR_RING_PFN: u32 = 28;
    /// The frame of the sharing ring.
    pub const HVM_PARAM_SHARING_RING_PFN: u32 = 29;
    /// Unused.
    pub const HVM_PARAM_MEMORY_EVENT_MSR: u32 = 30;
    /// The `SHUTDOWN_*` of a triple fault.
    pub const HVM_PARAM_TRIPLE_FAULT_REASON: u32 = 31;
    /// The first frame for I/O request servers.
    pub const HVM_PARAM_IOREQ_SERVER_PFN: u32 = 32;
    /// How many such frames there are.
    pub const HVM_PARAM_NR_IOREQ_SERVER_PAGES: u32 = 33;
    /// Guest physical address of the generation identifier.
    pub const HVM_PARAM_VM_GENERATION_ID_ADDR: u32 = 34;
    /// Whether the domain may have several views of its memory.
    pub const HVM_PARAM_ALTP2M: u32 = 35;
    /// Width of the saved x87 instruction pointer: 0 (the hypervisor chooses), 4 or 8 bytes.
    pub const HVM_PARAM_X87_FIP_WIDTH: u32 = 36;
    /// The TSS used on Intel in real mode: address in the low half, size in the high one.
    pub const HVM_PARAM_VM86_TSS_SIZED: u32 = 37;
    /// What of machine checks the domain may have.
    pub const HVM_PARAM_MCA_CAP: u32 = 38;
    /// How many parameters there are.
    pub const HVM_NR_PARAMS: u32 = 39;

    /// Bits of [`HVM_PARAM_CALLBACK_IRQ`] that hold the kind, as a mask.
    pub const HVM_PARAM_CALLBACK_IRQ_TYPE_MASK: u64 = 0xff00_0000_0000_0000;
    /// Kind of [`HVM_PARAM_CALLBACK_IRQ`]: a line of the I/O APIC.
    pub const HVM_PARAM_CALLBACK_TYPE_GSI: u64 = 0;
    /// Kind of [`HVM_PARAM_CALLBACK_IRQ`]: a device's line.
    pub const HVM_PARAM_CALLBACK_TYPE_PCI_INTX: u64 = 1;
    /// Kind of [`HVM_PARAM_CALLBACK_IRQ`]: a vector.
    pub const HVM_PARAM_CALLBACK_TYPE_VECTOR: u64 = 2;

    /// [`HVM_PARAM_TIMER_MODE`]: missed ticks come late, and time stands still meanwhile.
    pub const HVMPTM_DELAY_FOR_MISSED_TICKS: u64 = 0;
    /// [`HVM_PARAM_TIMER_MODE`]: missed ticks come late, and time goes on.
    pub const HVMPTM_NO_DELAY_FOR_MISSED_TICKS: u64 = 1;
    /// [`HVM_PARAM_TIMER_MODE`]: missed ticks are lost.
    pub const HVMPTM_NO_MISSED_TICKS_PENDING: u64 = 2;
    /// [`HVM_PARAM_TIMER_MODE`]: missed ticks become one.
    pub const HVMPTM_ONE_MISSED_TICK_PENDING: u64 = 3;

    /// [`HVM_PARAM_ALTP2M`]: no.
    pub const XEN_ALTP2M_DISABLED: u64 = 0;
    /// [`HVM_PARAM_ALTP2M`]: the domain and the toolstack.
    pub const XEN_ALTP2M_MIXED: u64 = 1;
    /// [`HVM_PARAM_ALTP2M`]: the toolstack.
    pub const XEN_ALTP2M_EXTERNAL: u64 = 2;
    /// [`HVM_PARAM_ALTP2M`]: the domain, to a degree.
    pub const XEN_ALTP2M_LIMITED: u64 = 3;

    /// [`HVM_PARAM_MCA_CAP`]: local machine checks.
    pub const XEN_HVM_MCA_CAP_LMCE: u64 = 1;
    /// [`HVM_PARAM_MCA_CAP`]: all that there is.
    pub const XEN_HVM_MCA_CAP_MASK: u64 = 1;
}

/// How events reach vCPU 0 of a domain, as [`HVM_PARAM_CALLBACK_IRQ`] says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallbackVia {
    /// Not at all.
    None,
    /// By a line of the I/O APIC.
    Gsi(u64),
    /// By a line of a PCI device: `domain` (bits 47 to 32), `bus` (31 to 16), `devfn` (15 to 8), line (1 to 0).
    PciIntx(u64),
    /// By a vector on every vCPU.
    Vector(u8),
    /// A kind that is not known.
    Unknown(u64),
}

impl From<u64> for CallbackVia {
    fn from(value: u64) -> Self {
        let rest = value & !HVM_PARAM_CALLBACK_IRQ_TYPE_MASK;
        match (value >> 56, rest) {
            (0, 0) => Self::None,
            (HVM_PARAM_CALLBACK_TYPE_GSI, gsi) => Self::Gsi(gsi),
            (HVM_PARAM_CALLBACK_TYPE_PCI_INTX, line) => Self::PciIntx(line),
            (HVM_PARAM_CALLBACK_TYPE_VECTOR, vector) => Self::Vector(vector.to_le_bytes()[0]),
            _ => Self::Unknown(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CallbackVia;

    #[test]
    fn the_kind_is_in_the_top_byte() {
        assert_eq!(CallbackVia::from(0), CallbackVia::None);
        assert_eq!(CallbackVia::from(1), CallbackVia::Gsi(1));
        assert_eq!(CallbackVia::from(0x0200_0000_0000_00f3), CallbackVia::Vector(0xf3));
        assert_eq!(CallbackVia::from(0x0300_0000_0000_0000), CallbackVia::Unknown(0x0300_0000_0000_0000));
    }
}
