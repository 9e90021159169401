//! CPU policies: the CPUID and MSR values of the machine, the most that any domain can be shown, a domain's default,
//! and one domain's as the toolstack chose it.

mod kept;
mod msrs;
mod transfer;

pub use kept::KeptCpuid;
pub use msrs::{DomainMsrs, MOST_MSRS};
pub use transfer::{put_leaves, put_msrs};

use alloc::boxed::Box;
use xenolith_devices::cpuid::{Capabilities, CpuidTable};
use xenolith_hal::Machine;

/// What the machine can tell and what domains can be told, worked out once.
pub struct SystemPolicies(Box<Tables>);

struct Tables {
    host: CpuidTable,
    most: CpuidTable,
    default: CpuidTable,
}

impl SystemPolicies {
    /// Those of a machine. Takes memory that must be there: when the hypervisor is made.
    pub fn new<M: Machine>(machine: &M, capabilities: Capabilities) -> Self {
        let host = |leaf, subleaf| machine.cpuid(leaf, subleaf);
        Self(Box::new(Tables {
            host: CpuidTable::of_host(&host),
            most: CpuidTable::most_for_guest(&host, capabilities),
            default: CpuidTable::for_guest(&host, capabilities, false),
        }))
    }

    /// What the machine's CPUs say of themselves.
    pub const fn host(&self) -> &CpuidTable {
        &self.0.host
    }

    /// What a domain can be told at most.
    pub const fn most(&self) -> &CpuidTable {
        &self.0.most
    }

    /// What a domain is told unless the toolstack says otherwise.
    pub const fn default_for_guest(&self) -> &CpuidTable {
        &self.0.default
    }
}
