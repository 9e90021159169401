//! Records of a fully virtualised domain's saved state.
//!
//! A saved state is a run of records, each an [`HvmSaveDescriptor`] and a body; first a header, last one of type
//! [`HVM_SAVE_CODE_END`] without a body. Records of one type stand together, one for each vCPU.
//! The record of the registers is in [`crate::hvm_save_cpu`]. **Source:** `hvm/save.h`, `arch-x86/hvm/save.h`.

use crate::describe::{constants, wire};

constants! {
    table CONSTANTS;
    /// [`HvmSaveHeader::magic`].
    pub const HVM_FILE_MAGIC: u32 = 0x5438_1286;
    /// [`HvmSaveHeader::version`].
    pub const HVM_FILE_VERSION: u32 = 1;
    /// The end.
    pub const HVM_SAVE_CODE_END: u16 = 0 => "HVM_SAVE_CODE(END)";
    /// [`HvmSaveHeader`].
    pub const HVM_SAVE_CODE_HEADER: u16 = 1 => "HVM_SAVE_CODE(HEADER)";
    /// [`HvmHwCpu`](crate::hvm_save_cpu::HvmHwCpu), for each vCPU.
    pub const HVM_SAVE_CODE_CPU: u16 = 2 => "HVM_SAVE_CODE(CPU)";
    /// [`HvmHwVpic`], two of them.
    pub const HVM_SAVE_CODE_PIC: u16 = 3 => "HVM_SAVE_CODE(PIC)";
    /// [`HvmHwVioapic`].
    pub const HVM_SAVE_CODE_IOAPIC: u16 = 4 => "HVM_SAVE_CODE(IOAPIC)";
    /// [`HvmHwLapic`], for each vCPU.
    pub const HVM_SAVE_CODE_LAPIC: u16 = 5 => "HVM_SAVE_CODE(LAPIC)";
    /// [`HvmHwLapicRegs`], for each vCPU.
    pub const HVM_SAVE_CODE_LAPIC_REGS: u16 = 6 => "HVM_SAVE_CODE(LAPIC_REGS)";
    /// [`HvmHwPciIrqs`].
    pub const HVM_SAVE_CODE_PCI_IRQ: u16 = 7 => "HVM_SAVE_CODE(PCI_IRQ)";
    /// [`HvmHwIsaIrqs`].
    pub const HVM_SAVE_CODE_ISA_IRQ: u16 = 8 => "HVM_SAVE_CODE(ISA_IRQ)";
    /// [`HvmHwPciLink`].
    pub const HVM_SAVE_CODE_PCI_LINK: u16 = 9 => "HVM_SAVE_CODE(PCI_LINK)";
    /// [`HvmHwPit`].
    pub const HVM_SAVE_CODE_PIT: u16 = 10 => "HVM_SAVE_CODE(PIT)";
    /// [`HvmHwRtc`].
    pub const HVM_SAVE_CODE_RTC: u16 = 11 => "HVM_SAVE_CODE(RTC)";
    /// [`HvmHwHpet`].
    pub const HVM_SAVE_CODE_HPET: u16 = 12 => "HVM_SAVE_CODE(HPET)";
    /// [`HvmHwPmtimer`].
    pub const HVM_SAVE_CODE_PMTIMER: u16 = 13 => "HVM_SAVE_CODE(PMTIMER)";
    /// [`HvmHwMtrr`], for each vCPU.
    pub const HVM_SAVE_CODE_MTRR: u16 = 14 => "HVM_SAVE_CODE(MTRR)";
    /// [`HvmViridianDomainContext`].
    pub const HVM_SAVE_CODE_VIRIDIAN_DOMAIN: u16 = 15 => "HVM_SAVE_CODE(VIRIDIAN_DOMAIN)";
    /// [`HvmViridianVcpuContext`], for each vCPU.
    pub const HVM_SAVE_CODE_VIRIDIAN_VCPU: u16 = 17 => "HVM_SAVE_CODE(VIRIDIAN_VCPU)";
    /// [`HvmVmceVcpu`], for each vCPU.
    pub const HVM_SAVE_CODE_VMCE_VCPU: u16 = 18 => "HVM_SAVE_CODE(VMCE_VCPU)";
    /// [`HvmTscAdjust`], for each vCPU.
    pub const HVM_SAVE_CODE_TSC_ADJUST: u16 = 19 => "HVM_SAVE_CODE(TSC_ADJUST)";
    /// [`HvmHwCpuXsave`] and the rest of the extended state, for each vCPU.
    pub const CPU_XSAVE_CODE: u16 = 16;
    /// [`HvmMsrs`] and a list of [`HvmOneMsr`], for each vCPU.
    pub const CPU_MSR_CODE: u16 = 20;
    /// The highest type.
    pub const HVM_SAVE_CODE_MAX: u16 = 20;
    /// How many pins the I/O APIC has.
    pub const VIOAPIC_NUM_PINS: usize = 48;
    /// How many timers the HPET has.
    pub const HPET_TIMER_NUM: usize = 3;
    /// How many variable ranges the MTRRs have.
    pub const MTRR_VCNT: usize = 8;
    /// How many fixed MTRRs there are.
    pub const NUM_FIXED_MSR: usize = 11;
}

