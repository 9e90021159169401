//! `hvm_op`: operations of HVM and PVH domains. **Source:** `hvm/hvm_op.h`, `hvm/params.h`.

use crate::components::access::{Action, Object};
use crate::components::grant::World;
use crate::components::placing::flushed::is_flushed;
use crate::domains::domain::Domain;
use crate::domains::hypervisor::{DomainRef, Hypervisor};
use crate::domains::vcpu::Vcpu;
use crate::hypercalls::{Call, Handler, Operation, operation, refused};
use crate::lifecycle::time::latch_form;
use crate::lifecycle::waking::notify_number;
use crate::outcome::{Answer, Outcome};
use crate::x86::{chipset, viridian};
use core::sync::atomic::Ordering;
use xen_abi::hvm_op::{
    HVMOP_ALTP2M, HVMOP_FLUSH_TLBS, HVMOP_GET_MEM_TYPE, HVMOP_GET_PARAM, HVMOP_GET_TIME, HVMOP_GUEST_REQUEST_VM_EVENT,
    HVMOP_PAGETABLE_DYING, HVMOP_SET_EVTCHN_UPCALL_VECTOR, HVMOP_SET_PARAM, HVMOP_XENTRACE, HvmEvtchnUpcallVector,
    HvmGetTime, HvmParam, HvmXentrace,
};
use xen_abi::hvm_param::{HVM_NR_PARAMS, HVM_PARAM_CALLBACK_IRQ, HVM_PARAM_CALLBACK_TYPE_VECTOR, HVM_PARAM_VIRIDIAN};
use xen_abi::{DomId, Errno};
use xenolith_hal::{Machine, NestedSpace};

/// The lowest vector of an upcall; those below are the processor's exceptions.
const FIRST_VECTOR: u8 = 16;

/// Trace events from this number on belong to a class, which a guest cannot choose. **Source:** `trace.h`.
const TRACE_CLASSES: u16 = 1 << 12;

/// Returns the table of operations.
pub const fn operations<M: Machine>() -> &'static [Operation<Handler<M>>] {
    const {
        &[
            operation(HVMOP_SET_PARAM, "HVMOP_set_param", set_param),
            operation(HVMOP_GET_PARAM, "HVMOP_get_param", get_param),
            operation(HVMOP_FLUSH_TLBS, "HVMOP_flush_tlbs", flush_tlbs),
            refused(HVMOP_PAGETABLE_DYING, "HVMOP_pagetable_dying", Errno::EINVAL),
            operation(HVMOP_GET_TIME, "HVMOP_get_time", get_time),
            operation(HVMOP_XENTRACE, "HVMOP_xentrace", xentrace),
            operation(HVMOP_GET_MEM_TYPE, "HVMOP_get_mem_type", get_mem_type),
            operation(HVMOP_SET_EVTCHN_UPCALL_VECTOR, "HVMOP_set_evtchn_upcall_vector", set_upcall_vector),
            operation(HVMOP_GUEST_REQUEST_VM_EVENT, "HVMOP_guest_request_vm_event", guest_request_vm_event),
            refused(HVMOP_ALTP2M, "HVMOP_altp2m", Errno::EOPNOTSUPP),
        ]
    }
}

/// Returns another domain that the caller may set up, or None for the caller itself.
///
/// **Errors:** `ESRCH`, `EPERM`.
fn other<M: Machine>(call: &Call<'_, M>, id: DomId) -> Result<Option<DomainRef<M>>, Errno> {
    if call.is_self(id) {
        return Ok(None);
    }
    let domain = call.hv.domain(id)?;
    call.may(Action::UseHvmParameter, Object::Domain(domain.id))?;
    Ok(Some(domain))
}

/// Checks that there is such a parameter, before anybody is asked whose it is.
///
/// **Errors:** `EINVAL`.
fn is_parameter(index: u32) -> Result<(), Errno> {
    if index < HVM_NR_PARAMS { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Implements `HVMOP_set_param`.
///
/// **Errors:** `EINVAL` for a parameter that does not exist or a value that it cannot have, `EPERM` for one that the
/// guest may not set, `EEXIST` for one that can be set only once, `ESRCH`, `EFAULT`.
fn set_param<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let wanted: HvmParam = call.read_arg(1)?;
    is_parameter(wanted.index)?;
    let other = other(call, wanted.domid)?;
    let domain: &Domain<M> = other.as_deref().unwrap_or(call.domain);
    domain.params.set(wanted.index, wanted.value, domain.id == call.domain.id)?;
    if wanted.index == HVM_PARAM_VIRIDIAN {
        viridian::enable(call.hv, domain, wanted.value)?;
    }
    chipset::param_set(call.hv, domain, wanted.index, wanted.value);
    if wanted.index == HVM_PARAM_CALLBACK_IRQ && domain.id == call.domain.id {
        latch_form(call.hv, domain, call.layout);
    }
    if wanted.index == HVM_PARAM_CALLBACK_IRQ && wanted.value >> 56 == HVM_PARAM_CALLBACK_TYPE_VECTOR {
        for vcpu in domain.vcpus.iter().filter(|vcpu| vcpu.is_up()) {
            raise_upcall(call.hv, domain, vcpu);
        }
    }
    Ok(Outcome::OK)
}

/// Implements `HVMOP_get_param`.
///
/// **Errors:** `EINVAL` for a parameter that does not exist, `EPERM` for one that the guest may not read, `ESRCH`,
/// `EFAULT`.
fn get_param<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let mut wanted: HvmParam = call.read_arg(1)?;
    is_parameter(wanted.index)?;
    let other = other(call, wanted.domid)?;
    let domain: &Domain<M> = other.as_deref().unwrap_or(call.domain);
    wanted.value = domain.params.get(wanted.index, domain.id == call.domain.id)?;
    call.write_arg(1, &wanted)?;
    Ok(Outcome::OK)
}

