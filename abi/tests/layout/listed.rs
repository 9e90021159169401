//! Every structure, word of flags and table of numbers that this crate declares.
//!
//! `main.rs` fails if the source declares one that is not listed here.

use xen_abi::compat::{CompatLayout, Wire};
use xen_abi::describe::{Field, FlagWord, Table, WireStruct};
use xen_abi::domctl::cpu as domctl_cpu;
use xen_abi::domctl::device as domctl_device;
use xen_abi::domctl::domain as domctl_domain;
use xen_abi::domctl::memory as domctl_memory;
use xen_abi::domctl::scheduler as domctl_scheduler;
use xen_abi::domctl::state as domctl_state;
use xen_abi::io::blkif as io_blkif;
use xen_abi::io::console as io_console;
use xen_abi::io::netif as io_netif;
use xen_abi::io::ninepfs as io_ninepfs;
use xen_abi::io::pvcalls as io_pvcalls;
use xen_abi::io::ring as io_ring;
use xen_abi::io::xenbus as io_xenbus;
use xen_abi::io::xenstore as io_xenstore;
use xen_abi::sysctl::machine as sysctl_machine;
use xen_abi::sysctl::policy as sysctl_policy;
use xen_abi::sysctl::power as sysctl_power;
use xen_abi::sysctl::scheduler as sysctl_scheduler;
use xen_abi::{
    callback, console_io, cpu_features, cpu_policy, cpuid, dm_op, domctl, elfnote, event_channel, event_fifo,
    grant_entry, grant_table, guest_context, hvm_op, hvm_param, hvm_save, hvm_save_cpu, hvm_vcpu, hypercall, ioreq,
    memory, memory_access, memory_map, nmi, physdev, physmap, platform, pmu, sched, shared_info, shared_info_compat,
    start_info, sysctl, vcpu, version, virq, vm_assist, xsm,
};

/// A structure as Rust has it.
pub struct Structure {
    pub rust_path: &'static str,
    pub c_name: &'static str,
    pub size: usize,
    pub fields: &'static [Field],
    /// Its layout for 32-bit callers.
    pub compat: CompatLayout,
}

fn structure<T: WireStruct + Wire>() -> Structure {
    Structure {
        rust_path: std::any::type_name::<T>(),
        c_name: T::C_NAME,
        size: T::SIZE,
        fields: T::FIELDS,
        compat: T::COMPAT,
    }
}

