use super::*;
use crate::memory::frames::Pages;
use xen_abi::hvm_op::HVM_IOREQSRV_BUFIOREQ_ATOMIC;
use xen_abi::{Mfn, Port, VcpuId};
use xenolith_hal::PageWords;

const EMULATOR: DomId = DomId(0);
const OTHER: DomId = DomId(7);

/// Two pages, at frames 1 (buffered) and 2 (synchronous).
#[derive(Default)]
struct TwoPages([PageWords; 2]);

impl Pages for TwoPages {
    fn page(&self, mfn: Mfn) -> Option<&PageWords> {
        self.0.get(usize::try_from(mfn.0).unwrap().checked_sub(1)?)
    }
}

fn server() -> Arc<Server> {
    let parts = ServerParts {
        emulator: EMULATOR,
        buffering: Buffering::from_number(HVM_IOREQSRV_BUFIOREQ_ATOMIC).unwrap(),
        ports: [Port(3), Port(4)].into(),
        buffered_port: Some(Port(5)),
    };
    Arc::try_new(Server::new(parts)).ok().unwrap()
}

/// A server with both pages, as frames of the guest's, that is enabled.
fn at_work(pages: &TwoPages) -> Arc<Server> {
    let server = server();
    for (which, mfn) in [(Which::Buffered, 1), (Which::Synchronous, 2)] {
        let page = crate::memory::frames::PageRef::of_mapping(Mfn(mfn));
        let frame = GuestFrame { gfn: Gfn(0), page, hidden: true };
        server
            .with_page(which, pages, |slot| {
                *slot = Page::Guest(frame);
                Ok(())
            })
            .unwrap();
    }
    assert!(server.set_enabled(true, pages));
    server
}

fn read(kind: Kind, address: u64, size: u32) -> Request {
    Request::access(kind, address, size, true)
}

const FIRST: VcpuId = VcpuId(0);
const SECOND: VcpuId = VcpuId(1);

#[test]
fn a_server_is_its_emulators_alone() {
    let model = DeviceModel::default();
    assert_eq!(model.insert(server()).ok(), Some(0));
    assert_eq!(model.server(0, OTHER).err(), Some(Errno::EPERM));
    assert_eq!(model.server(1, EMULATOR).err(), Some(Errno::ENOENT));
    assert_eq!(model.server(u16::MAX, OTHER).err(), Some(Errno::ENOENT));
    assert_eq!(model.map_range(0, OTHER, 0, 1..=2), Err(Errno::EPERM));
    assert_eq!(
        model.map_range(0, OTHER, 0, core::ops::RangeInclusive::new(2, 1)),
        Err(Errno::EINVAL),
        "the range is looked at first"
    );
    assert_eq!(model.map_range(0, EMULATOR, 3, 1..=2), Err(Errno::EINVAL));
    assert_eq!(model.map_range(0, EMULATOR, 0, 1..=2), Ok(()));
    assert_eq!(model.map_range(0, EMULATOR, 0, 2..=3), Err(Errno::EEXIST));
    assert_eq!(model.unmap_range(0, EMULATOR, 0, 2..=3), Err(Errno::ENOENT));
    assert_eq!(model.unmap_range(0, EMULATOR, 0, 1..=1), Ok(()));
    assert_eq!(model.remove(0, OTHER).err(), Some(Errno::EPERM));
    assert!(model.remove(0, EMULATOR).is_ok());
    assert_eq!(model.remove(0, EMULATOR).err(), Some(Errno::ENOENT));
}

#[test]
fn there_are_eight_servers_and_none_once_the_guest_is_destroyed() {
    let model = DeviceModel::default();
    for id in 0..8 {
        assert_eq!(model.insert(server()).ok(), Some(id));
    }
    assert_eq!(model.insert(server()).err().map(|(errno, _)| errno), Some(Errno::ENOSPC));
    model.remove(3, EMULATOR).ok().unwrap();
    assert_eq!(model.insert(server()).ok(), Some(3), "the lowest number that is free");
    assert_eq!(core::iter::from_fn(|| model.remove_any(true)).count(), 8);
    assert_eq!(model.insert(server()).err().map(|(errno, _)| errno), Some(Errno::EINVAL));
}

