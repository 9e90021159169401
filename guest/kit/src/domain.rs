//! What the domain shares with the hypervisor: the shared page, events, time.

use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use crate::pages::{read_at, write_at};
use crate::{lapic, traps, wait_until};
use xen_abi::event_channel::*;
use xen_abi::memory::XENMEM_ADD_TO_PHYSMAP;
use xen_abi::physmap::{AddToPhysmap, XENMAPSPACE_SHARED_INFO};
use xen_abi::shared_info::*;
use xen_abi::{DomId, Gfn, Port, VcpuId};

use crate::waits::SHORT;

use crate::calls::{evtchn, memory};

/// Where the shared page is put: a hole of every PC's map, above all RAM that the domain has below 4 GiB.
pub const SHARED_INFO: Gfn = Gfn(0xc_8000);
/// Where frames of the grant table are put.
pub const GRANT_TABLE: Gfn = Gfn(0xc_8100);
/// Where frames of its status words are put.
pub const GRANT_STATUS: Gfn = Gfn(0xc_8180);
/// Where granted pages are mapped.
pub const GRANTED: Gfn = Gfn(0xc_8200);
/// Frames for anything else that is put somewhere for a moment.
pub const SPARE: Gfn = Gfn(0xc_8300);
/// The vector of the local APIC that events raise.
pub const UPCALL: u8 = 0xf0;

/// Returns the address of a frame: the first 4 GiB are mapped one to one.
pub const fn address(gfn: Gfn) -> u64 {
    gfn.0 << 12
}

/// Returns the frame `count` frames on.
pub const fn after(gfn: Gfn, count: u64) -> Gfn {
    Gfn(gfn.0 + count)
}

/// This domain's number.
static OWN_ID: AtomicU16 = AtomicU16::new(0);

/// Remembers this domain's number, which is 0 until then.
pub fn remember_own_id(id: DomId) {
    OWN_ID.store(id.0, Ordering::Relaxed);
}

/// Returns this domain's number.
pub fn own_id() -> DomId {
    DomId(OWN_ID.load(Ordering::Relaxed))
}

/// Puts the shared page at its frame.
pub fn set_up() -> i64 {
    let mut place =
        AddToPhysmap { domid: DomId::SELF, size: 0, space: XENMAPSPACE_SHARED_INFO, idx: 0, gpfn: SHARED_INFO };
    memory(XENMEM_ADD_TO_PHYSMAP, &mut place)
}

/// Returns a field of the shared page at a byte offset.
pub fn shared<T: zerocopy::FromBytes + Copy>(offset: usize) -> T {
    read_at(address(SHARED_INFO) + offset as u64)
}

/// Where vCPU 0's information was moved to; 0 while it is in the shared page.
static MOVED: AtomicU64 = AtomicU64::new(0);

/// Remembers where vCPU 0's information lies from now on.
pub fn vcpu_info_moved(to: u64) {
    MOVED.store(to, Ordering::Relaxed);
}

/// Returns where vCPU `vcpu`'s information lies; that of others than vCPU 0 is taken to be in the shared page.
pub fn vcpu_info(vcpu: u64) -> u64 {
    match MOVED.load(Ordering::Relaxed) {
        moved if vcpu == 0 && moved != 0 => moved,
        _ => address(SHARED_INFO) + vcpu * VCPU_INFO_SIZE as u64,
    }
}

/// Returns whether the upcall of vCPU 0 is pending.
pub fn upcall_pending() -> bool {
    read_at::<u8>(vcpu_info(0) + VCPU_INFO_UPCALL_PENDING as u64) != 0
}

/// Returns the word that says which words of pending bits to look at.
pub fn selector() -> u64 {
    read_at(vcpu_info(0) + VCPU_INFO_PENDING_SEL as u64)
}

fn word(base: usize, port: Port) -> u64 {
    address(SHARED_INFO) + base as u64 + u64::from(port.0 / 64) * 8
}

/// 2-level ABI: returns whether a port is pending.
pub fn pending(port: Port) -> bool {
    read_at::<u64>(word(SHARED_INFO_EVTCHN_PENDING, port)) >> (port.0 % 64) & 1 != 0
}

/// 2-level ABI: masks a port, or clears the mask without a hypercall.
pub fn set_mask(port: Port, masked: bool) {
    let at = word(SHARED_INFO_EVTCHN_MASK, port);
    let bit = 1 << (port.0 % 64);
    let old = read_at::<u64>(at);
    write_at(at, if masked { old | bit } else { old & !bit });
}

/// 2-level ABI: clears all that is pending and unmasks every port; no upcall is left over.
pub fn quiet() {
    write_at(vcpu_info(0) + VCPU_INFO_UPCALL_PENDING as u64, 0_u8);
    write_at(vcpu_info(0) + VCPU_INFO_PENDING_SEL as u64, 0_u64);
    for index in 0..64 {
        write_at(address(SHARED_INFO) + SHARED_INFO_EVTCHN_PENDING as u64 + index * 8, 0_u64);
        write_at(address(SHARED_INFO) + SHARED_INFO_EVTCHN_MASK as u64 + index * 8, 0_u64);
    }
    wait_until(SHORT, || !lapic::requested(UPCALL));
}

