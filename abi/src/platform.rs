//! What the control domain does to the machine.
//!
//! Hypercall [`PLATFORM_OP`](crate::hypercall::PLATFORM_OP): `(pointer to a [`PlatformOp`])`.
//! **Source:** `platform.h`.

use crate::describe::{constants, flags, union_members, wire};
use crate::{GuestHandle, Union};

constants! {
    table CONSTANTS;
    /// [`PlatformOp::interface_version`].
    pub const XENPF_INTERFACE_VERSION: u32 = 0x0300_0001;
    /// Sets the wallclock, in the old form; [`XenpfSettime32`].
    pub const XENPF_SETTIME32: u32 = 17;
    /// Sets a memory type; PV.
    pub const XENPF_ADD_MEMTYPE: u32 = 31;
    /// Deletes a memory type; PV.
    pub const XENPF_DEL_MEMTYPE: u32 = 32;
    /// Asks for a memory type; PV.
    pub const XENPF_READ_MEMTYPE: u32 = 33;
    /// Loads microcode; [`XenpfMicrocodeUpdate`].
    pub const XENPF_MICROCODE_UPDATE: u32 = 35;
    /// Tells of a quirk of the machine.
    pub const XENPF_PLATFORM_QUIRK: u32 = 39;
    /// Asks what a CPU is; [`XenpfPcpuVersion`].
    pub const XENPF_GET_CPU_VERSION: u32 = 48;
    /// Calls the EFI firmware.
    pub const XENPF_EFI_RUNTIME_CALL: u32 = 49;
    /// Asks what firmware told at boot; [`XenpfFirmwareInfo`].
    pub const XENPF_FIRMWARE_INFO: u32 = 50;
    /// Puts the machine to sleep or turns it off; [`XenpfEnterAcpiSleep`].
    pub const XENPF_ENTER_ACPI_SLEEP: u32 = 51;
    /// Sets a CPU's frequency; [`XenpfChangeFreq`].
    pub const XENPF_CHANGE_FREQ: u32 = 52;
    /// Asks how long CPUs idled; [`XenpfGetidletime`].
    pub const XENPF_GETIDLETIME: u32 = 53;
    /// Tells the power states of a CPU.
    pub const XENPF_SET_PROCESSOR_PMINFO: u32 = 54;
    /// Asks about a physical CPU; [`XenpfPcpuinfo`].
    pub const XENPF_GET_CPUINFO: u32 = 55;
    /// Brings a CPU online; [`XenpfCpuOl`].
    pub const XENPF_CPU_ONLINE: u32 = 56;
    /// Takes a CPU offline; [`XenpfCpuOl`].
    pub const XENPF_CPU_OFFLINE: u32 = 57;
    /// Adds a CPU that was plugged in; [`XenpfCpuHotadd`].
    pub const XENPF_CPU_HOTADD: u32 = 58;
    /// Adds memory that was plugged in; [`XenpfMemHotadd`].
    pub const XENPF_MEM_HOTADD: u32 = 59;
    /// Parks cores; [`XenpfCoreParking`].
    pub const XENPF_CORE_PARKING: u32 = 60;
    /// Reads and writes MSRs of a CPU; [`XenpfResourceOp`].
    pub const XENPF_RESOURCE_OP: u32 = 61;
    /// Sets the wallclock; [`XenpfSettime64`].
    pub const XENPF_SETTIME64: u32 = 62;
    /// Asks for a symbol of the hypervisor; [`XenpfSymdata`].
    pub const XENPF_GET_SYMBOL: u32 = 63;

    /// [`XenpfFirmwareInfo::kind`]: disks.
    pub const XEN_FW_DISK_INFO: u32 = 1;
    /// [`XenpfFirmwareInfo::kind`]: signatures of disks.
    pub const XEN_FW_DISK_MBR_SIGNATURE: u32 = 2;
    /// [`XenpfFirmwareInfo::kind`]: the monitor.
    pub const XEN_FW_VBEDDC_INFO: u32 = 3;
    /// [`XenpfFirmwareInfo::kind`]: EFI.
    pub const XEN_FW_EFI_INFO: u32 = 4;
    /// [`XenpfFirmwareInfo::kind`]: the keyboard's shift keys.
    pub const XEN_FW_KBD_SHIFT_FLAGS: u32 = 5;

    /// [`XenpfEnterAcpiSleep::flags`]: the extended registers.
    pub const XENPF_ACPI_SLEEP_EXTENDED: u32 = 1;
    /// [`XenpfCoreParking::kind`]: sets.
    pub const XEN_CORE_PARKING_SET: u32 = 1;
    /// [`XenpfCoreParking::kind`]: asks.
    pub const XEN_CORE_PARKING_GET: u32 = 2;
    /// [`XenpfResourceEntry::cmd`]: reads an MSR.
    pub const XEN_RESOURCE_OP_MSR_READ: u32 = 0;
    /// [`XenpfResourceEntry::cmd`]: writes an MSR.
    pub const XEN_RESOURCE_OP_MSR_WRITE: u32 = 1;
}

