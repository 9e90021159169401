//! Rings of requests and responses: the arithmetic, and where the indexes lie.
//!
//! A ring is a header of [`RING_HEADER_SIZE`] bytes and a power of two of entries, each big enough for a request
//! and a response. Indexes count up and wrap at 2^32. The other side can write any value at any moment: read an
//! index once, check it with these functions, and copy an entry before looking at it.
//! **Source:** `io/ring.h`.

use crate::describe::constants;

constants! {
    table CONSTANTS;
    /// Bytes before the first entry.
    pub const RING_HEADER_SIZE: usize = 64 => "offsetof(struct blkif_sring, ring)";
    /// Offset of the index after the last request, a `u32` written by the frontend.
    pub const RING_REQ_PROD: usize = 0 => "offsetof(struct blkif_sring, req_prod)";
    /// Offset of the index at which the backend wants to be notified, a `u32` written by the backend.
    pub const RING_REQ_EVENT: usize = 4 => "offsetof(struct blkif_sring, req_event)";
    /// Offset of the index after the last response, a `u32` written by the backend.
    pub const RING_RSP_PROD: usize = 8 => "offsetof(struct blkif_sring, rsp_prod)";
    /// Offset of the index at which the frontend wants to be notified, a `u32` written by the frontend.
    pub const RING_RSP_EVENT: usize = 12 => "offsetof(struct blkif_sring, rsp_event)";
}

/// A ring's measures: how many entries it has, and how big they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingShape {
    entries: u32,
    entry_size: usize,
}

impl RingShape {
    /// Returns the ring that fits `bytes` bytes of shared memory, of entries for a `Request` or a `Response`; none if
    /// not even one entry fits.
    #[must_use]
    pub fn fitting<Request, Response>(bytes: usize) -> Option<Self> {
        let entry_size = size_of::<Request>().max(size_of::<Response>());
        let room = bytes.checked_sub(RING_HEADER_SIZE)?.checked_div(entry_size)?;
        let room = u32::try_from(room).ok()?;
        Some(Self { entries: 1 << room.checked_ilog2()?, entry_size })
    }

    /// Returns how many entries there are: a power of two.
    #[must_use]
    pub const fn entries(self) -> u32 {
        self.entries
    }

    /// Returns the offset of the entry for an index, in bytes from the start of the ring; always inside it.
    #[must_use]
    pub const fn offset_of(self, index: u32) -> usize {
        let inside = (index & self.entries.wrapping_sub(1)) as usize;
        RING_HEADER_SIZE.wrapping_add(inside.wrapping_mul(self.entry_size))
    }
}

/// The frontend's own view of a ring: it writes requests and reads responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontRing {
    shape: RingShape,
    /// Index of the next request to write.
    pub req_prod: u32,
    /// Index of the next response to read.
    pub rsp_cons: u32,
}

impl FrontRing {
    /// Creates the view of a ring that has just been set up.
    #[must_use]
    pub const fn new(shape: RingShape) -> Self {
        Self { shape, req_prod: 0, rsp_cons: 0 }
    }

    /// Returns the ring's measures.
    #[must_use]
    pub const fn shape(self) -> RingShape {
        self.shape
    }

    /// Returns how many requests there is room for.
    #[must_use]
    pub const fn free_requests(self) -> u32 {
        self.shape.entries.saturating_sub(self.req_prod.wrapping_sub(self.rsp_cons))
    }

    /// Returns how many responses wait, given the shared index; none if the backend claims more than were asked for.
    #[must_use]
    pub fn waiting_responses(self, shared_rsp_prod: u32) -> Option<u32> {
        let waiting = shared_rsp_prod.wrapping_sub(self.rsp_cons);
        (waiting <= self.req_prod.wrapping_sub(self.rsp_cons)).then_some(waiting)
    }
}

/// The backend's own view of a ring: it reads requests and writes responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackRing {
    shape: RingShape,
    /// Index of the next response to write.
    pub rsp_prod: u32,
    /// Index of the next request to read.
    pub req_cons: u32,
}

impl BackRing {
    /// Creates the view of a ring that has just been set up.
    #[must_use]
    pub const fn new(shape: RingShape) -> Self {
        Self { shape, rsp_prod: 0, req_cons: 0 }
    }

    /// Returns the ring's measures.
    #[must_use]
    pub const fn shape(self) -> RingShape {
        self.shape
    }

