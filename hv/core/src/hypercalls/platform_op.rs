//! `platform_op`: the machine, for the control domain. **Source:** `platform.h`.

use crate::hypercalls::Call;
use crate::lifecycle::time::update_wall_clock;
use crate::outcome::{Answer, Outcome};
use xen_abi::Errno;
use xen_abi::platform::{
    PcpuFlags, PlatformOp, XEN_CORE_PARKING_GET, XEN_CORE_PARKING_SET, XEN_FW_DISK_INFO, XEN_FW_DISK_MBR_SIGNATURE,
    XEN_FW_EFI_INFO, XEN_FW_KBD_SHIFT_FLAGS, XEN_FW_VBEDDC_INFO, XEN_RESOURCE_OP_MSR_READ, XEN_RESOURCE_OP_MSR_WRITE,
    XENPF_CORE_PARKING, XENPF_CPU_OFFLINE, XENPF_CPU_ONLINE, XENPF_FIRMWARE_INFO, XENPF_GET_CPU_VERSION,
    XENPF_GET_CPUINFO, XENPF_INTERFACE_VERSION, XENPF_RESOURCE_OP, XENPF_SETTIME32, XENPF_SETTIME64, XenpfCoreParking,
    XenpfCpuOl, XenpfFirmwareInfo, XenpfPcpuVersion, XenpfPcpuinfo, XenpfResourceEntry, XenpfResourceOp,
    XenpfSettime32, XenpfSettime64,
};
use xenolith_devices::pvclock::wall_clock_at_zero;
use xenolith_hal::{DomId, Machine, Time, WallClock};

/// Implements `platform_op(op)`.
///
/// **Errors:** `EFAULT`, `EACCES` for another version of the interface, `ENOSYS` for operations that are missing.
pub fn platform_op<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let mut op: PlatformOp = call.read_arg(0)?;
    if op.interface_version != XENPF_INTERFACE_VERSION {
        return Err(Errno::EACCES);
    }
    match op.cmd {
        XENPF_SETTIME32 => {
            let wanted: XenpfSettime32 = op.u.read();
            set_time(call, u64::from(wanted.secs), wanted.nsecs, Time(wanted.system_time));
        }
        XENPF_SETTIME64 => {
            let wanted: XenpfSettime64 = op.u.read();
            if wanted.mbz != 0 {
                return Err(Errno::EINVAL);
            }
            set_time(call, wanted.secs, wanted.nsecs, Time(wanted.system_time));
        }
        XENPF_GET_CPUINFO => {
            let info = cpu_info(call, op.u.read())?;
            op.u.write(info);
            call.write_arg(0, &op)?;
        }
        XENPF_GET_CPU_VERSION => {
            let version = cpu_version(&call.hv.machine, op.u.read());
            op.u.write(version);
            call.write_arg(0, &op)?;
        }
        XENPF_CPU_ONLINE => cpu_online(call, op.u.read())?,
        XENPF_CPU_OFFLINE => return Err(cpu_offline(call, op.u.read())),
        XENPF_CORE_PARKING => {
            let parked = core_parking(op.u.read())?;
            op.u.write(parked);
            call.write_arg(0, &op)?;
        }
        XENPF_FIRMWARE_INFO => return Err(firmware_info(op.u.read())),
        XENPF_RESOURCE_OP => resource_op(call, call.union_member(&op.u))?,
        _ => return Err(Errno::ENOSYS),
    }
    Ok(Outcome::OK)
}

/// Returns the kind of a CPU, all zeroes for one that does not exist. All CPUs are of one kind.
fn cpu_version<M: Machine>(machine: &M, asked: XenpfPcpuVersion) -> XenpfPcpuVersion {
    let count = u32::try_from(machine.cpu_count()).unwrap_or(u32::MAX);
    let mut version = XenpfPcpuVersion {
        xen_cpuid: asked.xen_cpuid,
        max_present: count.saturating_sub(1),
        ..XenpfPcpuVersion::default()
    };
    if asked.xen_cpuid < count {
        let (vendor, signature) = (machine.cpuid(0, 0), machine.cpuid(1, 0).eax);
        let name = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
        for (to, from) in version.vendor_id.iter_mut().zip(name.as_flattened()) {
            *to = *from;
        }
        let (family, model) = (signature >> 8 & 0xf, signature >> 4 & 0xf);
        version.family = if family == 0xf { family + (signature >> 20 & 0xff) } else { family };
        version.model = if matches!(family, 0x6 | 0xf) { model | (signature >> 12 & 0xf0) } else { model };
        version.stepping = signature & 0xf;
    }
    version
}

