//! The ring of requests that nobody waits for, in the buffered page.
//!
//! Its two pointers count for ever; a slot is a pointer modulo 511. Only the hypervisor writes requests and the writer's
//! pointer, only the server the reader's, but the server may write anything anywhere.

use super::request::Request;
use xen_abi::ioreq::IOREQ_BUFFER_SLOT_NUM;
use xenolith_hal::PageWords;

/// One past the highest address that fits into a slot.
const ADDRESSES: u64 = 1 << 20;
/// Where the pointers and the first slot lie, and the bytes of a slot.
const POINTERS: usize = 0;
const WRITE_POINTER: usize = 4;
const FIRST_SLOT: usize = 8;
const SLOT: usize = 8;
/// How often the pointers are folded back while the server moves its own at the same time.
const MOST_FOLDS: u32 = IOREQ_BUFFER_SLOT_NUM;

/// Returns whether a slot, or two, can hold the request.
pub(super) fn fits(request: &Request) -> bool {
    request.address < ADDRESSES && !request.is_pointer && request.count == 1 && matches!(request.size, 1 | 2 | 4 | 8)
}

/// Writes a slot; `data` is its half of the data.
#[expect(clippy::arithmetic_side_effects, reason = "a remainder of 511 in the size of a page")]
fn write_slot(page: &PageWords, pointer: u32, request: &Request, data: u32) -> Option<()> {
    let head = u64::from(request.kind as u8)
        | u64::from(request.is_read) << 9
        | u64::from(request.size.trailing_zeros() & 3) << 10
        | (request.address & (ADDRESSES - 1)) << 12;
    let at = FIRST_SLOT + (pointer % IOREQ_BUFFER_SLOT_NUM) as usize * SLOT;
    page.store_u64(at, head | u64::from(data) << u32::BITS)
}

/// Appends a request; 8 bytes of data take two slots. With `folds` both pointers are kept low for a server that reads them
/// at once. Returns false, with nothing appended, if the ring is full or the request does not fit into it.
pub(super) fn push(page: &PageWords, request: &Request, folds: bool) -> bool {
    if !fits(request) {
        return false;
    }
    let slots = if request.size == 8 { 2 } else { 1 };
    let append = || {
        let pointers = page.load_u64(POINTERS)?;
        let (read, write) = (pointers as u32, (pointers >> u32::BITS) as u32);
        if write.wrapping_sub(read) > IOREQ_BUFFER_SLOT_NUM.saturating_sub(slots) {
            return None;
        }
        write_slot(page, write, request, request.data as u32)?;
        if slots == 2 {
            write_slot(page, write.wrapping_add(1), request, (request.data >> u32::BITS) as u32)?;
        }
        page.store_u32(WRITE_POINTER, write.wrapping_add(slots))
    };
    if append().is_none() {
        return false;
    }
    if folds {
        fold(page);
    }
    true
}

/// Subtracts the same whole number of rounds from both pointers, at once, so that the reader's is below a round.
fn fold(page: &PageWords) {
    let Some(word) = page.words().get(POINTERS) else { return };
    let folded = |pointers: u64| {
        let (read, write) = (pointers as u32, (pointers >> u32::BITS) as u32);
        let rest = read % IOREQ_BUFFER_SLOT_NUM;
        let rounds = read.wrapping_sub(rest);
        (rounds != 0).then(|| u64::from(rest) | u64::from(write.wrapping_sub(rounds)) << u32::BITS)
    };
    for _ in 0..MOST_FOLDS {
        let seen = word.load(core::sync::atomic::Ordering::Acquire);
        let Some(new) = folded(seen) else { return };
        let order = core::sync::atomic::Ordering::SeqCst;
        let _ = word.compare_exchange(seen, new, order, order);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::Kind;
    use super::*;

    fn write(address: u64, size: u32, data: u64) -> Request {
        Request { data, ..Request::access(Kind::Memory, address, size, false) }
    }

    fn pointers(page: &PageWords) -> (u32, u32) {
        (page.load_u32(0).unwrap(), page.load_u32(4).unwrap())
    }

    #[test]
    fn a_slot_holds_type_direction_size_address_and_data() {
        let page = PageWords::new();
        assert!(push(&page, &write(0xb_8000, 2, 0x0741), true));
        assert_eq!(page.load_u64(8), Some(0x0000_0741_b800_0401));
        assert!(push(&page, &write(0xa_0008, 8, 0x1122_3344_5566_7788), true));
        assert_eq!((page.load_u64(16), page.load_u64(24)), (Some(0x5566_7788_a000_8c01), Some(0x1122_3344_a000_8c01)));
        assert_eq!(pointers(&page), (0, 3));
    }

    #[test]
    fn what_does_not_fit_or_finds_no_room_is_not_appended() {
        let page = PageWords::new();
        for request in [
            write(0x10_0000, 1, 0),
            write(0xa_0000, 3, 0),
            Request { count: 2, ..write(0xa_0000, 1, 0) },
            Request { is_pointer: true, ..write(0xa_0000, 1, 0) },
        ] {
            assert!(!push(&page, &request, true));
        }
        for _ in 0..510 {
            assert!(push(&page, &write(0xa_0000, 1, 0), true));
        }
        assert!(!push(&page, &write(0xa_0000, 8, 0), true), "one slot is left");
        assert!(push(&page, &write(0xa_0000, 4, 0), true));
        assert!(!push(&page, &write(0xa_0000, 1, 0), true));
        assert_eq!(pointers(&page), (0, 511));
    }

    #[test]
    fn both_pointers_are_folded_back_at_once() {
        let page = PageWords::new();
        page.store_u64(0, (511 * 3 + 9) << 32 | (511 * 3 + 5)).unwrap();
        assert!(push(&page, &write(0xa_0000, 1, 0x55), true));
        assert_eq!(pointers(&page), (5, 10));
        assert_eq!(page.load_u32(8 + 9 * 8 + 4), Some(0x55));
        page.store_u64(0, 511 << 32 | 511).unwrap();
        assert!(push(&page, &write(0xa_0000, 1, 0), false));
        assert_eq!(pointers(&page), (511, 512), "a server of the old kind does that itself");
    }

    #[test]
    fn pointers_without_meaning_harm_nobody() {
        for (read, write_pointer) in [(7, 3), (0, u32::MAX), (u32::MAX, 0), (u32::MAX, u32::MAX)] {
            let page = PageWords::new();
            page.store_u64(0, u64::from(write_pointer) << 32 | u64::from(read)).unwrap();
            push(&page, &write(0xa_0000, 8, 0), true);
        }
    }
}
