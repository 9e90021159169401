//! `dm_op`: requests of a device model. **Source:** `hvm/dm_op.h`; the order of the error checks is that of Xen 4.17.

mod lines;
mod memory;
mod servers;
mod vram;

use crate::components::access::{Action, Object};
use crate::components::ioreq::DeviceModel;
use crate::domains::hypervisor::DomainRef;
use crate::hypercalls::Call;
use crate::outcome::{Answer, Outcome};
use xen_abi::dm_op::*;
use xen_abi::{DomId, Errno, GuestHandle};
use xenolith_hal::Machine;
use zerocopy::{FromZeros, IntoBytes};

/// The most buffers of an operation.
const MOST_BUFFERS: usize = 2;
/// Bytes of [`DmOp`] before what depends on the operation.
const HEAD: usize = core::mem::offset_of!(DmOp, u);

/// A request of a device model.
struct Request<'r, 'a, M: Machine> {
    call: &'r mut Call<'a, M>,
    domain: DomainRef<M>,
    op: DmOp,
    /// The buffer behind the request itself, if there is one.
    extra: Option<DmOpBuf>,
}

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Done {
    /// It is done, and nothing is written back.
    Quietly,
    /// It is done, and its structure is written back.
    WrittenBack,
    /// It was preempted: its structure is written back, and the same call is made again.
    Again,
}

type Handler<M> = fn(&mut Request<'_, '_, M>) -> Result<Done, Errno>;

impl<M: Machine> Request<'_, '_, M> {
    /// Returns the servers of the guest.
    ///
    /// **Errors:** `EOPNOTSUPP` for a guest without a platform, which has no accesses for a device model to answer. Real
    /// Xen gives a PVH guest servers too.
    fn model(&self) -> Result<&DeviceModel, Errno> {
        self.domain.device_model.get().map(|model| &**model).ok_or(Errno::EOPNOTSUPP)
    }

    /// Returns the number of the calling domain.
    fn emulator(&self) -> DomId {
        self.call.domain.id
    }
}

/// Returns the size of an operation's arguments and its handler; None for a number past the last.
const fn operation<M: Machine>(op: u32) -> Option<(usize, Handler<M>)> {
    Some(match op {
        XEN_DMOP_CREATE_IOREQ_SERVER => (size_of::<DmOpCreateIoreqServer>(), servers::create),
        XEN_DMOP_GET_IOREQ_SERVER_INFO => (size_of::<DmOpGetIoreqServerInfo>(), servers::info),
        XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER => (size_of::<DmOpIoreqServerRange>(), servers::map_range),
        XEN_DMOP_UNMAP_IO_RANGE_FROM_IOREQ_SERVER => (size_of::<DmOpIoreqServerRange>(), servers::unmap_range),
        XEN_DMOP_SET_IOREQ_SERVER_STATE => (size_of::<DmOpSetIoreqServerState>(), servers::set_state),
        XEN_DMOP_DESTROY_IOREQ_SERVER => (size_of::<DmOpDestroyIoreqServer>(), servers::destroy),
        XEN_DMOP_TRACK_DIRTY_VRAM => (size_of::<DmOpTrackDirtyVram>(), vram::track_dirty_vram),
        XEN_DMOP_SET_PCI_INTX_LEVEL => (size_of::<DmOpSetPciIntxLevel>(), lines::set_pci_intx_level),
        XEN_DMOP_SET_ISA_IRQ_LEVEL => (size_of::<DmOpSetIsaIrqLevel>(), lines::set_isa_irq_level),
        XEN_DMOP_SET_PCI_LINK_ROUTE => (size_of::<DmOpSetPciLinkRoute>(), lines::set_pci_link_route),
        XEN_DMOP_MODIFIED_MEMORY => (size_of::<DmOpModifiedMemory>(), memory::modified_memory),
        XEN_DMOP_SET_MEM_TYPE => (size_of::<DmOpSetMemType>(), memory::set_mem_type),
        XEN_DMOP_INJECT_EVENT => (size_of::<DmOpInjectEvent>(), lines::inject_event),
        XEN_DMOP_INJECT_MSI => (size_of::<DmOpInjectMsi>(), lines::inject_msi),
        XEN_DMOP_MAP_MEM_TYPE_TO_IOREQ_SERVER => (size_of::<DmOpMapMemTypeToIoreqServer>(), memory::map_mem_type),
        XEN_DMOP_REMOTE_SHUTDOWN => (size_of::<DmOpRemoteShutdown>(), lines::remote_shutdown),
        XEN_DMOP_RELOCATE_MEMORY => (size_of::<DmOpRelocateMemory>(), memory::relocate_memory),
        XEN_DMOP_PIN_MEMORY_CACHEATTR => (size_of::<DmOpPinMemoryCacheattr>(), memory::pin_memory_cacheattr),
        XEN_DMOP_NR_VCPUS => (size_of::<DmOpNrVcpus>(), servers::nr_vcpus),
        // Numbers without an operation here: their structure is not read.
        0 | XEN_DMOP_SET_IRQ_LEVEL => (0, refuse),
        _ => return None,
    })
}

