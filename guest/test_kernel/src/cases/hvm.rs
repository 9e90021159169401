//! Operations of fully virtualised domains: parameters and the rest.

use xen_abi::hvm_op::*;
use xen_abi::hvm_param::*;
use xen_abi::hypercall::HVM_OP;
use xen_abi::{DomId, Gfn};
use xenolith_guest_kit::pages;

use crate::calls::{call, hvm};
use crate::domain::{SHARED_INFO, SPARE};
use crate::runner::Runner;

fn get(domid: DomId, index: u32) -> (i64, u64) {
    let mut a = HvmParam { domid, pad: 0, index, value: 0x5555 };
    (hvm(HVMOP_GET_PARAM, &mut a), a.value)
}

fn set(domid: DomId, index: u32, value: u64) -> i64 {
    hvm(HVMOP_SET_PARAM, &mut HvmParam { domid, pad: 0, index, value })
}

/// Runs the cases.
pub fn run(t: &mut Runner) {
    for index in 0..HVM_NR_PARAMS + 2 {
        t.case_of(format_args!("hvm/get-param/{index}"), |r| {
            let (result, value) = get(DomId::SELF, index);
            r.result(result);
            if result == 0 {
                r.hex(value);
            }
        });
    }
    // Not the sized task state segment: Xen never comes back from a bad one.
    for index in (1..HVM_NR_PARAMS + 2).filter(|index| *index != HVM_PARAM_VM86_TSS_SIZED) {
        t.case_of(format_args!("hvm/set-param/{index}"), |r| {
            let (_, before) = get(DomId::SELF, index);
            // The value it has, and then another one, which is put back.
            r.result(set(DomId::SELF, index, before)).result(set(DomId::SELF, index, 0x1_0001));
            let (result, after) = get(DomId::SELF, index);
            if result == 0 {
                r.hex(after);
                set(DomId::SELF, index, before);
            }
        });
    }
    for index in [1000, u32::MAX] {
        t.case_of(format_args!("hvm/param/{index:#x}"), |r| {
            r.result(get(DomId::SELF, index).0).result(set(DomId::SELF, index, 0));
        });
    }
    for (who, domid) in [
        ("dom0", DomId::DOM0),
        ("nobody", DomId(77)),
        ("io", DomId::IO),
        ("xen", DomId::XEN),
        ("0xffff", DomId(0xffff)),
    ] {
        t.case_of(format_args!("hvm/param-of-{who}"), |r| {
            r.result(get(domid, HVM_PARAM_STORE_EVTCHN).0).result(set(domid, HVM_PARAM_STORE_EVTCHN, 0));
        });
    }
    others(t);
}

fn others(t: &mut Runner) {
    t.case("hvm/flush-tlbs/null", |r| {
        r.result(call(HVM_OP, [HVMOP_FLUSH_TLBS.into(), 0]));
    });
    t.case("hvm/flush-tlbs/with-a-pointer", |r| {
        r.result(call(HVM_OP, [HVMOP_FLUSH_TLBS.into(), pages::take().address()]));
    });
    t.case("hvm/pagetable-dying", |r| {
        let mut a = HvmPagetableDying { domid: DomId::SELF, pad: [0; 3], gpa: pages::take().address() };
        r.result(hvm(HVMOP_PAGETABLE_DYING, &mut a));
    });
    t.case("hvm/trace", |r| {
        let mut a = HvmXentrace { event: 1, extra_bytes: 4, extra: [0; 28] };
        r.result(hvm(HVMOP_XENTRACE, &mut a));
        a.extra_bytes = 29;
        r.result(hvm(HVMOP_XENTRACE, &mut a));
    });
    for (name, domid, pfn) in [
        ("ram", DomId::SELF, pages::take().gfn()),
        ("shared-page", DomId::SELF, SHARED_INFO),
        ("nowhere", DomId::SELF, SPARE),
        ("beyond-all", DomId::SELF, Gfn(u64::MAX)),
        ("of-nobody", DomId(77), SPARE),
    ] {
        t.case_of(format_args!("hvm/get-mem-type/{name}"), |r| {
            let mut a = HvmGetMemType { domid, mem_type: 0x55, pad: [0; 2], pfn };
            r.result(hvm(HVMOP_GET_MEM_TYPE, &mut a)).named("type", a.mem_type);
        });
    }
    for (name, version, cmd) in [
        ("get-state", HVMOP_ALTP2M_INTERFACE_VERSION, HVMOP_ALTP2M_GET_DOMAIN_STATE),
        ("set-state", HVMOP_ALTP2M_INTERFACE_VERSION, HVMOP_ALTP2M_SET_DOMAIN_STATE),
        ("wrong-version", 2, HVMOP_ALTP2M_GET_DOMAIN_STATE),
        ("command-0", HVMOP_ALTP2M_INTERFACE_VERSION, 0),
        ("command-100", HVMOP_ALTP2M_INTERFACE_VERSION, 100),
    ] {
        t.case_of(format_args!("hvm/altp2m/{name}"), |r| {
            let mut a = HvmAltp2mOp { version, cmd, domain: DomId::SELF, ..HvmAltp2mOp::default() };
            r.result(hvm(HVMOP_ALTP2M, &mut a));
        });
    }
    t.case("hvm/guest-request-vm-event", |r| {
        r.result(call(HVM_OP, [HVMOP_GUEST_REQUEST_VM_EVENT.into(), 0]));
        r.result(call(HVM_OP, [HVMOP_GUEST_REQUEST_VM_EVENT.into(), pages::take().address()]));
    });
    for number in [2_u64, 3, 4, 6, 7, 8, 12, 13, 14, 16, 17, 18, 19, 20, 21, 22, 26, 27, 100, 0xffff_ffff] {
        t.case_of(format_args!("hvm/unknown-operation/{number:#x}"), |r| {
            r.result(call(HVM_OP, [number, pages::take().address()]));
        });
    }
}