/// 2-level ABI: consumes the upcall and this port's event, as a handler would.
pub fn consume(port: Port) {
    write_at(vcpu_info(0) + VCPU_INFO_UPCALL_PENDING as u64, 0_u8);
    write_at(vcpu_info(0) + VCPU_INFO_PENDING_SEL as u64, 0_u64);
    let at = word(SHARED_INFO_EVTCHN_PENDING, port);
    write_at(at, read_at::<u64>(at) & !(1 << (port.0 % 64)));
}

/// Returns how many upcalls vCPU 0 has taken.
pub fn upcalls() -> u32 {
    traps::count(0, UPCALL)
}

/// Waits for an upcall after `before` of them, at most `bound` ticks.
pub fn upcall_after(before: u32, bound: u64) -> bool {
    wait_until(bound, || upcalls() != before)
}

/// Allocates a port to which `remote` may connect: the result and the port.
pub fn alloc_unbound(dom: DomId, remote: DomId) -> (i64, Port) {
    let mut a = EvtchnAllocUnbound { dom, remote_dom: remote, port: Port(0) };
    (evtchn(EVTCHNOP_ALLOC_UNBOUND, &mut a), a.port)
}

/// Connects to a port of `remote`: the result and the local port.
pub fn bind_interdomain(remote: DomId, port: Port) -> (i64, Port) {
    let mut a = EvtchnBindInterdomain { remote_dom: remote, pad: [0; 2], remote_port: port, local_port: Port(0) };
    (evtchn(EVTCHNOP_BIND_INTERDOMAIN, &mut a), a.local_port)
}

/// Binds a virtual interrupt: the result and the port.
pub fn bind_virq(virq: u32, vcpu: u32) -> (i64, Port) {
    let mut a = EvtchnBindVirq { virq, vcpu: VcpuId(vcpu), port: Port(0) };
    (evtchn(EVTCHNOP_BIND_VIRQ, &mut a), a.port)
}

/// Binds a port by which vCPUs interrupt `vcpu`: the result and the port.
pub fn bind_ipi(vcpu: u32) -> (i64, Port) {
    let mut a = EvtchnBindIpi { vcpu: VcpuId(vcpu), port: Port(0) };
    (evtchn(EVTCHNOP_BIND_IPI, &mut a), a.port)
}

/// Closes a port.
pub fn close(port: Port) -> i64 {
    evtchn(EVTCHNOP_CLOSE, &mut EvtchnClose { port })
}

/// Sends by a port.
pub fn send(port: Port) -> i64 {
    evtchn(EVTCHNOP_SEND, &mut EvtchnSend { port })
}

/// Unmasks a port by hypercall.
pub fn unmask(port: Port) -> i64 {
    evtchn(EVTCHNOP_UNMASK, &mut EvtchnUnmask { port })
}

/// Moves a port to another vCPU.
pub fn bind_vcpu(port: Port, vcpu: u32) -> i64 {
    evtchn(EVTCHNOP_BIND_VCPU, &mut EvtchnBindVcpu { port, vcpu: VcpuId(vcpu) })
}

/// Asks what a port is bound to.
pub fn status(dom: DomId, port: Port) -> (i64, EvtchnStatus) {
    let mut a = EvtchnStatus { dom, port, ..EvtchnStatus::default() };
    (evtchn(EVTCHNOP_STATUS, &mut a), a)
}

/// Two ports of this domain, connected to each other: the one that waited, and the one that connected.
pub fn connected_pair() -> (Port, Port) {
    let (_, first) = alloc_unbound(DomId::SELF, DomId::SELF);
    let (_, second) = bind_interdomain(DomId::SELF, first);
    (first, second)
}

/// Returns a reading of a vCPU's time information that was not written meanwhile.
pub fn time_info(at: u64) -> Option<VcpuTimeInfo> {
    for _ in 0..1000 {
        let before: u32 = read_at(at + TIME_VERSION as u64);
        core::sync::atomic::fence(core::sync::atomic::Ordering::Acquire);
        let info: VcpuTimeInfo = read_at(at);
        core::sync::atomic::fence(core::sync::atomic::Ordering::Acquire);
        if before.is_multiple_of(2) && read_at::<u32>(at + TIME_VERSION as u64) == before {
            return Some(info);
        }
    }
    None
}

/// Returns what system time the information gives for now, in nanoseconds.
pub fn time_by(info: &VcpuTimeInfo) -> u64 {
    let ticks = crate::cpu::ticks().wrapping_sub(info.tsc_timestamp);
    let shifted = if info.tsc_shift < 0 { ticks >> -info.tsc_shift } else { ticks << info.tsc_shift };
    let passed = (u128::from(shifted) * u128::from(info.tsc_to_system_mul)) >> 32;
    info.system_time.wrapping_add(passed as u64)
}

/// Returns the system time on vCPU 0, in nanoseconds.
pub fn now() -> u64 {
    time_info(vcpu_info(0) + VCPU_INFO_TIME as u64).map_or(0, |info| time_by(&info))
}
