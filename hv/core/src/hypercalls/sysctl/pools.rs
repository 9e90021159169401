//! Cpupools, and the scheduler of a cpupool.
//!
//! There is one pool, number 0, with all CPUs that run guests and all domains. Its scheduler answers to the name of
//! Xen's default one.

use super::Reply;
use crate::hypercalls::Call;
use crate::hypercalls::ctl_bitmap::write_set;
use core::sync::atomic::Ordering;
use xen_abi::domctl::XEN_SCHEDULER_CREDIT2;
use xen_abi::sysctl::*;
use xen_abi::{DomId, Errno};
use xenolith_hal::Machine;
use xenolith_sched::CpuSet;

/// The number of the only cpupool.
const POOL: u32 = 0;

pub(super) fn sched_id<M: Machine>(_: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    op.set_sched_id(SysctlSchedId { sched_id: XEN_SCHEDULER_CREDIT2 });
    Ok(Reply::Structure)
}

/// Implements `XEN_SYSCTL_cpupool_op`.
///
/// **Errors:** `ENOENT` for a pool that does not exist, past the last one, and for a scheduler that does not exist;
/// `EBUSY` for what would take a CPU from the pool or destroy it; `ENODEV` for a CPU that is in the pool already;
/// `EINVAL` for a CPU that does not exist; `EOPNOTSUPP` for creating a second pool; `ESRCH`, and `EPERM` for moving the
/// caller; `ENOSYS` for an operation that does not exist; `EFAULT`.
pub(super) fn cpupool_op<M: Machine>(call: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    let mut asked = op.cpupool_op();
    let cpus = u32::try_from(call.hv.machine.cpu_count()).unwrap_or(u32::MAX);
    let is_pool = |id: u32| if id == POOL { Ok(()) } else { Err(Errno::ENOENT) };
    let is_cpu = |cpu: u32| if cpu < cpus { Ok(()) } else { Err(Errno::EINVAL) };
    match asked.op {
        XEN_SYSCTL_CPUPOOL_OP_INFO => {
            is_pool(asked.cpupool_id)?;
            write_set(&call.memory(), &asked.cpumap, &call.hv.scheduler.online(), cpus)?;
            asked.sched_id = XEN_SCHEDULER_CREDIT2;
            asked.n_dom = call.hv.domains.count();
        }
        XEN_SYSCTL_CPUPOOL_OP_FREEINFO => write_set(&call.memory(), &asked.cpumap, &CpuSet::NONE, cpus)?,
        XEN_SYSCTL_CPUPOOL_OP_CREATE => {
            return Err(if asked.sched_id == XEN_SCHEDULER_CREDIT2 { Errno::EOPNOTSUPP } else { Errno::ENOENT });
        }
        XEN_SYSCTL_CPUPOOL_OP_DESTROY => {
            is_pool(asked.cpupool_id)?;
            return Err(Errno::EBUSY);
        }
        XEN_SYSCTL_CPUPOOL_OP_ADDCPU => {
            // No CPU is free, so "any" finds none.
            is_cpu(asked.cpu)?;
            return Err(Errno::ENODEV);
        }
        XEN_SYSCTL_CPUPOOL_OP_RMCPU => {
            is_pool(asked.cpupool_id)?;
            if asked.cpu != XEN_SYSCTL_CPUPOOL_PAR_ANY {
                is_cpu(asked.cpu)?;
            }
            return Err(Errno::EBUSY);
        }
        XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN => {
            let id = u16::try_from(asked.domid).map_or(DomId::INVALID, DomId);
            if call.is_self(id) {
                return Err(Errno::EPERM);
            }
            call.hv.domain(id)?;
            is_pool(asked.cpupool_id)?;
        }
        _ => return Err(Errno::ENOSYS),
    }
    op.set_cpupool_op(asked);
    Ok(Reply::Structure)
}

/// Implements `XEN_SYSCTL_scheduler_op`.
///
/// **Errors:** `EINVAL` for a command that does not exist, a scheduler that is not the pool's, and a time that is out
/// of range; `ESRCH` for a pool that does not exist.
pub(super) fn scheduler_op<M: Machine>(call: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    let mut asked = op.scheduler_op();
    if !matches!(asked.cmd, XEN_SYSCTL_SCHEDOP_PUTINFO | XEN_SYSCTL_SCHEDOP_GETINFO) {
        return Err(Errno::EINVAL);
    }
    if asked.cpupool_id != POOL {
        return Err(Errno::ESRCH);
    }
    if asked.sched_id != XEN_SCHEDULER_CREDIT2 {
        return Err(Errno::EINVAL);
    }
    let ratelimit_us = &call.hv.sysctl.ratelimit_us;
    if asked.cmd == XEN_SYSCTL_SCHEDOP_PUTINFO {
        let wanted = asked.credit2().ratelimit_us;
        if wanted != 0 && !(XEN_SYSCTL_SCHED_RATELIMIT_MIN..=XEN_SYSCTL_SCHED_RATELIMIT_MAX).contains(&wanted) {
            return Err(Errno::EINVAL);
        }
        ratelimit_us.store(wanted, Ordering::Relaxed);
    }
    asked.set_credit2(SysctlCredit2Schedule { ratelimit_us: ratelimit_us.load(Ordering::Relaxed) });
    op.set_scheduler_op(asked);
    Ok(Reply::Structure)
}
