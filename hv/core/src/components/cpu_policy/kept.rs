//! The CPUID table of one domain.

use alloc::vec::Vec;
use xen_abi::Errno;
use xenolith_devices::cpuid::CpuidTable;
use xenolith_sync::Once;

/// How often the table of a domain may be replaced.
const MOST_REPLACEMENTS: u32 = 16;

/// The CPUID table of a domain. It may be replaced while others read it: each replacement is linked behind the one
/// before and the last one counts, so reading takes no lock. Toolstacks replace it once or twice, before the domain
/// runs.
pub struct KeptCpuid {
    table: CpuidTable,
    /// Empty, or the one replacement.
    next: Once<Vec<KeptCpuid>>,
}

impl KeptCpuid {
    /// Creates a domain's first table.
    pub fn new(table: CpuidTable) -> Self {
        Self { table, next: Once::new() }
    }

    fn last(&self) -> (&Self, u32) {
        let (mut at, mut depth) = (self, 0u32);
        while let Some(next) = at.next.get().and_then(|next| next.first()) {
            at = next;
            depth = depth.wrapping_add(1);
        }
        (at, depth)
    }

    /// Returns the current table.
    #[inline]
    pub fn table(&self) -> &CpuidTable {
        &self.last().0.table
    }

    /// Replaces the current table.
    ///
    /// **Errors:** `ENOMEM`; `EBUSY` if another CPU is replacing it right now; `ENOSPC` after 16 times.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn replace(&self, table: CpuidTable) -> Result<(), Errno> {
        let (last, depth) = self.last();
        if depth >= MOST_REPLACEMENTS {
            return Err(Errno::ENOSPC);
        }
        let mut next = Vec::new();
        next.try_reserve_exact(1).map_err(|_| Errno::ENOMEM)?;
        next.push(Self::new(table));
        last.next.set(next).map(|_| ()).map_err(|_| Errno::EBUSY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenolith_hal::CpuidRegisters;

    fn table(signature: u32) -> CpuidTable {
        CpuidTable::of_host(&|leaf, _| CpuidRegisters {
            eax: if leaf == 0 { 13 } else { signature },
            ..CpuidRegisters::default()
        })
    }

    #[test]
    fn the_last_table_counts_until_there_are_too_many() {
        let kept = KeptCpuid::new(table(0));
        for signature in 1..=MOST_REPLACEMENTS {
            assert_eq!(kept.replace(table(signature)), Ok(()));
            assert_eq!(kept.table().leaf(1, 0).eax, signature);
        }
        assert_eq!(kept.replace(table(99)), Err(Errno::ENOSPC));
        assert_eq!(kept.table().leaf(1, 0).eax, MOST_REPLACEMENTS);
    }
}
