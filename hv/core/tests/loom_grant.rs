//! Every interleaving of a granter that takes its permission back and of the hypervisor that begins a use:
//! `RUSTFLAGS="--cfg loom" cargo test -p xenolith-core --release --test loom_grant`.
#![cfg(loom)]

use loom::sync::Arc;
use loom::thread;
use xen_abi::grant_entry::{GTF_PERMIT_ACCESS, GTF_READING, GTF_WRITING};
use xenolith_core::components::grant::entry::{Wish, pin_v1, pin_v2};
use xenolith_hal::DomId;
use xenolith_sync::atomic::{AtomicU64, Ordering, fence};

const IN_USE: u64 = (GTF_READING | GTF_WRITING) as u64;
const WISH: Wish = Wish { domain: DomId(2), write: true, map: true, pinned: false };

fn granted() -> u64 {
    u64::from(GTF_PERMIT_ACCESS) | 2 << 16 | 7 << 32
}

#[test]
fn form_1_either_refuses_the_use_or_shows_it_to_the_granter() {
    loom::model(|| {
        let entry = Arc::new(AtomicU64::new(granted()));
        let guest = {
            let entry = Arc::clone(&entry);
            // As guests do: permission goes only if nobody uses the page at that moment.
            thread::spawn(move || entry.compare_exchange(granted(), 0, Ordering::SeqCst, Ordering::SeqCst).is_ok())
        };
        let pinned = pin_v1(&*entry, WISH).is_ok();
        let taken_back = guest.join().unwrap();
        assert!(!(pinned && taken_back), "the granter believes its page is its own again");
        assert!(pinned || taken_back);
    });
}

#[test]
fn form_2_either_refuses_the_use_or_shows_it_to_the_granter() {
    loom::model(|| {
        let entry = Arc::new(AtomicU64::new(granted()));
        let status = Arc::new(AtomicU64::new(0));
        let guest = {
            let (entry, status) = (Arc::clone(&entry), Arc::clone(&status));
            thread::spawn(move || {
                entry.store(0, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                status.load(Ordering::SeqCst) & IN_USE == 0
            })
        };
        let pinned = pin_v2(&*entry, &*status, 0, WISH).is_ok();
        let seems_unused = guest.join().unwrap();
        assert!(!(pinned && seems_unused), "the granter believes its page is its own again");
        assert_eq!(status.load(Ordering::SeqCst) & IN_USE != 0, pinned);
    });
}
