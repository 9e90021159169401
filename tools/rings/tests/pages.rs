//! Rings of several pages, indirect block requests, and the commands of PV Calls.
#![forbid(unsafe_code)]

mod memory;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;

use memory::Pages;
use rings::{
    Announced, BackRing, BlockError, BlockRequest, Broken, Command, CommandError, DataRings, Disk, FrontRing,
    MessageReader, MessageWriter, Order, OrderError, PairedRings, Segment, Shared, answer,
};
use xen_abi::GrantRef;
use xen_abi::io::blkif::{BlkifRequest, BlkifRequestIndirect, BlkifRequestSegment, BlkifResponse};
use xen_abi::io::pvcalls::{PvcallsAccept, PvcallsBind, PvcallsConnect, PvcallsRelease, PvcallsRequest, PvcallsSocket};
use zerocopy::{FromBytes, IntoBytes};

fn order(number: u32) -> Order {
    Order::new(number, Order::MAX).unwrap()
}

#[test]
fn an_order_is_what_both_sides_take() {
    assert_eq!(Order::new(10, order(9)), Err(OrderError::TooLarge { order: 10, most: 9 }));
    assert_eq!(Order::new(u32::MAX, order(4)), Err(OrderError::TooLarge { order: u32::MAX, most: 4 }));
    assert_eq!(Order::of_node(None, order(4)), Ok(order(0)));
    assert_eq!(Order::of_node(Some("4"), order(4)), Ok(order(4)));
    assert_eq!(Order::of_node(Some("5"), order(4)), Err(OrderError::TooLarge { order: 5, most: 4 }));
    assert_eq!(Order::of_node(Some("-1"), order(4)), Err(OrderError::NoNumber));
    assert_eq!([Order::agreed(order(4), 2), Order::agreed(order(4), u32::MAX)], [order(2), order(4)]);
    assert_eq!((order(9).pages(), order(9).bytes()), (512, 2 << 20));
}

#[test]
fn what_a_front_end_announces_is_read_once_and_no_more_than_was_offered() {
    let page = Pages::new(1);
    let announced = Announced { order: order(2), references: vec![8, 9, 10, 11] };
    announced.write(&page).unwrap();
    assert_eq!((page.load_u32(128), page.load_u32(132), page.load_u32(144)), (2, 8, 11));
    assert_eq!(Announced::read(&page, order(2)), Ok(announced.clone()));
    assert_eq!(Announced::read(&page, order(1)), Err(OrderError::TooLarge { order: 2, most: 1 }));
    assert_eq!(Announced::read(&Pages::new(2), order(1)), Err(OrderError::Length { bytes: 8192, wanted: 4096 }));
    let short = Announced { references: vec![1], ..announced };
    assert_eq!(short.write(&page), Err(OrderError::Length { bytes: 4096, wanted: 16384 }));
    assert!(PairedRings::new(&page, &Pages::new(2), order(2)).is_err());
    // What the page says afterwards does not count.
    let data = Pages::new(4);
    let rings = PairedRings::new(&page, &data, order(2)).unwrap();
    page.store_u32(128, 9);
    let (mut reader, mut writer) = (rings.back().0, rings.front().1);
    assert_eq!(writer.write(&[7; 20000]), Ok(8192));
    let mut bytes = [0; 20000];
    assert_eq!((reader.read(&mut bytes), bytes[8191], bytes[8192]), (Ok(8192), 7, 0));
    let mut half = [0; 8192];
    data.read(8192, &mut half);
    assert_eq!(half, [7; 8192], "what goes out lies in the second half");
    rings.tell_error(true, -104);
    assert_eq!(page.load_u32(8), (-104_i32).cast_unsigned());
}

#[test]
fn what_is_peeked_stays_until_it_is_consumed() {
    let (page, data) = (Rc::new(Pages::new(1)), Rc::new(Pages::new(1)));
    let rings = PairedRings::new(page.clone(), data, order(0)).unwrap();
    let ((mut reader, _), (_, mut writer)) = (rings.owned_back(), rings.owned_front());
    drop(rings);
    assert_eq!((writer.free(), reader.waiting()), (Ok(2048), Ok(0)));
    assert_eq!((writer.write(b"abcdef"), writer.free()), (Ok(6), Ok(2042)));
    let mut bytes = [0; 4];
    for _ in 0..2 {
        assert_eq!((reader.peek(&mut bytes), &bytes), (Ok(4), b"abcd"));
    }
    reader.consume(3);
    assert_eq!((reader.read(&mut bytes), &bytes[..3], writer.free()), (Ok(3), &b"def"[..], Ok(2048)));
    // The other side lies about what it has read and written.
    page.store_u32(64, 5000);
    assert_eq!(writer.free(), Err(Broken::Index { own: 6, other: 5000 }));
    page.store_u32(68, 5000);
    assert_eq!(reader.peek(&mut bytes), Err(Broken::Index { own: 6, other: 5000 }));
    page.store_u32(68, 6);
    assert_eq!(reader.waiting(), Err(Broken::Index { own: 6, other: 5000 }), "for good");
}

