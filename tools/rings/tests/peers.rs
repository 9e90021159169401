//! Both sides of rings in one memory, and peers that lie.
#![forbid(unsafe_code)]

mod memory;

use std::collections::VecDeque;

use memory::Pages;
use proptest::prelude::*;
use rings::{
    BackRing, BlockError, BlockRequest, Broken, ByteReader, ByteRing, ByteWriter, Disk, Fragment, FrontRing,
    PacketError, Segment, Segmentation, Shared, TransmitRing,
};
use xen_abi::GrantRef;
use xen_abi::io::blkif::{BlkifRequest, BlkifRequestSegment, BlkifResponse};
use xen_abi::io::netif::{NetTxFlags, NetifExtraInfo, NetifGso, NetifTxRequest, NetifTxResponse};
use zerocopy::{FromBytes, IntoBytes};

type Front<'a> = FrontRing<&'a Pages, BlkifRequest, BlkifResponse>;
type Back<'a> = BackRing<&'a Pages, BlkifRequest, BlkifResponse>;

fn request(id: u64) -> BlkifRequest {
    BlkifRequest { id, ..BlkifRequest::default() }
}

fn response(id: u64) -> BlkifResponse {
    BlkifResponse { id, ..BlkifResponse::default() }
}

#[test]
fn requests_and_responses_come_in_order_and_the_peer_is_notified_when_it_rests() {
    let page = Pages::new(1);
    let (mut front, mut back): (Front<'_>, Back<'_>) = (FrontRing::start(&page), BackRing::attach(&page));
    assert_eq!(back.take(), Ok(None));
    (1..=3).for_each(|id| front.put(&request(id)).unwrap());
    assert_eq!(back.take(), Ok(None), "they are not shown yet");
    assert!(front.publish(), "the back end waits for the first one");
    assert_eq!(back.take().map(|taken| taken.map(|request| request.id)), Ok(Some(1)));
    front.put(&request(4)).unwrap();
    assert!(!front.publish(), "it is awake");
    (2..=4).for_each(|id| assert_eq!(back.take().unwrap().unwrap().id, id));
    assert_eq!((back.unanswered(), back.rest()), (4, Ok(false)));
    (1..=4).for_each(|id| back.put(&response(id)).unwrap());
    assert_eq!(back.put(&response(5)), Err(Broken::Full), "nobody asked for a fifth");
    assert!(back.publish());
    (1..=4).for_each(|id| assert_eq!(front.take().unwrap().unwrap().id, id));
    assert_eq!((front.take(), front.rest()), (Ok(None), Ok(false)));
    front.put(&request(5)).unwrap();
    assert!(front.publish(), "the back end rests");
    assert_eq!(back.rest(), Ok(true), "one came while it was about to");
}

#[test]
fn a_ring_holds_what_fits_and_no_more() {
    let page = Pages::new(1);
    let mut front: Front<'_> = FrontRing::start(&page);
    (0..32).for_each(|id| front.put(&request(id)).unwrap());
    assert_eq!(front.put(&request(32)), Err(Broken::Full));
    let small = Pages::of_bytes(100);
    let mut back: Back<'_> = BackRing::attach(&small);
    assert_eq!(back.take(), Err(Broken::Small { bytes: 100 }));
    assert_eq!(back.put(&response(0)), Err(Broken::Small { bytes: 100 }));
}

#[test]
fn a_peer_that_claims_too_much_breaks_the_ring_for_good() {
    let page = Pages::new(1);
    let (mut front, mut back): (Front<'_>, Back<'_>) = (FrontRing::start(&page), BackRing::attach(&page));
    page.store_u32(0, 33);
    let broken = Broken::Index { own: 0, other: 33 };
    assert_eq!(back.take(), Err(broken));
    page.store_u32(0, 0);
    assert_eq!((back.take(), back.put(&response(1))), (Err(broken), Err(broken)), "also when it looks well again");
    front.put(&request(1)).unwrap();
    page.store_u32(8, 2);
    assert_eq!(front.take(), Err(Broken::Index { own: 0, other: 2 }), "a response that nobody asked for");
    assert_eq!(front.put(&request(2)), Err(Broken::Index { own: 0, other: 2 }));
}

