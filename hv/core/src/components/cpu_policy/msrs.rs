//! The MSRs that tell a domain about its CPU.

use xen_abi::Errno;
use xen_abi::cpu_policy::MsrEntry;

/// What the platform can do. Bit 31: CPUID can fault outside the kernel, which is emulated for every domain.
const PLATFORM_INFO: u32 = 0xce;
const CPUID_FAULTING: u64 = 1 << 31;
/// What the CPU's architecture has or has not, of which nothing is told.
const ARCH_CAPABILITIES: u32 = 0x10a;

/// The most entries that a list can have.
pub const MOST_MSRS: u32 = 2;

/// What the MSRs that describe a CPU hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DomainMsrs {
    platform_info: u64,
}

impl DomainMsrs {
    /// Of the machine, as far as any of it is used.
    pub const HOST: Self = Self { platform_info: 0 };
    /// Of a domain, at most and by default.
    pub const DOMAIN: Self = Self { platform_info: CPUID_FAULTING };

    /// As a list.
    #[must_use]
    pub const fn listed(&self) -> [MsrEntry; MOST_MSRS as usize] {
        [
            MsrEntry { idx: PLATFORM_INFO, flags: 0, val: self.platform_info },
            MsrEntry { idx: ARCH_CAPABILITIES, flags: 0, val: 0 },
        ]
    }

    /// Checks an entry of a list that a domain is to have.
    ///
    /// **Errors:** `EINVAL` for flags, and for a value that a domain cannot have; `EOVERFLOW` for one that the MSR
    /// cannot have; `ERANGE` for an MSR that no list has.
    pub const fn check(entry: &MsrEntry) -> Result<(), Errno> {
        match entry.idx {
            _ if entry.flags != 0 => Err(Errno::EINVAL),
            PLATFORM_INFO if entry.val >> 32 != 0 => Err(Errno::EOVERFLOW),
            PLATFORM_INFO if entry.val & !CPUID_FAULTING == 0 => Ok(()),
            ARCH_CAPABILITIES if entry.val == 0 => Ok(()),
            PLATFORM_INFO | ARCH_CAPABILITIES => Err(Errno::EINVAL),
            _ => Err(Errno::ERANGE),
        }
    }
}
