//! Servers: creating and ending them, their ranges, their pages.

use super::{Done, Request};
use crate::components::grant::World;
use crate::components::ioreq::{Buffering, GuestFrame, Page, Server, Which};
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::lifecycle::ioreq_servers;
use xen_abi::dm_op::XEN_DMOP_NO_GFNS;
use xen_abi::{Errno, Gfn};
use xenolith_hal::Machine;

fn require(condition: bool) -> Result<(), Errno> {
    if condition { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Implements `XEN_DMOP_create_ioreq_server`.
///
/// **Errors:** `EINVAL` for padding and a way of buffering that does not exist; `EOPNOTSUPP` for a PVH guest; `ENOMEM`;
/// `ENOSPC`.
pub(super) fn create<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let mut wanted = request.op.create_ioreq_server();
    require(wanted.pad == [0; 3])?;
    let buffering = Buffering::from_number(wanted.handle_bufioreq).ok_or(Errno::EINVAL)?;
    let (hv, emulator) = (request.call.hv, request.emulator());
    wanted.id = ioreq_servers::create(hv, &request.domain, request.model()?, emulator, buffering)?;
    request.op.set_create_ioreq_server(wanted);
    Ok(Done::WrittenBack)
}

/// Implements `XEN_DMOP_get_ioreq_server_info`. If the frames are asked for, frames of the guest's become the pages.
///
/// **Errors:** `EINVAL` for unknown flags; `ENOENT`; `EPERM` for another domain's server, and if its pages are mapped as
/// resources; `ENOMEM` if the toolstack left no frame for it; `EINVAL` where no memory of the guest's is.
pub(super) fn info<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let mut wanted = request.op.get_ioreq_server_info();
    require(wanted.flags & !XEN_DMOP_NO_GFNS == 0)?;
    let server = request.model()?.server(wanted.id, request.emulator())?;
    if wanted.flags & XEN_DMOP_NO_GFNS == 0 {
        wanted.ioreq_gfn = guest_page(request, &server, Which::Synchronous)?;
        if server.is_buffering() {
            wanted.bufioreq_gfn = guest_page(request, &server, Which::Buffered)?;
        }
    }
    if let Some(port) = server.buffered_port() {
        wanted.bufioreq_port = port;
    }
    request.op.set_get_ioreq_server_info(wanted);
    Ok(Done::WrittenBack)
}

/// Returns the guest's frame that serves as a page, and makes it so.
fn guest_page<M: Machine>(request: &Request<'_, '_, M>, server: &Server, which: Which) -> Result<Gfn, Errno> {
    let (hv, domain, model) = (request.call.hv, &*request.domain, request.model()?);
    server.with_page(which, &hv.machine, |page| match page {
        Page::Guest(frame) => Ok(frame.gfn),
        Page::Resource(_) => Err(Errno::EPERM),
        Page::None => {
            let gfn = ioreq_servers::take_gfn(model, domain)?;
            let found = own_page(hv, domain, gfn);
            match found {
                Some(frame) => *page = Page::Guest(frame),
                None => {
                    ioreq_servers::give_back(model, domain, gfn);
                    return Err(Errno::EINVAL);
                }
            }
            Ok(gfn)
        }
    })
}

fn own_page<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, gfn: Gfn) -> Option<GuestFrame> {
    let page = hv.memory(domain).own_page(gfn, true)?;
    Some(GuestFrame { gfn, page, hidden: false })
}

/// Implements `XEN_DMOP_map_io_range_to_ioreq_server`.
///
/// **Errors:** `EINVAL` for padding, an empty range, an unknown type; `ENOENT`; `EPERM`; `EEXIST` if the server has part of
/// the range; `ENOMEM`, also for more than 256 ranges.
pub(super) fn map_range<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let range = request.op.ioreq_server_range();
    require(range.pad == 0)?;
    request.model()?.map_range(range.id, request.emulator(), range.kind, range.start..=range.end)?;
    Ok(Done::Quietly)
}

/// Implements `XEN_DMOP_unmap_io_range_from_ioreq_server`.
///
/// **Errors:** as [`map_range`], but `ENOENT` unless the server has all of the range.
pub(super) fn unmap_range<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let range = request.op.ioreq_server_range();
    require(range.pad == 0)?;
    request.model()?.unmap_range(range.id, request.emulator(), range.kind, range.start..=range.end)?;
    Ok(Done::Quietly)
}

/// Implements `XEN_DMOP_set_ioreq_server_state`.
///
/// **Errors:** `EINVAL` for padding; `ENOENT`; `EPERM`.
pub(super) fn set_state<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let wanted = request.op.ioreq_server_state();
    require(wanted.pad == 0)?;
    let server = request.model()?.server(wanted.id, request.emulator())?;
    ioreq_servers::set_enabled(request.call.hv, &request.domain, &server, wanted.enabled != 0);
    Ok(Done::Quietly)
}

/// Implements `XEN_DMOP_destroy_ioreq_server`. vCPUs that wait for it go on with ones.
///
/// **Errors:** `EINVAL` for padding; `ENOENT`; `EPERM`.
pub(super) fn destroy<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let wanted = request.op.destroy_ioreq_server();
    require(wanted.pad == 0)?;
    let model = request.model()?;
    let server = model.remove(wanted.id, request.emulator())?;
    ioreq_servers::end(request.call.hv, &request.domain, model, &server);
    Ok(Done::Quietly)
}

/// Implements `XEN_DMOP_nr_vcpus`.
///
/// **Errors:** none.
pub(super) fn nr_vcpus<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let mut answer = request.op.nr_vcpus();
    answer.vcpus = request.domain.control.options().max_vcpus;
    request.op.set_nr_vcpus(answer);
    Ok(Done::WrittenBack)
}
