//! Page types of a domain's frames, for saving and migrating it.

use super::Request;
use crate::budget::Budget;
use crate::components::grant::World;
use crate::outcome::{Answer, Outcome};
use xen_abi::Errno;
use xen_abi::domctl::{XEN_DOMCTL_PFINFO_NOTAB, XEN_DOMCTL_PFINFO_XTAB};
use xenolith_hal::{Gfn, Machine, PageKind};

/// The most frames of one call.
const MOST_FRAMES: u64 = 1024;

/// Implements `XEN_DOMCTL_getpageframeinfo3`: replaces each frame of a list by its type: the domain's own memory, or
/// none. What is to be populated on demand is populated, as on Xen. A preempted call leaves what remains in the structure.
///
/// **Errors:** `E2BIG` for more than 1024 frames; `EFAULT`.
pub(super) fn get_page_frame_info<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let mut list = request.op.getpageframeinfo3();
    if list.num > MOST_FRAMES {
        return Err(Errno::E2BIG);
    }
    let machine = &request.call.hv.machine;
    let (memory, mut budget) = (request.call.memory(), Budget::start(machine));
    while list.num > 0 {
        let gfn = Gfn(memory.read(list.array)?);
        let found = request.call.hv.memory(request.domain()?).find(gfn);
        let own = found.is_some_and(|found| found.kind == PageKind::Ram);
        let kind = if own { XEN_DOMCTL_PFINFO_NOTAB } else { XEN_DOMCTL_PFINFO_XTAB };
        memory.write(list.array, &u64::from(kind))?;
        list.array = memory.element(list.array, 1)?;
        list.num = list.num.saturating_sub(1);
        if list.num > 0 && budget.is_spent(machine) {
            request.op.set_getpageframeinfo3(list);
            request.copy_back()?;
            return request.again();
        }
    }
    Ok(Outcome::OK)
}