fn message(kind: u8, length: usize) -> Vec<u8> {
    let mut message = vec![kind; length];
    message[..4].copy_from_slice(&(length as u32).to_le_bytes());
    message
}

#[test]
fn messages_come_whole_however_slowly_and_however_they_wrap() {
    let (page, data) = (Pages::new(1), Pages::new(1));
    let rings = PairedRings::new(&page, &data, order(0)).unwrap();
    let ((_, front), (back, _)) = (rings.front(), rings.back());
    let (mut writer, mut reader) = (MessageWriter::new(front), MessageReader::new(back, 8000));
    let sent: Vec<Vec<u8>> = (1..60).map(|round: u8| message(round, 7 + usize::from(round) * 33)).collect();
    let mut received = Vec::new();
    for each in &sent {
        writer.put(each);
        while !writer.flush().unwrap() {
            received.extend(reader.take().unwrap());
        }
        received.extend(reader.take().unwrap());
    }
    while let Some(message) = reader.take().unwrap() {
        received.push(message);
    }
    assert_eq!(received, sent);
}

#[test]
fn a_message_of_another_length_than_agreed_breaks_its_ring() {
    for length in [0_u32, 6, 101, u32::MAX] {
        let (page, data) = (Pages::new(1), Pages::new(1));
        let rings = PairedRings::new(&page, &data, order(0)).unwrap();
        let ((_, mut front), (back, _)) = (rings.front(), rings.back());
        let mut reader = MessageReader::new(back, 100);
        front.write(&length.to_le_bytes()).unwrap();
        assert_eq!(reader.take(), Ok(None), "the header is not all there");
        front.write(&[0; 200]).unwrap();
        let broken = Err(Broken::Message { bytes: length, most: 100 });
        assert_eq!([reader.take(), reader.take()], [broken.clone(), broken]);
    }
}

#[test]
fn a_block_ring_of_four_pages_holds_as_many_requests_as_fit() {
    let pages = Pages::new(order(2).pages());
    let mut front: FrontRing<_, BlkifRequest, BlkifResponse> = FrontRing::start(&pages);
    let mut back: BackRing<_, BlkifRequest, BlkifResponse> = BackRing::attach(&pages);
    (0..128).for_each(|id| front.put(&BlkifRequest { id, ..BlkifRequest::default() }).unwrap());
    assert_eq!(front.put(&BlkifRequest::default()), Err(Broken::Full));
    front.publish();
    (0..128).for_each(|id| assert_eq!(back.take().unwrap().unwrap().id, id));
}

const DISK: Disk = Disk { sectors: 10_000, writable: false, indirect_segments: 600 };

fn indirect(operation: u8, count: u16, sector: u64) -> BlkifRequest {
    let mut request = BlkifRequestIndirect {
        operation: 6,
        indirect_op: operation,
        nr_segments: count,
        id: 9,
        sector_number: sector,
        ..BlkifRequestIndirect::default()
    };
    (20..).zip(request.indirect_grefs.iter_mut()).for_each(|(number, page)| *page = GrantRef(number));
    let mut bytes = [0; size_of::<BlkifRequest>()];
    bytes[..size_of::<BlkifRequestIndirect>()].copy_from_slice(request.as_bytes());
    BlkifRequest::read_from_bytes(&bytes).unwrap()
}

fn list(first: u8, last: u8) -> Pages {
    let pages = Pages::new(1);
    for at in 0..512_u32 {
        let segment =
            BlkifRequestSegment { gref: GrantRef(at), first_sect: first, last_sect: last, ..Default::default() };
        pages.write(at as usize * 8, segment.as_bytes());
    }
    pages
}

