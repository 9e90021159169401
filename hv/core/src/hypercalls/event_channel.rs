//! `event_channel_op`: copies arguments in, checks permission, copies results out. **Source:** `event_channel.h`.
//!
//! A result that cannot be copied out leaves its port bound, as in Xen.

use crate::budget::Budget;
use crate::components::access::{Action, Object};
use crate::components::event_channel::{self as events, PortStatus, Progress, ResetStart};
use crate::hypercalls::{Call, Handler, Operation, operation};
use crate::lifecycle::event_domain::HostedDomain;
use crate::outcome::{Answer, Outcome};
use xen_abi::event_channel::*;
use xen_abi::{DomId, Errno};
use xenolith_hal::Machine;

/// The argument that points to the structure.
const ARGUMENTS: usize = 1;

/// Returns the table of operations.
pub const fn operations<M: Machine>() -> &'static [Operation<Handler<M>>] {
    const {
        &[
            operation(EVTCHNOP_BIND_INTERDOMAIN, "EVTCHNOP_bind_interdomain", bind_interdomain),
            operation(EVTCHNOP_BIND_VIRQ, "EVTCHNOP_bind_virq", bind_virq),
            operation(EVTCHNOP_BIND_PIRQ, "EVTCHNOP_bind_pirq", bind_pirq),
            operation(EVTCHNOP_CLOSE, "EVTCHNOP_close", close),
            operation(EVTCHNOP_SEND, "EVTCHNOP_send", send),
            operation(EVTCHNOP_STATUS, "EVTCHNOP_status", port_status),
            operation(EVTCHNOP_ALLOC_UNBOUND, "EVTCHNOP_alloc_unbound", alloc_unbound),
            operation(EVTCHNOP_BIND_IPI, "EVTCHNOP_bind_ipi", bind_ipi),
            operation(EVTCHNOP_BIND_VCPU, "EVTCHNOP_bind_vcpu", bind_vcpu),
            operation(EVTCHNOP_UNMASK, "EVTCHNOP_unmask", unmask),
            operation(EVTCHNOP_RESET, "EVTCHNOP_reset", reset),
            operation(EVTCHNOP_INIT_CONTROL, "EVTCHNOP_init_control", init_control),
            operation(EVTCHNOP_EXPAND_ARRAY, "EVTCHNOP_expand_array", expand_array),
            operation(EVTCHNOP_SET_PRIORITY, "EVTCHNOP_set_priority", set_priority),
            operation(EVTCHNOP_RESET_CONT, "EVTCHNOP_reset_cont", reset_cont),
        ]
    }
}

const fn caller<'a, M: Machine>(call: &Call<'a, M>) -> HostedDomain<'a, M> {
    HostedDomain::new(call.hv, call.domain)
}

/// Returns the domain that an argument names, and whether the caller may work on it.
///
/// **Errors:** `ESRCH` if there is none.
#[inline]
fn named<'a, M: Machine>(call: &Call<'a, M>, id: DomId) -> Result<(HostedDomain<'a, M>, bool), Errno> {
    if call.is_self(id) {
        return Ok((caller(call), true));
    }
    let domain = HostedDomain::of(call.hv, call.hv.domain(id)?);
    let permitted = call.may(Action::ManageEventChannels, Object::Domain(domain.id)).is_ok();
    Ok((domain, permitted))
}

fn alloc_unbound<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let mut op: EvtchnAllocUnbound = call.read_arg(ARGUMENTS)?;
    let (domain, permitted) = named(call, op.dom)?;
    let remote = if op.remote_dom == DomId::SELF { call.domain.id } else { op.remote_dom };
    op.port = events::alloc_unbound(&domain, remote, permitted)?;
    call.write_arg(ARGUMENTS, &op)?;
    Ok(Outcome::OK)
}

fn bind_interdomain<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let memory = call.memory();
    let mut op: EvtchnBindInterdomain = memory.read(call.handle(ARGUMENTS))?;
    op.local_port = events::bind_interdomain(&caller(call), op.remote_dom, op.remote_port)?;
    memory.write(call.handle(ARGUMENTS), &op)?;
    Ok(Outcome::OK)
}

fn bind_virq<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let mut op: EvtchnBindVirq = call.read_arg(ARGUMENTS)?;
    op.port = events::bind_virq(&caller(call), op.virq, op.vcpu)?;
    call.write_arg(ARGUMENTS, &op)?;
    Ok(Outcome::OK)
}