#[test]
fn a_console_says_what_was_written_around_its_end_and_refuses_lies() {
    let page = Pages::new(1);
    let (mut guest, mut host) =
        (ByteWriter::attach(&page, ByteRing::CONSOLE_OUTPUT), ByteReader::attach(&page, ByteRing::CONSOLE_OUTPUT));
    let read = |host: &mut ByteReader<_>| {
        let mut bytes = [0; 4000];
        let length = host.read(&mut bytes).unwrap();
        bytes[..length].to_vec()
    };
    for round in 0..50_u8 {
        let line = [round; 777];
        assert_eq!(guest.write(&line), Ok(777));
        assert_eq!(read(&mut host), line);
    }
    assert_eq!(guest.write(&[7; 4000]), Ok(2048), "no more fits");
    assert_eq!((guest.write(b"x"), read(&mut host).len()), (Ok(0), 2048));
    let produced = page.load_u32(ByteRing::CONSOLE_OUTPUT.produced);
    page.store_u32(ByteRing::CONSOLE_OUTPUT.produced, produced.wrapping_add(2049));
    for _ in 0..2 {
        assert!(matches!(host.read(&mut [0; 10]), Err(Broken::Index { .. })));
    }
    page.store_u32(ByteRing::CONSOLE_INPUT.consumed, 5);
    let mut input = ByteWriter::attach(&page, ByteRing::CONSOLE_INPUT);
    assert_eq!(input.write(b"typed"), Err(Broken::Index { own: 0, other: 5 }));
    let small = Pages::of_bytes(3084);
    assert_eq!(ByteReader::attach(&small, ByteRing::CONSOLE_OUTPUT).read(&mut [0]), Err(Broken::Small { bytes: 3084 }));
}

fn with_segments(operation: u8, sector: u64, listed: &[(u8, u8)]) -> BlkifRequest {
    let mut request = BlkifRequest { operation, sector_number: sector, id: 9, ..BlkifRequest::default() };
    request.nr_segments = listed.len() as u8;
    for (segment, &(first_sect, last_sect)) in request.seg.iter_mut().zip(listed) {
        *segment = BlkifRequestSegment { gref: GrantRef(5), first_sect, last_sect, pad: [0; 2] };
    }
    request
}

#[test]
fn what_does_not_lie_on_the_disk_or_in_a_page_is_refused() {
    let disk = Disk { sectors: 100, writable: false, indirect_segments: 0 };
    let segments = vec![Segment { grant: 5, offset: 512, length: 1024 }, Segment { grant: 5, offset: 0, length: 4096 }];
    let read = with_segments(0, 90, &[(1, 2), (0, 7)]);
    assert_eq!(disk.check(&read), Ok(BlockRequest::Read { id: 9, sector: 90, segments }));
    let check = |request| disk.check(&request).unwrap_err();
    assert_eq!(check(with_segments(0, 91, &[(1, 2), (0, 7)])), BlockError::Sectors { first: 91, count: 10 });
    assert_eq!(check(with_segments(0, u64::MAX, &[(0, 0)])), BlockError::Sectors { first: u64::MAX, count: 1 });
    assert_eq!(check(with_segments(0, 0, &[(2, 1)])), BlockError::Segment { first: 2, last: 1 });
    assert_eq!(check(with_segments(0, 0, &[(0, 8)])), BlockError::Segment { first: 0, last: 8 });
    assert_eq!(check(with_segments(0, 0, &[])), BlockError::Segments(0));
    assert_eq!(check(BlkifRequest { nr_segments: 12, ..with_segments(0, 0, &[(0, 0)]) }), BlockError::Segments(12));
    assert_eq!(check(with_segments(1, 0, &[(0, 0)])), BlockError::ReadOnly);
    assert_eq!(check(with_segments(6, 0, &[])), BlockError::Operation(6));
    assert_eq!(BlockError::Operation(6).response(&with_segments(6, 0, &[])).status, -2);
    assert_eq!(disk.check(&with_segments(3, 0, &[])), Ok(BlockRequest::Flush { id: 9 }));
    let writable = Disk { writable: true, ..disk };
    let mut discard = [0; 112];
    discard[0] = 5;
    discard[24..32].copy_from_slice(&100_u64.to_le_bytes());
    let discard = BlkifRequest::read_from_bytes(&discard).unwrap();
    assert_eq!(writable.check(&discard), Ok(BlockRequest::Discard { id: 0, sector: 0, sectors: 100 }));
    assert_eq!(disk.check(&discard), Err(BlockError::ReadOnly));
}

type Sender<'a> = FrontRing<&'a Pages, NetifTxRequest, NetifTxResponse>;

fn part(id: u16, offset: u16, size: u16, flags: NetTxFlags) -> NetifTxRequest {
    NetifTxRequest { gref: GrantRef(u32::from(id)), offset, flags, id, size }
}

