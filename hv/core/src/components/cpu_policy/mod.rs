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
use xenolith_sync::Once;

/// The host, maximum and default policies, computed when they are first asked for.
#[derive(Default)]
pub struct SystemPolicies(Once<Box<Tables>>);

struct Tables {
    host: CpuidTable,
    most: CpuidTable,
    default: CpuidTable,
}

impl SystemPolicies {
    fn tables<M: Machine>(&self, machine: &M, capabilities: Capabilities) -> &Tables {
        self.0.get_or_init(|| {
            let host = |leaf, subleaf| machine.cpuid(leaf, subleaf);
            Box::new(Tables {
                host: CpuidTable::of_host(&host),
                most: CpuidTable::most_for_guest(&host, capabilities),
                default: CpuidTable::for_guest(&host, capabilities, false),
            })
        })
    }

    /// Returns the policy of the machine's CPUs (host policy).
    pub fn host<M: Machine>(&self, machine: &M, capabilities: Capabilities) -> &CpuidTable {
        &self.tables(machine, capabilities).host
    }

    /// Returns the most that a domain can be shown (maximum policy).
    pub fn most<M: Machine>(&self, machine: &M, capabilities: Capabilities) -> &CpuidTable {
        &self.tables(machine, capabilities).most
    }

    /// Returns what a domain is shown unless the toolstack says otherwise (default policy).
    pub fn default_for_guest<M: Machine>(&self, machine: &M, capabilities: Capabilities) -> &CpuidTable {
        &self.tables(machine, capabilities).default
    }
}