/// Asks for the screen of the control domain; a later release's, which 4.17 does not know.
pub const XENPF_GET_DOM0_CONSOLE: u32 = 64;

flags! {
    /// Flags of [`XenpfPcpuinfo`].
    pub struct PcpuFlags("XEN_PCPU_FLAGS_"): u32 {
        /// The CPU is running.
        const ONLINE = 1 << 0;
        /// There is no such CPU.
        const INVALID = 1 << 1;
    }
}

wire! {
    /// An operation on the machine.
    pub struct PlatformOp: "struct xen_platform_op" {
        /// In: an `XENPF_*`.
        pub cmd: u32,
        /// In: [`XENPF_INTERFACE_VERSION`].
        pub interface_version: u32,
        /// In and out: by operation.
        pub u: Union<128>,
    }

    /// Arguments of [`XENPF_SETTIME32`]: the time it was when system time was `system_time`.
    pub struct XenpfSettime32: "struct xenpf_settime32" {
        /// In: seconds since 1970.
        pub secs: u32,
        /// In: the rest in nanoseconds.
        pub nsecs: u32,
        /// In: nanoseconds.
        pub system_time: u64,
    }

    /// Arguments of [`XENPF_SETTIME64`]: the time it was when system time was `system_time`.
    pub struct XenpfSettime64: "struct xenpf_settime64" {
        /// In: seconds since 1970.
        pub secs: u64,
        /// In: the rest in nanoseconds.
        pub nsecs: u32,
        /// In: zero.
        pub mbz: u32,
        /// In: nanoseconds.
        pub system_time: u64,
    }

    /// Arguments of [`XENPF_MICROCODE_UPDATE`].
    pub struct XenpfMicrocodeUpdate: "struct xenpf_microcode_update" {
        /// In: the microcode.
        pub data: GuestHandle,
        /// In: its length in bytes.
        pub length: u32,
        /// Padding.
        pub pad: [u8; 4],
    }

    /// Arguments of [`XENPF_FIRMWARE_INFO`].
    pub struct XenpfFirmwareInfo: "struct xenpf_firmware_info" {
        /// In: an `XEN_FW_*`.
        pub kind: u32 = "type",
        /// In: which of that kind.
        pub index: u32,
        /// Out: by kind.
        pub u: Union<32>,
    }

    /// Arguments of [`XENPF_ENTER_ACPI_SLEEP`].
    pub struct XenpfEnterAcpiSleep: "struct xenpf_enter_acpi_sleep" {
        /// In: the value for the first control register.
        pub val_a: u16,
        /// In: the value for the second.
        pub val_b: u16,
        /// In: the ACPI sleep state, 1 to 5 (S1 to S5).
        pub sleep_state: u32,
        /// In: 0 or [`XENPF_ACPI_SLEEP_EXTENDED`].
        pub flags: u32,
    }

    /// Arguments of [`XENPF_CHANGE_FREQ`].
    pub struct XenpfChangeFreq: "struct xenpf_change_freq" {
        /// In: zero.
        pub flags: u32,
        /// In: the CPU.
        pub cpu: u32,
        /// In: the frequency in hertz.
        pub freq: u64,
    }

    /// Arguments of [`XENPF_GETIDLETIME`].
    pub struct XenpfGetidletime: "struct xenpf_getidletime" {
        /// In and out: the CPUs.
        pub cpumap_bitmap: GuestHandle,
        /// In: length of the bitmap in bits.
        pub cpumap_nr_cpus: u32,
        /// Padding.
        pub pad: [u8; 4],
        /// Out: nanoseconds idle, for each CPU of the bitmap by number.
        pub idletime: GuestHandle<u64>,
        /// Out: the system time of this answer.
        pub now: u64,
    }

    /// Arguments of [`XENPF_GET_CPUINFO`].
    pub struct XenpfPcpuinfo: "struct xenpf_pcpuinfo" {
        /// In: the CPU.
        pub xen_cpuid: u32,
        /// Out: the largest number of a CPU.
        pub max_present: u32,
        /// Out: flags.
        pub flags: PcpuFlags,
        /// Out: its APIC identifier.
        pub apic_id: u32,
        /// Out: its ACPI identifier.
        pub acpi_id: u32,
    }

    /// Arguments of [`XENPF_GET_CPU_VERSION`].
    pub struct XenpfPcpuVersion: "struct xenpf_pcpu_version" {
        /// In: the CPU.
        pub xen_cpuid: u32,
        /// Out: the largest number of a CPU.
        pub max_present: u32,
        /// Out: the vendor.
        pub vendor_id: [u8; 12],
        /// Out: the family.
        pub family: u32,
        /// Out: the model.
        pub model: u32,
        /// Out: the stepping.
        pub stepping: u32,
    }

    /// Arguments of [`XENPF_CPU_ONLINE`] and [`XENPF_CPU_OFFLINE`].
    pub struct XenpfCpuOl: "struct xenpf_cpu_ol" {
        /// In: the CPU.
        pub cpuid: u32,
    }

    /// Arguments of [`XENPF_CPU_HOTADD`].
    pub struct XenpfCpuHotadd: "struct xenpf_cpu_hotadd" {
        /// In: its APIC identifier.
        pub apic_id: u32,
        /// In: its ACPI identifier.
        pub acpi_id: u32,
        /// In: its proximity domain.
        pub pxm: u32,
    }

    /// Arguments of [`XENPF_MEM_HOTADD`].
    pub struct XenpfMemHotadd: "struct xenpf_mem_hotadd" {
        /// In: the first frame.
        pub spfn: u64,
        /// In: the frame after the last.
        pub epfn: u64,
        /// In: the proximity domain.
        pub pxm: u32,
        /// In: zero.
        pub flags: u32,
    }

    /// Arguments of [`XENPF_CORE_PARKING`].
    pub struct XenpfCoreParking: "struct xenpf_core_parking" {
        /// In: an `XEN_CORE_PARKING_*`.
        pub kind: u32 = "type",
        /// In or out: how many cores idle.
        pub idle_nums: u32,
    }

    /// One access of [`XENPF_RESOURCE_OP`].
    pub struct XenpfResourceEntry: "struct xenpf_resource_entry" {
        /// In: an `XEN_RESOURCE_OP_*`. Out: 0 or a negative errno.
        pub cmd: u32 = "u.cmd",
        /// In: zero.
        pub reserved: u32 = "rsvd",
        /// In: the MSR.
        pub idx: u64,
        /// In or out: its value.
        pub val: u64,
    }

    /// Arguments of [`XENPF_RESOURCE_OP`].
    pub struct XenpfResourceOp: "struct xenpf_resource_op" {
        /// In: how many accesses.
        pub nr_entries: u32,
        /// In: on which CPU.
        pub cpu: u32,
        /// In and out: the accesses.
        pub entries: GuestHandle<XenpfResourceEntry>,
    }

    /// Arguments of [`XENPF_GET_SYMBOL`].
    pub struct XenpfSymdata: "struct xenpf_symdata" {
        /// In: room for the name. Out: its length.
        pub namelen: u32,
        /// In: which. Out: the next.
        pub symnum: u32,
        /// Out: the name.
        pub name: GuestHandle,
        /// Out: its address.
        pub address: u64,
        /// Out: its kind, as `nm` prints it.
        pub kind: u8 = "type",
        /// Padding.
        pub pad: [u8; 7],
    }
}

