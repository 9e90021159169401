//! What a device model does for the HVM guest, and what the guest does to devices meanwhile. Its pages are scribbled on
//! now and then.

use xen_abi::dm_op::*;
use xen_abi::event_channel::{EVTCHNOP_BIND_INTERDOMAIN, EVTCHNOP_SEND, EvtchnBindInterdomain, EvtchnSend};
use xen_abi::hypercall::{DM_OP, EVENT_CHANNEL_OP, MEMORY_OP};
use xen_abi::memory::XENMEM_ACQUIRE_RESOURCE;
use xen_abi::physmap::{MemAcquireResource, XENMEM_RESOURCE_IOREQ_SERVER};
use xen_abi::{DomId, Gfn, GuestHandle, Port, VcpuId};
use xenolith_core::domains::running::Running;
use xenolith_core::outcome::After;
use xenolith_core::x86::{completion, guest_ports, mmio};
use xenolith_hal::{Access, CpuId, Gpa, GuestCpu, IoAccess, IoSize};
use zerocopy::IntoBytes;

use super::stage::{ARGUMENT, Guest, LIST, Stage};
use crate::guests;

/// Where domain 0 maps the pages of servers, and where the buffers of a request lie.
const PAGES: [u64; 2] = [100, 101];
const REQUEST: u64 = LIST + 0x100;
const EXTENTS: u64 = LIST + 0x200;
/// Where the guest's instructions stand, and some that access memory.
const CODE: u64 = ARGUMENT;
const INSTRUCTIONS: &[&[u8]] =
    &[&[0x8b, 0x03], &[0x89, 0x03], &[0x87, 0x03], &[0xf3, 0xab], &[0xf3, 0xa5], &[0xa4], &[0x0f, 0xb6, 0x03]];
const STRINGS: &[(&[u8], IoSize, bool)] = &[
    (&[0xf3, 0x6c], IoSize::Byte, false),
    (&[0xf3, 0x6e], IoSize::Byte, true),
    (&[0xf3, 0x66, 0x6d], IoSize::Word, false),
    (&[0xf3, 0x6f], IoSize::Dword, true),
];

