//! `platform_op`: the machine, for the control domain. **Source:** `platform.h`.

use crate::hypercall::Call;
use crate::outcome::{Answer, Outcome};
use crate::time::update_wall_clock;
use xen_abi::Errno;
use xen_abi::platform::{
    PcpuFlags, PlatformOp, XENPF_GET_CPUINFO, XENPF_INTERFACE_VERSION, XENPF_SETTIME32, XENPF_SETTIME64, XenpfPcpuinfo,
    XenpfSettime32, XenpfSettime64,
};
use xenolith_devices::pvclock::wall_clock_at_zero;
use xenolith_hal::{DomId, Machine, Time, WallClock};

/// Does what the structure behind the first argument asks for.
///
/// **Errors:** `EFAULT`, `EACCES` for another version of the interface, `ENOSYS` for what is not there.
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
        _ => return Err(Errno::ENOSYS),
    }
    Ok(Outcome::OK)
}

/// Sets the date for everybody.
fn set_time<M: Machine>(call: &Call<'_, M>, seconds: u64, nanoseconds: u32, at: Time) {
    call.hv.set_wall_clock(wall_clock_at_zero(WallClock { seconds, nanoseconds }, at));
    let mut next = call.hv.domains.first_from(DomId(0));
    while let Some(domain) = next {
        update_wall_clock(call.hv, &domain);
        next = call.hv.domains.first_from(DomId(domain.id.0.saturating_add(1)));
    }
}

/// What is known of a CPU.
///
/// **Errors:** `EINVAL` for a CPU that is not there.
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