fn bind_ipi<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let mut op: EvtchnBindIpi = call.read_arg(ARGUMENTS)?;
    op.port = events::bind_ipi(&caller(call), op.vcpu)?;
    call.write_arg(ARGUMENTS, &op)?;
    Ok(Outcome::OK)
}

fn bind_pirq<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let mut op: EvtchnBindPirq = call.read_arg(ARGUMENTS)?;
    op.port = events::bind_pirq(&caller(call), op.pirq)?;
    call.write_arg(ARGUMENTS, &op)?;
    Ok(Outcome::OK)
}

fn close<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let op: EvtchnClose = call.read_arg(ARGUMENTS)?;
    events::close(&caller(call), op.port)?;
    Ok(Outcome::OK)
}

fn send<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let op: EvtchnSend = call.read_arg(ARGUMENTS)?;
    events::send(&caller(call), op.port)?;
    Ok(Outcome::OK)
}

fn port_status<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let mut op: EvtchnStatus = call.read_arg(ARGUMENTS)?;
    let (domain, permitted) = named(call, op.dom)?;
    let (found, vcpu) = events::status(&domain, op.port, permitted)?;
    op.status = match found {
        PortStatus::Closed => EVTCHNSTAT_CLOSED,
        PortStatus::Unbound { remote } => {
            op.set_unbound(remote);
            EVTCHNSTAT_UNBOUND
        }
        PortStatus::Interdomain { remote, port } => {
            // Its padding is what the guest passed.
            let pad = op.interdomain().pad;
            op.set_interdomain(EvtchnPeer { dom: remote, pad, port });
            EVTCHNSTAT_INTERDOMAIN
        }
        PortStatus::Pirq(pirq) => {
            op.set_pirq(pirq);
            EVTCHNSTAT_PIRQ
        }
        PortStatus::Virq(virq) => {
            op.set_virq(virq);
            EVTCHNSTAT_VIRQ
        }
        PortStatus::Ipi => EVTCHNSTAT_IPI,
    };
    op.vcpu = vcpu;
    call.write_arg(ARGUMENTS, &op)?;
    Ok(Outcome::OK)
}

fn bind_vcpu<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let op: EvtchnBindVcpu = call.read_arg(ARGUMENTS)?;
    events::bind_vcpu(&caller(call), op.port, op.vcpu)?;
    Ok(Outcome::OK)
}

fn unmask<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let op: EvtchnUnmask = call.read_arg(ARGUMENTS)?;
    events::unmask(&caller(call), op.port)?;
    Ok(Outcome::OK)
}

fn reset<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    reset_from(call, ResetStart::Fresh)
}

fn reset_cont<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    reset_from(call, ResetStart::Continued)
}

fn reset_from<M: Machine>(call: &mut Call<'_, M>, start: ResetStart) -> Answer {
    let op: EvtchnReset = call.read_arg(ARGUMENTS)?;
    let (domain, permitted) = named(call, op.dom)?;
    let paused = domain.vcpus.iter().all(crate::domains::vcpu::Vcpu::is_paused);
    events::may_reset(call.domain.id, domain.id, permitted, paused)?;
    let budget = Budget::start(&call.hv.machine);
    Ok(match events::reset(&domain, start, || budget.is_over(&call.hv.machine))? {
        Progress::Done => Outcome::OK,
        Progress::Again => {
            let [_, rest @ ..] = call.args;
            let [b, c, d, e, f] = rest;
            Outcome::Again([u64::from(EVTCHNOP_RESET_CONT), b, c, d, e, f])
        }
    })
}

fn init_control<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let mut op: EvtchnInitControl = call.read_arg(ARGUMENTS)?;
    op.link_bits = events::init_control(&caller(call), op.vcpu, op.control_gfn, op.offset)?;
    call.write_arg(ARGUMENTS, &op)?;
    Ok(Outcome::OK)
}

fn expand_array<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let op: EvtchnExpandArray = call.read_arg(ARGUMENTS)?;
    events::expand_array(&caller(call), op.array_gfn)?;
    Ok(Outcome::OK)
}

fn set_priority<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let op: EvtchnSetPriority = call.read_arg(ARGUMENTS)?;
    events::set_priority(&caller(call), op.port, op.priority)?;
    Ok(Outcome::OK)
}
