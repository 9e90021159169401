//! The domain's own grant table, and what test and benchmark kernels do with it.

use crate::pages::{read_at, write_at};
use xen_abi::grant_entry::*;
use xen_abi::grant_table::*;
use xen_abi::memory::XENMEM_ADD_TO_PHYSMAP;
use xen_abi::physmap::{AddToPhysmap, XENMAPSPACE_GRANT_TABLE};
use xen_abi::{DomId, Gfn, GrantHandle, GrantRef};

use crate::calls::{grant, memory};
use crate::domain::{GRANT_STATUS, GRANT_TABLE, address};

/// Puts frame `index` of the grant table (or, with the status bit, of the status words) at `gpfn`.
pub fn place(index: u64, gpfn: Gfn) -> i64 {
    let mut a = AddToPhysmap { domid: DomId::SELF, size: 0, space: XENMAPSPACE_GRANT_TABLE, idx: index, gpfn };
    memory(XENMEM_ADD_TO_PHYSMAP, &mut a)
}

/// Grants `frame` by entry `gref` of form 1.
pub fn give(gref: u32, flags: u16, to: DomId, frame: Gfn) {
    let at = address(GRANT_TABLE) + u64::from(gref) * 8;
    write_at(at, GrantEntryV1 { flags: GTF_INVALID, domid: to, frame: frame.0 as u32 });
    write_at(at, flags);
}

/// Returns the flags of entry `gref` of form 1.
pub fn flags(gref: u32) -> u16 {
    read_at(address(GRANT_TABLE) + u64::from(gref) * 8)
}

/// Takes entry `gref` of form 1 back.
pub fn revoke(gref: u32) {
    write_at(address(GRANT_TABLE) + u64::from(gref) * 8, 0_u64);
}

/// Writes entry `gref` of form 2: sixteen bytes, the flags last.
pub fn give_v2<T: crate::calls::Plain>(gref: u32, entry: T, flags: u16) {
    let at = address(GRANT_TABLE) + u64::from(gref) * 16;
    write_at(at, entry);
    write_at(at, flags);
}

/// Returns the status word of entry `gref` of form 2.
pub fn status_v2(gref: u32) -> u16 {
    read_at(address(GRANT_STATUS) + u64::from(gref) * 2)
}

/// Maps grant `gref` of `dom` at guest physical address `at`: the call's result and the filled structure.
pub fn map(dom: DomId, gref: u32, at: u64, flags: GrantMapFlags) -> (i64, GnttabMapGrantRef) {
    let mut a = GnttabMapGrantRef { host_addr: at, flags, gref: GrantRef(gref), dom, ..GnttabMapGrantRef::default() };
    (grant(GNTTABOP_MAP_GRANT_REF, &mut a), a)
}

/// Unmaps: the call's result and the status.
pub fn unmap(handle: GrantHandle, at: u64, bus: u64) -> (i64, GrantStatus) {
    let mut a = GnttabUnmapGrantRef { host_addr: at, dev_bus_addr: bus, handle, ..GnttabUnmapGrantRef::default() };
    (grant(GNTTABOP_UNMAP_GRANT_REF, &mut a), a.status)
}

/// Returns the name of a status.
pub const fn name(status: GrantStatus) -> &'static str {
    match status {
        GNTST_OKAY => "okay",
        GNTST_GENERAL_ERROR => "general_error",
        GNTST_BAD_DOMAIN => "bad_domain",
        GNTST_BAD_GNTREF => "bad_gntref",
        GNTST_BAD_HANDLE => "bad_handle",
        GNTST_BAD_VIRT_ADDR => "bad_virt_addr",
        GNTST_BAD_DEV_ADDR => "bad_dev_addr",
        GNTST_NO_DEVICE_SPACE => "no_device_space",
        GNTST_PERMISSION_DENIED => "permission_denied",
        GNTST_BAD_PAGE => "bad_page",
        GNTST_BAD_COPY_ARG => "bad_copy_arg",
        GNTST_ADDRESS_TOO_BIG => "address_too_big",
        GNTST_EAGAIN => "eagain",
        GNTST_NO_SPACE => "no_space",
        _ => "unknown",
    }
}
