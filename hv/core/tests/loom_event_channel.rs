//! Every interleaving of a few threads at event channels, the code that is shipped:
//! `RUSTFLAGS="--cfg loom" cargo test -p xenolith-core --profile checked --test loom_event_channel`.
//!
//! Only the pages are made for the model: the few words that it touches, each an atomic that loom watches.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use loom::thread;
use std::sync::atomic::AtomicI64;
use xen_abi::virq::VIRQ_TIMER;
use xen_abi::{DomId, Errno, Gfn, Mfn, Port, VcpuId};
use xenolith_core::components::event_channel::{
    EventChannels, EventDomain, GuestWords, PortStatus, Progress, ResetStart, alloc_unbound, bind_interdomain,
    bind_ipi, bind_virq, close, expand_array, init_control, is_pending, poll, raise_vcpu, reset, send, status, unmask,
};

const V0: VcpuId = VcpuId(0);
const PENDING: u32 = 1 << 31;
const MASKED: u32 = 1 << 30;
const LINKED: u32 = 1 << 29;
const LINK: u32 = (1 << 17) - 1;

/// The words of a page that a model touches, by their numbers; none of the others is there.
struct Page {
    words: Vec<(usize, AtomicU64)>,
    pins: AtomicI64,
}

impl Page {
    fn new(words: &[usize]) -> Self {
        Self { words: words.iter().map(|at| (*at, AtomicU64::new(0))).collect(), pins: AtomicI64::new(0) }
    }

    /// The half of a word that a 32-bit value at `offset` lies in.
    fn load(&self, offset: usize) -> u32 {
        (self.word(offset / 8).unwrap().load(Ordering::SeqCst) >> (offset % 8 * 8)) as u32
    }

    fn set(&self, offset: usize, bits: u32) -> u32 {
        let shift = offset % 8 * 8;
        (self.word(offset / 8).unwrap().fetch_or(u64::from(bits) << shift, Ordering::SeqCst) >> shift) as u32
    }

    fn clear(&self, offset: usize, bits: u32) -> u32 {
        let shift = offset % 8 * 8;
        (self.word(offset / 8).unwrap().fetch_and(!(u64::from(bits) << shift), Ordering::SeqCst) >> shift) as u32
    }
}

impl GuestWords for Page {
    fn word(&self, index: usize) -> Option<&AtomicU64> {
        self.words.iter().find(|(at, _)| *at == index).map(|(_, word)| word)
    }
}

/// One domain with one vCPU.
struct Home {
    events: EventChannels,
    /// Word 0: the upcall flag. 1: the selector. 256: pending. 320: masked.
    shared: Page,
    /// The control block, and the event array.
    frames: [Page; 2],
    upcalls: AtomicU32,
    /// The vCPU waits, as `vcpu::Vcpu` notes it.
    blocked: AtomicU32,
}

#[derive(Clone)]
struct Domain {
    homes: Arc<[Home; 2]>,
    at: usize,
}

impl Domain {
    fn pair() -> (Self, Self) {
        let home = |id| Home {
            events: EventChannels::new(DomId(id), 1, 3).unwrap(),
            shared: Page::new(&[0, 1, 256, 320]),
            frames: [Page::new(&[0, 4]), Page::new(&[0, 1])],
            upcalls: AtomicU32::new(0),
            blocked: AtomicU32::new(0),
        };
        let homes = Arc::new([home(0), home(1)]);
        (Self { homes: homes.clone(), at: 0 }, Self { homes, at: 1 })
    }

    fn one() -> Self {
        Self::pair().0
    }

    fn home(&self) -> &Home {
        &self.homes[self.at]
    }

    fn start_fifo(&self) {
        init_control(self, V0, Gfn(0), 0).unwrap();
        expand_array(self, Gfn(1)).unwrap();
    }

    fn pending(&self, port: Port) -> bool {
        self.home().shared.load(2048) >> port.0 & 1 != 0
    }