/// Implements `XENPF_cpu_online`: every CPU is online.
///
/// **Errors:** `EINVAL` for one that does not exist.
fn cpu_online<M: Machine>(call: &Call<'_, M>, asked: XenpfCpuOl) -> Result<(), Errno> {
    if (asked.cpuid as usize) < call.hv.machine.cpu_count() { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Implements `XENPF_cpu_offline`: no CPU can be taken offline: `EOPNOTSUPP`, or `EINVAL` for one that does not exist.
fn cpu_offline<M: Machine>(call: &Call<'_, M>, asked: XenpfCpuOl) -> Errno {
    if (asked.cpuid as usize) < call.hv.machine.cpu_count() { Errno::EOPNOTSUPP } else { Errno::EINVAL }
}

/// Implements `XENPF_core_parking`: no CPU is parked.
///
/// **Errors:** `EOPNOTSUPP` for parking, `EINVAL` for anything else.
const fn core_parking(asked: XenpfCoreParking) -> Result<XenpfCoreParking, Errno> {
    match asked.kind {
        XEN_CORE_PARKING_GET => Ok(XenpfCoreParking { idle_nums: 0, ..asked }),
        XEN_CORE_PARKING_SET if asked.idle_nums == 0 => Ok(asked),
        XEN_CORE_PARKING_SET => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::EINVAL),
    }
}

/// Implements `XENPF_firmware_info`: the BIOS's information on disks, screen and keyboard is not collected (`ESRCH`).
/// `ENOSYS` for EFI's, `EINVAL` for kinds that do not exist.
const fn firmware_info(asked: XenpfFirmwareInfo) -> Errno {
    match asked.kind {
        XEN_FW_DISK_INFO | XEN_FW_DISK_MBR_SIGNATURE | XEN_FW_VBEDDC_INFO | XEN_FW_KBD_SHIFT_FLAGS => Errno::ESRCH,
        XEN_FW_EFI_INFO => Errno::ENOSYS,
        _ => Errno::EINVAL,
    }
}

/// The most registers that one call may name.
const MOST_RESOURCES: u32 = 2;

/// Implements `XENPF_resource_op`: reads or writes registers of a CPU. No register may be accessed: the first entry
/// says so.
///
/// **Errors:** `EINVAL` for more than two entries, `EFAULT`.
fn resource_op<M: Machine>(call: &Call<'_, M>, asked: XenpfResourceOp) -> Result<(), Errno> {
    if asked.nr_entries == 0 {
        return Ok(());
    }
    if asked.nr_entries > MOST_RESOURCES {
        return Err(Errno::EINVAL);
    }
    let mut entry: XenpfResourceEntry = call.memory().read(asked.entries)?;
    let errno = match entry.cmd {
        XEN_RESOURCE_OP_MSR_READ | XEN_RESOURCE_OP_MSR_WRITE if entry.idx >> 32 != 0 => Errno::EINVAL,
        XEN_RESOURCE_OP_MSR_READ | XEN_RESOURCE_OP_MSR_WRITE => Errno::EACCES,
        _ => Errno::EOPNOTSUPP,
    };
    entry.cmd = errno.as_return() as u32;
    call.memory().write(asked.entries, &entry)
}

/// Sets date and time for all domains.
fn set_time<M: Machine>(call: &Call<'_, M>, seconds: u64, nanoseconds: u32, at: Time) {
    call.hv.set_wall_clock(wall_clock_at_zero(WallClock { seconds, nanoseconds }, at));
    let mut next = call.hv.domains.first_from(DomId(0));
    while let Some(domain) = next {
        update_wall_clock(call.hv, &domain);
        next = call.hv.domains.first_from(DomId(domain.id.0.saturating_add(1)));
    }
}

/// Implements `XENPF_get_cpuinfo`.
///
/// **Errors:** `EINVAL` for a CPU that does not exist.
fn cpu_info<M: Machine>(call: &Call<'_, M>, mut info: XenpfPcpuinfo) -> Result<XenpfPcpuinfo, Errno> {
    let count = u32::try_from(call.hv.machine.cpu_count()).unwrap_or(u32::MAX);
    info.max_present = count.saturating_sub(1);
    info.flags = PcpuFlags::empty();
    if info.xen_cpuid < count {
        info.flags = PcpuFlags::ONLINE;
        info.apic_id = info.xen_cpuid;
        info.acpi_id = info.xen_cpuid;
    } else {
        info.flags = PcpuFlags::INVALID;
    }
    Ok(info)
}
