//! Lists that a guest hands to a call, and how often the call looks at the clock on its way through one.

use xen_abi::Gfn;
use xenolith_hal::{Machine, PAGE_SIZE};
use xenolith_world::World;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Guest frames for lists; the guests' paging is off, so addresses are physical.
pub const LIST: Gfn = Gfn(10);
pub const SECOND_LIST: Gfn = Gfn(14);
/// So long that every look at the clock finds the time used up.
pub const SLOW: u64 = 10_000_000;

pub const fn address(gfn: Gfn) -> u64 {
    gfn.0 * PAGE_SIZE as u64
}

pub fn write_list<T: IntoBytes + Immutable>(world: &World, dom: u16, first: Gfn, values: &[T]) {
    for (page, part) in (first.0..).zip(values.as_bytes().chunks(PAGE_SIZE)) {
        assert!(world.page(dom, Gfn(page)).write_bytes(0, part));
    }
}

pub fn read_list<T: FromBytes + IntoBytes + Clone>(world: &World, dom: u16, first: Gfn, count: usize) -> Vec<T> {
    let mut values = vec![T::new_zeroed(); count];
    for (index, value) in values.iter_mut().enumerate() {
        let at = index * size_of::<T>();
        let mut bytes = vec![0; size_of::<T>()];
        for (offset, byte) in bytes.iter_mut().enumerate() {
            let at = at + offset;
            *byte = world.page(dom, Gfn(first.0 + (at / PAGE_SIZE) as u64)).load_u8(at % PAGE_SIZE).unwrap();
        }
        value.as_mut_bytes().copy_from_slice(&bytes);
    }
    values
}

/// How often the clock was looked at: once at the start of each part of a call, and when its time was found used up.
pub fn looks(world: &World) -> u64 {
    world.hv.machine.now().0 / SLOW
}