    fn mask(&self, port: Port) {
        self.home().shared.set(2560, 1 << port.0);
    }

    fn upcall_flag(&self) -> bool {
        self.home().shared.load(0) & 1 != 0
    }

    fn word(&self, port: Port) -> u32 {
        self.home().frames[1].load(port.0 as usize * 4)
    }

    /// What a guest does at an upcall in the FIFO form, with the one queue of a model: takes each event out and, if it
    /// is to be handled, adds it up.
    fn handle(&self, seen: &mut [u32; 4]) {
        let [control, array] = &self.home().frames;
        let mut head = 0;
        if control.clear(0, u32::MAX) == 0 {
            return;
        }
        loop {
            if head == 0 {
                head = control.load(8 + 7 * 4);
            }
            let at = head as usize * 4;
            let word = array.clear(at, LINKED | LINK);
            if word & PENDING != 0 && word & MASKED == 0 && array.clear(at, PENDING) & PENDING != 0 {
                seen[head as usize] += 1;
            }
            head = word & LINK;
            if head == 0 {
                break;
            }
        }
    }
}

impl EventDomain for Domain {
    type Page = Page;

    fn events(&self) -> &EventChannels {
        &self.home().events
    }

    fn peer(&self, id: DomId) -> Option<Self> {
        Some(Self { homes: self.homes.clone(), at: usize::from(id.0) })
    }

    fn shared_info(&self) -> Option<&Page> {
        Some(&self.home().shared)
    }

    fn vcpu_info(&self, _vcpu: VcpuId) -> Option<(&Page, usize)> {
        Some((&self.home().shared, 0))
    }

    fn event_page(&self, frame: Mfn) -> Option<&Page> {
        let page = &self.home().frames[frame.0 as usize];
        assert!(page.pins.load(Ordering::Relaxed) > 0, "a page was used that had been given back");
        Some(page)
    }

    fn pin_event_page(&self, gfn: Gfn) -> Result<Mfn, Errno> {
        self.home().frames[gfn.0 as usize].pins.fetch_add(1, Ordering::Relaxed);
        Ok(Mfn(gfn.0))
    }

    fn unpin_event_page(&self, frame: Mfn) {
        self.home().frames[frame.0 as usize].pins.fetch_sub(1, Ordering::Relaxed);
    }

    fn upcall(&self, _vcpu: VcpuId) {
        self.home().upcalls.fetch_add(1, Ordering::SeqCst);
    }

    fn wake(&self, _vcpu: VcpuId) {
        self.home().blocked.fetch_and(0, Ordering::SeqCst);
    }

    fn hypervisor_event(&self, _vcpu: VcpuId, _port: Port) {}

    fn pirq_limit(&self) -> u32 {
        0
    }
}

/// Few preemptions show most faults, and keep the models to seconds.
fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(body);
}

