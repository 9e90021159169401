//! Hypercalls from 32-bit code: the cases of 64-bit code again, from each mode that 32-bit kernels run in, and the form of
//! the shared page, which follows the mode.

use super::{evtchn, firmware, grant, grant_copy, grant_map, hvm, memory, multicall, pointer, sched, vcpu, version};
use xen_abi::hvm_op::{HVMOP_GET_PARAM, HVMOP_SET_PARAM, HvmParam};
use xen_abi::hvm_param::HVM_PARAM_CALLBACK_IRQ;
use xen_abi::hypercall::XEN_VERSION;
use xen_abi::shared_info_compat::SharedLayout;
use xen_abi::vcpu::{VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, VcpuRegisterRunstateMemoryArea};
use xen_abi::version::XENVER_VERSION;
use xen_abi::{DomId, GuestHandle};
use xenolith_guest_kit::mode::{self, Mode};
use xenolith_guest_kit::pages::{self, read_at, write_at};

use crate::calls::{self, call, hvm};
use crate::domain::*;
use crate::runner::{Report, Runner};

/// The modes of 32-bit code, and what the names of their cases begin with.
const MODES: &[(&str, Mode)] =
    &[("compatibility/", Mode::Compatibility), ("unpaged/", Mode::Unpaged), ("two-levels/", Mode::TwoLevels)];
/// The mode that is for domain 0 alone: the emulator may lose a domain in it (see [`mode`]), and domain 0 is tried again.
const PAE: &[(&str, Mode)] = &[("pae/", Mode::Pae)];

/// Runs the cases; those of [`PAE`] if `pae`.
pub fn run(t: &mut Runner, pae: bool) {
    for (prefix, mode) in MODES.iter().chain(PAE.iter().filter(|_| pae)).copied() {
        t.begin_names_with(prefix);
        mode::set(mode);
        let before = pages::taken();
        t.case("mode/version", |r| {
            r.hex(call(XEN_VERSION, [XENVER_VERSION.into(), 0]) as u64);
        });
        t.case("mode/unknown-number", |r| {
            r.result(call(60, [0; 5]));
        });
        stub_page(t, mode);
        version::run(t);
        firmware::run(t);
        // A list that is gone on with is asked for a second time, when the marks of the emulator's are there again.
        if mode != Mode::Pae {
            multicall::run(t);
        }
        pointer::run(t);
        pages::give_back(before);
    }
    // What they do with what they read does not depend on how it was found.
    t.begin_names_with("compatibility/");
    mode::set(Mode::Compatibility);
    evtchn::run(t);
    grant::run(t);
    grant_map::run(t);
    grant_copy::run(t);
    vcpu::run_again(t);
    sched::run(t);
    hvm::run(t);
    memory::run(t);
    t.begin_names_with("");
    mode::set(Mode::Long);
    shared_page(t);
}

/// Calls by a page of stubs that code of this mode asked for, as firmware does.
fn stub_page(t: &mut Runner, mode: Mode) {
    let register = xenolith_guest_kit::cpu::cpuid(0x4000_0002, 0).ebx;
    let page = pages::take();
    t.case("stub-page/version-and-unknown-number", |r| {
        // SAFETY: the hypervisor writes to this page only, and the calls write no memory.
        let results = unsafe {
            mode::write_msr(mode, register, page.address());
            [XEN_VERSION, 60].map(|number| mode::call_stub(mode, page.address(), number, [0; 5]))
        };
        results.iter().for_each(|result| {
            r.result((*result).into());
        });
        r.hex(page.read(17 * 32));
        // What is shared takes the form of the page.
        mode::set(Mode::Long);
        r.result(choose(Mode::Long));
        mode::set(mode);
    });
}

/// Sets the callback parameter to the value that it has, from code of this mode.
fn choose(mode: Mode) -> i64 {
    let mut param = HvmParam { domid: DomId::SELF, pad: 0, index: HVM_PARAM_CALLBACK_IRQ, value: 0 };
    hvm(HVMOP_GET_PARAM, &mut param);
    mode::set(mode);
    let result = hvm(HVMOP_SET_PARAM, &mut param);
    mode::set(Mode::Long);
    result
}