#[test]
fn the_latest_enabled_server_that_has_all_of_an_access_gets_it() {
    let (pages, model) = (TwoPages::default(), DeviceModel::default());
    let (old, new) = (at_work(&pages), at_work(&pages));
    model.insert(old.clone()).ok().unwrap();
    model.insert(new.clone()).ok().unwrap();
    model.map_range(0, EMULATOR, 0, 0x60..=0x6f).unwrap();
    model.map_range(1, EMULATOR, 0, 0x64..=0x64).unwrap();
    model.map_range(0, EMULATOR, 1, 0xa_0000..=0xb_ffff).unwrap();
    let chosen = |request: Request| model.select(&mut request.clone(), false);
    let is = |found: Option<Arc<Server>>, server: &Arc<Server>| found.is_some_and(|found| Arc::ptr_eq(&found, server));
    assert!(is(chosen(read(Kind::Port, 0x64, 1)), &new));
    assert!(is(chosen(read(Kind::Port, 0x64, 2)), &old), "the new one has half of it");
    assert!(chosen(read(Kind::Port, 0x6f, 2)).is_none());
    new.set_enabled(false, &pages);
    assert!(is(chosen(read(Kind::Port, 0x64, 1)), &old));
    let falls = |address, count| Request { count, falls: true, ..read(Kind::Memory, address, 4) };
    assert!(is(chosen(falls(0xa_0ffc, 1024)), &old));
    assert!(chosen(falls(0xa_0ffc, 1025)).is_none(), "the last of them lies below");
    assert!(is(chosen(Request { count: 0x8000, ..read(Kind::Memory, 0xa_0000, 4) }), &old));
    assert!(chosen(Request { count: 0x8001, ..read(Kind::Memory, 0xa_0000, 4) }).is_none());
    assert!(chosen(Request { count: u32::MAX, ..read(Kind::Memory, u64::MAX, 8) }).is_none());
}

#[test]
fn the_data_ports_are_the_function_that_was_latched() {
    let (pages, model) = (TwoPages::default(), DeviceModel::default());
    let server = at_work(&pages);
    model.insert(server).ok().unwrap();
    model.map_range(0, EMULATOR, 2, 0x10..=0x10).unwrap();
    let chosen = |latch, port| {
        let mut request = read(Kind::Port, port, 2);
        model.latch_pci_address(latch);
        model.select(&mut request, false).map(|_| request)
    };
    assert_eq!(chosen(0x8000_1044, 0xcfe), Some(read(Kind::PciConfig, 0x10 << 32 | 0x46, 2)));
    assert_eq!(chosen(0x8000_1144, 0xcfe), None, "no server has the function");
    assert_eq!(chosen(0x0000_1044, 0xcfe), None, "it is no configuration, and no server has the port");
    model.map_range(0, EMULATOR, 0, 0xcf8..=0xcff).unwrap();
    assert_eq!(chosen(0x0000_1044, 0xcfe), Some(read(Kind::Port, 0xcfe, 2)));
    assert_eq!(chosen(0x8000_1144, 0xcfe), None, "it is not tried as a port");
}

#[test]
fn a_request_lies_in_the_page_of_its_vcpu_until_it_is_answered() {
    let pages = TwoPages::default();
    let (server, page) = (at_work(&pages), &pages.0[1]);
    assert_eq!([24, 32 + 24].map(|at| page.load_u32(at)), [Some(3), Some(4)], "ports are published");
    let request = Request { data: 0x1000, count: 7, is_pointer: true, falls: true, ..read(Kind::Port, 0x1f0, 2) };
    assert_eq!(server.post(&pages, SECOND, &request), Ok(Some(Port(4))));
    let words = [32, 40, 48, 56].map(|at| page.load_u64(at).unwrap());
    assert_eq!(words, [0x1f0, 0x1000, 2 << 32 | 7, 0x0071_0000_0000_0004]);
    assert_eq!(server.poll(&pages, SECOND, State::Ready), Ok(Answer::Waiting(State::Ready)));
    page.store_u8(32 + 30, 0x72).unwrap();
    assert_eq!(server.poll(&pages, SECOND, State::Ready), Ok(Answer::Waiting(State::InProcess)));
    page.store_u64(40, 0xabcd).unwrap();
    page.store_u8(32 + 30, 0x73).unwrap();
    assert_eq!(server.poll(&pages, SECOND, State::InProcess), Ok(Answer::Done(0xabcd)));
    assert_eq!(page.load_u8(32 + 30), Some(0x70), "the place is free");
    assert_eq!(server.post(&pages, SECOND, &request), Ok(Some(Port(4))));
    assert_eq!(page.load_u64(0), Some(0), "the other vCPU has a place of its own");
}