union_members! {
    PlatformOp, u:
    /// For [`XENPF_SETTIME32`].
    settime32, set_settime32: XenpfSettime32;
    /// For [`XENPF_SETTIME64`].
    settime64, set_settime64: XenpfSettime64;
    /// For [`XENPF_MICROCODE_UPDATE`].
    microcode, set_microcode: XenpfMicrocodeUpdate;
    /// For [`XENPF_FIRMWARE_INFO`].
    firmware_info, set_firmware_info: XenpfFirmwareInfo;
    /// For [`XENPF_ENTER_ACPI_SLEEP`].
    enter_acpi_sleep, set_enter_acpi_sleep: XenpfEnterAcpiSleep;
    /// For [`XENPF_CHANGE_FREQ`].
    change_freq, set_change_freq: XenpfChangeFreq;
    /// For [`XENPF_GETIDLETIME`].
    getidletime, set_getidletime: XenpfGetidletime;
    /// For [`XENPF_GET_CPUINFO`].
    pcpu_info, set_pcpu_info: XenpfPcpuinfo;
    /// For [`XENPF_GET_CPU_VERSION`].
    pcpu_version, set_pcpu_version: XenpfPcpuVersion;
    /// For [`XENPF_CPU_ONLINE`] and [`XENPF_CPU_OFFLINE`].
    cpu_ol, set_cpu_ol: XenpfCpuOl;
    /// For [`XENPF_CPU_HOTADD`].
    cpu_add, set_cpu_add: XenpfCpuHotadd;
    /// For [`XENPF_MEM_HOTADD`].
    mem_add, set_mem_add: XenpfMemHotadd;
    /// For [`XENPF_CORE_PARKING`].
    core_parking, set_core_parking: XenpfCoreParking;
    /// For [`XENPF_RESOURCE_OP`].
    resource_op, set_resource_op: XenpfResourceOp;
    /// For [`XENPF_GET_SYMBOL`].
    symdata, set_symdata: XenpfSymdata;
}
