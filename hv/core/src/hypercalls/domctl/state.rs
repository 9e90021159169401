//! The HVM context of a domain: [`crate::x86::hvm_context`].

use super::Request;
use crate::lifecycle::stopped::with_domain_stopped;
use crate::outcome::{Answer, Outcome};
use crate::x86::hvm_context;
use alloc::vec::Vec;
use xen_abi::Errno;
use xenolith_hal::Machine;

/// The longest context that is accepted, in bytes: three times that of a domain with 128 vCPUs.
const LONGEST: u32 = 1 << 20;

/// Implements `XEN_DOMCTL_gethvmcontext`: writes the whole context, or how long it can be.
///
/// **Errors:** `EINVAL` for the caller and for a dying domain; `ENOSPC` for a buffer that is too short; `ENOMEM`; `EFAULT`.
pub(super) fn get_hvm_context<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let mut wanted = request.op.hvmcontext();
    let (hv, domain) = (request.call.hv, request.other_domain()?);
    let size = u32::try_from(hvm_context::size(domain)).map_err(|_| Errno::ENOMEM)?;
    if wanted.buffer.is_null() {
        wanted.size = size;
    } else if wanted.size < size {
        return Err(Errno::ENOSPC);
    } else {
        let bytes = match with_domain_stopped(hv, domain, || hvm_context::save(hv, domain)) {
            Err(Errno::EAGAIN) => return request.again(),
            saved => saved?,
        };
        request.call.memory().write_bytes(wanted.buffer.address, &bytes)?;
        wanted.size = u32::try_from(bytes.len()).map_err(|_| Errno::ENOMEM)?;
    }
    request.op.set_hvmcontext(wanted);
    request.copy_back()
}

/// Implements `XEN_DOMCTL_sethvmcontext`: loads a context. The vCPUs whose registers are in it are up afterwards, and
/// no others.
///
/// **Errors:** `EINVAL` for the caller; `ENOMEM` for a context that is too long; `EFAULT`; and as
/// [`hvm_context::load`].
#[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
pub(super) fn set_hvm_context<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let wanted = request.op.hvmcontext();
    let (hv, domain) = (request.call.hv, request.other_domain()?);
    if wanted.size > LONGEST {
        return Err(Errno::ENOMEM);
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(wanted.size as usize).map_err(|_| Errno::ENOMEM)?;
    bytes.resize(wanted.size as usize, 0);
    request.call.memory().read_bytes(wanted.buffer.address, &mut bytes)?;
    match with_domain_stopped(hv, domain, || hvm_context::load(hv, domain, &bytes)) {
        Err(Errno::EAGAIN) => request.again(),
        loaded => loaded.map(|()| Outcome::OK),
    }
}

/// Implements `XEN_DOMCTL_gethvmcontext_partial`: writes one record, or how long it is.
///
/// **Errors:** `EINVAL` for the caller, a domain that is dying, and a type that is not saved; `ENOBUFS` for a buffer
/// that is too short; `EFAULT`; and as [`hvm_context::save_one`].
pub(super) fn get_hvm_context_partial<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let mut wanted = request.op.hvmcontext_partial();
    let (hv, domain) = (request.call.hv, request.other_domain()?);
    let save = || hvm_context::save_one(hv, domain, wanted.kind, wanted.instance);
    let body = match with_domain_stopped(hv, domain, save) {
        Err(Errno::EAGAIN) => return request.again(),
        saved => saved?,
    };
    let length = body.len() as u64;
    if !wanted.buffer.is_null() {
        if wanted.bufsz < length {
            return Err(Errno::ENOBUFS);
        }
        request.call.memory().write_bytes(wanted.buffer.address, &body)?;
    }
    wanted.bufsz = length;
    request.op.set_hvmcontext_partial(wanted);
    request.copy_back()
}
