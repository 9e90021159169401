//! Debug keys: reports on domains, for finding out why a machine hangs.
//!
//! They are pressed on the serial line, where the machine's handler calls [`press`] with interrupts off and no lock
//! held by this CPU, and by `xl debug-keys`. A CPU that hangs may hold any lock, so no lock is waited for here: what is
//! locked is reported as "busy". Nothing is changed, and no memory is allocated.

mod domains;
mod events;
mod interrupts;
mod queues;
mod until;

use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use core::fmt;
use until::Until;
use xen_abi::DomId;
use xenolith_hal::{LogLevel, Machine};

/// The keys that [`press`] handles, and what they report. The machine handles further keys.
pub const KEYS: [(u8, &str); 5] = [
    (b'e', "dump evtchn info"),
    (b'i', "dump interrupt bindings"),
    (b'm', "memory info"),
    (b'q', "dump domain (and guest debug) info"),
    (b'r', "dump run queues"),
];

/// Prints the report of a key, or nothing if it is none of [`KEYS`] and not `*`, which stands for all of them.
pub fn press<M: Machine>(hv: &Hypervisor<M>, key: u8) {
    match key {
        b'*' => KEYS.iter().for_each(|(key, _)| press(hv, *key)),
        b'e' => events::report(hv),
        b'i' => interrupts::report(hv),
        b'm' => report_memory(hv),
        b'q' => domains::report(hv),
        b'r' => queues::report(hv),
        _ => {}
    }
}

/// Writes a line of a report: at a level that is always shown.
fn say<M: Machine>(hv: &Hypervisor<M>, line: fmt::Arguments<'_>) {
    hv.machine.log(LogLevel::Error, false, line);
}

/// Calls `work` for every domain, in the order of their numbers.
fn each_domain<M: Machine>(hv: &Hypervisor<M>, work: impl Fn(&Domain<M>)) {
    let mut from = DomId(0);
    while let Some(domain) = hv.domains.first_from(from) {
        work(&domain);
        from = DomId(domain.id.0.saturating_add(1));
    }
}

fn report_memory<M: Machine>(hv: &Hypervisor<M>) {
    say(hv, format_args!("'m' pressed -> memory info"));
    let (free, waiting, dirty) = (hv.frames.free_pages(), hv.frames.waiting(), hv.frames.scrub_pending());
    say(hv, format_args!("frames: {free} free, {waiting} soon free; {dirty} to be cleared"));
}

/// A value, or none while another CPU holds it.
struct Known<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Known<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("busy"),
        }
    }
}

/// An interrupt vector, if any.
struct Vector(Option<u8>);

impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(vector) => write!(f, "{vector:#04x}"),
            None => f.write_str("none"),
        }
    }
}
