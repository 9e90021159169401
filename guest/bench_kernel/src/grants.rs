//! Grants of another domain: mapped, unmapped, copied by. (Of its own a domain keeps no page that it maps by a grant.)

use xen_abi::grant_table::*;
use xen_abi::hypercall::GRANT_TABLE_OP;
use xen_abi::{DomId, Gfn, GrantHandle, GrantRef};
use xenolith_guest_kit::calls::call;
use xenolith_guest_kit::domain::{GRANTED, address, after};
use xenolith_guest_kit::pages::{self, Page};

use crate::bench::{FEW_ROUNDS, Meter, Row, counter};

/// Where the arguments of one call for many pages lie.
pub struct Lists {
    maps: &'static Page,
    unmaps: &'static Page,
}

impl Lists {
    /// Creates two pages of its own.
    pub fn new() -> Self {
        Self { maps: pages::take(), unmaps: pages::take() }
    }
}

/// Maps `count` grants of `dom` from entry `first` on, and unmaps them again: the ticks of both calls.
pub fn map_unmap(meter: Meter, lists: &Lists, dom: DomId, first: u32, count: u32) -> Row {
    const MAP: usize = size_of::<GnttabMapGrantRef>();
    const UNMAP: usize = size_of::<GnttabUnmapGrantRef>();
    let place = |index: u32| address(after(GRANTED, index.into()));
    let mut least = u64::MAX;
    for _ in 0..meter.rounds(FEW_ROUNDS) {
        for index in 0..count {
            let (host_addr, gref) = (place(index), GrantRef(first + index));
            let wanted =
                GnttabMapGrantRef { host_addr, flags: GrantMapFlags::HOST_MAP, gref, dom, ..Default::default() };
            lists.maps.write(index as usize * MAP, wanted);
        }
        let begin = counter();
        let mapped = call(GRANT_TABLE_OP, [GNTTABOP_MAP_GRANT_REF.into(), lists.maps.address(), count.into()]);
        let map_took = meter.since(begin);
        for index in 0..count {
            let done: GnttabMapGrantRef = lists.maps.read(index as usize * MAP);
            if mapped != 0 || done.status != GNTST_OKAY {
                return Err(if mapped == 0 { done.status.into() } else { mapped });
            }
            let handle: GrantHandle = done.handle;
            let wanted = GnttabUnmapGrantRef { host_addr: place(index), handle, ..Default::default() };
            lists.unmaps.write(index as usize * UNMAP, wanted);
        }
        let begin = counter();
        let unmapped = call(GRANT_TABLE_OP, [GNTTABOP_UNMAP_GRANT_REF.into(), lists.unmaps.address(), count.into()]);
        least = least.min(map_took + meter.since(begin));
        if unmapped != 0 {
            return Err(unmapped);
        }
    }
    Ok(least.cast_signed())
}

/// Copies from grants of a domain to frames of one's own: `what` is how many, and how many bytes of each.
pub fn copy(
    meter: Meter,
    list: &'static Page,
    (dom, first): (DomId, u32),
    to: impl Fn(u32) -> Gfn,
    (count, length): (u32, u16),
) -> Row {
    for index in 0..count {
        let mut source = GnttabCopyPtr { domid: dom, ..GnttabCopyPtr::default() };
        source.set_gref(GrantRef(first + index));
        let mut dest = GnttabCopyPtr { domid: DomId::SELF, ..GnttabCopyPtr::default() };
        dest.set_gfn(to(index));
        let one = GnttabCopy { source, dest, len: length, flags: GrantCopyFlags::SOURCE_GREF, ..GnttabCopy::default() };
        list.write(index as usize * size_of::<GnttabCopy>(), one);
    }
    let copy = || call(GRANT_TABLE_OP, [GNTTABOP_COPY.into(), list.address(), count.into()]);
    let result = copy();
    for index in 0..count {
        let done: GnttabCopy = list.read(index as usize * size_of::<GnttabCopy>());
        if result != 0 || done.status != GNTST_OKAY {
            return Err(if result == 0 { done.status.into() } else { result });
        }
    }
    Ok(meter
        .least(FEW_ROUNDS, || {
            copy();
        })
        .cast_signed())
}