/// Sends an event that is masked in one form, then one that is masked in the other, and reports which selector was set.
fn say_form(r: &mut Report) {
    for (name, form) in [("native", SharedLayout::NATIVE), ("compat", SharedLayout::COMPAT)] {
        quiet();
        write_at(vcpu_info(0) + SharedLayout::COMPAT.pending_sel as u64, 0_u32);
        let (_, port) = bind_ipi(0);
        let at = address(SHARED_INFO) + (form.evtchn_mask as u64) + u64::from(port.0 / 32) * 4;
        write_at(at, 1_u32 << (port.0 % 32));
        send(port);
        let selector = |form: SharedLayout| read_at::<u32>(vcpu_info(0) + form.pending_sel as u64);
        r.named(name, "masked");
        r.holds("native-selector", selector(SharedLayout::NATIVE) != 0);
        r.holds("compat-selector", selector(SharedLayout::COMPAT) != 0);
        write_at(at, 0_u32);
        write_at(vcpu_info(0) + SharedLayout::COMPAT.pending_sel as u64, 0_u32);
        close(port);
        quiet();
    }
    let date = |form: SharedLayout| {
        let high = read_at::<u32>(address(SHARED_INFO) + form.wc_version as u64);
        high != 0 && high.is_multiple_of(2)
    };
    r.holds("native-date", date(SharedLayout::NATIVE)).holds("compat-date", date(SharedLayout::COMPAT));
}

fn shared_page(t: &mut Runner) {
    t.case("shared-form/at-first", say_form);
    for (name, mode) in MODES.iter().copied() {
        t.case_of(format_args!("shared-form/callback-from-{}", name.trim_end_matches('/')), |r| {
            r.result(choose(mode));
            say_form(r);
        });
        t.case_of(format_args!("shared-form/and-back-from-{}", name.trim_end_matches('/')), |r| {
            r.result(choose(Mode::Long));
            say_form(r);
        });
    }
    t.case("shared-form/hypercall-page-by-32-bit-code", |r| {
        let register = xenolith_guest_kit::cpu::cpuid(0x4000_0002, 0).ebx;
        let page = pages::take();
        // SAFETY: the hypervisor writes to this page only, and the register is there.
        unsafe { mode::write_msr(Mode::Compatibility, register, page.address()) };
        r.hex(page.read(0));
        say_form(r);
    });
    t.case("shared-form/hypercall-page-by-64-bit-code", |r| {
        let register = xenolith_guest_kit::cpu::cpuid(0x4000_0002, 0).ebx;
        let page = pages::take();
        // SAFETY: as above.
        unsafe { xenolith_guest_kit::cpu::write_msr(register, page.address()) };
        r.hex(page.read(0));
        say_form(r);
    });
    run_state(t);
    t.case("shared-form/at-last", |r| {
        r.result(choose(Mode::Long));
        say_form(r);
    });
}

/// Registers the run state area in one form while the shared page has the other, and reports the bytes that are written.
fn run_state(t: &mut Runner) {
    for (name, form, caller) in [
        ("native-page-compat-caller", Mode::Long, Mode::Compatibility),
        ("compat-page-compat-caller", Mode::Compatibility, Mode::Compatibility),
        ("compat-page-native-caller", Mode::Compatibility, Mode::Long),
    ] {
        t.case_of(format_args!("shared-form/run-state/{name}"), |r| {
            r.result(choose(form));
            let page = pages::take();
            page.fill(0xa5);
            mode::set(caller);
            let mut a = VcpuRegisterRunstateMemoryArea { addr: GuestHandle::new(page.address()) };
            r.result(calls::vcpu(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, 0, &mut a));
            let touched = || (0..4096).rev().find(|at| page.read::<u8>(*at) != 0xa5).map_or(0, |last| last + 1);
            r.named("bytes", touched());
            page.fill(0xa5);
            // A sleep makes it change.
            let (_, port) = bind_ipi(0);
            let ports = pages::take();
            set_mask(port, true);
            ports.write(0, port);
            let mut poll = xen_abi::sched::SchedPoll {
                ports: GuestHandle::new(ports.address()),
                nr_ports: 1,
                pad: [0; 4],
                timeout: now() + 5_000_000,
            };
            r.result(calls::sched(xen_abi::sched::SCHEDOP_POLL, &mut poll)).named("bytes", touched());
            close(port);
            mode::set(Mode::Long);
            let mut nowhere = VcpuRegisterRunstateMemoryArea { addr: GuestHandle::new(0) };
            calls::vcpu(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, 0, &mut nowhere);
            quiet();
        });
    }
}