#[test]
fn an_event_that_meets_its_unmasking_is_delivered() {
    model(|| {
        let a = Domain::one();
        let port = bind_ipi(&a, V0).unwrap();
        a.mask(port);
        let sender = a.clone();
        let thread = thread::spawn(move || send(&sender, port).unwrap());
        unmask(&a, port).unwrap();
        thread.join().unwrap();
        assert!(a.pending(port));
        assert!(a.upcall_flag());
        assert_eq!(a.home().upcalls.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn an_event_in_the_fifo_form_that_meets_its_unmasking_is_delivered() {
    model(|| {
        let a = Domain::one();
        a.start_fifo();
        let port = bind_ipi(&a, V0).unwrap();
        a.home().frames[1].set(port.0 as usize * 4, MASKED);
        let sender = a.clone();
        let thread = thread::spawn(move || send(&sender, port).unwrap());
        unmask(&a, port).unwrap();
        thread.join().unwrap();
        assert_eq!(a.word(port), PENDING | LINKED);
        assert!(a.upcall_flag());
        let mut seen = [0; 4];
        a.handle(&mut seen);
        assert_eq!(seen[port.0 as usize], 1);
    });
}

#[test]
fn no_event_is_lost_between_two_senders_and_a_guest_that_empties_its_queue() {
    model(|| {
        let a = Domain::one();
        a.start_fifo();
        let ports = [bind_ipi(&a, V0).unwrap(), bind_ipi(&a, V0).unwrap()];
        let other = a.clone();
        let thread = thread::spawn(move || send(&other, ports[1]).unwrap());
        send(&a, ports[0]).unwrap();
        let mut seen = [0; 4];
        a.handle(&mut seen);
        thread.join().unwrap();
        a.handle(&mut seen);
        assert_eq!(seen, [0, 1, 1, 0]);
        assert_eq!(a.word(ports[0]) | a.word(ports[1]), 0);
    });
}

#[test]
fn an_event_that_is_sent_while_the_guest_takes_it_out_comes_again() {
    model(|| {
        let a = Domain::one();
        a.start_fifo();
        let port = bind_ipi(&a, V0).unwrap();
        send(&a, port).unwrap();
        let sender = a.clone();
        let sent = Arc::new(AtomicU32::new(0));
        let at_send = sent.clone();
        let mut seen = [0; 4];
        let thread = thread::spawn(move || {
            at_send.store(1, Ordering::SeqCst);
            send(&sender, port).unwrap();
        });
        a.handle(&mut seen);
        let handled_before = seen[port.0 as usize] == 1 && sent.load(Ordering::SeqCst) == 0;
        thread.join().unwrap();
        a.handle(&mut seen);
        assert!(seen[port.0 as usize] >= 1 + u32::from(handled_before));
        assert_eq!(a.word(port), 0);
    });
}

#[test]
fn nothing_happens_at_a_port_after_its_closing() {
    model(|| {
        let (a, b) = Domain::pair();
        let there = alloc_unbound(&b, DomId(0), true).unwrap();
        let here = bind_interdomain(&a, DomId(1), there).unwrap();
        let sender = a.clone();
        let thread = thread::spawn(move || send(&sender, here).unwrap());
        close(&b, there).unwrap();
        assert!(!b.pending(there), "the closing has returned");
        thread.join().unwrap();
        assert!(!b.pending(there), "a late event");
        assert_eq!(status(&a, here, true).unwrap().0, PortStatus::Unbound { remote: DomId(1) });
    });
}

#[test]
fn both_ends_can_be_closed_at_once() {
    model(|| {
        let (a, b) = Domain::pair();
        let there = alloc_unbound(&b, DomId(0), true).unwrap();
        let here = bind_interdomain(&a, DomId(1), there).unwrap();
        let other = b.clone();
        let thread = thread::spawn(move || close(&other, there).unwrap());
        close(&a, here).unwrap();
        thread.join().unwrap();
        assert_eq!(status(&a, here, true).unwrap().0, PortStatus::Closed);
        assert_eq!(status(&b, there, true).unwrap().0, PortStatus::Closed);
    });
}

#[test]
fn a_virq_does_not_reach_the_next_user_of_its_port() {
    model(|| {
        let a = Domain::one();
        let port = bind_virq(&a, VIRQ_TIMER, V0).unwrap();
        let raiser = a.clone();
        let thread = thread::spawn(move || raise_vcpu(&raiser, V0, VIRQ_TIMER));
        close(&a, port).unwrap();
        assert_eq!(bind_ipi(&a, V0), Ok(port));
        thread.join().unwrap();
        assert!(!a.pending(port));
    });
}

#[test]
fn an_event_that_meets_the_page_for_its_word_is_delivered() {
    model(|| {
        let a = Domain::one();
        init_control(&a, V0, Gfn(0), 0).unwrap();
        let port = bind_ipi(&a, V0).unwrap();
        let sender = a.clone();
        let thread = thread::spawn(move || send(&sender, port).unwrap());
        expand_array(&a, Gfn(1)).unwrap();
        thread.join().unwrap();
        assert_eq!(a.word(port), PENDING | LINKED);
        assert!(a.upcall_flag());
    });
}

#[test]
fn no_page_is_used_after_a_reset_gave_it_back() {
    model(|| {
        let (a, b) = Domain::pair();
        b.start_fifo();
        let there = alloc_unbound(&b, DomId(0), true).unwrap();
        let here = bind_interdomain(&a, DomId(1), there).unwrap();
        let sender = a.clone();
        let thread = thread::spawn(move || send(&sender, here).unwrap());
        assert_eq!(reset(&b, ResetStart::Fresh, || false), Ok(Progress::Done));
        for page in &b.home().frames {
            assert_eq!(page.pins.load(Ordering::Relaxed), 0);
        }
        thread.join().unwrap();
    });
}

#[test]
fn an_array_that_grows_during_a_reset_belongs_to_the_former_form_or_to_none() {
    model(|| {
        let a = Domain::one();
        init_control(&a, V0, Gfn(0), 0).unwrap();
        let port = bind_ipi(&a, V0).unwrap();
        send(&a, port).unwrap();
        let grows = a.clone();
        let thread = thread::spawn(move || expand_array(&grows, Gfn(1)));
        assert_eq!(reset(&a, ResetStart::Fresh, || false), Ok(Progress::Done));
        let grown = thread.join().unwrap();
        assert!(matches!(grown, Ok(()) | Err(Errno::EOPNOTSUPP)), "{grown:?}");
        for page in &a.home().frames {
            assert_eq!(page.pins.load(Ordering::Relaxed), 0, "a page was kept past the reset");
        }
        a.start_fifo();
        let port = bind_ipi(&a, V0).unwrap();
        send(&a, port).unwrap();
        let mut seen = [0; 4];
        a.handle(&mut seen);
        assert_eq!(seen[port.0 as usize], 1, "the former form's event is not in the new one's queue");
    });
}

/// A vCPU that polls for `port` as `SCHEDOP_poll` and the vCPU's loop do it: true if it ends up asleep.
fn poll_and_block(domain: &Domain, port: Port) -> bool {
    poll::begin(domain, V0);
    if is_pending(domain, port).unwrap() {
        poll::end(domain, V0);
        return false;
    }
    poll::narrow(domain, V0, port);
    domain.home().blocked.fetch_or(1, Ordering::SeqCst);
    if poll::was_woken(domain, V0) {
        domain.home().blocked.fetch_and(0, Ordering::SeqCst);
        poll::end(domain, V0);
        return false;
    }
    true
}

#[test]
fn a_poller_does_not_sleep_through_its_event() {
    model(|| {
        let a = Domain::one();
        let port = bind_ipi(&a, V0).unwrap();
        // Masked, so that nothing but the poll can wake the vCPU.
        a.mask(port);
        let sender = a.clone();
        let thread = thread::spawn(move || send(&sender, port).unwrap());
        let slept = poll_and_block(&a, port);
        thread.join().unwrap();
        assert_eq!(a.home().blocked.load(Ordering::SeqCst), 0, "it sleeps for ever (slept: {slept})");
    });
}

#[test]
fn a_poller_in_the_fifo_form_does_not_sleep_through_its_event() {
    model(|| {
        let a = Domain::one();
        a.start_fifo();
        let port = bind_ipi(&a, V0).unwrap();
        a.home().frames[1].set(port.0 as usize * 4, MASKED);
        let sender = a.clone();
        let thread = thread::spawn(move || send(&sender, port).unwrap());
        poll_and_block(&a, port);
        thread.join().unwrap();
        assert_eq!(a.home().blocked.load(Ordering::SeqCst), 0, "it sleeps for ever");
    });
}
