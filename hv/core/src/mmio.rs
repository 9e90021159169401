//! Accesses to guest physical addresses behind which there is no memory.

use crate::domain::Domain;
use crate::hypercall::After;
use crate::hypervisor::Hypervisor;
use crate::outcome::CrashReason;
use crate::vcpu::{Vcpu, VcpuCore};
use xenolith_hal::{Access, Gpa, LogLevel, Machine};

/// Answers an access that the nested page tables forbade.
pub fn access<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    vcpu: &Vcpu<M>,
    _core: &mut VcpuCore<M>,
    at: Gpa,
    access: Access,
) -> After {
    let line = format_args!("d{}v{} has no memory at {:#x} ({access:?})", domain.id, vcpu.id, at.0);
    hv.machine.log(LogLevel::Warning, true, line);
    After::Crash(CrashReason::BadAccess)
}
