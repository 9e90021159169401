//! How many frames each domain has.

use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use xenolith_hal::DomId;
use xenolith_sync::atomic::{AtomicU32, Ordering};

/// The frames of one domain. They stay counted until the last reference to them is gone, so an identifier may be
/// used again only when [`Account::is_empty`].
#[derive(Debug)]
pub struct Account {
    total: AtomicU32,
    max: AtomicU32,
    shared: AtomicU32,
    claimed: AtomicU32,
}

impl Account {
    fn new() -> Self {
        Self { total: AtomicU32::new(0), max: AtomicU32::new(0), shared: AtomicU32::new(0), claimed: AtomicU32::new(0) }
    }

    /// Frames of the domain's own memory.
    pub fn total(&self) -> u32 {
        self.total.load(Ordering::Acquire)
    }

    /// The most frames that the domain may have.
    pub fn max(&self) -> u32 {
        self.max.load(Ordering::Acquire)
    }

    /// Changes the most frames; a lower number than it has takes nothing away.
    pub fn set_max(&self, pages: u32) {
        self.max.store(pages, Ordering::Release);
    }

    /// Frames of the hypervisor's that the domain sees.
    pub fn shared(&self) -> u32 {
        self.shared.load(Ordering::Acquire)
    }

    /// Frames that are kept for the domain and not allocated yet.
    pub fn claimed(&self) -> u32 {
        self.claimed.load(Ordering::Acquire)
    }

    /// True when no frame belongs to the domain.
    pub fn is_empty(&self) -> bool {
        self.total() == 0 && self.shared() == 0
    }

    /// Counts frames in; false, and none counted, if they would pass the maximum.
    #[must_use]
    pub(super) fn charge(&self, pages: u32) -> bool {
        let max = self.max();
        let more = |total: u32| total.checked_add(pages).filter(|total| *total <= max);
        self.total.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// The same, where the maximum does not count. One of 0 always does: nothing is given to a domain that is going.
    #[must_use]
    pub(super) fn charge_past_maximum(&self, pages: u32) -> bool {
        let max = self.max();
        let more = |total: u32| total.checked_add(pages).filter(|_| max != 0);
        self.total.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    pub(super) fn uncharge(&self, pages: u32) {
        subtract(&self.total, pages);
    }

    pub(super) fn add_shared(&self) {
        self.shared.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn remove_shared(&self) {
        subtract(&self.shared, 1);
    }

    /// Only under the allocator's lock.
    pub(super) fn set_claimed(&self, pages: u32) {
        self.claimed.store(pages, Ordering::Release);
    }
}

fn subtract(counter: &AtomicU32, count: u32) {
    let _ = counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| Some(old.saturating_sub(count)));
}

/// The accounts of all domains that can be.
#[derive(Debug)]
pub struct Accounts(Box<[Account]>);

impl Accounts {
    /// **Errors:** no memory.
    pub fn new(domains: u16) -> Result<Self, TryReserveError> {
        let mut accounts = Vec::new();
        accounts.try_reserve_exact(usize::from(domains))?;
        accounts.extend((0..domains).map(|_| Account::new()));
        Ok(Self(accounts.into_boxed_slice()))
    }

    /// The account of a domain; none for an identifier that no domain can have.
    pub fn get(&self, domain: DomId) -> Option<&Account> {
        self.0.get(usize::from(domain.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_past_the_maximum_counts_nothing() {
        let account = Account::new();
        account.set_max(3);
        assert!(account.charge(2));
        assert!(!account.charge(2));
        assert!(!account.charge(u32::MAX));
        assert_eq!(account.total(), 2);
        assert!(account.charge_past_maximum(2));
        assert!(!account.charge_past_maximum(u32::MAX));
        assert!(!account.charge(1));
        account.uncharge(4);
        assert!(account.is_empty());
        account.set_max(0);
        assert!(!account.charge_past_maximum(1));
    }
}
