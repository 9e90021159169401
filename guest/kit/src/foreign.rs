//! Pages of other domains, seen by domain 0 at frames of its own.

use xen_abi::memory::{XENMEM_ADD_TO_PHYSMAP_BATCH, XENMEM_REMOVE_FROM_PHYSMAP};
use xen_abi::physmap::{AddToPhysmapBatch, RemoveFromPhysmap, XENMAPSPACE_GMFN_FOREIGN};
use xen_abi::{DomId, Gfn, GuestHandle};

use crate::calls::memory;
use crate::pages::Page;
use crate::toolstack::checked;

/// Puts page `gfn` of `dom` at `at`. The lists for the call lie in `scratch`, from byte 1024 to 2048.
///
/// **Errors:** what the call gave, or the page's own result.
pub fn map(scratch: &Page, dom: DomId, gfn: Gfn, at: Gfn) -> Result<(), i64> {
    scratch.write(1024, gfn);
    scratch.write(1032, at);
    let handle = |offset: u64| scratch.address() + offset;
    let mut batch = AddToPhysmapBatch {
        domid: DomId::SELF,
        space: XENMAPSPACE_GMFN_FOREIGN as u16,
        size: 1,
        foreign_domid: dom,
        idxs: GuestHandle::new(handle(1024)),
        gpfns: GuestHandle::new(handle(1032)),
        errs: GuestHandle::new(handle(1040)),
    };
    checked(memory(XENMEM_ADD_TO_PHYSMAP_BATCH, &mut batch))?;
    checked(scratch.read::<i32>(1040).into())
}

/// Takes whatever is at `gpfn` away from there; gives the call's result.
pub fn unmap(gpfn: Gfn) -> i64 {
    memory(XENMEM_REMOVE_FROM_PHYSMAP, &mut RemoveFromPhysmap { domid: DomId::SELF, pad: [0; 6], gpfn })
}
