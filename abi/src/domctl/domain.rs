//! Control of a domain as a whole: its making, what is known about it, its limits and buttons.
//!
//! **Source:** `domctl.h`, `arch-x86/xen.h`.

use crate::describe::{constants, flags, wire};
use crate::hypercall::DomainHandle;
use crate::{DomId, Gfn, Port, VcpuId};

constants! {
    table CONSTANTS;
    /// Bits of [`DomctlCreatedomain::grant_opts`] that hold the highest version of the grant table.
    pub const XEN_DOMCTL_GRANT_VERSION_MASK: u32 = 0xf;
    /// How far the reason of a shutdown is shifted in [`DomctlGetdomaininfo::flags`].
    pub const XEN_DOMINF_SHUTDOWNSHIFT: u32 = 16;
    /// Mask of the reason of a shutdown, once shifted.
    pub const XEN_DOMINF_SHUTDOWNMASK: u32 = 255;
    /// [`DomctlGetdomaininfo::max_vcpu_id`] of a domain without vCPUs.
    pub const XEN_INVALID_MAX_VCPU_ID: u32 = u32::MAX;

    /// [`DomctlSendtrigger::trigger`]: a non-maskable interrupt.
    pub const XEN_DOMCTL_SENDTRIGGER_NMI: u32 = 0;
    /// [`DomctlSendtrigger::trigger`]: reset.
    pub const XEN_DOMCTL_SENDTRIGGER_RESET: u32 = 1;
    /// [`DomctlSendtrigger::trigger`]: the INIT signal.
    pub const XEN_DOMCTL_SENDTRIGGER_INIT: u32 = 2;
    /// [`DomctlSendtrigger::trigger`]: the power button.
    pub const XEN_DOMCTL_SENDTRIGGER_POWER: u32 = 3;
    /// [`DomctlSendtrigger::trigger`]: the sleep button.
    pub const XEN_DOMCTL_SENDTRIGGER_SLEEP: u32 = 4;
    /// [`DomctlDebugOp::op`]: no single steps.
    pub const XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_OFF: u32 = 0;
    /// [`DomctlDebugOp::op`]: single steps.
    pub const XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_ON: u32 = 1;
}

flags! {
    /// Flags of [`DomctlCreatedomain`].
    pub struct CreateFlags("XEN_DOMCTL_CDF_"): u32 {
        /// Fully virtualised, PVH included.
        const HVM = 1 << 0;
        /// With nested page tables.
        const HAP = 1 << 1;
        /// Its memory is checked after sleep.
        const S3_INTEGRITY = 1 << 2;
        /// Shadow page tables are always in step.
        const OOS_OFF = 1 << 3;
        /// It runs xenstore.
        const XS_DOMAIN = 1 << 4;
        /// It may have devices.
        const IOMMU = 1 << 5;
        /// It may run guests of its own.
        const NESTED_VIRT = 1 << 6;
        /// It may have performance counters.
        const VPMU = 1 << 7;
    }

    /// Options of the IOMMU in [`DomctlCreatedomain`].
    pub struct IommuOptions("XEN_DOMCTL_IOMMU_"): u32 {
        /// Devices have page tables of their own.
        const NO_SHAREPT = 1 << 0;
    }

    /// What is emulated for a domain.
    pub struct EmulationFlags("XEN_X86_EMU_"): u32 {
        /// Local APICs.
        const LAPIC = 1 << 0;
        /// HPET.
        const HPET = 1 << 1;
        /// ACPI power management.
        const PM = 1 << 2;
        /// Real-time clock.
        const RTC = 1 << 3;
        /// I/O APIC.
        const IOAPIC = 1 << 4;
        /// Interrupt controllers of the PC/AT.
        const PIC = 1 << 5;
        /// VGA.
        const VGA = 1 << 6;
        /// IOMMU.
        const IOMMU = 1 << 7;
        /// Interval timer.
        const PIT = 1 << 8;
        /// Physical interrupts by event channel.
        const USE_PIRQ = 1 << 9;
        /// PCI configuration space.
        const VPCI = 1 << 10;
    }

    /// Other settings of a domain on x86.
    pub struct MiscFlags("XEN_X86_"): u32 {
        /// Unknown MSRs read as zero and may be written, instead of a fault.
        const MSR_RELAXED = 1 << 0;
    }

    /// Flags of [`DomctlGetdomaininfo`]; the reason of a shutdown is in bits 16 to 23.
    pub struct DomainFlags("XEN_DOMINF_"): u32 {
        /// It is being destroyed.
        const DYING = 1 << 0;
        /// It is fully virtualised.
        const HVM_GUEST = 1 << 1;
        /// It has shut down.
        const SHUTDOWN = 1 << 2;
        /// The toolstack has stopped it.
        const PAUSED = 1 << 3;
        /// All of its vCPUs wait for an event.
        const BLOCKED = 1 << 4;
        /// One of its vCPUs is running.
        const RUNNING = 1 << 5;
        /// A debugger is attached.
        const DEBUGGED = 1 << 6;
        /// It runs xenstore.
        const XS_DOMAIN = 1 << 7;
        /// It has nested page tables.
        const HAP = 1 << 8;
    }
}