#[test]
fn a_scribbled_page_is_found() {
    let pages = TwoPages::default();
    let (server, page) = (at_work(&pages), &pages.0[1]);
    let request = read(Kind::Port, 0x60, 1);
    for state in 1..16 {
        page.store_u8(30, state).unwrap();
        assert_eq!(server.post(&pages, FIRST, &request), Err(Scribbled), "there is a request");
        let polled = server.poll(&pages, FIRST, State::InProcess);
        assert_eq!(polled.is_err(), state == 1 || state > 3, "{state}");
        page.store_u8(30, 0).unwrap();
    }
    page.store_u32(24, 9).unwrap();
    assert_eq!(server.post(&pages, FIRST, &request), Err(Scribbled), "another port");
    assert_eq!(server.poll(&pages, FIRST, State::Ready), Ok(Answer::Done(u64::MAX)), "it was taken away");
    assert_eq!(server.post(&pages, VcpuId(2), &request), Ok(None), "the guest has two vCPUs");
}

#[test]
fn a_server_that_is_gone_answers_ones_and_has_no_pages() {
    let pages = TwoPages::default();
    let server = at_work(&pages);
    let request = read(Kind::Port, 0x60, 1);
    server.post(&pages, FIRST, &request).unwrap();
    assert_eq!(server.post_buffered(&pages, &Request::access(Kind::Memory, 0xa_0000, 1, false)), Some(Port(5)));
    server.close();
    assert!(!server.is_enabled());
    assert_eq!(server.poll(&pages, FIRST, State::Ready), Ok(Answer::Done(u64::MAX)));
    assert_eq!(server.post(&pages, FIRST, &request), Ok(None));
    assert_eq!(server.post_buffered(&pages, &request), None);
    assert_eq!(server.resource(Which::Buffered, &pages, || None), Err(Errno::ENOENT));
    assert!(matches!(server.take_pages(), [Page::Guest(_), Page::Guest(_)]));
    assert!(matches!(server.take_pages(), [Page::None, Page::None]));
}

#[test]
fn a_page_is_a_resource_or_the_guests_and_not_both() {
    let pages = TwoPages::default();
    let server = at_work(&pages);
    assert_eq!(server.resource(Which::Buffered, &pages, || None), Err(Errno::EPERM));
    let server = self::server();
    assert_eq!(server.resource(Which::Buffered, &pages, || None), Err(Errno::ENOMEM));
}

#[test]
fn single_frames_are_given_out_once_and_only_where_they_are_set() {
    let model = DeviceModel::default();
    let both = [Gfn(0xfeffd), Gfn(0xfeffb)];
    assert_eq!(model.take_single([Gfn(0), Gfn(0)]), None);
    assert_eq!([0, 1, 2].map(|_| model.take_single(both)), [Some(both[0]), Some(both[1]), None]);
    model.give_back_single(both, Gfn(7));
    assert_eq!(model.take_single(both), None);
    model.give_back_single(both, both[1]);
    assert_eq!(model.take_single(both), Some(both[1]));
}

#[test]
fn frames_of_the_guest_are_given_out_once() {
    let model = DeviceModel::default();
    let first = Gfn(0xfeff0);
    let all = [0, 1].map(|_| model.take_gfn(first, 2));
    assert_eq!(all, [Some(Gfn(0xfeff0)), Some(Gfn(0xfeff1))]);
    assert_eq!(model.take_gfn(first, 2), None);
    model.give_back_gfn(first, Gfn(0xfeff0));
    assert_eq!(model.take_gfn(first, 2), Some(Gfn(0xfeff0)));
    assert_eq!(model.take_gfn(first, 1000).map(|gfn| gfn.0), Some(0xfeff2));
    model.give_back_gfn(first, Gfn(1));
    model.give_back_gfn(first, Gfn(u64::MAX));
    assert_eq!(core::iter::from_fn(|| model.take_gfn(first, 1000)).count(), 61, "64 at most");
}
