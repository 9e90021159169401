//! What CPUID and MSRs tell domains: of the machine, of any domain at most, of a domain by default, and of one domain
//! as the toolstack chose it.

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

/// What the machine can tell and what domains can be told, worked out when it is first asked for.
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

    /// What the machine's CPUs say of themselves.
    pub fn host<M: Machine>(&self, machine: &M, capabilities: Capabilities) -> &CpuidTable {
        &self.tables(machine, capabilities).host
    }

    /// What a domain can be told at most.
    pub fn most<M: Machine>(&self, machine: &M, capabilities: Capabilities) -> &CpuidTable {
        &self.tables(machine, capabilities).most
    }

    /// What a domain is told unless the toolstack says otherwise.
    pub fn default_for_guest<M: Machine>(&self, machine: &M, capabilities: Capabilities) -> &CpuidTable {
        &self.tables(machine, capabilities).default
    }
}
