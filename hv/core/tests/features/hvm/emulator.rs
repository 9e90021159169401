//! A device model in domain 0 for domain 1, as QEMU sets itself up.

use crate::domctl::toolstack::populate;
use xen_abi::dm_op::*;
use xen_abi::event_channel::*;
use xen_abi::hvm_op::HVM_IOREQSRV_BUFIOREQ_ATOMIC;
use xen_abi::hypercall::{DM_OP, EVENT_CHANNEL_OP, MEMORY_OP};
use xen_abi::ioreq::*;
use xen_abi::memory::XENMEM_ACQUIRE_RESOURCE;
use xen_abi::physmap::*;
use xen_abi::shared_info::SHARED_INFO_EVTCHN_PENDING;
use xen_abi::{DomId, Errno, Gfn, GuestHandle, Port, VcpuId};
use xenolith_core::domains::running::Running;
use xenolith_core::domains::vcpu::VcpuCore;
use xenolith_core::outcome::After;
use xenolith_core::x86::{completion, guest_ports, mmio};
use xenolith_fake::FakeMachine;
use xenolith_hal::{Access, CpuState, Gpa, GuestCpu, IoAccess, IoSize, Machine, PAGE_SIZE, PageWords};
use xenolith_world::{Answer, Plan, World};
use zerocopy::IntoBytes;

/// Frames of domain 0: the request, the list of buffers, the second buffer, a list of frames.
const REQUEST: Gfn = Gfn(5);
const BUFFERS: Gfn = Gfn(6);
pub const EXTRA: Gfn = Gfn(7);
const LIST: Gfn = Gfn(8);
/// Where domain 0 maps the pages of its server.
pub const BUFFERED: Gfn = Gfn(0x200);
pub const SYNCHRONOUS: Gfn = Gfn(0x201);
/// The guest's highest frame with memory.
pub const HIGHEST: Gfn = Gfn(40);
/// Where the guest's instruction stands.
pub const CODE: Gfn = Gfn(2);
pub const GUEST: u16 = 1;

pub const fn at(gfn: Gfn) -> u64 {
    gfn.0 * PAGE_SIZE as u64
}

/// Domain 0 and an HVM guest with two vCPUs; domain 2 is another one.
pub fn world() -> World {
    let world = World::planned(Plan { hvm: true, spare_pages: 4, ..Plan::TESTS }, &[1, 2, 1]);
    populate(&world, DomId(GUEST), HIGHEST.0, 1);
    world
}

/// Makes a request of domain 0's, with this many bytes of its structure.
pub fn request_of(world: &World, target: u16, op: &mut DmOp, size: u64, extra: Option<u64>) -> Answer {
    assert!(world.page(0, REQUEST).write_bytes(0, op.as_bytes()));
    let buffers = [
        DmOpBuf { address: GuestHandle::new(at(REQUEST)), size },
        DmOpBuf { address: GuestHandle::new(at(EXTRA)), size: extra.unwrap_or(0) },
    ];
    assert!(world.page(0, BUFFERS).write_bytes(0, buffers.as_bytes()));
    let count = if extra.is_some() { 2 } else { 1 };
    let answer = world.call(0, DM_OP, [target.into(), count, at(BUFFERS), 0, 0, 0]);
    assert!(world.page(0, REQUEST).read_bytes(0, op.as_mut_bytes()));
    answer
}

/// Makes a whole request about the guest with this second buffer.
pub fn request_with(world: &World, op: &DmOp, extra: DmOpBuf) -> Answer {
    assert!(world.page(0, REQUEST).write_bytes(0, op.as_bytes()));
    let buffers = [DmOpBuf { address: GuestHandle::new(at(REQUEST)), size: 32 }, extra];
    assert!(world.page(0, BUFFERS).write_bytes(0, buffers.as_bytes()));
    world.call(0, DM_OP, [GUEST.into(), 2, at(BUFFERS), 0, 0, 0])
}

/// Makes a whole request about the guest.
pub fn request(world: &World, op: &mut DmOp) -> Answer {
    request_of(world, GUEST, op, 32, None)
}

/// Returns a request whose arguments `set` writes.
pub fn dm_op(op: u32, set: impl FnOnce(&mut DmOp)) -> DmOp {
    let mut request = DmOp { op, ..DmOp::default() };
    set(&mut request);
    request
}

