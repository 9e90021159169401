//! The ring of a domain: a page with two byte streams, which the domain may change at any moment.

use std::ops::Deref;

use mapped_memory::Mapping;
use xen_abi::io::byte_ring;
use xen_abi::io::xenstore as wire;

/// Offsets in the page. **Source:** `docs/misc/xenstore-ring.txt`.
mod at {
    pub const REQUESTS: usize = 0;
    pub const RESPONSES: usize = 1024;
    pub const REQ_CONS: usize = 2048;
    pub const REQ_PROD: usize = 2052;
    pub const RSP_CONS: usize = 2056;
    pub const RSP_PROD: usize = 2060;
    pub const FEATURES: usize = 2064;
    pub const CONNECTION: usize = 2068;
    pub const ERROR: usize = 2072;
}

const SIZE: u32 = wire::XENSTORE_RING_SIZE as u32;

/// The indexes of a ring are not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// A ring. Its own indexes are kept here; the page has a copy for the domain.
pub struct Ring {
    page: Box<dyn Deref<Target = Mapping> + Send>,
    /// Local event channel port.
    pub port: u32,
    taken: u32,
    given: u32,
    /// The domain broke the protocol: the ring is not read until the domain asks for a reconnection.
    pub is_broken: bool,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut all = formatter.debug_struct("Ring");
        all.field("port", &self.port).field("taken", &self.taken).field("given", &self.given).finish_non_exhaustive()
    }
}

impl Ring {
    /// Uses a page in its current state.
    #[must_use]
    pub fn new(page: Box<dyn Deref<Target = Mapping> + Send>, port: u32) -> Self {
        let (taken, given) = (page.load_u32(at::REQ_CONS), page.load_u32(at::RSP_PROD));
        let features = wire::XENSTORE_SERVER_FEATURE_RECONNECTION | wire::XENSTORE_SERVER_FEATURE_ERROR;
        page.store_u32(at::FEATURES, features);
        let is_broken = page.load_u32(at::ERROR) != wire::XENSTORE_ERROR_NONE;
        Self { page, port, taken, given, is_broken }
    }

    /// Returns the number of bytes taken in all, modulo 2^32.
    #[must_use]
    pub const fn taken(&self) -> u32 {
        self.taken
    }

    /// Returns the number of bytes put in all, modulo 2^32.
    #[must_use]
    pub const fn given(&self) -> u32 {
        self.given
    }

    /// Reads up to `most` bytes without taking them; [`Ring::take`] does that.
    ///
    /// **Errors:** the indexes claim more bytes than the ring has.
    pub fn peek(&self, most: usize) -> Result<Vec<u8>, Broken> {
        let waiting = byte_ring::waiting(SIZE, self.page.load_u32(at::REQ_PROD), self.taken).ok_or(Broken)?;
        let mut bytes = vec![0; most.min(waiting as usize)];
        for (start, part) in parts(self.taken, &mut bytes) {
            self.page.read(at::REQUESTS + start, part);
        }
        Ok(bytes)
    }

    /// Takes `count` bytes, which were copied out before.
    pub fn take(&mut self, count: usize) {
        self.taken = self.taken.wrapping_add(u32::try_from(count).unwrap_or(0));
        self.page.store_u32(at::REQ_CONS, self.taken);
    }

    /// Puts as many of these bytes as there is room for, and returns their number.
    ///
    /// **Errors:** the indexes claim more bytes than the ring has.
    pub fn give(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let free = byte_ring::free(SIZE, self.given, self.page.load_u32(at::RSP_CONS)).ok_or(Broken)?;
        let mut bytes = bytes.get(..free as usize).unwrap_or(bytes).to_vec();
        for (start, part) in parts(self.given, &mut bytes) {
            self.page.write(at::RESPONSES + start, part);
        }
        self.given = self.given.wrapping_add(u32::try_from(bytes.len()).unwrap_or(0));
        self.page.store_u32(at::RSP_PROD, self.given);
        Ok(bytes.len())
    }