#[test]
fn an_indirect_request_has_the_segments_that_its_pages_say() {
    let Ok(BlockRequest::Indirect(request)) = DISK.check(&indirect(0, 514, 100)) else { panic!("it is one") };
    assert_eq!((request.id, request.is_write, request.sector, &request.pages[..]), (9, false, 100, &[20, 21][..]));
    let Ok(BlockRequest::Read { id: 9, sector: 100, segments }) = request.segments(&DISK, &[list(0, 7), list(1, 1)])
    else {
        panic!("it reads")
    };
    assert_eq!(segments.len(), 514);
    assert_eq!(
        segments[511..513],
        [Segment { grant: 511, offset: 0, length: 4096 }, Segment { grant: 0, offset: 512, length: 512 }]
    );
    let error = |lists: &[Pages]| request.segments(&DISK, lists).unwrap_err();
    assert_eq!(error(&[list(0, 7), list(0, 8)]), BlockError::Segment { first: 0, last: 8 });
    assert_eq!(error(&[list(0, 7)]), BlockError::Segments(514), "a page is missing");
    let small = Disk { sectors: 4000, ..DISK };
    assert_eq!(
        request.segments(&small, &[list(0, 7), list(0, 7)]).unwrap_err(),
        BlockError::Sectors { first: 100, count: 514 * 8 }
    );
}

#[test]
fn an_indirect_request_that_was_not_offered_is_refused() {
    assert_eq!(DISK.check(&indirect(1, 1, 0)), Err(BlockError::ReadOnly));
    assert_eq!(DISK.check(&indirect(5, 1, 0)), Err(BlockError::Operation(5)));
    assert_eq!(DISK.check(&indirect(6, 1, 0)), Err(BlockError::Operation(6)), "one within another");
    assert_eq!(DISK.check(&indirect(0, 0, 0)), Err(BlockError::Segments(0)));
    assert_eq!(DISK.check(&indirect(0, 601, 0)), Err(BlockError::Segments(601)));
    let all = Disk { indirect_segments: u16::MAX, ..DISK };
    assert_eq!(all.check(&indirect(0, 4097, 0)), Err(BlockError::Segments(4097)), "more than eight pages");
    assert!(all.check(&indirect(0, 4096, 0)).is_ok());
    let none = Disk { indirect_segments: 0, ..DISK };
    assert_eq!(none.check(&indirect(0, 1, 0)), Err(BlockError::Operation(6)));
}

fn command(cmd: u32, fill: impl FnOnce(&mut PvcallsRequest)) -> Result<Command, CommandError> {
    let mut request = PvcallsRequest { req_id: 5, cmd, ..PvcallsRequest::default() };
    fill(&mut request);
    Command::check(&request)
}

/// 10.0.2.15, port 80.
fn address() -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[..8].copy_from_slice(&[2, 0, 0, 80, 10, 0, 2, 15]);
    bytes
}

#[test]
fn commands_are_what_the_front_end_said() {
    let to = SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 15), 80);
    let rings = DataRings { grant: 3, port: 4 };
    let id = u64::MAX;
    let connect = PvcallsConnect { id, addr: address(), len: 16, gref: GrantRef(3), evtchn: 4, ..Default::default() };
    let bind = PvcallsBind { id, addr: address(), len: 28 };
    let accept = PvcallsAccept { id, id_new: 7, gref: GrantRef(3), evtchn: 4 };
    let socket = PvcallsSocket { id, domain: 2, kind: 1, ..Default::default() };
    assert_eq!(command(0, |request| request.set_socket(socket)), Ok(Command::Socket { id }));
    assert_eq!(command(1, |request| request.set_connect(connect)), Ok(Command::Connect { id, to, rings }));
    let release = PvcallsRelease { id, reuse: 1, ..Default::default() };
    assert_eq!(command(2, |request| request.set_release(release)), Ok(Command::Release { id, reuse: true }));
    assert_eq!(command(3, |request| request.set_bind(bind)), Ok(Command::Bind { id, at: to }));
    assert_eq!(command(5, |request| request.set_accept(accept)), Ok(Command::Accept { id, new: 7, rings }));
    assert_eq!(command(6, |_| ()), Ok(Command::Poll { id: 0 }));
    let udp = PvcallsSocket { kind: 2, ..socket };
    let error = command(0, |request| request.set_socket(udp)).unwrap_err();
    assert_eq!((error, error.number()), (CommandError::Family { domain: 2, kind: 2, protocol: 0 }, -97));
    for len in [0, 15, 29, u32::MAX] {
        let error = command(3, |request| request.set_bind(PvcallsBind { len, ..bind })).unwrap_err();
        assert_eq!((error, error.number()), (CommandError::Address { bytes: len }, -22));
    }
    assert_eq!(command(7, |_| ()).unwrap_err().number(), -524);
    let mut request = PvcallsRequest { req_id: 5, cmd: 3, ..PvcallsRequest::default() };
    request.set_bind(bind);
    let answer = answer(&request, -98);
    assert_eq!((answer.req_id, answer.cmd, answer.ret, answer.id), (5, 3, -98, id));
}