wire! {
    fixed;

    /// What stands before each record.
    pub struct HvmSaveDescriptor: "struct hvm_save_descriptor" {
        /// The record's type.
        pub typecode: u16,
        /// Which of that type: the vCPU, as a rule.
        pub instance: u16,
        /// Length of the body in bytes, without this descriptor.
        pub length: u32,
    }

    /// The first record.
    pub struct HvmSaveHeader: "struct hvm_save_header" {
        /// [`HVM_FILE_MAGIC`].
        pub magic: u32,
        /// [`HVM_FILE_VERSION`].
        pub version: u32,
        /// Which hypervisor wrote it; all ones if it does not say.
        pub changeset: u64,
        /// CPUID leaf 1, `eax`, of the machine that wrote it.
        pub cpuid: u32,
        /// The domain's time stamp counter in kHz.
        pub gtsc_khz: u32,
    }

    /// One of the two interrupt controllers of the PC/AT.
    pub struct HvmHwVpic: "struct hvm_hw_vpic" {
        /// Lines that want service.
        pub irr: u8,
        /// Lines that are masked.
        pub imr: u8,
        /// Lines in service.
        pub isr: u8,
        /// Vector of line 0.
        pub irq_base: u8,
        /// Bits 0 to 3 how far its start has come, 4 to 7 the line of highest priority.
        pub init_state_and_priority_add: u8 = "-",
        /// From bit 0: reads the lines in service, poll, automatic end, rotates then, fully nested, special mask, master.
        pub modes: u8 = "-",
        /// Lines that are level triggered.
        pub elcr: u8,
        /// Its output.
        pub int_output: u8,
    }

    /// The I/O APIC.
    pub struct HvmHwVioapic: "struct hvm_hw_vioapic" {
        /// Guest physical address.
        pub base_address: u64,
        /// The register that is selected.
        pub ioregsel: u32,
        /// Its identifier.
        pub id: u32,
        /// Its entries.
        pub redirtbl: [u64; VIOAPIC_NUM_PINS],
    }

    /// What of a local APIC is not in its registers.
    pub struct HvmHwLapic: "struct hvm_hw_lapic" {
        /// The base address MSR.
        pub apic_base_msr: u64,
        /// Bit 0: by software; bit 1: by the MSR.
        pub disabled: u32,
        /// The timer's divisor, 1 to 128.
        pub timer_divisor: u32,
        /// The deadline MSR.
        pub tdt_msr: u64,
    }

    /// The registers of a local APIC, one each 16 bytes.
    pub struct HvmHwLapicRegs: "struct hvm_hw_lapic_regs" {
        /// As they lie in its page.
        pub data: [u8; 1024],
    }

    /// Lines of PCI devices: a bit for each, number four times the device plus the line.
    pub struct HvmHwPciIrqs: "struct hvm_hw_pci_irqs" {
        /// The bits.
        pub lines: [u64; 2] = "i",
    }

    /// Lines of the ISA bus: a bit for each.
    pub struct HvmHwIsaIrqs: "struct hvm_hw_isa_irqs" {
        /// The bits.
        pub lines: u64 = "i",
    }

    /// Where lines of PCI devices lead.
    pub struct HvmHwPciLink: "struct hvm_hw_pci_link" {
        /// The ISA line of each, 0 for none.
        pub route: [u8; 4],
        /// Padding.
        pub pad0: [u8; 4],
    }

    /// One channel of the interval timer.
    pub struct HvmHwPitChannel: "struct hvm_hw_pit_channel" {
        /// Count that it starts from; 65536 for 0.
        pub count: u32,
        /// Count that was latched.
        pub latched_count: u16,
        /// Whether a count is latched.
        pub count_latched: u8,
        /// Whether the status is latched.
        pub status_latched: u8,
        /// The status.
        pub status: u8,
        /// Which byte is read next.
        pub read_state: u8,
        /// Which byte is written next.
        pub write_state: u8,
        /// The byte that was written first.
        pub write_latch: u8,
        /// Which bytes are read and written.
        pub rw_mode: u8,
        /// The mode.
        pub mode: u8,
        /// Whether it counts in decimal.
        pub bcd: u8,
        /// Whether it counts.
        pub gate: u8,
    }

    /// The interval timer.
    pub struct HvmHwPit: "struct hvm_hw_pit" {
        /// Its channels.
        pub channels: [HvmHwPitChannel; 3],
        /// Whether the speaker is on.
        pub speaker_data_on: u32,
        /// Padding.
        pub pad0: u32,
    }

    /// The real-time clock.
    pub struct HvmHwRtc: "struct hvm_hw_rtc" {
        /// Its registers.
        pub cmos_data: [u8; 14],
        /// The register that is selected.
        pub cmos_index: u8,
        /// Padding.
        pub pad0: u8,
        /// Seconds that it is ahead of UTC.
        pub rtc_offset: i64,
    }

    /// The high-precision event timer: its registers as they lie in its page, and what is hidden behind them.
    pub struct HvmHwHpet: "struct hvm_hw_hpet" {
        /// What it can do; the high half is the counter's period in femtoseconds.
        pub capability: u64,
        /// Zero.
        pub res0: u64,
        /// Bit 0: it counts; bit 1: its interrupts stand for those of the older timers.
        pub config: u64,
        /// Zero.
        pub res1: u64,
        /// Level interrupts that are asserted, a bit for each timer.
        pub isr: u64,
        /// Zero.
        pub res2: [u64; 25],
        /// The main counter.
        pub mc64: u64,
        /// Zero.
        pub res3: u64,
        /// Of each timer: configuration, comparator, route of messages (not supported), zero.
        pub timers: [[u64; 4]; HPET_TIMER_NUM],
        /// Zero.
        pub res5: [u64; 4 * (24 - HPET_TIMER_NUM)],
        /// What each periodic timer adds to its comparator.
        pub period: [u64; HPET_TIMER_NUM],
    }

    /// The ACPI timer and event registers.
    pub struct HvmHwPmtimer: "struct hvm_hw_pmtimer" {
        /// The timer's count, at 3.579545 MHz.
        pub tmr_val: u32,
        /// Status of events.
        pub pm1a_sts: u16,
        /// Events that interrupt.
        pub pm1a_en: u16,
    }

    /// Memory types.
    pub struct HvmHwMtrr: "struct hvm_hw_mtrr" {
        /// The page attribute table.
        pub msr_pat_cr: u64,
        /// Base and mask of each variable range.
        pub msr_mtrr_var: [u64; MTRR_VCNT * 2],
        /// The fixed ranges, from the lowest.
        pub msr_mtrr_fixed: [u64; NUM_FIXED_MSR],
        /// What the MTRRs can do.
        pub msr_mtrr_cap: u64,
        /// The default type and the enable bits.
        pub msr_mtrr_def_type: u64,
    }

    /// The first part of the extended state; the rest follows, as XSAVE writes it.
    pub struct HvmHwCpuXsave: "struct hvm_hw_cpu_xsave" {
        /// Ignored.
        pub xfeature_mask: u64,
        /// The register that says which kinds of state are on.
        pub xcr0: u64,
        /// Every kind that was ever on.
        pub xcr0_accum: u64,
        /// What FXSAVE writes.
        pub fpu_sse: [u8; 512] = "save_area.fpu_sse",
        /// Kinds of state that are there.
        pub xstate_bv: u64 = "save_area.xsave_hdr.xstate_bv",
        /// Kinds of state in the compacted form.
        pub xcomp_bv: u64 = "save_area.xsave_hdr.xcomp_bv",
        /// Zero.
        pub reserved: [u64; 6] = "save_area.xsave_hdr.reserved",
    }

    /// Microsoft's hypervisor interface, of the domain.
    pub struct HvmViridianDomainContext: "struct hvm_viridian_domain_context" {
        /// Where its hypercall page is.
        pub hypercall_gpa: u64,
        /// What the guest calls itself.
        pub guest_os_id: u64,
        /// Its reference time.
        pub time_ref_count: u64,
        /// Where its reference page is.
        pub reference_tsc: u64,
    }

    /// Microsoft's hypervisor interface, of a vCPU.
    pub struct HvmViridianVcpuContext: "struct hvm_viridian_vcpu_context" {
        /// Where its assist page is.
        pub vp_assist_msr: u64,
        /// Whether an end of interrupt waits.
        pub apic_assist_pending: u8,
        /// Padding.
        pub pad: [u8; 7],
        /// Where its message page is.
        pub simp_msr: u64,
        /// Its interrupt sources.
        pub sint_msr: [u64; 16],
        /// Its timers' modes.
        pub stimer_config_msr: [u64; 4],
        /// Its timers' counts.
        pub stimer_count_msr: [u64; 4],
    }

    /// Machine checks.
    pub struct HvmVmceVcpu: "struct hvm_vmce_vcpu" {
        /// What they can do.
        pub caps: u64,
        /// Control of bank 0.
        pub mci_ctl2_bank0: u64,
        /// Control of bank 1.
        pub mci_ctl2_bank1: u64,
        /// Extended control.
        pub mcg_ext_ctl: u64,
    }

    /// The offset of the time stamp counter that the guest set.
    pub struct HvmTscAdjust: "struct hvm_tsc_adjust" {
        /// The MSR.
        pub tsc_adjust: u64,
    }

    /// What stands before a list of MSRs.
    pub struct HvmMsrs: "struct hvm_msr" {
        /// How many follow.
        pub count: u32,
        /// Padding.
        pub pad: u32,
    }

    /// One MSR.
    pub struct HvmOneMsr: "struct hvm_one_msr" {
        /// Its number.
        pub index: u32,
        /// Zero.
        pub reserved: u32 = "_rsvd",
        /// Its value.
        pub val: u64,
    }
}
