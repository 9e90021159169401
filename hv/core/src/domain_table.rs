//! The table of all domains.

use crate::domain::Domain;
use alloc::sync::Arc;
use alloc::vec::Vec;
use xen_abi::{DomId, Errno};
use xenolith_hal::Machine;
use xenolith_sync::{RwSpinLock, rank};

/// Finds domains by number and keeps them in order of their numbers.
pub struct DomainTable<M: Machine> {
    list: RwSpinLock<Vec<Arc<Domain<M>>>, rank::DomainList>,
}

impl<M: Machine> Default for DomainTable<M> {
    fn default() -> Self {
        Self { list: RwSpinLock::new(Vec::new()) }
    }
}

impl<M: Machine> DomainTable<M> {
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

    /// Takes a domain out; others may still hold it.
    pub fn remove(&self, id: DomId) -> Option<Arc<Domain<M>>> {
        let mut list = self.list.write();
        let place = list.binary_search_by_key(&id, |domain| domain.id).ok()?;
        Some(list.remove(place))
    }
}
