//! Event channels with threads for CPUs, beside a guest that writes over its pages all the time.

use super::world::fifo_guest::ARRAY_GFN;
use super::world::world;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use xen_abi::virq::VIRQ_TIMER;
use xen_abi::{DomId, Port, VcpuId};
use xenolith_core::components::event_channel::{
    Progress, alloc_unbound, bind_interdomain, bind_vcpu, bind_virq, close, poll, raise_vcpu, send, set_priority,
    teardown, unmask,
};

const ROUNDS: u32 = 3_000;

/// Numbers that look random, always the same ones.
fn numbers(mut state: u32) -> impl Iterator<Item = u32> {
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    })
}

#[test]
fn senders_closers_and_a_writing_guest_end_and_leave_nothing() {
    let domains = world(&[(2, 63), (2, 63)]);
    let (a, b) = (&domains[0], &domains[1]);
    for domain in &domains {
        for vcpu in 0..2 {
            domain.give_control_block(vcpu).unwrap();
        }
        domain.give_array_page(0).unwrap();
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let scribbler = scope.spawn(|| {
            for (place, value) in numbers(7).zip(numbers(11)) {
                let frame = b.frame(if place & 1 == 0 { u64::from(place >> 1 & 1) } else { ARRAY_GFN });
                frame.store_u32((place >> 8 & 31) as usize * 4, value).unwrap();
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                scope.spawn(move || {
                    for (number, choice) in numbers(worker + 1).take(ROUNDS as usize).enumerate() {
                        let port = Port(choice >> 8 & 15);
                        let vcpu = VcpuId(choice >> 16 & 1);
                        let _ = match (number as u32 + choice) % 9 {
                            0 => alloc_unbound(b, DomId(0), true).map(drop),
                            1 => bind_interdomain(a, DomId(1), port).map(drop),
                            2 => close(a, port),
                            3 => close(b, port),
                            4 => unmask(b, port),
                            5 => bind_vcpu(b, port, vcpu).and_then(|()| set_priority(b, port, choice & 15)),
                            6 => bind_virq(b, VIRQ_TIMER, vcpu).map(drop),
                            _ => send(a, port),
                        };
                        raise_vcpu(b, vcpu, VIRQ_TIMER);
                        poll::begin(b, vcpu);
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        scribbler.join().unwrap();
    });
    for domain in &domains {
        assert_eq!(teardown(domain, || false), Progress::Done);
        assert_eq!(domain.pins(), 0);
    }
}
