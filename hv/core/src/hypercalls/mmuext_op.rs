//! `mmuext_op`: page tables of PV domains. **Source:** `xen.h`.

use crate::hypercalls::Call;
use crate::outcome::Answer;
use xen_abi::{DomId, Errno};
use xenolith_hal::Machine;

/// Implements `mmuext_op`, whose fourth argument names the domain. No domain has page tables that the hypervisor
/// handles.
///
/// **Errors:** `ESRCH` for a domain that does not exist, and for the caller by its own number; else `EINVAL`.
pub fn mmuext_op<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let owner = DomId(call.arg(3) as u16);
    if owner == call.domain.id || (owner != DomId::SELF && call.hv.domain(owner).is_err()) {
        return Err(Errno::ESRCH);
    }
    Err(Errno::EINVAL)
}
