//! Every structure, word of flags and table of numbers that this crate declares.
//!
//! `main.rs` fails if the source declares one that is not listed here.

use xen_abi::describe::{Constant, Field, FlagWord, WireStruct};
use xen_abi::{
    cpuid, event_channel, event_fifo, grant_entry, grant_table, hypercall, shared_info, start_info, version, virq,
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
        event_channel {
            EvtchnAllocUnbound, EvtchnBindInterdomain, EvtchnBindVirq, EvtchnBindPirq, EvtchnBindIpi, EvtchnClose,
            EvtchnSend, EvtchnStatus, EvtchnPeer, EvtchnBindVcpu, EvtchnUnmask, EvtchnReset, EvtchnInitControl,
            EvtchnExpandArray, EvtchnSetPriority,
        }
        event_fifo { EvtchnFifoControlBlock }
        grant_table {
            GnttabMapGrantRef, GnttabUnmapGrantRef, GnttabSetupTable, GnttabDumpTable, GnttabTransfer, GnttabCopyPtr,
            GnttabCopy, GnttabQuerySize, GnttabUnmapAndReplace, GnttabSetVersion, GnttabGetStatusFrames,
            GnttabGetVersion, GnttabSwapGrantRef, GnttabCacheFlush,
        }
        grant_entry {
            GrantEntryV1, GrantEntryHeader, GrantV2FullPage, GrantV2SubPage, GrantV2Transitive, GrantEntryV2,
        }
        hypercall { MulticallEntry, CtlBitmap }
        shared_info { ArchVcpuInfo, VcpuTimeInfo, VcpuInfo, ArchSharedInfo, SharedInfo }
        start_info { HvmStartInfo, HvmModlistEntry, HvmMemmapTableEntry }
        version { CompileInfo, PlatformParameters, FeatureInfo, BuildId }
    }
}

pub fn flag_words() -> Vec<Flags> {
    list_flags! {
        cpuid { HvmFeatures }
        event_channel { BindPirq }
        grant_table { GrantMapFlags, GrantCopyFlags }
        shared_info { PvclockFlags }
        start_info { StartInfoFlags }
        version { Features }
    }
}

pub fn tables() -> Vec<(&'static str, &'static [Constant])> {
    list_tables! {
        cpuid { CONSTANTS }
        event_channel { CONSTANTS }
        event_fifo { CONSTANTS }
        grant_entry { CONSTANTS }
        grant_table { CONSTANTS }
        hypercall { CONSTANTS }
        shared_info { CONSTANTS }
        start_info { CONSTANTS }
        version { CONSTANTS }
        virq { CONSTANTS }
    }
}
