//! `XEN_DOMCTL_get_cpu_policy` and `XEN_DOMCTL_set_cpu_policy`. **Source:** `domctl.h`.

use crate::components::cpu_policy::{DomainMsrs, MOST_MSRS, put_leaves, put_msrs};
use crate::domains::domain::Domain;
use crate::hypercalls::Call;
use crate::memory::guest_memory::GuestView;
use xen_abi::Errno;
use xen_abi::cpu_policy::XEN_CPUID_NO_SUBLEAF;
use xen_abi::domctl::DomctlCpuPolicy;
use xenolith_devices::cpuid::{CpuidTable, MOST_LEAVES};
use xenolith_hal::Machine;

/// No leaf, subleaf or MSR is wrong.
const NOTHING: u32 = u32::MAX;

/// Implements `XEN_DOMCTL_get_cpu_policy`: writes a domain's CPU policy, or for null lists how long they can be. The
/// caller copies the counts back on success.
///
/// **Errors:** `ENOBUFS` for a list that is too short; `EFAULT`.
pub fn get_cpu_policy<M: Machine>(
    call: &Call<'_, M>,
    target: &Domain<M>,
    op: &mut DomctlCpuPolicy,
) -> Result<(), Errno> {
    op.nr_leaves = put_leaves(&call.memory(), target.cpuid.table(), op.leaves, op.nr_leaves)?;
    op.nr_msrs = put_msrs(&call.memory(), &DomainMsrs::DOMAIN, op.msrs, op.nr_msrs)?;
    Ok(())
}

/// Implements `XEN_DOMCTL_set_cpu_policy`: sets the CPUID table of a domain that has not run yet, which the caller
/// makes sure of. Leaves that are not in the list are unchanged. As in real Xen, features beyond the machine's are left
/// out, not refused.
///
/// **Errors:** all come with the leaf, subleaf or MSR that is wrong in `op`, all ones where none is: the caller copies
/// the structure back on failure. `E2BIG` for lists longer than any can be; `EFAULT`; `ERANGE` for a leaf or an MSR
/// that no list has; `EINVAL` for more leaves than the machine has and for an MSR's value; `EOVERFLOW`; `ENOMEM`;
/// `ENOSPC`, `EBUSY` as [`KeptCpuid::replace`](crate::components::cpu_policy::KeptCpuid::replace).
pub fn set_cpu_policy<M: Machine>(
    call: &Call<'_, M>,
    target: &Domain<M>,
    op: &mut DomctlCpuPolicy,
) -> Result<(), Errno> {
    (op.err_leaf, op.err_subleaf, op.err_msr) = (NOTHING, NOTHING, NOTHING);
    let memory = call.memory();
    let mut table = target.cpuid.table().clone();
    merge_leaves(&memory, &mut table, op)?;
    check_msrs(&memory, op)?;
    let most = call.hv.most_policy();
    if let Err(wrong) = table.fits(most) {
        (op.err_leaf, op.err_subleaf) = (wrong.leaf, wrong.subleaf.unwrap_or(XEN_CPUID_NO_SUBLEAF));
        return Err(Errno::EINVAL);
    }
    target.cpuid.replace(table.limit_to(most, call.hv.settings.capabilities))
}

fn merge_leaves<M: Machine>(
    memory: &GuestView<'_, M>,
    table: &mut CpuidTable,
    op: &mut DomctlCpuPolicy,
) -> Result<(), Errno> {
    if op.nr_leaves > MOST_LEAVES {
        return Err(Errno::E2BIG);
    }
    for index in 0..u64::from(op.nr_leaves) {
        let leaf = memory.read_at(op.leaves, index)?;
        if table.set_listed(&leaf).is_err() {
            (op.err_leaf, op.err_subleaf) = (leaf.leaf, leaf.subleaf);
            return Err(Errno::ERANGE);
        }
    }
    Ok(())
}

fn check_msrs<M: Machine>(memory: &GuestView<'_, M>, op: &mut DomctlCpuPolicy) -> Result<(), Errno> {
    if op.nr_msrs > MOST_MSRS {
        return Err(Errno::E2BIG);
    }
    for index in 0..u64::from(op.nr_msrs) {
        let entry = memory.read_at(op.msrs, index)?;
        if let Err(errno) = DomainMsrs::check(&entry) {
            op.err_msr = entry.idx;
            return Err(errno);
        }
    }
    Ok(())
}
