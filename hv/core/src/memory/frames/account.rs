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
    /// Free frames that are kept for what the domain will populate on demand; see [`Frames::set_cache`](super::Frames::set_cache).
    cached: AtomicU32,
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
            cached: none(),
            heap: AtomicU64::new(0),
            max_heap: AtomicU64::new(u64::MAX),
        }
    }

    /// Returns the frames of the domain's own memory.
    pub fn total(&self) -> u32 {
        self.total.load(Ordering::Acquire)
    }

    /// Returns the frames of the domain's own memory, and of its cache (Xen's `tot_pages`).
    pub fn total_with_cache(&self) -> u32 {
        self.total().saturating_add(self.cached())
    }

    /// Returns how many free frames are kept for what the domain will populate on demand.
    pub fn cached(&self) -> u32 {
        self.cached.load(Ordering::Acquire)
    }

    /// Returns the most frames that the domain may have (Xen's `max_pages`).
    pub fn max(&self) -> u32 {
        self.max.load(Ordering::Acquire)
    }

    /// Sets the most frames; a lower number than it has takes nothing away.
    pub fn set_max(&self, pages: u32) {
        self.max.store(pages, Ordering::Release);
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
        let limit = self.max().saturating_sub(self.cached());
        let more = |total: u32| total.checked_add(pages).filter(|total| *total <= limit);
        self.total.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// Counts in frames that were kept for the domain, which counted against its maximum then.
    pub(super) fn charge_cached(&self, pages: u32) {
        self.total.fetch_add(pages, Ordering::AcqRel);
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

    /// Sets the claim. Only under the allocator's lock.
    pub(super) fn set_claimed(&self, pages: u32) {
        self.claimed.store(pages, Ordering::Release);
    }

    /// Sets the number of frames that are kept. Only under the allocator's lock.
    pub(super) fn set_cached(&self, pages: u32) {
        self.cached.store(pages, Ordering::Release);
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
    fn what_is_kept_for_later_counts_against_the_maximum() {
        let account = Account::new();
        account.set_max(5);
        account.set_cached(3);
        assert!(!account.charge(3) && account.charge(2));
        account.charge_cached(1);
        account.set_cached(2);
        assert_eq!((account.total(), account.total_with_cache()), (3, 5));
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
}
