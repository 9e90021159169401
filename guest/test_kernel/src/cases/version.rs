//! What the hypervisor says about itself.

use xen_abi::hypercall::XEN_VERSION;
use xen_abi::version::*;
use xenolith_guest_kit::pages::{self, Page};

use crate::calls::{call, operation};
use crate::runner::{Report, Runner};

fn ask(number: u32, page: &Page) -> i64 {
    call(XEN_VERSION, [u64::from(number), page.address()])
}

/// Adds the text that lies at `offset`, at most `most` bytes of it, in quotation marks.
fn text(r: &mut Report, page: &Page, offset: usize, most: usize) {
    let mut bytes = [0; 200];
    let mut used = 0;
    for (slot, index) in bytes.iter_mut().zip(offset..offset + most) {
        *slot = page.read(index);
        if *slot == 0 {
            break;
        }
        used += 1;
    }
    r.field(format_args!("\"{}\"", bytes.get(..used).and_then(|b| core::str::from_utf8(b).ok()).unwrap_or("?")));
}

/// Returns how many bytes of a page are no longer the filling.
fn touched(page: &Page) -> usize {
    (0..4096).rev().find(|i| page.read::<u8>(*i) != 0xa5).map_or(0, |last| last + 1)
}

fn filled() -> &'static Page {
    let page = pages::take();
    page.fill(0xa5);
    page
}

/// Runs the cases.
pub fn run(t: &mut Runner) {
    t.case("version/version", |r| {
        r.hex(call(XEN_VERSION, [XENVER_VERSION.into(), 0]) as u64);
    });
    t.case("version/version/with-a-bad-pointer", |r| {
        r.hex(call(XEN_VERSION, [XENVER_VERSION.into(), 0x8000_0000_0000_0000]) as u64);
    });
    t.case("version/extraversion", |r| {
        let page = filled();
        r.result(ask(XENVER_EXTRAVERSION, page)).named("bytes", touched(page));
        text(r, page, 0, 16);
    });
    t.case("version/compile-info", |r| {
        let page = filled();
        r.result(ask(XENVER_COMPILE_INFO, page)).named("bytes", touched(page));
        for (name, offset, most) in [("compiler", 0, 64), ("by", 64, 16), ("domain", 80, 32), ("date", 112, 32)] {
            let ends = (offset..offset + most).any(|i| page.read::<u8>(i) == 0);
            r.holds(name, ends && page.read::<u8>(offset) != 0);
        }
    });
    t.case("version/capabilities", |r| {
        let page = filled();
        r.result(ask(XENVER_CAPABILITIES, page)).named("bytes", touched(page));
        text(r, page, 0, 200);
    });
    t.case("version/changeset", |r| {
        let page = filled();
        r.result(ask(XENVER_CHANGESET, page)).named("bytes", touched(page));
        r.holds("ends", (0..64).any(|i| page.read::<u8>(i) == 0));
    });
    t.case("version/platform-parameters", |r| {
        let mut a = PlatformParameters { virt_start: 1 };
        r.result(operation(XEN_VERSION, XENVER_PLATFORM_PARAMETERS, &mut a)).hex(a.virt_start);
    });
    for map in [0, 1, 2, u32::MAX] {
        t.case_of(format_args!("version/features/map-{map:#x}"), |r| {
            let mut a = FeatureInfo { submap_idx: map, submap: 0x55 };
            r.result(operation(XEN_VERSION, XENVER_GET_FEATURES, &mut a)).hex(a.submap.into());
        });
    }
    t.case("version/page-size", |r| {
        r.result(call(XEN_VERSION, [XENVER_PAGESIZE.into(), 0]));
    });
    t.case("version/page-size/with-a-pointer", |r| {
        r.result(ask(XENVER_PAGESIZE, filled()));
    });
    t.case("version/domain-handle", |r| {
        let page = filled();
        r.result(ask(XENVER_GUEST_HANDLE, page)).named("bytes", touched(page)).hex(page.read(0)).hex(page.read(8));
    });
    t.case("version/command-line", |r| {
        let page = filled();
        r.result(ask(XENVER_COMMANDLINE, page)).named("bytes", touched(page));
        // What it says is the tester's choice, but for the options that make this kernel domain 0.
        text(r, page, 0, 8);
    });
    t.case("version/build-id/length-only", |r| {
        r.result(call(XEN_VERSION, [XENVER_BUILD_ID.into(), 0]));
    });
    for len in [0_u32, 1, 19, 20, 64, u32::MAX] {
        t.case_of(format_args!("version/build-id/room-for-{len:#x}"), |r| {
            let page = filled();
            page.write(0, len);
            let result = ask(XENVER_BUILD_ID, page);
            r.result(result).named("bytes", touched(page));
        });
    }
    for number in [11_u64, 12, 100, 0xffff_ffff, 0x1_0000_0007] {
        t.case_of(format_args!("version/unknown-operation/{number:#x}"), |r| {
            r.result(call(XEN_VERSION, [number, filled().address()]));
        });
    }
}
