//! `XEN_SYSCTL_getdomaininfolist`: all domains at once.

use super::Reply;
use crate::hypercalls::Call;
use crate::hypercalls::domctl::domain_info;
use xen_abi::sysctl::Sysctl;
use xen_abi::{DomId, Errno};
use xenolith_hal::Machine;

/// Implements `XEN_SYSCTL_getdomaininfolist`.
///
/// **Errors:** `EFAULT`.
pub(super) fn getdomaininfolist<M: Machine>(call: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    let mut asked = op.getdomaininfolist();
    asked.num_domains = 0;
    let mut next = Some(asked.first_domain);
    while asked.num_domains < asked.max_domains
        && let Some(domain) = next.and_then(|from| call.hv.domains.first_from(from))
    {
        let info = domain_info(call.hv, &domain);
        call.memory().write_at(asked.buffer, asked.num_domains.into(), &info)?;
        asked.num_domains = asked.num_domains.saturating_add(1);
        next = domain.id.0.checked_add(1).map(DomId);
    }
    op.set_getdomaininfolist(asked);
    Ok(Reply::Structure)
}
