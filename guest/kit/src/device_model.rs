//! What a device model does, in small: has a guest's accesses directed to it, and answers them.

use core::ops::RangeInclusive;

use xen_abi::dm_op::*;
use xen_abi::hvm_op::HVM_IOREQSRV_BUFIOREQ_ATOMIC;
use xen_abi::hypercall::DM_OP;
use xen_abi::ioreq::{Ioreq, STATE_IOREQ_READY, STATE_IORESP_READY, STATE_MASK};
use xen_abi::memory::XENMEM_ACQUIRE_RESOURCE;
use xen_abi::physmap::{MemAcquireResource, XENMEM_RESOURCE_IOREQ_SERVER};
use xen_abi::{DomId, GuestHandle, Port};

use crate::calls::{call, memory};
use crate::domain::{SPARE, address, after, bind_interdomain, close, set_mask};
use crate::foreign;
use crate::pages::{Page, read_at, write_at};
use crate::toolstack::checked;

/// The spare frame at which the buffered page is seen; the synchronous one follows.
const BUFFERED_SLOT: u64 = 0x50;
const SYNCHRONOUS_SLOT: u64 = BUFFERED_SLOT + 1;
/// Where the buffers of a request are listed, in the page of its arguments.
const BUFFERS: usize = 1024;
/// Fields of the buffered page.
const READ_POINTER: u64 = 0;
const WRITE_POINTER: u64 = 4;
/// Fields of a request.
const DATA: u64 = core::mem::offset_of!(Ioreq, data) as u64;
const STATE: u64 = core::mem::offset_of!(Ioreq, state_and_flags) as u64;

/// Makes a request of a device model for `domain`; the structure comes back changed.
pub fn dm_op(domain: DomId, op: &mut DmOp) -> i64 {
    static STRUCTURE: Page = Page::new();
    STRUCTURE.write(0, *op);
    let buffer = DmOpBuf { address: GuestHandle::new(STRUCTURE.address()), size: size_of::<DmOp>() as u64 };
    STRUCTURE.write(BUFFERS, buffer);
    let result = call(DM_OP, [domain.0.into(), 1, STRUCTURE.address() + BUFFERS as u64]);
    *op = STRUCTURE.read(0);
    result
}

/// An I/O request server of a guest with one vCPU. There can be one at a time: its pages are seen at fixed frames.
pub struct Server {
    domain: DomId,
    id: u16,
    /// This domain's port for the vCPU's requests.
    port: Port,
    /// The same for requests that nobody waits for.
    buffered: Port,
}

impl Server {
    /// Creates a server with ranges of the kinds `XEN_DMOP_IO_RANGE_*`, and enables it. That something is in its ring is no
    /// event.
    ///
    /// **Errors:** what the call gave that failed.
    pub fn new(scratch: &'static Page, domain: DomId, ranges: &[(u32, RangeInclusive<u64>)]) -> Result<Self, i64> {
        let mut op = DmOp { op: XEN_DMOP_CREATE_IOREQ_SERVER, ..DmOp::default() };
        op.set_create_ioreq_server(DmOpCreateIoreqServer {
            handle_bufioreq: HVM_IOREQSRV_BUFIOREQ_ATOMIC,
            ..DmOpCreateIoreqServer::default()
        });
        checked(dm_op(domain, &mut op))?;
        let id = op.create_ioreq_server().id;
        for (kind, range) in ranges {
            let mut op = DmOp { op: XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER, ..DmOp::default() };
            op.set_ioreq_server_range(DmOpIoreqServerRange {
                id,
                kind: *kind,
                start: *range.start(),
                end: *range.end(),
                ..DmOpIoreqServerRange::default()
            });
            checked(dm_op(domain, &mut op))?;
        }
        see_pages(scratch, domain, id)?;
        let mut op = DmOp { op: XEN_DMOP_SET_IOREQ_SERVER_STATE, ..DmOp::default() };
        op.set_ioreq_server_state(DmOpSetIoreqServerState { id, enabled: 1, ..DmOpSetIoreqServerState::default() });
        checked(dm_op(domain, &mut op))?;
        let mut op = DmOp { op: XEN_DMOP_GET_IOREQ_SERVER_INFO, ..DmOp::default() };
        let wanted = DmOpGetIoreqServerInfo { id, flags: XEN_DMOP_NO_GFNS, ..DmOpGetIoreqServerInfo::default() };
        op.set_get_ioreq_server_info(wanted);
        checked(dm_op(domain, &mut op))?;
        let bind = |theirs| match bind_interdomain(domain, theirs) {
            (0, ours) => Ok(ours),
            (result, _) => Err(result),
        };
        let buffered = bind(op.get_ioreq_server_info().bufioreq_port)?;
        set_mask(buffered, true);
        let port = bind(read_at::<Ioreq>(synchronous()).vp_eport)?;
        Ok(Self { domain, id, port, buffered })
    }

    /// Returns its number.
    #[must_use]
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Returns this domain's port for the vCPU's requests.
    #[must_use]
    pub fn port(&self) -> Port {
        self.port
    }

    /// Returns the request that is to be answered; none if there is none.
    #[must_use]
    pub fn request(&self) -> Option<Ioreq> {
        let request: Ioreq = read_at(synchronous());
        (request.state_and_flags & STATE_MASK == STATE_IOREQ_READY).then_some(request)
    }

    /// Answers `request`, without telling the hypervisor.
    pub fn answer(&self, request: &Ioreq, data: u64) {
        write_at(synchronous() + DATA, data);
        write_at(synchronous() + STATE, request.state_and_flags & !STATE_MASK | STATE_IORESP_READY);
    }

    /// Passes over all requests that nobody waits for; gives how many there were.
    pub fn drain(&self) -> u32 {
        let (read, written): (u32, u32) = (read_at(buffered() + READ_POINTER), read_at(buffered() + WRITE_POINTER));
        write_at(buffered() + READ_POINTER, written);
        written.wrapping_sub(read)
    }

    /// Ends it.
    pub fn end(self) {
        let mut op = DmOp { op: XEN_DMOP_DESTROY_IOREQ_SERVER, ..DmOp::default() };
        op.set_destroy_ioreq_server(DmOpDestroyIoreqServer { id: self.id, ..DmOpDestroyIoreqServer::default() });
        [self.port, self.buffered].into_iter().for_each(|port| {
            close(port);
        });
        [BUFFERED_SLOT, SYNCHRONOUS_SLOT].into_iter().for_each(|slot| {
            foreign::unmap(after(SPARE, slot));
        });
        dm_op(self.domain, &mut op);
    }
}

fn buffered() -> u64 {
    address(after(SPARE, BUFFERED_SLOT))
}

fn synchronous() -> u64 {
    address(after(SPARE, SYNCHRONOUS_SLOT))
}

/// Maps both pages of a server.
fn see_pages(scratch: &'static Page, domain: DomId, id: u16) -> Result<(), i64> {
    let slots = [BUFFERED_SLOT, SYNCHRONOUS_SLOT];
    (0..).zip(slots).for_each(|(index, slot)| scratch.write(index * 8, after(SPARE, slot)));
    let mut wanted = MemAcquireResource {
        domid: domain,
        kind: XENMEM_RESOURCE_IOREQ_SERVER,
        id: id.into(),
        nr_frames: slots.len() as u32,
        frame_list: GuestHandle::new(scratch.address()),
        ..MemAcquireResource::default()
    };
    checked(memory(XENMEM_ACQUIRE_RESOURCE, &mut wanted))
}
