//! `dm_op`: requests of a device model. **Source:** `hvm/dm_op.h`.

use crate::components::access::{Action, Object};
use crate::hypercalls::Call;
use crate::memory::guest_memory::Layout;
use crate::outcome::Answer;
use xen_abi::{DomId, Errno};
use xenolith_hal::Machine;

/// The most buffers of an operation.
const MOST_BUFFERS: u32 = 2;

/// Implements `dm_op(domain, count, buffers)`. No domain has a device model, so there is no operation.
///
/// **Errors:** `ENODATA` without buffers, `E2BIG` for more than two, `EFAULT`, `ESRCH` (for `DOMID_SELF` too), `EPERM` for
/// the caller itself and for one that is not the control domain, else `EOPNOTSUPP`.
pub fn dm_op<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let (id, buffers) = (DomId(call.arg(0) as u16), call.arg_u32(1));
    if buffers == 0 {
        return Err(Errno::ENODATA);
    }
    if buffers > MOST_BUFFERS {
        return Err(Errno::E2BIG);
    }
    let mut unused = [0; MOST_BUFFERS as usize * 16];
    let bytes = if call.layout == Layout::Native { 16 } else { 8 };
    let bytes = (buffers as usize).saturating_mul(bytes);
    call.memory().read_bytes(call.arg(2), unused.get_mut(..bytes).ok_or(Errno::E2BIG)?)?;
    if id == DomId::SELF {
        return Err(Errno::ESRCH);
    }
    if call.is_self(id) {
        return Err(Errno::EPERM);
    }
    call.hv.domain(id)?;
    call.may(Action::ModelDevices, Object::Domain(id))?;
    Err(Errno::EOPNOTSUPP)
}
