//! The number of frames of each domain.

use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use xenolith_hal::DomId;
use xenolith_sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The frames of one domain. They stay counted until the last reference to them is gone, so an identifier may be
/// used again only when [`Account::is_empty`].
#[derive(Debug)]
pub struct Account {
    total: AtomicU32,
    max: AtomicU32,
    shared: AtomicU32,
    claimed: AtomicU32,
    /// Frames populated on demand, of those in `total`: frames that the domain frees are subtracted here first.
    on_demand: AtomicU32,
    /// How many of those the domain keeps, which therefore count against its maximum: all, until `keep_on_demand` says
    /// less.
    on_demand_kept: AtomicU32,
    /// Bytes of the hypervisor's heap that are charged to the domain, and its budget.
    heap: AtomicU64,
    max_heap: AtomicU64,
}

impl Account {
    fn new() -> Self {
        let none = || AtomicU32::new(0);
        Self {
            total: none(),
            max: none(),
            shared: none(),
            claimed: none(),
            on_demand: none(),
            on_demand_kept: AtomicU32::new(u32::MAX),
            heap: AtomicU64::new(0),
            max_heap: AtomicU64::new(u64::MAX),
        }
    }

    /// Returns the frames of the domain's own memory (Xen's `tot_pages`).
    pub fn total(&self) -> u32 {
        self.total.load(Ordering::Acquire)
    }

    /// Returns the most frames that the domain may have (Xen's `max_pages`).
    pub fn max(&self) -> u32 {
        self.max.load(Ordering::Acquire)
    }

    /// Sets the most frames; a lower number than it has takes nothing away.
    pub fn set_max(&self, pages: u32) {
        self.max.store(pages, Ordering::Release);
    }

    /// Sets how many of the frames that were populated on demand the domain keeps. Until it has freed the others, they
    /// do not count against its maximum.
    pub fn keep_on_demand(&self, pages: u32) {
        self.on_demand_kept.store(pages, Ordering::Release);
    }

    /// Returns the limit that holds until the domain has freed the frames that it is not to keep.
    fn limit(&self) -> u32 {
        let excess = self.on_demand.load(Ordering::Acquire).saturating_sub(self.on_demand_kept.load(Ordering::Acquire));
        match self.max() {
            // Nothing is given to a domain that is going.
            0 => 0,
            max => max.saturating_add(excess),
        }
    }

    /// Returns the hypervisor's frames that are shared with the domain.
    pub fn shared(&self) -> u32 {
        self.shared.load(Ordering::Acquire)
    }

    /// Returns the frames that are claimed for the domain and not allocated yet.
    pub fn claimed(&self) -> u32 {
        self.claimed.load(Ordering::Acquire)
    }

    /// Returns how many bytes of the hypervisor's heap are charged to the domain.
    pub fn heap_bytes(&self) -> u64 {
        self.heap.load(Ordering::Acquire)
    }

    /// Starts the heap account of a new domain, with a budget in bytes.
    pub fn begin_heap(&self, max_bytes: u64) {
        self.heap.store(0, Ordering::Release);
        self.max_heap.store(max_bytes, Ordering::Release);
    }

    /// Charges bytes of the heap to the domain; false, with nothing charged, if they would exceed its budget. They stay
    /// charged until the domain ends.
    #[must_use]
    pub fn charge_heap(&self, bytes: u64) -> bool {
        let max = self.max_heap.load(Ordering::Acquire);
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= max);
        self.heap.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// Returns charged bytes that were not allocated after all.
    pub fn uncharge_heap(&self, bytes: u64) {
        let _ = self.heap.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| Some(used.saturating_sub(bytes)));
    }

    /// Returns true if no frame belongs to the domain.
    pub fn is_empty(&self) -> bool {
        self.total() == 0 && self.shared() == 0
    }

    /// Counts frames in; returns false, with none counted, if they would exceed the maximum.
    #[must_use]
    pub(super) fn charge(&self, pages: u32) -> bool {
        let limit = self.limit();
        let more = |total: u32| total.checked_add(pages).filter(|total| *total <= limit);
        self.total.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// Counts in frames that are populated on demand: the maximum does not apply, unless it is 0.
    #[must_use]
    pub(super) fn charge_on_demand(&self, pages: u32) -> bool {
        let max = self.max();
        let more = |total: u32| total.checked_add(pages).filter(|_| max != 0);
        let counted = self.total.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok();
        if counted {
            self.on_demand.fetch_add(pages, Ordering::AcqRel);
        }
        counted
    }

    pub(super) fn uncharge(&self, pages: u32) {
        // In this order the limit is never further from the total than it may be.
        subtract(&self.on_demand, pages);
        subtract(&self.total, pages);
    }

    pub(super) fn add_shared(&self) {
        self.shared.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn remove_shared(&self) {
        subtract(&self.shared, 1);
    }

    /// Sets the claim. Only under the allocator's lock.
    pub(super) fn set_claimed(&self, pages: u32) {
        self.claimed.store(pages, Ordering::Release);
    }
}

fn subtract(counter: &AtomicU32, count: u32) {
    let _ = counter.fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| Some(old.saturating_sub(count)));
}

/// The accounts of all possible domains.
#[derive(Debug)]
pub struct Accounts(Box<[Account]>);

impl Accounts {
    /// Creates the accounts of `domains` domains.
    ///
    /// **Errors:** no memory.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn new(domains: u16) -> Result<Self, TryReserveError> {
        let mut accounts = Vec::new();
        accounts.try_reserve_exact(usize::from(domains))?;
        accounts.extend((0..domains).map(|_| Account::new()));
        Ok(Self(accounts.into_boxed_slice()))
    }

    /// Returns the account of a domain; None for an identifier that no domain can have.
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
    }

    #[test]
    fn what_was_populated_on_demand_counts_as_far_as_the_domain_is_to_keep_it() {
        let account = Account::new();
        assert!(!account.charge_on_demand(1), "a domain that may have nothing");
        account.set_max(5);
        assert!(account.charge_on_demand(10));
        assert!(!account.charge_on_demand(u32::MAX));
        account.keep_on_demand(4);
        assert!(account.charge(1), "what is not populated on demand still has a place");
        assert!(!account.charge(1));
        account.uncharge(3);
        assert!(!account.charge(1), "what it gave back is gone");
        account.uncharge(3);
        assert_eq!(account.total(), 5);
        assert!(!account.charge(1));
        account.uncharge(1);
        assert!(account.charge(1));
        account.uncharge(5);
        assert!(account.is_empty());
        assert!(!account.charge(6) && account.charge(5), "the maximum alone counts");
    }

    #[test]
    fn a_charge_past_the_budget_of_the_heap_counts_nothing() {
        let account = Account::new();
        account.begin_heap(100);
        assert!(account.charge_heap(60) && !account.charge_heap(41) && !account.charge_heap(u64::MAX));
        account.uncharge_heap(20);
        assert!(account.charge_heap(60));
        assert_eq!(account.heap_bytes(), 100);
        account.begin_heap(10);
        assert!(account.charge_heap(10), "another domain of the same number");
    }

    #[test]
    fn a_domain_that_is_going_gets_nothing() {
        let account = Account::new();
        account.set_max(1);
        assert!(account.charge_on_demand(4));
        account.set_max(0);
        assert!(!account.charge(1) && !account.charge_on_demand(1));
    }
}