    /// Returns how many requests wait, given the shared index; none if the frontend claims more than the ring can hold
    /// besides the requests that have no response yet.
    #[must_use]
    pub fn waiting_requests(self, shared_req_prod: u32) -> Option<u32> {
        let in_ring = shared_req_prod.wrapping_sub(self.rsp_prod);
        let read = self.req_cons.wrapping_sub(self.rsp_prod);
        (in_ring <= self.shape.entries).then(|| in_ring.checked_sub(read)).flatten()
    }
}

/// Returns whether the other side wants to be notified once the shared index has gone from `old` to `new`, given the
/// index at which it asked to be. Read that index after writing the new one, with a full barrier between.
#[must_use]
pub const fn must_notify(old: u32, new: u32, event: u32) -> bool {
    new.wrapping_sub(event) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::{BackRing, FrontRing, RingShape, must_notify};
    use crate::io::blkif::{BLKIF_RING_ENTRIES, BlkifRequest, BlkifResponse};
    use crate::io::netif::{NETIF_RX_RING_ENTRIES, NETIF_TX_RING_ENTRIES};
    use crate::io::netif::{NetifRxRequest, NetifRxResponse, NetifTxRequest, NetifTxResponse};

    fn shape() -> RingShape {
        RingShape::fitting::<[u8; 112], [u8; 16]>(4096).unwrap()
    }

    #[test]
    fn a_page_holds_a_power_of_two_of_entries() {
        assert_eq!(shape().entries(), 32);
        assert_eq!(RingShape::fitting::<[u8; 12], [u8; 4]>(4096).unwrap().entries(), 256);
        assert_eq!(RingShape::fitting::<[u8; 12], [u8; 4]>(64), None);
        assert_eq!(RingShape::fitting::<[u8; 12], [u8; 4]>(8), None);
        assert_eq!(RingShape::fitting::<(), ()>(4096), None);
    }

    #[test]
    fn block_and_network_rings_have_as_many_entries_as_in_c() {
        let blk = RingShape::fitting::<BlkifRequest, BlkifResponse>(4096).unwrap();
        let transmit = RingShape::fitting::<NetifTxRequest, NetifTxResponse>(4096).unwrap();
        let receive = RingShape::fitting::<NetifRxRequest, NetifRxResponse>(4096).unwrap();
        assert_eq!(blk.entries(), BLKIF_RING_ENTRIES);
        assert_eq!(transmit.entries(), NETIF_TX_RING_ENTRIES);
        assert_eq!(receive.entries(), NETIF_RX_RING_ENTRIES);
    }

    #[test]
    fn an_entry_is_always_inside_the_ring() {
        for index in [0, 31, 32, u32::MAX] {
            assert!(shape().offset_of(index) + 112 <= 4096);
        }
        assert_eq!(shape().offset_of(33), 64 + 112);
    }

    #[test]
    fn a_full_ring_has_no_room() {
        let mut front = FrontRing::new(shape());
        front.req_prod = 5u32.wrapping_sub(10);
        front.rsp_cons = front.req_prod.wrapping_sub(32);
        assert_eq!(front.free_requests(), 0);
        front.rsp_cons = front.rsp_cons.wrapping_add(1);
        assert_eq!(front.free_requests(), 1);
    }

    #[test]
    fn a_response_that_nobody_asked_for_is_refused() {
        let mut front = FrontRing::new(shape());
        front.req_prod = 3;
        assert_eq!(front.waiting_responses(3), Some(3));
        assert_eq!(front.waiting_responses(4), None);
        assert_eq!(front.waiting_responses(u32::MAX), None);
    }

    #[test]
    fn more_requests_than_the_ring_holds_are_refused() {
        let mut back = BackRing::new(shape());
        back.rsp_prod = u32::MAX - 3;
        back.req_cons = u32::MAX;
        assert_eq!(back.waiting_requests(28), Some(29));
        assert_eq!(back.waiting_requests(29), None);
        assert_eq!(back.waiting_requests(u32::MAX - 1), None);
    }

    #[test]
    fn notification_is_due_only_when_the_wanted_index_is_passed() {
        assert!(must_notify(4, 6, 5));
        assert!(must_notify(4, 6, 6));
        assert!(!must_notify(4, 6, 4));
        assert!(!must_notify(4, 6, 7));
        assert!(must_notify(u32::MAX, 1, 0));
    }
}
