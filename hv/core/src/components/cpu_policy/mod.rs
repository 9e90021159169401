//! What CPUID and MSRs tell domains: of the machine, of any domain at most, of a domain by default, and of one domain
//! as the toolstack chose it.

mod kept;
pub(crate) mod msrs;
pub(crate) mod transfer;

pub use crate::hypercalls::domctl::cpu_policy::{get_cpu_policy, set_cpu_policy};
pub use kept::KeptCpuid;
pub use msrs::DomainMsrs;
pub use transfer::{put_leaves, put_msrs};

use crate::domains::hypervisor::Hypervisor;
use alloc::boxed::Box;
use xenolith_devices::cpuid::CpuidTable;
use xenolith_hal::Machine;
use xenolith_sync::Once;

/// What the machine can tell and what domains can be told, worked out when it is first asked for.
#[derive(Default)]
pub struct SystemPolicies(Once<Box<Tables>>);

struct Tables {
    host: CpuidTable,
    most: CpuidTable,
    default: CpuidTable,
}

fn tables<M: Machine>(hv: &Hypervisor<M>) -> &Tables {
    hv.policies.0.get_or_init(|| {
        let host = |leaf, subleaf| hv.machine.cpuid(leaf, subleaf);
        let capabilities = hv.settings.capabilities;
        Box::new(Tables {
            host: CpuidTable::of_host(&host),
            most: CpuidTable::most_for_guest(&host, capabilities),
            default: CpuidTable::for_guest(&host, capabilities, false),
        })
    })
}

/// What the machine's CPUs say of themselves.
pub fn host<M: Machine>(hv: &Hypervisor<M>) -> &CpuidTable {
    &tables(hv).host
}

/// What a domain can be told at most.
pub fn most<M: Machine>(hv: &Hypervisor<M>) -> &CpuidTable {
    &tables(hv).most
}

/// What a domain is told unless the toolstack says otherwise.
pub fn default<M: Machine>(hv: &Hypervisor<M>) -> &CpuidTable {
    &tables(hv).default
}
