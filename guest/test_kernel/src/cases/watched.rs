//! Memory of an HVM guest whose writes are a device model's, which is this kernel.

use xen_abi::dm_op::*;
use xen_abi::domctl::{ArchDomainconfig, DomctlCreatedomain, EmulationFlags};
use xen_abi::hvm_op::{
    HVMMEM_IOREQ_SERVER, HVMMEM_MMIO_DM, HVMMEM_RAM_RO, HVMMEM_RAM_RW, HVMOP_GET_MEM_TYPE, HvmGetMemType,
};
use xen_abi::ioreq::{IOREQ_TYPE_PIO, Ioreq};
use xen_abi::{DomId, Gfn};
use xenolith_guest_kit::device_model::{Server, dm_op};
use xenolith_guest_kit::pages::{self, Page, write_at};
use xenolith_guest_kit::toolstack::{Mode, RESULTS, SmallDomain, options};
use xenolith_guest_kit::wait_until;

use crate::calls::hvm;
use crate::domain::{quiet, send};
use crate::runner::{Report, Runner};
use crate::waits::LONG;

/// Changes its data in several ways, and tells what it has read by a port. 32 bits, without paging.
const CHANGE: &[u8] = &[
    0xba, 0x10, 0x03, 0x00, 0x00, // mov edx, 0x310
    0xbf, 0x08, 0x50, 0x00, 0x00, // mov edi, 0x5008
    0xb8, 0x02, 0x00, 0x00, 0x00, // mov eax, 2
    0x01, 0x07, // add [edi], eax
    0x87, 0x07, // xchg [edi], eax
    0xef, // out dx, eax
    0xc6, 0x07, 0x55, // mov byte [edi], 0x55
    0x66, 0xc7, 0x47, 0x03, 0x34, 0x12, // mov word [edi+3], 0x1234
    0x0f, 0xba, 0x2f, 0x00, // bts dword [edi], 0
    0xbe, 0x00, 0x60, 0x00, 0x00, // mov esi, 0x6000
    0xa5, // movsd
    0x8b, 0x47, 0xfc, // mov eax, [edi-4]
    0xef, // out dx, eax
    0x83, 0x07, 0x07, // add dword [edi], 7
    0x8b, 0x07, // mov eax, [edi]
    0xef, // out dx, eax
    0xfa, 0xf4, // cli; hlt
];
const PORT: u64 = 0x310;
/// The frame of its data.
const DATA: Gfn = Gfn(RESULTS >> 12);
/// Its requests: those to the port are the last of each part.
const MOST_REQUESTS: usize = 16;

fn with_a_model() -> DomctlCreatedomain {
    let emulation_flags = EmulationFlags::all().difference(EmulationFlags::VPCI);
    DomctlCreatedomain { arch: ArchDomainconfig { emulation_flags, ..ArchDomainconfig::default() }, ..options() }
}

fn set_type(id: DomId, mem_type: u16, first_pfn: Gfn, nr: u32) -> i64 {
    let mut op = DmOp { op: XEN_DMOP_SET_MEM_TYPE, ..DmOp::default() };
    op.set_mem_type(DmOpSetMemType { nr, mem_type, pad: 0, first_pfn });
    dm_op(id, &mut op)
}

fn watch(id: DomId, server: u16, kind: u16, flags: u32) -> i64 {
    let mut op = DmOp { op: XEN_DMOP_MAP_MEM_TYPE_TO_IOREQ_SERVER, ..DmOp::default() };
    op.set_map_mem_type(DmOpMapMemTypeToIoreqServer { id: server, kind, flags, opaque: 0 });
    dm_op(id, &mut op)
}

fn type_of(r: &mut Report, domid: DomId, pfn: Gfn) {
    let mut a = HvmGetMemType { domid, mem_type: 0x55, pad: [0; 2], pfn };
    r.result(hvm(HVMOP_GET_MEM_TYPE, &mut a)).named("type", a.mem_type);
}

/// Runs the cases.
pub fn run(t: &mut Runner) {
    let list = pages::take();
    t.case("memory-type/to-a-device-and-back", |r| {
        to_a_device(r, list).unwrap_or_else(|result| failed(r, result));
    });
    t.case("watched/arguments", |r| arguments(r, list).unwrap_or_else(|result| failed(r, result)));
    for (name, mem_type) in [("writes", HVMMEM_IOREQ_SERVER), ("writes-to-memory-to-read", HVMMEM_RAM_RO)] {
        t.case_of(format_args!("watched/{name}"), |r| {
            writes(r, list, mem_type).unwrap_or_else(|result| failed(r, result));
        });
    }
}

fn failed(r: &mut Report, result: i64) {
    r.named_result("failed", result);
}