/// Sends entries, and returns what comes of the first packet, with the status of each response.
fn sent(entries: &[NetifTxRequest]) -> (Result<rings::Packet, PacketError>, Vec<i16>) {
    let page = Pages::new(1);
    let mut sender: Sender<'_> = FrontRing::start(&page);
    let mut back = TransmitRing::attach(&page);
    entries.iter().for_each(|entry| sender.put(entry).unwrap());
    sender.publish();
    let outcome = back.take().unwrap().unwrap();
    if let Ok(packet) = &outcome {
        back.put(packet, 0).unwrap();
    }
    back.publish();
    let mut statuses = Vec::new();
    while let Some(response) = sender.take().unwrap() {
        statuses.push(response.status);
    }
    (outcome, statuses)
}

#[test]
fn a_packet_is_put_together_of_its_parts_and_what_is_told_of_it() {
    let mut extra = NetifExtraInfo { kind: 1, ..NetifExtraInfo::default() };
    extra.set_gso(NetifGso { size: 1448, kind: 1, ..NetifGso::default() });
    let mut told = [0; 12];
    told[..8].copy_from_slice(extra.as_bytes());
    let first = NetTxFlags::MORE_DATA | NetTxFlags::EXTRA_INFO | NetTxFlags::CSUM_BLANK;
    let entries = [
        part(1, 96, 5000, first),
        NetifTxRequest::read_from_bytes(&told).unwrap(),
        part(2, 0, 3000, NetTxFlags::MORE_DATA),
        part(3, 4000, 96, NetTxFlags(0)),
    ];
    let (packet, statuses) = sent(&entries);
    let packet = packet.unwrap();
    let fragment = |id: u16, offset, length| Fragment { id, grant: u32::from(id), offset, length };
    assert_eq!(packet.fragments, [fragment(1, 96, 1904), fragment(2, 0, 3000), fragment(3, 4000, 96)]);
    assert_eq!(packet.segmentation, Some(Segmentation { size: 1448, is_v6: false }));
    assert!(packet.needs_checksum);
    assert_eq!(statuses, [0, 0, 0, 1]);
}

#[test]
fn a_packet_that_lies_is_answered_and_refused() {
    let more = NetTxFlags::MORE_DATA;
    let none = NetTxFlags(0);
    let refused = |entries: &[NetifTxRequest]| {
        let (outcome, statuses) = sent(entries);
        assert_eq!(statuses.len(), entries.len(), "every entry has its answer");
        assert!(statuses.iter().all(|&status| status != 0));
        outcome.unwrap_err()
    };
    assert_eq!(refused(&[part(1, 0, 13, none)]), PacketError::Length(13));
    assert_eq!(refused(&[part(1, 4000, 100, none)]), PacketError::Part { offset: 4000, length: 100 });
    assert_eq!(refused(&[part(1, u16::MAX, 100, none)]), PacketError::Part { offset: u16::MAX, length: 100 });
    assert_eq!(refused(&[part(1, 0, 100, more), part(2, 0, 101, none)]), PacketError::Length(100));
    assert_eq!(refused(&[part(1, 0, 100, more), part(2, 0, 0, none)]), PacketError::Part { offset: 0, length: 0 });
    assert_eq!(refused(&[part(1, 0, 100, more)]), PacketError::Unfinished);
    assert_eq!(refused(&[part(1, 0, 100, NetTxFlags::EXTRA_INFO)]), PacketError::Unfinished);
    assert_eq!(refused(&[part(1, 0, 100, NetTxFlags::EXTRA_INFO), part(0, 0, 0, none)]), PacketError::Extra(0));
    let many: Vec<_> = (0..19).map(|id| part(id, 0, 100, if id < 18 { more } else { none })).collect();
    assert_eq!(refused(&many), PacketError::TooManyParts);
}

proptest! {
    #[test]
    fn whatever_is_put_is_taken_once_and_in_order(steps in proptest::collection::vec(0_u8..6, 1..300)) {
        let page = Pages::new(1);
        let (mut front, mut back): (Front<'_>, Back<'_>) = (FrontRing::start(&page), BackRing::attach(&page));
        let (mut next, mut asked, mut held, mut answered) = (0, VecDeque::new(), VecDeque::new(), VecDeque::new());
        for step in steps {
            match step {
                0 => if front.put(&request(next)).is_ok() {
                    asked.push_back(next);
                    next += 1;
                },
                1 => drop(front.publish()),
                2 => if let Some(request) = back.take().unwrap() {
                    prop_assert_eq!(asked.pop_front(), Some(request.id));
                    held.push_back(request.id);
                },
                3 => if let Some(id) = held.pop_front() {
                    back.put(&response(id)).unwrap();
                    answered.push_back(id);
                },
                4 => drop(back.publish()),
                _ => if let Some(response) = front.take().unwrap() {
                    prop_assert_eq!(answered.pop_front(), Some(response.id));
                },
            }
        }
    }
}
