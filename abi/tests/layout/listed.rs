//! Every structure, word of flags and table of numbers that this crate declares.
//!
//! `main.rs` fails if the source declares one that is not listed here.

use xen_abi::describe::{Constant, Field, FlagWord, WireStruct};
use xen_abi::{
    callback, console_io, cpuid, event_channel, event_fifo, grant_entry, grant_table, hvm_op, hvm_param, hvm_vcpu,
    hypercall, memory, memory_access, memory_map, nmi, physdev, physmap, platform, pmu, sched, shared_info, start_info,
    vcpu, version, virq, vm_assist, xsm,
};

/// A structure as Rust has it.
pub struct Structure {
    pub rust_path: &'static str,
    pub c_name: &'static str,
    pub size: usize,
    pub fields: &'static [Field],
}

fn structure<T: WireStruct>() -> Structure {
    Structure { rust_path: std::any::type_name::<T>(), c_name: T::C_NAME, size: T::SIZE, fields: T::FIELDS }
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
    ($($module:ident { $($name:ident),* $(,)? })*) => {
        vec![$($( (concat!("xen_abi::", stringify!($module), "::", stringify!($name)), $module::$name), )*)*]
    };
}

pub fn structures() -> Vec<Structure> {
    list_structures! {
        callback { CallbackRegister, CallbackUnregister }
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
        hvm_op {
            HvmParam, HvmPagetableDying, HvmGetTime, HvmXentrace, HvmGetMemType, HvmEvtchnUpcallVector, HvmAltp2mOp,
        }
        hvm_vcpu { VcpuHvmContext, VcpuHvmX8632, VcpuHvmX8664 }
        hypercall { MulticallEntry, CtlBitmap }
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
        vcpu {
            VcpuRunstateInfo, VcpuRegisterRunstateMemoryArea, VcpuSetPeriodicTimer, VcpuSetSingleshotTimer,
            VcpuRegisterVcpuInfo, VcpuGetPhysid, VcpuRegisterTimeMemoryArea,
        }
        version { CompileInfo, PlatformParameters, FeatureInfo, BuildId }
        xsm { FlaskOp, FlaskSidContext }
    }
}

pub fn flag_words() -> Vec<Flags> {
    list_flags! {
        callback { CallbackFlags }
        cpuid { HvmFeatures }
        event_channel { BindPirq }
        grant_table { GrantMapFlags, GrantCopyFlags }
        memory { MemFlags }
        physdev { IrqStatus, PciDeviceFlags }
        platform { PcpuFlags }
        pmu { PmuMode, PmuFeatures }
        shared_info { PvclockFlags }
        start_info { StartInfoFlags }
        vcpu { SingleshotFlags }
        version { Features }
    }
}

pub fn tables() -> Vec<(&'static str, &'static [Constant])> {
    list_tables! {
        callback { CONSTANTS }
        console_io { CONSTANTS }
        cpuid { CONSTANTS }
        event_channel { CONSTANTS }
        event_fifo { CONSTANTS }
        grant_entry { CONSTANTS }
        grant_table { CONSTANTS }
        hvm_op { CONSTANTS }
        hvm_param { CONSTANTS }
        hvm_vcpu { CONSTANTS }
        hypercall { CONSTANTS }
        memory { CONSTANTS }
        memory_access { CONSTANTS }
        memory_map { CONSTANTS }
        nmi { CONSTANTS }
        physdev { CONSTANTS }
        physmap { CONSTANTS }
        platform { CONSTANTS }
        pmu { CONSTANTS }
        sched { CONSTANTS }
        shared_info { CONSTANTS }
        start_info { CONSTANTS }
        vcpu { CONSTANTS }
        version { CONSTANTS }
        virq { CONSTANTS }
        vm_assist { CONSTANTS }
        xsm { CONSTANTS }
    }
}