fn to_a_device(r: &mut Report, list: &'static Page) -> Result<(), i64> {
    let small = SmallDomain::with(with_a_model(), list)?;
    for mem_type in [HVMMEM_MMIO_DM, HVMMEM_MMIO_DM, HVMMEM_RAM_RO, HVMMEM_RAM_RW] {
        r.result(set_type(small.id, mem_type, DATA, 1));
        type_of(r, small.id, DATA);
    }
    for mem_type in [HVMMEM_RAM_RW, HVMMEM_RAM_RO, HVMMEM_MMIO_DM] {
        r.result(set_type(small.id, mem_type, Gfn(0x20), 1));
    }
    r.result(small.destroy()).holds("gone", wait_until(LONG, || small.is_gone()));
    quiet();
    Ok(())
}

fn arguments(r: &mut Report, list: &'static Page) -> Result<(), i64> {
    const WRITE: u32 = XEN_DMOP_IOREQ_MEM_ACCESS_WRITE;
    let small = SmallDomain::with(with_a_model(), list)?;
    let (id, server) = (small.id, Server::new(list, small.id, &[])?);
    let number = server.id();
    r.named_result("type-before", set_type(id, HVMMEM_IOREQ_SERVER, DATA, 1));
    for (kind, flags) in [(0, WRITE), (3, WRITE), (4, 1), (4, 3), (4, 4), (4, 0)] {
        r.result(watch(id, number, kind, flags));
    }
    r.named_result("nobody", watch(id, number + 1, 4, WRITE)).named_result("map", watch(id, number, 4, WRITE));
    r.named_result("again", watch(id, number, 4, WRITE));
    r.named_result("type", set_type(id, HVMMEM_IOREQ_SERVER, DATA, 2));
    type_of(r, id, DATA);
    r.named_result("back", set_type(id, HVMMEM_RAM_RW, DATA, 1));
    type_of(r, id, DATA);
    r.named_result("to-read", set_type(id, HVMMEM_RAM_RO, Gfn(DATA.0 + 1), 1));
    r.named_result("to-a-device", set_type(id, HVMMEM_MMIO_DM, Gfn(DATA.0 + 1), 1));
    r.named_result("read", set_type(id, HVMMEM_RAM_RO, DATA, 1));
    r.named_result("from-read", set_type(id, HVMMEM_IOREQ_SERVER, DATA, 1));
    r.named_result("back", set_type(id, HVMMEM_RAM_RW, DATA, 1));
    r.named_result("type", set_type(id, HVMMEM_IOREQ_SERVER, DATA, 1)).named_result("unmap", watch(id, number, 4, 0));
    type_of(r, id, DATA);
    r.named_result("again", watch(id, number, 4, 0)).named_result("type", set_type(id, HVMMEM_IOREQ_SERVER, DATA, 1));
    server.end();
    r.result(small.destroy()).holds("gone", wait_until(LONG, || small.is_gone()));
    quiet();
    Ok(())
}

/// Lets the guest change its data, which has this type, and lists what it asks for.
fn writes(r: &mut Report, list: &'static Page, mem_type: u16) -> Result<(), i64> {
    let small = SmallDomain::with(with_a_model(), list)?;
    let server = Server::new(list, small.id, &[(XEN_DMOP_IO_RANGE_PORT, PORT..=PORT + 3)])?;
    small.load(CHANGE, Mode::Flat)?;
    for (frame, value) in [(DATA.0, 40_u32), (DATA.0 + 1, 0x6666_7777)] {
        write_at(small.see(frame)? + if frame == DATA.0 { 8 } else { 0 }, value);
        small.unsee(frame);
    }
    r.named_result("map", watch(small.id, server.id(), HVMMEM_IOREQ_SERVER, XEN_DMOP_IOREQ_MEM_ACCESS_WRITE));
    r.named_result("type", set_type(small.id, mem_type, DATA, 1));
    small.unpause();
    let mut told = 0;
    for _ in 0..MOST_REQUESTS {
        let asked = wait_until(LONG, || server.request().is_some());
        let Some(request) = server.request().filter(|_| asked) else {
            r.field("silent");
            break;
        };
        show(r, &request);
        told += u32::from(request.kind == IOREQ_TYPE_PIO);
        if told == 2 {
            r.named_result("unmap", watch(small.id, server.id(), HVMMEM_IOREQ_SERVER, 0));
            r.named_result("plain", set_type(small.id, HVMMEM_RAM_RW, DATA, 1));
        }
        server.answer(&request, 0);
        send(server.port());
        if told == 3 {
            break;
        }
    }
    server.end();
    r.result(small.destroy()).holds("gone", wait_until(LONG, || small.is_gone()));
    quiet();
    Ok(())
}

fn show(r: &mut Report, request: &Ioreq) {
    let Ioreq { addr, data, count, size, kind, .. } = *request;
    r.field(format_args!("{kind}@{addr:#x}:{size}*{count}={data:#x}"));
}
