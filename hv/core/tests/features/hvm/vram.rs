//! What the guest wrote of its frame buffer.

use super::emulator::{EXTRA, GUEST, at, dm_op, request_of, world};
use xen_abi::dm_op::*;
use xen_abi::{Errno, Gfn, GuestHandle};
use xenolith_core::components::control::DirtyLog;
use xenolith_core::components::grant::World as _;
use xenolith_core::domains::domain::Domain;
use xenolith_fake::FakeMachine;
use xenolith_hal::{NestedSpace, PAGE_SIZE};
use xenolith_world::{Answer, World};

/// Asks with a bitmap of as many bytes.
fn ask(world: &World, first: u64, nr: u32, bytes: Option<u64>) -> Answer {
    let wanted = DmOpTrackDirtyVram { nr, pad: 0, first_pfn: Gfn(first) };
    let mut op = dm_op(XEN_DMOP_TRACK_DIRTY_VRAM, |op| op.set_track_dirty_vram(wanted));
    request_of(world, GUEST, &mut op, 32, bytes)
}

/// Asks and returns the bitmap.
fn written(world: &World, first: u64, nr: u32) -> Vec<u8> {
    let page = world.page(0, EXTRA);
    assert!(page.write_bytes(0, &[0x55; 16]));
    assert_eq!(ask(world, first, nr, Some(nr.div_ceil(8).into())), Ok(0));
    let mut bits = vec![0; nr.div_ceil(8) as usize];
    assert!(page.read_bytes(0, &mut bits));
    assert_eq!(page.load_u8(bits.len()), Some(0x55), "no more is written than there is");
    bits
}

fn write(domain: &Domain<FakeMachine>, frames: &[u64]) {
    frames.iter().for_each(|frame| domain.space.note_written(Gfn(*frame)));
}

#[test]
fn what_cannot_be_tracked_is_refused() {
    let world = world();
    assert_eq!(ask(&world, 4, 8, None), Err(Errno::EINVAL));
    assert_eq!(ask(&world, 4, 9, Some(1)), Err(Errno::EINVAL));
    assert_eq!(ask(&world, 4, 0x4_0001, Some(u64::MAX)), Err(Errno::EINVAL));
    assert_eq!(ask(&world, u64::MAX, 8, Some(1)), Err(Errno::EINVAL));
    assert_eq!(ask(&world, 4, 0, Some(0)), Ok(0), "nothing was tracked");
}

#[test]
fn all_was_written_at_first_and_then_what_was() {
    let world = world();
    let domain = world.domain(GUEST);
    assert_eq!(written(&world, 3, 12), [0xff, 0xff]);
    assert_eq!(written(&world, 3, 12), [0, 0]);
    write(&domain, &[2, 3, 12, 14, 15]);
    assert_eq!(written(&world, 3, 12), [0x01, 0x0a]);
    assert_eq!(written(&world, 3, 12), [0, 0], "it was told");
    assert_eq!(written(&world, 4, 8), [0xff], "another range");
    write(&domain, &[3, 4]);
    assert_eq!(written(&world, 4, 8), [0x01]);
    assert_eq!(ask(&world, 0, 0, Some(0)), Ok(0));
    write(&domain, &[5]);
    assert_eq!(written(&world, 4, 8), [0xff], "it begins anew");
}

#[test]
fn while_the_toolstack_logs_the_marks_are_its_own() {
    let world = world();
    let domain = world.domain(GUEST);
    domain.control.change(|state| state.dirty_log = DirtyLog::On { next: 0, counted: 0 });
    domain.space.set_tracked(0..u64::MAX);
    assert_eq!(written(&world, 4, 8), [0xff]);
    write(&domain, &[6, 20]);
    assert_eq!([written(&world, 4, 8), written(&world, 4, 8)], [[0x04], [0x04]]);
    let marks = world.hv.memory(&domain).edit(|editor| editor.written(Gfn(0), true));
    assert_eq!(marks[0], 1 << 6 | 1 << 20);
}

#[test]
fn an_answer_that_cannot_be_written_is_not_lost() {
    let world = world();
    let domain = world.domain(GUEST);
    assert_eq!(written(&world, 4, 8), [0xff]);
    write(&domain, &[7]);
    let wanted = DmOpTrackDirtyVram { nr: 8, pad: 0, first_pfn: Gfn(4) };
    let op = dm_op(XEN_DMOP_TRACK_DIRTY_VRAM, |op| op.set_track_dirty_vram(wanted));
    assert_eq!(
        super::emulator::request_with(
            &world,
            &op,
            DmOpBuf { address: GuestHandle::new(at(Gfn(0x8_0000))), size: PAGE_SIZE as u64 }
        ),
        Err(Errno::EFAULT)
    );
    assert_eq!(written(&world, 4, 8), [0x08]);
}
