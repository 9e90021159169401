//! Limits of a domain's memory and of its paging pool.

use super::{Request, dirty_logging};
use crate::domains::domain::Domain;
use crate::outcome::{Answer, Outcome};
use xen_abi::Errno;
use xen_abi::domctl::{
    XEN_DOMCTL_SHADOW_OP_CLEAN, XEN_DOMCTL_SHADOW_OP_ENABLE, XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY,
    XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION, XEN_DOMCTL_SHADOW_OP_OFF, XEN_DOMCTL_SHADOW_OP_PEEK,
    XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION,
};
use xenolith_hal::{Machine, PAGE_SHIFT, PAGE_SIZE};

/// The pages of a mebibyte, as a shift.
const PAGES_A_MIB_SHIFT: u32 = 20 - PAGE_SHIFT;

/// Implements `XEN_DOMCTL_max_mem`: sets the most memory of a domain. What it has above that stays its own.
pub(super) fn max_mem<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let domain = request.domain()?;
    let pages = request.op.max_mem().max_memkb >> (PAGE_SHIFT - 10);
    // A domain that is going gets nothing any more.
    if !domain.is_dying()
        && let Some(account) = request.call.hv.frames.account(domain.id)
    {
        account.set_max(u32::try_from(pages).unwrap_or(u32::MAX));
    }
    Ok(Outcome::OK)
}

/// Implements `XEN_DOMCTL_get_paging_mempool_size`.
///
/// **Errors:** `EFAULT`.
pub(super) fn get_paging_mempool_size<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let mut pool = request.op.paging_mempool();
    let pages = request.domain()?.physmap.with_pool(|pool| pool.size());
    pool.size = u64::from(pages) << PAGE_SHIFT;
    request.op.set_paging_mempool(pool);
    request.copy_back()
}

/// Implements `XEN_DOMCTL_set_paging_mempool_size`.
///
/// **Errors:** `EINVAL` for a size that is not a whole number of pages; `ENOMEM` for one below what is in use.
pub(super) fn set_paging_mempool_size<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let size = request.op.paging_mempool().size;
    if !size.is_multiple_of(PAGE_SIZE as u64) {
        return Err(Errno::EINVAL);
    }
    let pages = u32::try_from(size >> PAGE_SHIFT).map_err(|_| Errno::EINVAL)?;
    resize(request.domain()?, pages)
}

fn resize<M: Machine>(domain: &Domain<M>, pages: u32) -> Answer {
    domain.physmap.with_pool(|pool| pool.resize(pages)).map(|()| Outcome::OK).map_err(|_| Errno::ENOMEM)
}

/// Implements `XEN_DOMCTL_shadow_op`: the old interface to the paging pool, and dirty logging.
///
/// **Errors:** `EINVAL` for the caller, for a domain without vCPUs, for an operation that does not exist, and for one
/// out of order; `EOPNOTSUPP` for modes of page tables that are not available; `ENOMEM` for a pool below what is in
/// use; `EFAULT`.
pub(super) fn shadow_op<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let mut op = request.op.shadow_op();
    let domain = request.other_domain()?;
    if domain.is_dying() {
        return Ok(Outcome::OK);
    }
    if domain.vcpus.is_empty() {
        return Err(Errno::EINVAL);
    }
    match op.op {
        XEN_DOMCTL_SHADOW_OP_OFF => return dirty_logging::end(request),
        XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY => return dirty_logging::begin(request),
        XEN_DOMCTL_SHADOW_OP_CLEAN | XEN_DOMCTL_SHADOW_OP_PEEK => return dirty_logging::report(request),
        XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION => {}
        XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION => {
            let pages = op.mb.checked_mul(1 << PAGES_A_MIB_SHIFT).ok_or(Errno::EINVAL)?;
            resize(domain, pages)?;
        }
        XEN_DOMCTL_SHADOW_OP_ENABLE => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::EINVAL),
    }
    let pages = domain.physmap.with_pool(|pool| pool.size());
    op.mb = pages.div_ceil(1 << PAGES_A_MIB_SHIFT);
    request.op.set_shadow_op(op);
    request.copy_back()
}
