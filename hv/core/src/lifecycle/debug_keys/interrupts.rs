//! Debug key `i`: the domains that device interrupts are routed to. The machine reports the vectors.

use super::{each_domain, say};
use crate::components::devices::Source;
use crate::domains::hypervisor::Hypervisor;
use xenolith_hal::{HostInterrupt, Machine};

pub(super) fn report<M: Machine>(hv: &Hypervisor<M>) {
    say(hv, format_args!("Owners of the interrupts of devices:"));
    let all = (0..HostInterrupt::LIMIT).filter_map(|number| u16::try_from(number).ok()).map(HostInterrupt);
    for interrupt in all {
        let number = interrupt.0;
        match hv.device_interrupts.owner_if_free(interrupt) {
            None => say(hv, format_args!("    vec:{number:02x} busy")),
            Some(None) => {}
            Some(Some((domain, Source::Line(line)))) => {
                say(hv, format_args!("    vec:{number:02x} d{domain} line {line}"));
            }
            Some(Some((domain, Source::Message(message)))) => {
                let (to, what) = (message.destination, message.delivery);
                say(hv, format_args!("    vec:{number:02x} d{domain} message: {what:?} to {to:?}"));
            }
        }
    }
    each_domain(hv, |domain| {
        let Some(devices) = domain.devices.get() else { return };
        let told = devices.report_lines(|line, route, in_service| {
            say(
                hv,
                format_args!(
                    "    d{} line {line}: {:?} vector {:#04x}{}{}",
                    domain.id,
                    route.trigger,
                    route.vector,
                    if route.masked { ", masked" } else { "" },
                    if in_service { ", in service" } else { "" }
                ),
            );
        });
        if !told {
            say(hv, format_args!("    d{}: its I/O APICs are busy", domain.id));
        }
    });
}