/// Implements `HVMOP_flush_tlbs`: flushes the cached translations of all vCPUs of the caller. CPUs that run one are
/// kicked once, and the call is made again until each has left the guest; the third argument says that it was begun.
///
/// **Errors:** `EINVAL` if there is an argument.
fn flush_tlbs<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    const BEGUN: u64 = 1;
    if call.arg(1) != 0 {
        return Err(Errno::EINVAL);
    }
    if call.arg(2) != BEGUN {
        call.domain.space.flush();
        call.domain.physmap.note_stale(&call.hv.frames);
    }
    if is_flushed(call.hv, call.domain) {
        return Ok(Outcome::OK);
    }
    let [op, argument, _, rest @ ..] = call.args;
    let [d, e, f] = rest;
    Ok(Outcome::Again([op, argument, BEGUN, d, e, f]))
}

fn get_time<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    call.write_arg(1, &HvmGetTime { now: call.hv.machine.now().0 })?;
    Ok(Outcome::OK)
}

/// Implements `HVMOP_xentrace`: checks a trace event of the guest and drops it, since there is no trace.
///
/// **Errors:** `EINVAL` for more bytes than the structure has or an event that the guest may not name, `EFAULT`.
fn xentrace<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let event: HvmXentrace = call.read_arg(1)?;
    let too_long = usize::from(event.extra_bytes) > event.extra.len();
    if too_long || event.event >= TRACE_CLASSES { Err(Errno::EINVAL) } else { Ok(Outcome::OK) }
}

/// Implements `HVMOP_get_mem_type`: returns the type of a frame's memory.
///
/// **Errors:** `ESRCH`, `EPERM`, `EFAULT`.
fn get_mem_type<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    use crate::memory::physmap::is_watched;
    use xen_abi::hvm_op::{HVMMEM_IOREQ_SERVER, HVMMEM_MMIO_DM, HVMMEM_RAM_RO, HVMMEM_RAM_RW, HvmGetMemType};
    use xenolith_hal::{NestedSpace, PageKind, Rights};
    let mut wanted: HvmGetMemType = call.read_arg(1)?;
    let other = other(call, wanted.domid)?;
    let domain: &Domain<M> = other.as_deref().unwrap_or(call.domain);
    wanted.mem_type = match domain.space.lookup(wanted.pfn) {
        Some(mapping) if mapping.kind == PageKind::Mmio || mapping.rights.is_empty() => HVMMEM_MMIO_DM,
        Some(mapping) if mapping.rights.contains(Rights::WRITE) => HVMMEM_RAM_RW,
        Some(mapping) if is_watched(mapping) => HVMMEM_IOREQ_SERVER,
        Some(_) => HVMMEM_RAM_RO,
        None if call.hv.memory(domain).is_marked(wanted.pfn) => HVMMEM_RAM_RW,
        None => HVMMEM_MMIO_DM,
    };
    call.write_arg(1, &wanted)?;
    Ok(Outcome::OK)
}

/// Implements `HVMOP_set_evtchn_upcall_vector`: from now on events of a vCPU raise this vector in its local APIC.
///
/// **Errors:** `EINVAL` for a vector below 16, `ENOENT` for a vCPU that does not exist, `EFAULT`.
fn set_upcall_vector<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let wanted: HvmEvtchnUpcallVector = call.read_arg(1)?;
    if wanted.vector < FIRST_VECTOR {
        return Err(Errno::EINVAL);
    }
    let vcpu = call.domain.vcpu(wanted.vcpu).ok_or(Errno::ENOENT)?;
    vcpu.upcall_vector.store(wanted.vector, Ordering::SeqCst);
    raise_upcall(call.hv, call.domain, vcpu);
    Ok(Outcome::OK)
}

/// Raises the upcall of a vCPU in the way that was just chosen, whether events are pending or not: as in real Xen.
fn raise_upcall<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>) {
    let vector = vcpu.upcall_vector.load(Ordering::SeqCst);
    if vector != 0 {
        vcpu.requests.post_vector(vector);
    }
    notify_number(hv, domain, vcpu.id);
}

/// Implements `HVMOP_guest_request_vm_event`: does nothing, since there is no listener yet.
fn guest_request_vm_event<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    if call.arg(1) == 0 { Ok(Outcome::OK) } else { Err(Errno::EINVAL) }
}
