//! The MSRs of a CPU policy.

use xen_abi::Errno;
use xen_abi::cpu_policy::MsrEntry;

/// PLATFORM_INFO. Bit 31: CPUID can fault outside the kernel, which is emulated for every domain.
const PLATFORM_INFO: u32 = 0xce;
const CPUID_FAULTING: u64 = 1 << 31;
/// ARCH_CAPABILITIES, of which no bit is shown.
const ARCH_CAPABILITIES: u32 = 0x10a;

/// The most entries that a list can have.
pub const MOST_MSRS: u32 = 2;

/// The values of the MSRs that describe a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DomainMsrs {
    platform_info: u64,
}

impl DomainMsrs {
    /// The machine's, as far as any of it is used.
    pub const HOST: Self = Self { platform_info: 0 };
    /// A domain's, at most and by default.
    pub const DOMAIN: Self = Self { platform_info: CPUID_FAULTING };

    /// Returns them as a list.
    #[must_use]
    pub const fn listed(&self) -> [MsrEntry; MOST_MSRS as usize] {
        [
            MsrEntry { idx: PLATFORM_INFO, flags: 0, val: self.platform_info },
            MsrEntry { idx: ARCH_CAPABILITIES, flags: 0, val: 0 },
        ]
    }

    /// Checks an entry of a list for a domain.
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