impl Stage<'_> {
    /// An address that a device may have: in a window of the servers' ranges, or a frame without memory.
    fn device_address(&mut self) -> u64 {
        match self.dice.u8(..4) {
            0 => 0xa_0000 + self.dice.u64(..0x2_0000),
            1 => self.gfn() << 12 | self.dice.u64(..0x1000),
            _ => 0xf000_0000 + self.dice.u64(..0x3000),
        }
    }

    fn range(&mut self) -> DmOpIoreqServerRange {
        let kind = self.dice.u32(..4);
        let (start, length) = match kind {
            0 => (self.dice.u64(..0x100), self.dice.u64(..0x40)),
            1 => (self.device_address() & !0xfff, self.dice.u64(..0x4000)),
            _ => (self.dice.u64(..0x20), self.dice.u64(..4)),
        };
        DmOpIoreqServerRange { id: self.dice.u16(..3), pad: 0, kind, start, end: start + length }
    }

    fn set_request(&mut self, op: &mut DmOp) {
        let (gfn, other, id) = (Gfn(self.gfn()), Gfn(self.gfn()), self.dice.u16(..3));
        let few = self.dice.u32(..40);
        match op.op {
            XEN_DMOP_CREATE_IOREQ_SERVER => op.set_create_ioreq_server(DmOpCreateIoreqServer {
                handle_bufioreq: self.dice.u8(..4),
                ..DmOpCreateIoreqServer::default()
            }),
            XEN_DMOP_GET_IOREQ_SERVER_INFO => op.set_get_ioreq_server_info(DmOpGetIoreqServerInfo {
                id,
                flags: self.dice.u16(..2),
                ..DmOpGetIoreqServerInfo::default()
            }),
            XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER | XEN_DMOP_UNMAP_IO_RANGE_FROM_IOREQ_SERVER => {
                op.set_ioreq_server_range(self.range());
            }
            XEN_DMOP_SET_IOREQ_SERVER_STATE => {
                let enabled = u8::from(self.dice.u8(..4) > 0);
                op.set_ioreq_server_state(DmOpSetIoreqServerState { id, enabled, pad: 0 });
            }
            XEN_DMOP_DESTROY_IOREQ_SERVER => op.set_destroy_ioreq_server(DmOpDestroyIoreqServer { id, pad: 0 }),
            XEN_DMOP_MODIFIED_MEMORY => {
                op.set_modified_memory(DmOpModifiedMemory { nr_extents: self.dice.u32(..3), opaque: 0 });
            }
            XEN_DMOP_SET_MEM_TYPE => {
                op.set_mem_type(DmOpSetMemType { nr: few, mem_type: self.dice.u16(..4), pad: 0, first_pfn: gfn })
            }
            XEN_DMOP_RELOCATE_MEMORY => {
                op.set_relocate_memory(DmOpRelocateMemory { size: few, pad: 0, src_gfn: gfn, dst_gfn: other });
            }
            XEN_DMOP_TRACK_DIRTY_VRAM => {
                op.set_track_dirty_vram(DmOpTrackDirtyVram { nr: few, pad: 0, first_pfn: gfn });
            }
            // Numbers that mean something for most of the rest.
            _ => op.u.0.iter_mut().step_by(4).for_each(|byte| *byte = self.dice.u8(..4)),
        }
    }

    fn ask(&mut self, guest: &Guest, target: DomId) -> Option<()> {
        let often =
            [XEN_DMOP_CREATE_IOREQ_SERVER, XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER, XEN_DMOP_SET_IOREQ_SERVER_STATE];
        let number = match self.dice.u8(..4) {
            0 | 1 => often.get(self.dice.usize(..3)).copied().unwrap_or(0),
            _ => self.dice.u32(..22),
        };
        // It would end the guest, and with it what there is to do.
        if number == XEN_DMOP_REMOTE_SHUTDOWN && self.dice.u8(..64) > 0 {
            return Some(());
        }
        let mut op = DmOp { op: number, ..DmOp::default() };
        self.set_request(&mut op);
        let extent = DmOpModifiedMemoryExtent { nr: self.dice.u32(..4), pad: 0, first_pfn: Gfn(self.gfn()) };
        self.write(guest, EXTENTS, [extent, extent].as_bytes());
        self.write(guest, REQUEST, op.as_bytes());
        let size = self.dice.u64(24..40);
        let buffers = [
            DmOpBuf { address: GuestHandle::new(REQUEST), size },
            DmOpBuf { address: GuestHandle::new(EXTENTS), size: 32 },
        ];
        self.write(guest, LIST, buffers.as_bytes());
        let count = self.dice.u64(1..3);
        self.call(guest, DM_OP, [u64::from(target.0), count, LIST, 0, 0, 0]).map(drop)
    }

    fn acquire(&mut self, guest: &Guest, domid: DomId) -> Option<()> {
        self.write(guest, LIST, PAGES.as_bytes());
        let value = MemAcquireResource {
            domid,
            kind: XENMEM_RESOURCE_IOREQ_SERVER,
            id: self.dice.u32(..3),
            nr_frames: self.dice.u32(1..3),
            padding: 0,
            frame: self.dice.u64(..2),
            frame_list: GuestHandle::new(LIST),
        };
        self.op(guest, MEMORY_OP, XENMEM_ACQUIRE_RESOURCE, &value, 0).map(drop)
    }

    /// Answers the requests in what may be the synchronous page, mostly as a device model would.
    fn answer(&mut self, guest: &Guest) -> Option<()> {
        for vcpu in 0..2_u64 {
            let at = (PAGES[1] << 12) + vcpu * 32;
            let state = if self.dice.u8(..16) > 0 { 3 } else { self.dice.u8(..) };
            let old: Option<[u8; 32]> = self.read(guest, at);
            if old.is_some_and(|old| old[30] & 0xf == 1) || self.dice.u8(..64) == 0 {
                self.write(guest, at + 30, &[state]);
            }
        }
        if let Some(port) = self.ports.last().copied() {
            let value = EvtchnSend { port: Port(port) };
            self.op(guest, EVENT_CHANNEL_OP, EVTCHNOP_SEND, &value, 0)?;
        }
        let port: Option<[u8; 4]> = self.read(guest, (PAGES[1] << 12) + 24);
        let value = EvtchnBindInterdomain {
            remote_dom: DomId(1),
            remote_port: Port(u32::from_le_bytes(port.unwrap_or_default())),
            ..EvtchnBindInterdomain::default()
        };
        let result = self.op(guest, EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, &value, 0)?;
        if result == 0 {
            let told: Option<EvtchnBindInterdomain> = self.read(guest, ARGUMENT);
            self.ports.extend(told.map(|told| told.local_port.0));
        }
        Some(())
    }

    /// Makes one step of a device model; none where the vCPU makes calls no more.
    pub fn use_device_model(&mut self, guest: &Guest) -> Option<()> {
        let target = if self.dice.u8(..8) > 0 { DomId(1) } else { self.domain() };
        match self.dice.u8(..4) {
            0 => self.acquire(guest, target),
            1 => self.answer(guest),
            _ => self.ask(guest, target),
        }
    }

    /// Lets the guest access a port or memory of a device, or go on with an access that waits. What crashes it is a page
    /// that was scribbled on, and it goes on here all the same. None if it has no vCPU.
    pub fn use_devices(&mut self, guest: &Guest) -> Option<()> {
        let vcpu = guest.vcpu(VcpuId(0))?;
        let mut core = vcpu.take_core()?;
        self.hv.machine.go_to(CpuId(0));
        self.hv.frames.quiet(CpuId(0));
        let running = &mut Running { hv: self.hv, domain: guest, vcpu, core: &mut core };
        let after = if running.core.unfinished.is_some() { completion::resume(running) } else { self.access(running) };
        let waits = core.unfinished.is_some();
        assert!(after != After::Stop || waits, "it stops and waits for nothing");
        assert!(waits || !vcpu.is_waiting(), "it waits for nothing");
        vcpu.put_core(core);
        self.waits += u32::from(waits);
        Some(())
    }

    fn access(&mut self, running: &mut Running<'_, xenolith_fake::FakeMachine>) -> After {
        let registers = running.core.hardware.registers_mut();
        registers.rip = CODE;
        (registers.rsi, registers.rdi) = (self.device_address(), self.device_address());
        registers.rcx = self.dice.u64(..3000);
        registers.rflags = if self.dice.bool() { 2 } else { 2 | 1 << 10 };
        let port = self.dice.u16(..0x100);
        if self.dice.bool() {
            let (code, size, write) = STRINGS[self.dice.usize(..STRINGS.len())];
            let string = self.dice.bool();
            self.write_code(running, code);
            return guest_ports::access(running, IoAccess { port, size, write, string, repeat: string });
        }
        let code = INSTRUCTIONS[self.dice.usize(..INSTRUCTIONS.len())];
        self.write_code(running, code);
        let access = Access { write: self.dice.bool(), ..Access::default() };
        let at = self.device_address();
        mmio::access(running, Gpa(at), access)
    }

    fn write_code(&self, running: &Running<'_, xenolith_fake::FakeMachine>, code: &[u8]) {
        let guest = running.domain.shared();
        if let Some((_, page)) = guest.and_then(|guest| guests::page(self.hv, &guest, Gfn(CODE >> 12))) {
            let _ = page.write_bytes((CODE & 0xfff) as usize, code);
        }
    }
}
