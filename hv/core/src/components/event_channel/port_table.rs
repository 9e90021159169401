//! The ports of a domain: a table that grows by buckets and never shrinks while the domain lives.

use super::port_state::PortCell;
use alloc::vec::Vec;
use xen_abi::event_fifo::EVTCHN_FIFO_NR_CHANNELS;
use xen_abi::{Errno, Port};
use xenolith_sync::Once;
use xenolith_sync::atomic::{AtomicU32, Ordering};

/// How many ports are created together. A guest can tell: a port of a bucket that does not exist yet has no status.
pub const PORTS_PER_BUCKET: u32 = if cfg!(loom) { 4 } else { 64 };
const BUCKETS_PER_GROUP: u32 = if cfg!(loom) { 1 } else { 64 };
const GROUPS: usize =
    if cfg!(loom) { 1 } else { (EVTCHN_FIFO_NR_CHANNELS / (PORTS_PER_BUCKET * BUCKETS_PER_GROUP)) as usize };

/// What one more bucket takes of the heap, in bytes, its share of the table and of the sets of ports included.
pub const BUCKET_BYTES: u64 =
    PORTS_PER_BUCKET as u64 * size_of::<PortCell>() as u64 + 2 * size_of::<Once<Bucket>>() as u64;

type Bucket = Vec<PortCell>;
type Group = Vec<Once<Bucket>>;

/// Reading takes no lock: buckets are only ever added.
pub(super) struct PortTable {
    groups: [Once<Group>; GROUPS],
    /// The number of ports: they are those below it.
    valid: AtomicU32,
}

/// Makes `count` values without ever allocating more memory than that.
#[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
fn fallible<T>(count: u32, make: impl FnMut() -> T) -> Result<Vec<T>, Errno> {
    let mut values = Vec::new();
    values.try_reserve_exact(count as usize).map_err(|_| Errno::ENOMEM)?;
    values.extend(core::iter::repeat_with(make).take(count as usize));
    Ok(values)
}

impl PortTable {
    pub(super) fn new() -> Self {
        Self { groups: core::array::from_fn(|_| Once::new()), valid: AtomicU32::new(0) }
    }

    /// Returns how many ports there are.
    pub(super) fn valid(&self) -> u32 {
        self.valid.load(Ordering::Acquire)
    }

    /// Returns a port, bound or not; None if its bucket does not exist yet.
    #[inline]
    pub(super) fn get(&self, port: Port) -> Option<&PortCell> {
        let bucket = port.0 / PORTS_PER_BUCKET;
        let group = self.groups.get((bucket / BUCKETS_PER_GROUP) as usize)?.get()?;
        let bucket = group.get((bucket % BUCKETS_PER_GROUP) as usize)?.get()?;
        bucket.get((port.0 % PORTS_PER_BUCKET) as usize)
    }

    /// Adds the next bucket. Only with the domain's lock.
    ///
    /// **Errors:** `ENOMEM`; `ENOSPC` if the table is as large as it can be.
    pub(super) fn grow(&self) -> Result<(), Errno> {
        let valid = self.valid();
        let bucket = valid / PORTS_PER_BUCKET;
        let slot = self.groups.get((bucket / BUCKETS_PER_GROUP) as usize).ok_or(Errno::ENOSPC)?;
        let group = match slot.get() {
            Some(group) => group,
            None => slot.set(fallible(BUCKETS_PER_GROUP, Once::new)?).map_err(|_| Errno::EBUSY)?,
        };
        let slot = group.get((bucket % BUCKETS_PER_GROUP) as usize).ok_or(Errno::ENOSPC)?;
        slot.set(fallible(PORTS_PER_BUCKET, PortCell::default)?).map_err(|_| Errno::EBUSY)?;
        self.valid.store(valid.saturating_add(PORTS_PER_BUCKET), Ordering::Release);
        Ok(())
    }

    /// Returns all ports that there are, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Port, &PortCell)> {
        (0..self.valid()).filter_map(|port| Some((Port(port), self.get(Port(port))?)))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn ports_come_by_buckets_up_to_the_limit_of_the_interface() {
        let table = PortTable::new();
        assert!(table.get(Port(0)).is_none());
        table.grow().unwrap();
        assert!(table.get(Port(63)).is_some());
        assert!(table.get(Port(64)).is_none());
        while table.grow().is_ok() {}
        assert_eq!(table.valid(), EVTCHN_FIFO_NR_CHANNELS);
        assert_eq!(table.grow(), Err(Errno::ENOSPC));
        assert!(table.get(Port(EVTCHN_FIFO_NR_CHANNELS - 1)).is_some());
        assert!(table.get(Port(u32::MAX)).is_none());
    }
}
