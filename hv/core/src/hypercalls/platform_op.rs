//! `platform_op`: the machine, for the control domain. **Source:** `platform.h`.

use crate::components::access::{Action, Object};
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
/// **Errors:** `EFAULT`, `EACCES` for another version of the interface, `EPERM` for all but the control domain, `ENOSYS`
/// for operations that are missing.
pub fn platform_op<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let mut op: PlatformOp = call.read_arg(0)?;
    if op.interface_version != XENPF_INTERFACE_VERSION {
        return Err(Errno::EACCES);
    }
    call.may(Action::ManagePlatform, Object::Machine)?;
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
        XENPF_RESOURCE_OP => return resource_op(call, call.union_member(&op.u)),
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
        version.family = if family == 0xf { family.wrapping_add(signature >> 20 & 0xff) } else { family };
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
const MOST_RESOURCES: u32 = 3;
/// The time stamp counter.
const MSR_TSC: u64 = 0x10;
/// The other registers that may be named: those of speculation control, of transactions and of cache monitoring. No CPU
/// that this runs on has the first, and the last are not virtualised: their reads fail as on a CPU without them.
const NAMED_MSRS: [u64; 6] = [0x10a, 0x10f, 0x122, 0x123, 0xc8d, 0xc8e];

/// Implements `XENPF_resource_op`: reads registers of a CPU. Returns how many accesses were done; the entry of the first
/// that failed holds its errno: `EINVAL` for the number of a register above 32 bits, `EACCES` for a register that may not
/// be accessed, `EPERM` for one that the CPU does not have and for a write, `EOPNOTSUPP` for another command.
///
/// **Errors:** `EINVAL` for more than three entries; `ENODEV` for a CPU that does not exist, unless the first entry may
/// not be done anyway; `EFAULT`. **Source:** Xen 4.17, its `test-tsx`.
fn resource_op<M: Machine>(call: &Call<'_, M>, asked: XenpfResourceOp) -> Answer {
    if asked.nr_entries == 0 {
        return Ok(Outcome::OK);
    }
    if asked.nr_entries > MOST_RESOURCES {
        return Err(Errno::EINVAL);
    }
    let mut entries = [XenpfResourceEntry::default(); MOST_RESOURCES as usize];
    let entries = entries.get_mut(..asked.nr_entries as usize).ok_or(Errno::EINVAL)?;
    for (entry, index) in entries.iter_mut().zip(0..) {
        *entry = call.memory().read_at(asked.entries, index)?;
    }
    // What may not be accessed at all is found before the CPU is looked at.
    let allowed = entries.iter().take_while(|entry| may_access(entry).is_ok()).count();
    if allowed > 0 && asked.cpu as usize >= call.hv.machine.cpu_count() {
        return Err(Errno::ENODEV);
    }
    let mut done = 0u64;
    for (entry, index) in entries.iter_mut().zip(0..) {
        let outcome = may_access(entry).and_then(|()| access_register(call, entry));
        entry.cmd = outcome.map_or_else(|errno| errno.as_return() as u32, |()| 0);
        call.memory().write_at(asked.entries, index, entry)?;
        if outcome.is_err() {
            break;
        }
        done = done.saturating_add(1);
    }
    Ok(Outcome::Done(done))
}

fn may_access(entry: &XenpfResourceEntry) -> Result<(), Errno> {
    match entry.cmd {
        XEN_RESOURCE_OP_MSR_READ | XEN_RESOURCE_OP_MSR_WRITE if entry.idx >> 32 != 0 => Err(Errno::EINVAL),
        XEN_RESOURCE_OP_MSR_READ | XEN_RESOURCE_OP_MSR_WRITE
            if entry.idx == MSR_TSC || NAMED_MSRS.contains(&entry.idx) =>
        {
            Ok(())
        }
        XEN_RESOURCE_OP_MSR_READ | XEN_RESOURCE_OP_MSR_WRITE => Err(Errno::EACCES),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// Reads a register. In place of the time stamp counter it gives the system time, which all CPUs have alike.
fn access_register<M: Machine>(call: &Call<'_, M>, entry: &mut XenpfResourceEntry) -> Result<(), Errno> {
    if entry.cmd != XEN_RESOURCE_OP_MSR_READ || entry.idx != MSR_TSC {
        return Err(Errno::EPERM);
    }
    entry.val = call.hv.machine.now().0;
    Ok(())
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