fn require(condition: bool) -> Result<(), Errno> {
    if condition { Ok(()) } else { Err(Errno::EINVAL) }
}

fn refuse<M: Machine>(_: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    Err(Errno::EOPNOTSUPP)
}

/// Implements `dm_op(domain, count, buffers)`.
///
/// **Errors:** `ENODATA` without buffers, `E2BIG` for more than two, `EFAULT`, `ESRCH` (for `DOMID_SELF` too), `EPERM` for
/// the caller itself and for one that is not the control domain; `EFAULT` for a first buffer that is too short;
/// `EOPNOTSUPP` for an operation that does not exist; `EINVAL` for padding; and the operation's own.
pub fn dm_op<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let (id, count) = (DomId(call.arg(0) as u16), call.arg_u32(1) as usize);
    let (first, extra) = read_buffers(call, count)?;
    if id == DomId::SELF {
        return Err(Errno::ESRCH);
    }
    if call.is_self(id) {
        return Err(Errno::EPERM);
    }
    let domain = call.hv.domain(id)?;
    call.may(Action::ModelDevices, Object::Domain(id))?;
    let (op, size, handler) = read_request(call, first)?;
    if op.pad != 0 {
        return Err(Errno::EINVAL);
    }
    let mut request = Request { call, domain, op, extra };
    let done = handler(&mut request)?;
    if done != Done::Quietly {
        let from = request.op.u.0.get(..size).ok_or(Errno::EFAULT)?;
        let to = first.address.address.checked_add(HEAD as u64).ok_or(Errno::EFAULT)?;
        request.call.memory().write_bytes(to, from)?;
    }
    Ok(if done == Done::Again { Outcome::Again(request.call.args) } else { Outcome::OK })
}

/// Reads where the buffers are.
fn read_buffers<M: Machine>(call: &Call<'_, M>, count: usize) -> Result<(DmOpBuf, Option<DmOpBuf>), Errno> {
    if count == 0 {
        return Err(Errno::ENODATA);
    }
    if count > MOST_BUFFERS {
        return Err(Errno::E2BIG);
    }
    let list: GuestHandle<DmOpBuf> = call.handle(2);
    let first = call.memory().read_at(list, 0)?;
    let extra = if count > 1 { Some(call.memory().read_at(list, 1)?) } else { None };
    Ok((first, extra))
}

/// Reads the request, of which only what the operation needs must be there.
fn read_request<M: Machine>(call: &Call<'_, M>, buffer: DmOpBuf) -> Result<(DmOp, usize, Handler<M>), Errno> {
    let (at, room) = (buffer.address.address, usize::try_from(buffer.size).unwrap_or(usize::MAX));
    if room < HEAD {
        return Err(Errno::EFAULT);
    }
    let mut op = DmOp::new_zeroed();
    let bytes = op.as_mut_bytes();
    call.memory().read_bytes(at, bytes.get_mut(..HEAD).ok_or(Errno::EFAULT)?)?;
    let (size, handler) = operation(op.op).ok_or(Errno::EOPNOTSUPP)?;
    let end = HEAD.saturating_add(size);
    if room < end {
        return Err(Errno::EFAULT);
    }
    let from = at.checked_add(HEAD as u64).ok_or(Errno::EFAULT)?;
    call.memory().read_bytes(from, op.as_mut_bytes().get_mut(HEAD..end).ok_or(Errno::EFAULT)?)?;
    Ok((op, size, handler))
}