impl DomainFlags {
    /// Returns these flags with the reason of a shutdown, a `SHUTDOWN_*` of which 8 bits count.
    #[must_use]
    pub const fn with_shutdown_reason(self, reason: u32) -> Self {
        Self(self.0 | (reason & XEN_DOMINF_SHUTDOWNMASK) << XEN_DOMINF_SHUTDOWNSHIFT)
    }

    /// Returns the reason of a shutdown, of meaning with [`DomainFlags::SHUTDOWN`].
    #[must_use]
    pub const fn shutdown_reason(self) -> u32 {
        self.0 >> XEN_DOMINF_SHUTDOWNSHIFT & XEN_DOMINF_SHUTDOWNMASK
    }
}

wire! {
    fixed;

    /// What the architecture adds to a domain's settings.
    pub struct ArchDomainconfig: "struct xen_arch_domainconfig" {
        /// What is emulated.
        pub emulation_flags: EmulationFlags,
        /// The rest.
        pub misc_flags: MiscFlags,
    }

    /// Arguments of [`XEN_DOMCTL_CREATEDOMAIN`](super::XEN_DOMCTL_CREATEDOMAIN).
    pub struct DomctlCreatedomain: "struct xen_domctl_createdomain" {
        /// In: its label for the security module.
        pub ssidref: u32,
        /// In: its UUID.
        pub handle: DomainHandle,
        /// In: flags.
        pub flags: CreateFlags,
        /// In: options of the IOMMU.
        pub iommu_opts: IommuOptions,
        /// In: how many vCPUs, at least 1.
        pub max_vcpus: u32,
        /// In: the highest event channel port.
        pub max_evtchn_port: u32,
        /// In: frames of the grant table; negative for the default.
        pub max_grant_frames: i32,
        /// In: frames of the table of mapped grants; negative for the default.
        pub max_maptrack_frames: i32,
        /// In: the highest version of the grant table, 1 or 2.
        pub grant_opts: u32,
        /// In: buffer of processor traces for each vCPU in bytes; 0 for none.
        pub vmtrace_size: u32,
        /// In: the pool of CPUs.
        pub cpupool_id: u32,
        /// In: what the architecture adds.
        pub arch: ArchDomainconfig,
    }

    /// Answer of [`XEN_DOMCTL_GETDOMAININFO`](super::XEN_DOMCTL_GETDOMAININFO).
    pub struct DomctlGetdomaininfo: "struct xen_domctl_getdomaininfo" {
        /// Out: which domain this is.
        pub domain: DomId,
        /// Padding.
        pub pad1: u16,
        /// Out: flags.
        pub flags: DomainFlags,
        /// Out: pages that it has.
        pub tot_pages: u64,
        /// Out: pages that it may have.
        pub max_pages: u64,
        /// Out: pages claimed for it and not allocated yet.
        pub outstanding_pages: u64,
        /// Out: pages that it shares.
        pub shr_pages: u64,
        /// Out: pages that are on disk.
        pub paged_pages: u64,
        /// Out: the frame of the shared page, all ones for none.
        pub shared_info_frame: Gfn,
        /// Out: nanoseconds that its vCPUs have run.
        pub cpu_time: u64,
        /// Out: how many vCPUs are started.
        pub nr_online_vcpus: u32,
        /// Out: the highest number of a vCPU.
        pub max_vcpu_id: u32,
        /// Out: its label for the security module.
        pub ssidref: u32,
        /// Out: its UUID.
        pub handle: DomainHandle,
        /// Out: its pool of CPUs.
        pub cpupool: u32,
        /// Out: width of its physical addresses in bits.
        pub gpaddr_bits: u8,
        /// Padding.
        pub pad2: [u8; 7],
        /// Out: what the architecture adds.
        pub arch_config: ArchDomainconfig,
    }

    /// Arguments of [`XEN_DOMCTL_MAX_MEM`](super::XEN_DOMCTL_MAX_MEM).
    pub struct DomctlMaxMem: "struct xen_domctl_max_mem" {
        /// In: the most memory in KiB.
        pub max_memkb: u64,
    }

    /// Arguments of [`XEN_DOMCTL_MAX_VCPUS`](super::XEN_DOMCTL_MAX_VCPUS).
    pub struct DomctlMaxVcpus: "struct xen_domctl_max_vcpus" {
        /// In: the number of vCPUs.
        pub max: u32,
    }

    /// Arguments of [`XEN_DOMCTL_SETDOMAINHANDLE`](super::XEN_DOMCTL_SETDOMAINHANDLE).
    pub struct DomctlSetdomainhandle: "struct xen_domctl_setdomainhandle" {
        /// In: its UUID.
        pub handle: DomainHandle,
    }

    /// Arguments of [`XEN_DOMCTL_SETDEBUGGING`](super::XEN_DOMCTL_SETDEBUGGING).
    pub struct DomctlSetdebugging: "struct xen_domctl_setdebugging" {
        /// In: 0 or not.
        pub enable: u8,
    }

    /// Arguments of [`XEN_DOMCTL_HYPERCALL_INIT`](super::XEN_DOMCTL_HYPERCALL_INIT).
    pub struct DomctlHypercallInit: "struct xen_domctl_hypercall_init" {
        /// In: the frame.
        pub gmfn: Gfn,
    }

    /// Arguments of [`XEN_DOMCTL_SETTIMEOFFSET`](super::XEN_DOMCTL_SETTIMEOFFSET).
    pub struct DomctlSettimeoffset: "struct xen_domctl_settimeoffset" {
        /// In: seconds that its wallclock is ahead of UTC.
        pub time_offset_seconds: i64,
    }

    /// Arguments of [`XEN_DOMCTL_SENDTRIGGER`](super::XEN_DOMCTL_SENDTRIGGER).
    pub struct DomctlSendtrigger: "struct xen_domctl_sendtrigger" {
        /// In: an `XEN_DOMCTL_SENDTRIGGER_*`.
        pub trigger: u32,
        /// In: the vCPU.
        pub vcpu: VcpuId,
    }

    /// Arguments of [`XEN_DOMCTL_SET_TARGET`](super::XEN_DOMCTL_SET_TARGET).
    pub struct DomctlSetTarget: "struct xen_domctl_set_target" {
        /// In: the domain that it acts for.
        pub target: DomId,
    }

    /// Arguments of [`XEN_DOMCTL_SUBSCRIBE`](super::XEN_DOMCTL_SUBSCRIBE).
    pub struct DomctlSubscribe: "struct xen_domctl_subscribe" {
        /// In: the port.
        pub port: Port,
    }

    /// Arguments of [`XEN_DOMCTL_DEBUG_OP`](super::XEN_DOMCTL_DEBUG_OP).
    pub struct DomctlDebugOp: "struct xen_domctl_debug_op" {
        /// In: an `XEN_DOMCTL_DEBUG_OP_*`.
        pub op: u32,
        /// In: the vCPU.
        pub vcpu: VcpuId,
    }

    /// Arguments of [`XEN_DOMCTL_SET_VIRQ_HANDLER`](super::XEN_DOMCTL_SET_VIRQ_HANDLER).
    pub struct DomctlSetVirqHandler: "struct xen_domctl_set_virq_handler" {
        /// In: the VIRQ (virtual interrupt).
        pub virq: u32,
    }

    /// Arguments of [`XEN_DOMCTL_SET_ACCESS_REQUIRED`](super::XEN_DOMCTL_SET_ACCESS_REQUIRED).
    pub struct DomctlSetAccessRequired: "struct xen_domctl_set_access_required" {
        /// In: 0 or not.
        pub access_required: u8,
    }
}

#[cfg(test)]
mod tests {
    use super::DomainFlags;

    #[test]
    fn the_reason_of_a_shutdown_lies_above_the_flags() {
        let flags = DomainFlags::SHUTDOWN.with_shutdown_reason(3);
        assert_eq!(flags.0, 0x3_0004);
        assert_eq!(flags.shutdown_reason(), 3);
    }
}
