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

/// The host, maximum and default policies, computed when the hypervisor is created.
pub struct SystemPolicies(Box<Tables>);

struct Tables {
    host: CpuidTable,
    most: CpuidTable,
    default: CpuidTable,
}

impl SystemPolicies {
    /// Computes the policies of a machine. Allocates memory that must be there: only at boot.
    #[expect(clippy::disallowed_methods, reason = "only at boot")]
    pub fn new<M: Machine>(machine: &M, capabilities: Capabilities) -> Self {
        let host = |leaf, subleaf| machine.cpuid(leaf, subleaf);
        Self(Box::new(Tables {
            host: CpuidTable::of_host(&host),
            most: CpuidTable::most_for_guest(&host, capabilities),
            default: CpuidTable::for_guest(&host, capabilities, false),
        }))
    }

    /// Returns the policy of the machine's CPUs (host policy).
    pub const fn host(&self) -> &CpuidTable {
        &self.0.host
    }

    /// Returns the most that a domain can be shown (maximum policy).
    pub const fn most(&self) -> &CpuidTable {
        &self.0.most
    }

    /// Returns what a domain is shown unless the toolstack says otherwise (default policy).
    pub const fn default_for_guest(&self) -> &CpuidTable {
        &self.0.default
    }
}