/// A word of flags: its Rust path, and each flag's C name and value.
pub struct Flags {
    pub rust_path: &'static str,
    pub c_prefix: &'static str,
    pub flags: Vec<(&'static str, u64)>,
}

fn flags<T: FlagWord>() -> Flags
where
    u64: TryFrom<T::Bits>,
{
    let flags = T::FLAGS
        .iter()
        .map(|flag| (flag.name(), u64::try_from(flag.value().bits()).unwrap_or_else(|_| panic!("an unsigned word"))))
        .collect();
    Flags { rust_path: std::any::type_name::<T>(), c_prefix: T::C_PREFIX, flags }
}

macro_rules! list_structures {
    ($($module:ident { $($name:ident),* $(,)? })*) => { vec![$($( structure::<$module::$name>(), )*)*] };
}

macro_rules! list_flags {
    ($($module:ident { $($name:ident),* $(,)? })*) => { vec![$($( flags::<$module::$name>(), )*)*] };
}

macro_rules! list_tables {
    ($($module:ident,)*) => { vec![$( $module::CONSTANTS, )*] };
}

pub fn structures() -> Vec<Structure> {
    list_structures! {
        callback { CallbackRegister, CallbackUnregister }
        cpu_policy { CpuidLeaf, MsrEntry }
        dm_op {
            DmOp, DmOpBuf, DmOpCreateIoreqServer, DmOpGetIoreqServerInfo, DmOpIoreqServerRange,
            DmOpSetIoreqServerState, DmOpDestroyIoreqServer, DmOpTrackDirtyVram, DmOpSetPciIntxLevel,
            DmOpSetIsaIrqLevel, DmOpSetPciLinkRoute, DmOpModifiedMemory, DmOpModifiedMemoryExtent, DmOpSetMemType,
            DmOpInjectEvent, DmOpInjectMsi, DmOpMapMemTypeToIoreqServer, DmOpRemoteShutdown, DmOpRelocateMemory,
            DmOpPinMemoryCacheattr, DmOpSetIrqLevel, DmOpNrVcpus,
        }
        domctl { Domctl }
        domctl_cpu {
            DomctlVcpucontext, DomctlGetvcpuinfo, DomctlNodeaffinity, DomctlVcpuaffinity, DomctlExtVcpucontext,
            DomctlCpuPolicy, DomctlVcpuextstate, DomctlVcpuMsr, DomctlVcpuMsrs,
        }
        domctl_device {
            DomctlIrqPermission, DomctlIomemPermission, DomctlIoportPermission, DomctlAssignDevice,
            DomctlGetDeviceGroup, DomctlBindPtIrqMsi, DomctlBindPtIrqPci, DomctlBindPtIrq, DomctlMemoryMapping,
            DomctlIoportMapping,
        }
        domctl_domain {
            ArchDomainconfig, DomctlCreatedomain, DomctlGetdomaininfo, DomctlMaxMem, DomctlMaxVcpus,
            DomctlSetdomainhandle, DomctlSetdebugging, DomctlHypercallInit, DomctlSettimeoffset, DomctlSendtrigger,
            DomctlSetTarget, DomctlSubscribe, DomctlDebugOp, DomctlSetVirqHandler, DomctlSetAccessRequired,
        }
        domctl_memory {
            DomctlGetpageframeinfo3, DomctlShadowOpStats, DomctlShadowOp, DomctlSetBrokenPageP2m, DomctlCacheflush,
            DomctlPagingMempool, DomctlVnuma, DomctlVmEventOp,
        }
        domctl_scheduler {
            DomctlSchedCredit, DomctlSchedCredit2, DomctlSchedRtds, DomctlSchedparamVcpu, DomctlSchedVcpuList,
            DomctlSchedulerOp,
        }
        domctl_state { DomctlHvmcontext, DomctlHvmcontextPartial, DomctlAddressSize, DomctlTscInfo }
        event_channel {
            EvtchnAllocUnbound, EvtchnBindInterdomain, EvtchnBindVirq, EvtchnBindPirq, EvtchnBindIpi, EvtchnClose,
            EvtchnSend, EvtchnStatus, EvtchnPeer, EvtchnBindVcpu, EvtchnUnmask, EvtchnReset, EvtchnInitControl,
            EvtchnExpandArray, EvtchnSetPriority,
        }
        event_fifo { EvtchnFifoControlBlock }
        grant_entry {
            GrantEntryV1, GrantEntryHeader, GrantV2FullPage, GrantV2SubPage, GrantV2Transitive, GrantEntryV2,
        }
        grant_table {
            GnttabMapGrantRef, GnttabUnmapGrantRef, GnttabSetupTable, GnttabDumpTable, GnttabTransfer, GnttabCopyPtr,
            GnttabCopy, GnttabQuerySize, GnttabUnmapAndReplace, GnttabSetVersion, GnttabGetStatusFrames,
            GnttabGetVersion, GnttabSwapGrantRef, GnttabCacheFlush,
        }
        guest_context { CpuUserRegs, TrapInfo, VcpuGuestContext }
        hvm_op {
            HvmParam, HvmPagetableDying, HvmGetTime, HvmXentrace, HvmGetMemType, HvmEvtchnUpcallVector, HvmAltp2mOp,
        }
        hvm_save {
            HvmSaveDescriptor, HvmSaveHeader, HvmHwVpic, HvmHwVioapic, HvmHwLapic, HvmHwLapicRegs, HvmHwPciIrqs,
            HvmHwIsaIrqs, HvmHwPciLink, HvmHwPitChannel, HvmHwPit, HvmHwRtc, HvmHwHpet, HvmHwPmtimer, HvmHwMtrr, HvmHwCpuXsave,
            HvmViridianDomainContext, HvmViridianVcpuContext, HvmVmceVcpu, HvmTscAdjust, HvmMsrs, HvmOneMsr,
        }
        hvm_save_cpu { HvmHwCpu }
        hvm_vcpu { VcpuHvmContext, VcpuHvmX8632, VcpuHvmX8664 }
        hypercall { MulticallEntry, CtlBitmap }
        io_blkif { BlkifRequestSegment, BlkifRequest, BlkifRequestDiscard, BlkifRequestIndirect, BlkifResponse }
        io_console { XenconsInterface }
        io_netif { NetifTxRequest, NetifExtraInfo, NetifGso, NetifTxResponse, NetifRxRequest, NetifRxResponse }
        io_ninepfs { NinepfsDataIntf }
        io_pvcalls {
            PvcallsRequest, PvcallsResponse, PvcallsSocket, PvcallsConnect, PvcallsRelease, PvcallsBind, PvcallsListen,
            PvcallsAccept, PvcallsPoll, PvcallsDataIntf,
        }
        io_xenstore { XsdSockmsg, XenstoreDomainInterface }
        ioreq { Ioreq, BufIoreq }
        memory { MemoryReservation, MemoryExchange, MemoryDomain, MachphysMfnList, MachphysMapping, PodTarget }
        memory_access { MemPagingOp, MemAccessOp }
        memory_map {
            MemoryMap, ForeignMemoryMap, ReservedDeviceMemory, ReservedDeviceMemoryMap, Vmemrange, VnumaTopologyInfo,
        }
        nmi { XennmiCallback }
        physdev {
            PhysdevIrqStatusQuery, PhysdevSetIopl, PhysdevSetIobitmap, PhysdevApic, PhysdevIrq, PhysdevEoi,
            PhysdevMapPirq, PhysdevUnmapPirq, PhysdevManagePci, PhysdevManagePciExt, PhysdevPirqEoiGmfn,
            PhysdevSetupGsi, PhysdevGetFreePirq, PhysdevPciMmcfgReserved, PhysdevPciDeviceAdd, PhysdevPciDevice,
            PhysdevDbgpOp,
        }
        physmap { AddToPhysmap, AddToPhysmapBatch, RemoveFromPhysmap, MemAcquireResource }
        platform {
            PlatformOp, XenpfSettime32, XenpfSettime64, XenpfMicrocodeUpdate, XenpfFirmwareInfo, XenpfEnterAcpiSleep,
            XenpfChangeFreq, XenpfGetidletime, XenpfPcpuinfo, XenpfPcpuVersion, XenpfCpuOl, XenpfCpuHotadd,
            XenpfMemHotadd, XenpfCoreParking, XenpfResourceEntry, XenpfResourceOp, XenpfSymdata,
        }
        pmu { PmuParams }
        sched { SchedShutdown, SchedPoll, SchedRemoteShutdown, SchedWatchdog, SchedPinOverride }
        shared_info { ArchVcpuInfo, VcpuTimeInfo, VcpuInfo, ArchSharedInfo, SharedInfo }
        start_info { HvmStartInfo, HvmModlistEntry, HvmMemmapTableEntry }
        sysctl { Sysctl }
        sysctl_machine {
            SysctlReadconsole, SysctlTbufOp, SysctlPhysinfo, SysctlGetdomaininfolist, SysctlDebugKeys, SysctlCpuinfo,
            SysctlGetcpuinfo, SysctlAvailheap, SysctlPageOfflineOp, SysctlCputopo, SysctlCputopoinfo, SysctlMeminfo,
            SysctlNumainfo, SysctlPcitopoinfo,
        }
        sysctl_policy { SysctlPsrCmtOp, SysctlCpuLevellingCaps, SysctlCpuFeatureset, SysctlCpuPolicy }
        sysctl_power { PmPxVal, PmPxStat, PmCxStat, SysctlGetPmstat, SysctlCpuHotplug, GetCpufreqPara, SysctlPmOp }
        sysctl_scheduler {
            SysctlSchedId, SysctlCpupoolOp, SysctlCreditSchedule, SysctlCredit2Schedule, SysctlSchedulerOp,
        }
        vcpu {
            VcpuRunstateInfo, VcpuRegisterRunstateMemoryArea, VcpuSetPeriodicTimer, VcpuSetSingleshotTimer,
            VcpuRegisterVcpuInfo, VcpuGetPhysid, VcpuRegisterTimeMemoryArea,
        }
        version { CompileInfo, PlatformParameters, FeatureInfo, BuildId }
        xsm { FlaskOp, FlaskSidContext }
    }
}

/// Returns the structures in the memory of 32-bit domains that have types of their own.
pub fn compat_structures() -> Vec<Structure> {
    list_structures! {
        shared_info_compat { ArchVcpuInfoCompat, VcpuInfoCompat, ArchSharedInfoCompat, SharedInfoCompat }
    }
}

pub fn flag_words() -> Vec<Flags> {
    list_flags! {
        callback { CallbackFlags }
        cpuid { HvmFeatures }
        domctl_cpu { AffinityFlags }
        domctl_domain { CreateFlags, IommuOptions, EmulationFlags, MiscFlags, DomainFlags }
        domctl_memory { ShadowMode, LogdirtyMode }
        domctl_scheduler { RtdsFlags }
        event_channel { BindPirq }
        grant_table { GrantMapFlags, GrantCopyFlags }
        guest_context { GuestContextFlags }
        hvm_save_cpu { HvmCpuFlags }
        io_netif { NetTxFlags, NetRxFlags }
        memory { MemFlags }
        physdev { IrqStatus, PciDeviceFlags }
        platform { PcpuFlags }
        pmu { PmuMode, PmuFeatures }
        shared_info { PvclockFlags }
        start_info { StartInfoFlags }
        sysctl_machine { PhysCapabilities }
        sysctl_policy { LevellingCaps }
        vcpu { SingleshotFlags }
        version { Features }
    }
}

pub fn tables() -> Vec<Table> {
    list_tables! {
        callback, console_io, cpu_features, cpu_policy, cpuid, dm_op, domctl, domctl_cpu, domctl_device, domctl_domain,
        domctl_memory, domctl_scheduler, elfnote, event_channel, event_fifo, grant_entry, grant_table, hvm_op,
        hvm_param, hvm_save, hvm_vcpu, hypercall, io_blkif, io_netif, io_pvcalls, io_ring, io_xenbus, io_xenstore, ioreq, memory,
        memory_access, memory_map, nmi, physdev, physmap, platform, pmu, sched, shared_info, start_info, sysctl,
        sysctl_machine, sysctl_policy, sysctl_power, sysctl_scheduler, vcpu, version, virq, vm_assist, xsm,
    }
}
