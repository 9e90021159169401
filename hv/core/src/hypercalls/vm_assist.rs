//! `vm_assist`: optional behaviour of a domain. **Source:** `xen.h`, `VMASST_*`.

use crate::hypercalls::Call;
use crate::outcome::{Answer, Outcome};
use xen_abi::Errno;
use xen_abi::vm_assist::{VMASST_CMD_DISABLE, VMASST_CMD_ENABLE, VMASST_TYPE_RUNSTATE_UPDATE_FLAG};
use xenolith_hal::Machine;

/// Implements `vm_assist`: turns a behaviour on or off; a translated guest has one of them.
///
/// **Errors:** `EINVAL` for another behaviour, `ENOSYS` for another command.
pub fn vm_assist<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let (command, behaviour) = (call.arg_u32(0), call.arg_u32(1));
    if behaviour != VMASST_TYPE_RUNSTATE_UPDATE_FLAG {
        return Err(Errno::EINVAL);
    }
    match command {
        VMASST_CMD_ENABLE => call.domain.show_runstate_updates(true),
        VMASST_CMD_DISABLE => call.domain.show_runstate_updates(false),
        _ => return Err(Errno::ENOSYS),
    }
    Ok(Outcome::OK)
}
