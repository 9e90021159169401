//! Debug key `e`: the event channels of each domain.

use super::{Known, each_domain, say};
use crate::components::event_channel::{PortReport, PortStatus, bound_ports, queue_report};
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::lifecycle::event_domain::HostedDomain;
use core::fmt;
use xenolith_hal::Machine;

pub(super) fn report<M: Machine>(hv: &Hypervisor<M>) {
    say(hv, format_args!("'e' pressed -> dumping event-channel info"));
    each_domain(hv, |domain| report_domain(hv, domain));
}

fn report_domain<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) {
    let hosted = HostedDomain::new(hv, domain);
    let form = if domain.events.is_fifo() { "FIFO" } else { "2-level" };
    say(hv, format_args!("Event channel information for domain {} ({form}):", domain.id));
    say(hv, format_args!("    port [p/m/l]  (pending, masked, linked)"));
    bound_ports(&hosted, |port| say(hv, format_args!("    {}", Line(&port))));
    if !domain.events.is_fifo() {
        return;
    }
    for vcpu in &domain.vcpus {
        let Some(queues) = queue_report(&hosted, vcpu.id) else { continue };
        say(hv, format_args!("    VCPU{}: ready={:#06x}", vcpu.id, queues.ready));
        for (priority, (head, tail)) in queues.ends.iter().enumerate() {
            if *head != 0 || !matches!(tail, Some(0)) {
                say(hv, format_args!("      queue {priority}: head {head}, tail {}", Known(*tail)));
            }
        }
    }
}

/// A port in a line.
struct Line<'a>(&'a PortReport);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(port) = self;
        let bit = u8::from;
        write!(f, "{:4} [{}/{}/", port.port, bit(port.pending), bit(port.masked))?;
        match port.linked {
            Some(linked) => write!(f, "{}]: ", bit(linked))?,
            None => f.write_str("-]: ")?,
        }
        match port.status {
            PortStatus::Closed => f.write_str("closed")?,
            PortStatus::Unbound { remote } => write!(f, "unbound, for d{remote}")?,
            PortStatus::Interdomain { remote, port } => write!(f, "interdomain, d{remote} port {port}")?,
            PortStatus::Pirq(pirq) => write!(f, "pirq {pirq}")?,
            PortStatus::Virq(virq) => write!(f, "virq {virq}")?,
            PortStatus::Ipi => f.write_str("ipi")?,
        }
        write!(f, ", notifies v{}{}", port.vcpu, if port.hypervisors { ", the hypervisor's" } else { "" })
    }
}
