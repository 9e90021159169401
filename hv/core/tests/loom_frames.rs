//! Every interleaving of a few steps on frames:
//! `RUSTFLAGS="--cfg loom" cargo test -p xenolith-core --release --test loom_frames`.
#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use xenolith_core::memory::frames::epoch::Epochs;
use xenolith_core::memory::frames::{ANYWHERE, FrameUse, Frames, OwnedFrame, Pages};
use xenolith_hal::{CpuId, DomId, Mfn, PageOrder, PageWords, Time};
use xenolith_sync::atomic::{AtomicBool, Ordering};

struct NoContents;

impl Pages for NoContents {
    fn page(&self, _: Mfn) -> Option<&PageWords> {
        None
    }
}

fn machine() -> (Arc<Frames>, Mfn) {
    let frames = Frames::for_domains(Mfn(2), &[Mfn(1)..Mfn(2)], 1, 2).unwrap();
    frames.account(DomId(1)).unwrap().set_max(1);
    let frame = frames.allocate(&NoContents, DomId(1), PageOrder::SIZE_4K, ANYWHERE).map(OwnedFrame::into_mapping);
    let mfn = frame.unwrap();
    (Arc::new(frames), mfn)
}

fn poll(frames: &Frames) {
    frames.poll_with(&NoContents, false, || Time(0), |_| {});
}

#[test]
fn a_frame_is_freed_once_and_not_under_a_reference() {
    loom::model(|| {
        let (frames, mfn) = machine();
        let other = Arc::clone(&frames);
        let user = thread::spawn(move || {
            if let Some(reference) = other.reference(mfn, DomId(1)) {
                assert_ne!(other.state(mfn).unwrap().used_as, FrameUse::Free);
                other.put(reference);
            }
        });
        assert!(frames.release(mfn, DomId(1)));
        poll(&frames);
        user.join().unwrap();
        (0..3).for_each(|_| poll(&frames));
        assert_eq!((frames.free_pages(), frames.waiting()), (1, 0));
        assert!(frames.account(DomId(1)).unwrap().is_empty());
    });
}

#[test]
fn a_page_that_was_unmapped_is_not_reused_under_a_cpu_that_found_it() {
    loom::model(|| {
        let epochs = Arc::new(Epochs::new(1).unwrap());
        let mapped = Arc::new(AtomicBool::new(true));
        let reused = Arc::new(AtomicBool::new(false));
        let cpu = {
            let (epochs, mapped, reused) = (Arc::clone(&epochs), Arc::clone(&mapped), Arc::clone(&reused));
            thread::spawn(move || {
                for _ in 0..2 {
                    // The first one also ends idling.
                    epochs.quiet(CpuId(0));
                    if mapped.load(Ordering::Acquire) {
                        assert!(!reused.load(Ordering::Acquire), "the page was reused while it is looked at");
                    }
                }
                epochs.idle(CpuId(0));
            })
        };
        mapped.store(false, Ordering::Release);
        let epoch = epochs.next();
        if epochs.passed(epoch) {
            reused.store(true, Ordering::Release);
        }
        cpu.join().unwrap();
        assert!(epochs.passed(epoch));
    });
}
