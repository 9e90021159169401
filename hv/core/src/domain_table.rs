//! The table of all domains.

use crate::domain::Domain;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering};
use xen_abi::{DomId, Errno};
use xenolith_hal::Machine;
use xenolith_sync::{RwSpinLock, rank};

/// Finds domains by number and keeps them in order of their numbers.
pub struct DomainTable<M: Machine> {
    list: RwSpinLock<Vec<Arc<Domain<M>>>, rank::DomainList>,
    /// Somebody makes, changes or ends a domain.
    in_control: AtomicBool,
    /// The number that was given out last.
    last_number: AtomicU16,
    /// Domains of which others still use pages.
    dead: AtomicU32,
}

/// The right to make, change and end domains: one CPU has it at a time.
pub struct InControl<'a>(&'a AtomicBool);

impl Drop for InControl<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl<M: Machine> Default for DomainTable<M> {
    fn default() -> Self {
        Self {
            list: RwSpinLock::new(Vec::new()),
            in_control: AtomicBool::new(false),
            last_number: AtomicU16::new(0),
            dead: AtomicU32::new(0),
        }
    }
}

impl<M: Machine> DomainTable<M> {
    /// The right to make, change and end domains; none while another CPU has it. Nobody waits for it: a call that
    /// does not get it is made again.
    pub fn take_control(&self) -> Option<InControl<'_>> {
        (!self.in_control.swap(true, Ordering::Acquire)).then_some(InControl(&self.in_control))
    }

    /// A number that no domain has, other than 0 and than those given out last; none if all are taken. Only for
    /// whoever is in control.
    pub fn free_number(&self) -> Option<DomId> {
        let last = self.last_number.load(Ordering::Relaxed);
        let rest = last.saturating_add(1)..DomId::FIRST_RESERVED.0;
        let number = rest.chain(1..=last).find(|number| self.get(DomId(*number)).is_none())?;
        self.last_number.store(number, Ordering::Relaxed);
        Some(DomId(number))
    }

    /// The domain with this number.
    pub fn get(&self, id: DomId) -> Option<Arc<Domain<M>>> {
        let list = self.list.read();
        let place = list.binary_search_by_key(&id, |domain| domain.id).ok()?;
        list.get(place).cloned()
    }

    /// The first domain whose number is `id` or above.
    pub fn first_from(&self, id: DomId) -> Option<Arc<Domain<M>>> {
        let list = self.list.read();
        let place = list.partition_point(|domain| domain.id < id);
        list.get(place).cloned()
    }

    /// How many domains there are.
    pub fn count(&self) -> u32 {
        u32::try_from(self.list.read().len()).unwrap_or(u32::MAX)
    }

    /// Adds a domain.
    ///
    /// **Errors:** `EEXIST` if the number is taken, `ENOMEM` if memory is short.
    pub fn insert(&self, domain: Arc<Domain<M>>) -> Result<(), Errno> {
        let mut list = self.list.write();
        let Err(place) = list.binary_search_by_key(&domain.id, |other| other.id) else {
            return Err(Errno::EEXIST);
        };
        list.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        list.insert(place, domain);
        Ok(())
    }

    /// One more domain is dead.
    pub(crate) fn note_dead(&self) {
        self.dead.fetch_add(1, Ordering::SeqCst);
    }

    /// True while there are dead domains in the list.
    pub fn has_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst) != 0
    }

    /// Takes the first dead domain out for which `gone` says so; others may still hold it.
    pub(crate) fn remove_first(&self, gone: impl Fn(&Domain<M>) -> bool) -> Option<Arc<Domain<M>>> {
        let mut list = self.list.write();
        let place = list.iter().position(|domain| gone(domain))?;
        let removed = list.remove(place);
        drop(list);
        self.dead.fetch_sub(1, Ordering::SeqCst);
        Some(removed)
    }
}