pub fn create(world: &World, buffering: u8) -> Result<u16, Errno> {
    let mut op = dm_op(XEN_DMOP_CREATE_IOREQ_SERVER, |op| {
        op.set_create_ioreq_server(DmOpCreateIoreqServer { handle_bufioreq: buffering, ..Default::default() });
    });
    request(world, &mut op)?;
    Ok(op.create_ioreq_server().id)
}

pub fn range(world: &World, map: bool, id: u16, kind: u32, start: u64, end: u64) -> Answer {
    let number = if map { XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER } else { XEN_DMOP_UNMAP_IO_RANGE_FROM_IOREQ_SERVER };
    let range = DmOpIoreqServerRange { id, kind, start, end, pad: 0 };
    request(world, &mut dm_op(number, |op| op.set_ioreq_server_range(range)))
}

pub fn set_state(world: &World, id: u16, enabled: u8) -> Answer {
    let state = DmOpSetIoreqServerState { id, enabled, pad: 0 };
    request(world, &mut dm_op(XEN_DMOP_SET_IOREQ_SERVER_STATE, |op| op.set_ioreq_server_state(state)))
}

pub fn destroy(world: &World, id: u16) -> Answer {
    let server = DmOpDestroyIoreqServer { id, pad: 0 };
    request(world, &mut dm_op(XEN_DMOP_DESTROY_IOREQ_SERVER, |op| op.set_destroy_ioreq_server(server)))
}

pub fn info(world: &World, id: u16, flags: u16) -> Result<DmOpGetIoreqServerInfo, Errno> {
    let asked = DmOpGetIoreqServerInfo { id, flags, ..Default::default() };
    let mut op = dm_op(XEN_DMOP_GET_IOREQ_SERVER_INFO, |op| op.set_get_ioreq_server_info(asked));
    request(world, &mut op)?;
    Ok(op.get_ioreq_server_info())
}

/// Maps frames of a server at frames of domain 0.
pub fn acquire(world: &World, id: u32, frame: u64, places: &[Gfn]) -> Answer {
    assert!(world.page(0, LIST).write_bytes(0, places.as_bytes()));
    let mut op = MemAcquireResource {
        domid: DomId(GUEST),
        kind: XENMEM_RESOURCE_IOREQ_SERVER,
        id,
        nr_frames: places.len() as u32,
        padding: 0,
        frame,
        frame_list: GuestHandle::new(at(LIST)),
    };
    world.call_with(0, MEMORY_OP, XENMEM_ACQUIRE_RESOURCE, &mut op)
}

/// A device model at work.
pub struct Emulator {
    pub world: World,
    /// Domain 0's ports for the two vCPUs and the buffered page.
    pub ports: [Port; 3],
}

impl Emulator {
    /// Sets up server 0 with ports 0x60 to 0x6f, 0xcf8 to 0xcff, VGA, a window at 0xf0000000 and PCI function 0x10.
    pub fn new() -> Self {
        let world = world();
        assert_eq!(create(&world, HVM_IOREQSRV_BUFIOREQ_ATOMIC), Ok(0));
        assert_eq!(acquire(&world, 0, 0, &[BUFFERED, SYNCHRONOUS]), Ok(0));
        for (kind, start, end) in [
            (XEN_DMOP_IO_RANGE_PORT, 0x60, 0x6f),
            (XEN_DMOP_IO_RANGE_PORT, 0xcf8, 0xcff),
            (XEN_DMOP_IO_RANGE_MEMORY, 0xa_0000, 0xb_ffff),
            (XEN_DMOP_IO_RANGE_MEMORY, 0xf000_0000, 0xf0ff_ffff),
            (XEN_DMOP_IO_RANGE_PCI, 0x10, 0x10),
        ] {
            assert_eq!(range(&world, true, 0, kind, start, end), Ok(0));
        }
        assert_eq!(set_state(&world, 0, 1), Ok(0));
        let buffered = info(&world, 0, XEN_DMOP_NO_GFNS).unwrap().bufioreq_port;
        let page = world.page(0, SYNCHRONOUS);
        let theirs = [page.load_u32(24).unwrap(), page.load_u32(32 + 24).unwrap(), buffered.0];
        let ports = theirs.map(|port| bind(&world, Port(port)).unwrap());
        for port in ports {
            clear(&world, port);
        }
        Self { world, ports }
    }

    pub fn synchronous(&self) -> &PageWords {
        self.world.page(0, SYNCHRONOUS)
    }

