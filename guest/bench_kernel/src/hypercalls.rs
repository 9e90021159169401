//! Hypercalls that do next to nothing: the way there and back.

use xen_abi::hypercall::{MULTICALL, MulticallEntry, SCHED_OP, XEN_VERSION};
use xen_abi::sched::SCHEDOP_YIELD;
use xen_abi::version::{CompileInfo, XENVER_COMPILE_INFO, XENVER_VERSION};
use xenolith_guest_kit::calls::call;
use xenolith_guest_kit::console::line;
use xenolith_guest_kit::pages;

use crate::bench::{Bench, FEW_ROUNDS, ROUNDS};

/// A number that no hypercall has.
const UNKNOWN: u32 = 60;

/// Says which compiler made the hypervisor: with another one, the same code takes other figures.
pub fn name_compiler() {
    let page = pages::take();
    call(XEN_VERSION, [XENVER_COMPILE_INFO.into(), page.address()]);
    let told: CompileInfo = page.read(0);
    let name = told.compiler.split(|byte| *byte == 0).next().and_then(|name| core::str::from_utf8(name).ok());
    line(format_args!("COMPILER {}", name.unwrap_or("?")));
}

/// Takes the rows.
pub fn run(b: &mut Bench<'_>) {
    b.call("hypercall/version", ROUNDS, || call(XEN_VERSION, [XENVER_VERSION.into(), 0]));
    b.repeated("hypercall/unknown", ROUNDS, || {
        call(UNKNOWN, []);
    });
    for (name, calls) in [("multicall/1", 1), ("multicall/8", 8), ("multicall/64", 64)] {
        let list = pages::take();
        let entry = MulticallEntry { op: XEN_VERSION.into(), result: 0, args: [XENVER_VERSION.into(), 0, 0, 0, 0, 0] };
        (0..64).for_each(|index| list.write(index * size_of::<MulticallEntry>(), entry));
        b.call(name, FEW_ROUNDS, || call(MULTICALL, [list.address(), calls]));
    }
    b.call("schedule/yield-alone", ROUNDS, || call(SCHED_OP, [SCHEDOP_YIELD.into(), 0]));
}
