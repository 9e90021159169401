//! The CPU policies of the machine.

use super::Reply;
use crate::components::cpu_policy::{DomainMsrs, put_leaves, put_msrs};
use crate::hypercalls::Call;
use xen_abi::Errno;
use xen_abi::cpu_features::FEATURESET_WORDS;
use xen_abi::sysctl::*;
use xenolith_devices::cpuid::CpuidTable;
use xenolith_hal::Machine;

/// Implements `XEN_SYSCTL_get_cpu_levelling_caps`: CPUID is not masked in hardware, which only PV domains would need.
pub(super) fn levelling_caps<M: Machine>(_: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    op.set_cpu_levelling_caps(SysctlCpuLevellingCaps { caps: LevellingCaps::empty() });
    Ok(Reply::Structure)
}

/// Implements `XEN_SYSCTL_get_cpu_featureset`: writes the feature words of a policy, as many as fit, and for a null
/// list how many there are. If not all fit, the error is `ENOBUFS`, with the number of words written.
///
/// **Errors:** `EINVAL` for a policy that does not exist, or is for PV domains; `EFAULT`; `ENOBUFS`.
pub(super) fn get_cpu_featureset<M: Machine>(call: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    const WORDS: u32 = FEATURESET_WORDS as u32;
    let mut asked = op.cpu_featureset();
    if asked.features.is_null() {
        asked.nr_features = WORDS;
        op.set_cpu_featureset(asked);
        return Ok(Reply::Structure);
    }
    let table: &CpuidTable = match asked.index {
        XEN_SYSCTL_CPU_FEATURESET_RAW | XEN_SYSCTL_CPU_FEATURESET_HOST => call.hv.host_policy(),
        XEN_SYSCTL_CPU_FEATURESET_HVM => call.hv.default_policy(),
        XEN_SYSCTL_CPU_FEATURESET_HVM_MAX => call.hv.most_policy(),
        _ => return Err(Errno::EINVAL),
    };
    asked.nr_features = asked.nr_features.min(WORDS);
    for (index, word) in (0..asked.nr_features).zip(table.features().0) {
        call.memory().write_at(asked.features, index.into(), &word)?;
    }
    op.set_cpu_featureset(asked);
    if asked.nr_features < WORDS {
        call.write_arg(0, op)?;
        return Err(Errno::ENOBUFS);
    }
    Ok(Reply::Structure)
}

/// Implements `XEN_SYSCTL_get_cpu_policy`: writes a policy as lists, or for null lists how long they can be.
///
/// **Errors:** `EINVAL` for a policy that does not exist and a reserved field; `EOPNOTSUPP` for the policies of PV
/// domains; `ENOBUFS` for a list that is too short; `EFAULT`.
pub(super) fn get_cpu_policy<M: Machine>(call: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    let mut asked = op.cpu_policy();
    if asked.reserved != 0 {
        return Err(Errno::EINVAL);
    }
    let (table, msrs) = match asked.index {
        XEN_SYSCTL_CPU_POLICY_RAW | XEN_SYSCTL_CPU_POLICY_HOST => (call.hv.host_policy(), DomainMsrs::HOST),
        XEN_SYSCTL_CPU_POLICY_HVM_MAX => (call.hv.most_policy(), DomainMsrs::DOMAIN),
        XEN_SYSCTL_CPU_POLICY_HVM_DEFAULT => (call.hv.default_policy(), DomainMsrs::DOMAIN),
        XEN_SYSCTL_CPU_POLICY_PV_MAX | XEN_SYSCTL_CPU_POLICY_PV_DEFAULT => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::EINVAL),
    };
    asked.nr_leaves = put_leaves(&call.memory(), table, asked.leaves, asked.nr_leaves)?;
    asked.nr_msrs = put_msrs(&call.memory(), &msrs, asked.msrs, asked.nr_msrs)?;
    op.set_cpu_policy(asked);
    Ok(Reply::Structure)
}