    pub fn buffered(&self) -> &PageWords {
        self.world.page(0, BUFFERED)
    }

    /// Returns the request of a vCPU.
    pub fn asked(&self, vcpu: usize) -> Ioreq {
        let mut asked = Ioreq::default();
        assert!(self.synchronous().read_bytes(vcpu * 32, asked.as_mut_bytes()));
        asked
    }

    /// Returns whether domain 0 was notified at a port since it was last asked.
    pub fn was_notified(&self, port: Port) -> bool {
        clear(&self.world, port)
    }

    /// Answers the request of a vCPU with this data, and notifies it.
    pub fn answer(&self, vcpu: usize, data: u64) {
        let (page, state) = (self.synchronous(), vcpu * 32 + 30);
        let flags = page.load_u8(state).unwrap();
        assert_eq!(flags & STATE_MASK, STATE_IOREQ_READY);
        page.store_u64(vcpu * 32 + 8, data).unwrap();
        page.store_u8(state, flags & !STATE_MASK | STATE_IORESP_READY).unwrap();
        self.notify(vcpu);
    }

    pub fn notify(&self, vcpu: usize) {
        let mut send = EvtchnSend { port: self.ports[vcpu] };
        assert_eq!(self.world.call_with(0, EVENT_CHANNEL_OP, EVTCHNOP_SEND, &mut send), Ok(0));
    }

    /// Works with a vCPU of the guest that has a CPU.
    pub fn run<T>(&self, vcpu: u32, work: impl FnOnce(&mut Running<'_, FakeMachine>) -> T) -> T {
        let domain = self.world.domain(GUEST);
        let vcpu = domain.vcpu(VcpuId(vcpu)).unwrap();
        let mut core = vcpu.take_core().unwrap();
        let done = work(&mut Running { hv: &self.world.hv, domain: &domain, vcpu, core: &mut core });
        vcpu.put_core(core);
        done
    }

    pub fn core<T>(&self, vcpu: u32, look: impl FnOnce(&mut VcpuCore<FakeMachine>) -> T) -> T {
        self.run(vcpu, |running| look(running.core))
    }

    /// Lets vCPU 0 access a port by IN or OUT with this RAX.
    pub fn port(&self, port: u16, size: IoSize, write: bool, rax: u64) -> After {
        self.run(0, |running| {
            running.core.hardware.registers_mut().rax = rax;
            guest_ports::access(running, IoAccess { port, size, write, string: false, repeat: false })
        })
    }

    /// Puts a 32-bit guest with flat segments at an instruction that accesses memory.
    pub fn stand_at(&self, code: &[u8], change: impl FnOnce(&mut CpuState)) {
        assert!(self.world.page(GUEST, CODE).write_bytes(0, code));
        let mut state = CpuState::at_pvh_entry(at(CODE) as u32, 0);
        change(&mut state);
        self.core(0, |core| core.hardware.set_state(&state).unwrap());
    }

    /// Lets vCPU 0 fault at an address.
    pub fn fault(&self, at: u64, write: bool) -> After {
        let access = Access { write, execute: false, present: false, page_walk: false };
        self.run(0, |running| mmio::access(running, Gpa(at), access))
    }

    /// Lets a vCPU go on with what it waits for.
    pub fn resume(&self, vcpu: u32) -> After {
        self.run(vcpu, completion::resume)
    }

    pub fn is_waiting(&self, vcpu: u32) -> bool {
        self.world.domain(GUEST).vcpu(VcpuId(vcpu)).unwrap().is_waiting()
    }
}

/// Binds a port of domain 0 to one of the guest's.
pub fn bind(world: &World, theirs: Port) -> Result<Port, Errno> {
    let mut op = EvtchnBindInterdomain { remote_dom: DomId(GUEST), remote_port: theirs, ..Default::default() };
    world.call_with(0, EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, &mut op)?;
    Ok(op.local_port)
}

/// Clears a port that is pending in domain 0; returns whether it was.
fn clear(world: &World, port: Port) -> bool {
    let page = world.hv.machine.page(world.domain(0).shared_info).unwrap();
    let (word, bit) = (SHARED_INFO_EVTCHN_PENDING + port.0 as usize / 32 * 4, 1 << (port.0 % 32));
    page.fetch_and_u32(word, !bit).unwrap() & bit != 0
}
