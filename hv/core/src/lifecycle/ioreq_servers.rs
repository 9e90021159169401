//! Creating the I/O request servers of a guest, and ending them.

use crate::components::event_channel::{alloc_unbound_for_hypervisor, close_for_hypervisor};
use crate::components::grant::World;
use crate::components::ioreq::{
    Buffering, DeviceModel, GuestFrame, Page, SERVER_HEAP_BYTES, Server, ServerParts, Which,
};
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::lifecycle::event_domain::HostedDomain;
use crate::lifecycle::waking::answer_came;
use alloc::vec::Vec;
use xen_abi::hvm_param::{
    HVM_PARAM_BUFIOREQ_PFN, HVM_PARAM_IOREQ_PFN, HVM_PARAM_IOREQ_SERVER_PFN, HVM_PARAM_NR_IOREQ_SERVER_PAGES,
};
use xen_abi::{DomId, Errno, Port, VcpuId};
use xenolith_hal::{Gfn, Machine, Mapping, PageKind, PageOrder, Rights};
use xenolith_sync::Arc;

/// Returns what a server of a guest with this many vCPUs takes of the heap at most, in bytes.
pub const fn heap_bytes(vcpus: u32) -> u64 {
    SERVER_HEAP_BYTES.saturating_add((vcpus as u64).saturating_mul(size_of::<Port>() as u64))
}

/// Creates a server of `emulator` for a guest, which is not enabled; returns its number.
///
/// **Errors:** `ENOMEM`; `ENOSPC` for too many servers or ports; `EINVAL` for a guest that is being destroyed. Nothing is
/// left.
pub fn create<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    model: &DeviceModel,
    emulator: DomId,
    buffering: Buffering,
) -> Result<u16, Errno> {
    let vcpus = domain.control.options().max_vcpus;
    let account = hv.frames.account(domain.id).ok_or(Errno::ENOMEM)?;
    if !account.charge_heap(heap_bytes(vcpus)) {
        return Err(Errno::ENOMEM);
    }
    let made = make(hv, domain, vcpus, emulator, buffering).and_then(|server| {
        model.insert(server).map_err(|(errno, server)| {
            close_ports(hv, domain, server.ports(), server.buffered_port());
            errno
        })
    });
    if made.is_err() {
        account.uncharge_heap(heap_bytes(vcpus));
    }
    made
}

/// Makes a server with its ports.
#[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
fn make<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    vcpus: u32,
    emulator: DomId,
    buffering: Buffering,
) -> Result<Arc<Server>, Errno> {
    let hosted = HostedDomain::new(hv, domain);
    let mut ports = Vec::new();
    ports.try_reserve_exact(vcpus as usize).map_err(|_| Errno::ENOMEM)?;
    let mut buffered_port = None;
    let mut allocate = || {
        for vcpu in 0..vcpus {
            ports.push(alloc_unbound_for_hypervisor(&hosted, VcpuId(vcpu), emulator)?);
        }
        if buffering != Buffering::Off {
            buffered_port = Some(alloc_unbound_for_hypervisor(&hosted, VcpuId(0), emulator)?);
        }
        Ok(())
    };
    let allocated = allocate();
    let parts = match allocated {
        Ok(()) => ServerParts { emulator, buffering, ports, buffered_port },
        Err(errno) => {
            close_ports(hv, domain, &ports, buffered_port);
            return Err(errno);
        }
    };
    Arc::try_new(Server::new(parts)).map_err(|server| {
        close_ports(hv, domain, server.ports(), server.buffered_port());
        Errno::ENOMEM
    })
}

fn close_ports<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, ports: &[Port], buffered: Option<Port>) {
    let hosted = HostedDomain::new(hv, domain);
    for port in ports.iter().copied().chain(buffered) {
        // One that is closed already went with its domain.
        let _ = close_for_hypervisor(&hosted, port);
    }
}