    /// Returns whether the domain asks for a reconnection.
    #[must_use]
    pub fn asks_anew(&self) -> bool {
        self.page.load_u32(at::CONNECTION) == wire::XENSTORE_RECONNECT
    }

    /// Empties both directions and completes the reconnection.
    pub fn connect_anew(&mut self) {
        (self.taken, self.given, self.is_broken) = (0, 0, false);
        for index in [at::REQ_CONS, at::REQ_PROD, at::RSP_CONS, at::RSP_PROD, at::ERROR] {
            self.page.store_u32(index, 0);
        }
        self.page.store_u32(at::CONNECTION, wire::XENSTORE_CONNECTED);
    }

    /// Reports to the domain that its ring is not read any more, with the reason: an `XENSTORE_ERROR_*`.
    pub fn give_up(&mut self, why: u32) {
        self.is_broken = true;
        self.page.store_u32(at::ERROR, why);
    }
}

/// Splits bytes where the ring wraps around, and returns the offset of each part.
fn parts(index: u32, bytes: &mut [u8]) -> impl Iterator<Item = (usize, &mut [u8])> {
    let start = byte_ring::position(SIZE, index);
    let before_end = (SIZE as usize).saturating_sub(start).min(bytes.len());
    let (first, second) = bytes.split_at_mut(before_end);
    [(start, first), (0, second)].into_iter()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn ring() -> (Ring, Arc<Mapping>) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let page = Arc::new(Mapping::of_file(&file, 0, 4096).unwrap());
        page.store_u32(at::REQ_CONS, u32::MAX - 10);
        page.store_u32(at::REQ_PROD, u32::MAX - 10);
        let shared: Box<dyn Deref<Target = Mapping> + Send> = Box::new(page.clone());
        (Ring::new(shared, 3), page)
    }

    #[test]
    fn bytes_come_out_as_they_went_in_across_the_end_of_the_ring_and_of_the_count() {
        let (mut ring, page) = ring();
        let bytes: Vec<u8> = (0..100).collect();
        for &byte in &bytes {
            let index = page.load_u32(at::REQ_PROD);
            page.write(index as usize % 1024, &[byte]);
            page.store_u32(at::REQ_PROD, index.wrapping_add(1));
        }
        assert_eq!(ring.peek(40).unwrap(), bytes[..40]);
        ring.take(40);
        assert_eq!(ring.peek(1000).unwrap(), bytes[40..]);
        assert_eq!(page.load_u32(at::REQ_CONS), (u32::MAX - 10).wrapping_add(40));
    }

    #[test]
    fn no_more_is_given_than_there_is_room_for() {
        let (mut ring, page) = ring();
        assert_eq!(ring.give(&[1; 3000]).unwrap(), 1024);
        assert_eq!(ring.give(&[1]).unwrap(), 0);
        page.store_u32(at::RSP_CONS, 10);
        assert_eq!(ring.give(&[2; 20]).unwrap(), 10);
        assert_eq!(ring.given(), 1034);
    }

    #[test]
    fn indexes_that_cannot_be_are_found_and_a_new_connection_mends_them() {
        let (mut ring, page) = ring();
        page.store_u32(at::REQ_PROD, ring.taken().wrapping_add(5000));
        assert_eq!(ring.peek(1), Err(Broken));
        page.store_u32(at::RSP_CONS, 1);
        assert_eq!(ring.give(&[1]), Err(Broken));
        ring.give_up(wire::XENSTORE_ERROR_RINGIDX);
        assert_eq!(page.load_u32(at::ERROR), 2);
        page.store_u32(at::CONNECTION, 1);
        assert!(ring.asks_anew());
        ring.connect_anew();
        assert_eq!((ring.peek(1), ring.give(&[1]), page.load_u32(at::ERROR)), (Ok(vec![]), Ok(1), 0));
        assert!(!ring.asks_anew());
    }
}