/// Ends a server that was taken out: vCPUs that wait for it go on with ones, its ports are closed, its pages released.
pub fn end<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, model: &DeviceModel, server: &Server) {
    server.close();
    for vcpu in &domain.vcpus {
        answer_came(hv, domain, vcpu);
    }
    close_ports(hv, domain, server.ports(), server.buffered_port());
    for page in server.take_pages() {
        match page {
            Page::None => {}
            Page::Resource(frame) => hv.frames.release_shared(frame),
            Page::Guest(mut frame) => {
                show(hv, domain, &mut frame);
                give_back(model, domain, frame.gfn);
                hv.frames.put_later(frame.page);
            }
        }
    }
    if let Some(account) = hv.frames.account(domain.id) {
        account.uncharge_heap(heap_bytes(domain.control.options().max_vcpus));
    }
}

/// Ends every server of a guest; one that is `dying` gets no others.
pub fn end_all<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, dying: bool) {
    let Some(model) = domain.device_model.get() else { return };
    while let Some(server) = model.remove_any(dying) {
        end(hv, domain, model, &server);
    }
}

/// Enables or disables a server. A guest does not see the frames of its own that serve as pages of an enabled one.
pub fn set_enabled<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, server: &Server, enabled: bool) {
    if enabled == server.is_enabled() {
        return;
    }
    for which in [Which::Synchronous, Which::Buffered] {
        let _only_for_a_server_that_is_gone = server.with_page(which, &hv.machine, |page| {
            if let Page::Guest(frame) = page {
                if enabled { hide(hv, domain, frame) } else { show(hv, domain, frame) }
            }
            Ok(())
        });
    }
    server.set_enabled(enabled, &hv.machine);
}

/// Takes a frame that the toolstack left for pages of servers: of the range first, then one of the two single ones.
///
/// **Errors:** `ENOMEM` if all are in use.
pub fn take_gfn<M: Machine>(model: &DeviceModel, domain: &Domain<M>) -> Result<Gfn, Errno> {
    let (first, count, singles) = gfns(domain)?;
    model.take_gfn(first, count).or_else(|| model.take_single(singles)).ok_or(Errno::ENOMEM)
}

/// Gives a frame number back that served as a page of a server.
pub fn give_back<M: Machine>(model: &DeviceModel, domain: &Domain<M>, gfn: Gfn) {
    if let Ok((first, _, singles)) = gfns(domain) {
        model.give_back_gfn(first, gfn);
        model.give_back_single(singles, gfn);
    }
}

/// Returns the frames that the toolstack left for pages of servers: the range, and the two single ones.
fn gfns<M: Machine>(domain: &Domain<M>) -> Result<(Gfn, u64, [Gfn; 2]), Errno> {
    let parameter = |index| domain.params.get(index, false);
    let singles = [Gfn(parameter(HVM_PARAM_IOREQ_PFN)?), Gfn(parameter(HVM_PARAM_BUFIOREQ_PFN)?)];
    Ok((Gfn(parameter(HVM_PARAM_IOREQ_SERVER_PFN)?), parameter(HVM_PARAM_NR_IOREQ_SERVER_PAGES)?, singles))
}

/// Unmaps a frame from the guest, if it is still what it was.
fn hide<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, frame: &mut GuestFrame) {
    let mfn = frame.page.mfn();
    frame.hidden = hv.memory(domain).edit(|editor| {
        let is_there = editor.lookup(frame.gfn).is_some_and(|there| there.mfn == mfn && there.kind == PageKind::Ram);
        is_there && editor.unmap(frame.gfn).is_ok()
    });
    if let Some(page) = hv.machine.page(mfn) {
        page.clear();
    }
}

/// Maps a frame in the guest again, without what was in it. Where something else is mapped by now, the page stays the
/// guest's but is not mapped.
fn show<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, frame: &mut GuestFrame) {
    if !core::mem::take(&mut frame.hidden) || domain.is_dying() {
        return;
    }
    if let Some(page) = hv.machine.page(frame.page.mfn()) {
        page.clear();
    }
    let mapping =
        Mapping { mfn: frame.page.mfn(), order: PageOrder::SIZE_4K, rights: Rights::ALL, kind: PageKind::Ram };
    // Fails where something else is mapped by now.
    let _mapped = hv.memory(domain).edit(|editor| editor.map(frame.gfn, mapping));
}
