//! Random operations on several domains, against a model made of maps; and guests that write over everything.

use super::world::fifo_guest::Queues;
use super::world::model::Model;
use super::world::{Domain, world};
use proptest::collection::vec;
use proptest::prelude::*;
use xen_abi::{DomId, Port, VcpuId};
use xenolith_core::components::event_channel::{
    EventDomain, Progress, ResetStart, alloc_unbound, bind_interdomain, bind_ipi, bind_pirq, bind_vcpu, bind_virq,
    close, poll, raise_vcpu, reset, send, set_priority, status, teardown, unmask,
};

/// Three domains of different sizes: vCPUs and highest port.
const DOMAINS: [(u32, u32); 3] = [(3, 70), (2, 5000), (1, 9)];

#[derive(Clone, Copy, Debug)]
enum Op {
    AllocUnbound { remote: usize },
    BindInterdomain { remote: usize, port: u32 },
    BindVirq { virq: u32, vcpu: u32 },
    BindIpi { vcpu: u32 },
    BindManyIpis,
    BindPirq { pirq: u32 },
    BindVcpu { port: u32, vcpu: u32 },
    Close { port: u32 },
    Send { port: u32 },
    Unmask { port: u32 },
    Mask { port: u32 },
    Raise { virq: u32, vcpu: u32 },
    SetPriority { port: u32, priority: u32 },
    InitControl { vcpu: u32 },
    ExpandArray,
    TakeUpcall { vcpu: u32 },
    TakeEvents { vcpu: u32, count: usize },
    Poll { vcpu: u32, port: Option<u32> },
    EndPoll { vcpu: u32 },
    Reset,
    Teardown,
}

fn port() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..6_u32, 4 => 0..12_u32, 2 => 60..72_u32, 1 => Just(5000), 1 => any::<u32>()]
}

fn vcpu() -> impl Strategy<Value = u32> {
    prop_oneof![9 => 0..3_u32, 1 => Just(u32::MAX)]
}

fn virq() -> impl Strategy<Value = u32> {
    prop_oneof![6 => 0..4_u32, 1 => 0..26_u32]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..3_usize).prop_map(|remote| Op::AllocUnbound { remote }),
        8 => (0..4_usize, port()).prop_map(|(remote, port)| Op::BindInterdomain { remote, port }),
        4 => (virq(), vcpu()).prop_map(|(virq, vcpu)| Op::BindVirq { virq, vcpu }),
        4 => vcpu().prop_map(|vcpu| Op::BindIpi { vcpu }),
        2 => (0..18_u32).prop_map(|pirq| Op::BindPirq { pirq }),
        4 => (port(), vcpu()).prop_map(|(port, vcpu)| Op::BindVcpu { port, vcpu }),
        4 => port().prop_map(|port| Op::Close { port }),
        24 => port().prop_map(|port| Op::Send { port }),
        6 => port().prop_map(|port| Op::Unmask { port }),
        6 => port().prop_map(|port| Op::Mask { port }),
        6 => (virq(), vcpu()).prop_map(|(virq, vcpu)| Op::Raise { virq, vcpu }),
        5 => (port(), prop_oneof![3 => 6..8_u32, 1 => 0..17_u32]).prop_map(|(port, priority)| Op::SetPriority { port, priority }),
        4 => vcpu().prop_map(|vcpu| Op::InitControl { vcpu }),
        3 => Just(Op::ExpandArray),
        5 => (0..3_u32).prop_map(|vcpu| Op::TakeUpcall { vcpu }),
        8 => (0..3_u32, 1..4_usize).prop_map(|(vcpu, count)| Op::TakeEvents { vcpu, count }),
        3 => (0..3_u32, proptest::option::of(1..6_u32)).prop_map(|(vcpu, port)| Op::Poll { vcpu, port }),
        2 => (0..3_u32).prop_map(|vcpu| Op::EndPoll { vcpu }),
        1 => prop_oneof![Just(Op::BindManyIpis), Just(Op::Reset), Just(Op::Teardown)],
    ]
}

/// What most guests begin with, so that the rest of the operations find something to work on: some ports that can move
/// and some that cannot, and in some domains the FIFO form.
fn start() -> impl Strategy<Value = Vec<(usize, Op)>> {
    let fifo = |at| [Op::InitControl { vcpu: 0 }, Op::ExpandArray, Op::InitControl { vcpu: 1 }].map(|op| (at, op));
    let ports = |at: usize| {
        let connect = Op::BindInterdomain { remote: at, port: 1 };
        [Op::AllocUnbound { remote: at }, connect, Op::BindIpi { vcpu: 0 }, Op::BindIpi { vcpu: 0 }].map(|op| (at, op))
    };
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(move |(bind, first, second)| {
        let bind = bind.then(|| (0..2).flat_map(ports)).into_iter().flatten();
        let first = first.then(|| fifo(0)).into_iter().flatten();
        bind.chain(first).chain(second.then(|| fifo(1)).into_iter().flatten()).collect()
    })
}

/// The domains, the model of them, and what their guests remember of their queues.
struct Run {
    domains: Vec<Domain>,
    model: Model,
    queues: Vec<[Queues; 3]>,
}

fn numbers(result: Result<Port, xen_abi::Errno>) -> Result<u32, xen_abi::Errno> {
    result.map(|port| port.0)
}

impl Run {
    fn new() -> Self {
        let queues = DOMAINS.map(|_| [(); 3].map(|()| Queues::default())).to_vec();
        Self { domains: world(&DOMAINS), model: Model::new(&DOMAINS), queues }
    }

    /// Does it to the domain and to the model; both answer the same.
    fn step(&mut self, at: usize, op: Op) {
        let real = self.domains[at].clone();
        match op {
            Op::AllocUnbound { remote } => {
                let port = alloc_unbound(&real, DomId(remote as u16), true);
                assert_eq!(numbers(port), self.model.alloc_unbound(at, remote));
            }
            Op::BindInterdomain { remote, port } => {
                let bound = bind_interdomain(&real, DomId(remote as u16), Port(port));
                assert_eq!(numbers(bound), self.model.bind_interdomain(at, remote, port));
            }
            Op::Close { port } => assert_eq!(close(&real, Port(port)), self.model.close(at, port)),
            Op::Send { port } => assert_eq!(send(&real, Port(port)), self.model.send(at, port)),
            Op::InitControl { vcpu } => self.init_control(at, vcpu),
            Op::ExpandArray => self.expand_array(at),
            Op::Reset => {
                assert_eq!(reset(&real, ResetStart::Fresh, || false), Ok(Progress::Done));
                self.model.reset(at);
            }
            Op::Teardown => {
                while teardown(&real, || true) == Progress::Again {}
                self.model.teardown(at);
            }
            _ => self.step_alone(at, op),
        }
    }

    /// What concerns one domain alone.
    fn step_alone(&mut self, at: usize, op: Op) {
        let (real, model) = (&self.domains[at], &mut self.model.domains[at]);
        match op {
            Op::BindVirq { virq, vcpu } => {
                assert_eq!(numbers(bind_virq(real, virq, VcpuId(vcpu))), model.bind_virq(virq, vcpu));
            }
            Op::BindIpi { vcpu } => assert_eq!(numbers(bind_ipi(real, VcpuId(vcpu))), model.bind_ipi(vcpu)),
            Op::BindManyIpis => {
                for _ in 0..30 {
                    assert_eq!(numbers(bind_ipi(real, VcpuId(0))), model.bind_ipi(0));
                }
            }
            Op::BindPirq { pirq } => assert_eq!(numbers(bind_pirq(real, pirq)), model.bind_pirq(pirq)),
            Op::BindVcpu { port, vcpu } => {
                assert_eq!(bind_vcpu(real, Port(port), VcpuId(vcpu)), model.bind_vcpu(port, vcpu));
            }
            Op::Unmask { port } => assert_eq!(unmask(real, Port(port)), model.unmask(port)),
            Op::Mask { port } => mask(real, model, port),
            Op::Raise { virq, vcpu } => {
                raise_vcpu(real, VcpuId(vcpu), virq);
                model.raise(virq, vcpu);
            }
            Op::SetPriority { port, priority } => {
                assert_eq!(set_priority(real, Port(port), priority), model.set_priority(port, priority));
            }
            Op::TakeUpcall { vcpu } if vcpu < model.vcpus => {
                real.take_upcall(vcpu);
                model.flags.remove(&vcpu);
                model.selectors.retain(|(of, _)| *of != vcpu);
            }
            Op::TakeEvents { vcpu, count } if model.fifo.as_ref().is_some_and(|fifo| fifo.control.contains(&vcpu)) => {
                for _ in 0..count {
                    let taken = real.take_event(vcpu, &mut self.queues[at][vcpu as usize]);
                    assert_eq!(taken, model.take_event(vcpu));
                }
            }
            Op::Poll { vcpu, port } if vcpu < model.vcpus => {
                poll::begin(real, VcpuId(vcpu));
                model.polls.insert(vcpu, None);
                if let Some(port) = port {
                    poll::narrow(real, VcpuId(vcpu), Port(port));
                    model.polls.insert(vcpu, Some(port));
                }
            }
            Op::EndPoll { vcpu } => {
                assert_eq!(poll::end(real, VcpuId(vcpu)), model.polls.remove(&vcpu).is_some());
            }
            _ => {}
        }
    }

    fn init_control(&mut self, at: usize, vcpu: u32) {
        let (real, model) = (&self.domains[at], &mut self.model.domains[at]);
        let has_one = model.fifo.as_ref().is_some_and(|fifo| fifo.control.contains(&vcpu));
        if vcpu < model.vcpus && !has_one {
            real.frame(u64::from(vcpu)).clear();
            self.queues[at][vcpu as usize] = Queues::default();
        }
        assert_eq!(real.give_control_block(vcpu), model.init_control(vcpu));
    }

    fn expand_array(&mut self, at: usize) {
        let (real, model) = (&self.domains[at], &mut self.model.domains[at]);
        let slot = model.fifo.as_ref().map_or(0, |fifo| u64::from(fifo.words / 1024));
        if slot < 8 {
            if model.fifo.is_some() {
                real.frame(super::world::fifo_guest::ARRAY_GFN + slot).clear();
            }
            assert_eq!(real.give_array_page(slot), model.expand_array());
        }
    }

    /// Compares the ports below `ports`, and some that are far off.
    fn compare(&self, ports: u32) {
        for (at, (real, model)) in self.domains.iter().zip(&self.model.domains).enumerate() {
            for port in (0..ports).chain([4095, 4096, 5000]) {
                let found = status(real, Port(port), true).map(|(status, vcpu)| (status, vcpu.0));
                assert_eq!(found, self.model.status(at, port), "domain {at}, port {port}");
                if port < 4096 {
                    assert_eq!(real.pending_bit(Port(port)), model.two_level.pending.contains(&port), "port {port}");
                }
                if let Some(fifo) = model.fifo.as_ref().filter(|fifo| port < fifo.words) {
                    let word = real.word(Port(port));
                    let bit = |bit: u32| word >> bit & 1 != 0;
                    assert_eq!(bit(31), fifo.bits.pending.contains(&port), "domain {at}, port {port}");
                    assert_eq!(bit(30), fifo.bits.masked.contains(&port), "domain {at}, port {port}");
                    assert_eq!(bit(29), fifo.linked.contains(&port), "domain {at}, port {port}");
                    assert!(!bit(28), "domain {at}, port {port}");
                }
            }
            for vcpu in 0..model.vcpus {
                assert_eq!(real.upcall_flag(vcpu), model.flags.contains(&vcpu), "domain {at}, vCPU {vcpu}");
            }
        }
    }

    fn compare_calls(&mut self) {
        for (real, model) in self.domains.iter().zip(&mut self.model.domains) {
            assert_eq!(real.take_upcalls(), std::mem::take(&mut model.upcalls));
            assert_eq!(real.take_wakes(), std::mem::take(&mut model.wakes));
        }
    }

    /// Ends every domain: nothing may be left.
    fn end(&self) {
        for domain in &self.domains {
            while teardown(domain, || true) == Progress::Again {}
        }
        for domain in &self.domains {
            assert_eq!(domain.pins(), 0);
        }
    }
}

fn mask(real: &Domain, model: &mut super::world::model::DomainModel, port: u32) {
    if !model.has_bits(port) {
        return;
    }
    model.bits().masked.insert(port);
    if model.fifo.is_some() {
        real.set_word(Port(port), real.word(Port(port)) | super::world::fifo_guest::MASKED);
    } else {
        real.set_mask_bit(Port(port), true);
    }
}

/// What a hostile guest writes: into which of its frames (the last number means the shared page), where, what.
type Scribble = (usize, u64, usize, u32);

fn scribble() -> impl Strategy<Value = Scribble> {
    let place = prop_oneof![0..40_usize, 512..640_usize, Just(0_usize), 0..1024_usize];
    let value = prop_oneof![any::<u32>(), Just(u32::MAX), (0..80_u32).prop_map(|port| 1 << 29 | port), Just(0)];
    (0..3_usize, prop_oneof![0..3_u64, 16..18_u64, Just(99)], place, value)
}

fn scribble_over(domain: &Domain, (_, gfn, place, value): Scribble) {
    let page = if gfn == 99 { domain.shared() } else { domain.frame(gfn) };
    page.store_u32(place * 4, value).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn event_channels_do_what_the_model_does(start in start(), ops in vec((0..3_usize, op()), 1..200)) {
        let mut run = Run::new();
        for (number, (at, op)) in start.into_iter().chain(ops).enumerate() {
            run.step(at, op);
            run.compare(if number % 16 == 0 { 80 } else { 8 });
            run.compare_calls();
        }
        run.compare(80);
        run.end();
    }

    #[test]
    fn a_guest_that_writes_over_its_pages_harms_nobody(
        ops in vec((0..3_usize, op(), vec(scribble(), 0..4)), 1..120)
    ) {
        let domains = world(&DOMAINS);
        for (at, op, scribbles) in ops {
            for scribble in scribbles {
                scribble_over(&domains[scribble.0], scribble);
            }
            disturb(&domains[at], op);
            peers_agree(&domains);
        }
        for domain in &domains {
            while teardown(domain, || true) == Progress::Again {}
        }
        for domain in &domains {
            prop_assert_eq!(domain.pins(), 0);
        }
    }
}

/// Does an operation whose outcome depends on what the guest wrote.
fn disturb(domain: &Domain, op: Op) {
    let _ = match op {
        Op::AllocUnbound { remote } => alloc_unbound(domain, DomId(remote as u16), true).map(drop),
        Op::BindInterdomain { remote, port } => bind_interdomain(domain, DomId(remote as u16), Port(port)).map(drop),
        Op::BindVirq { virq, vcpu } => bind_virq(domain, virq, VcpuId(vcpu)).map(drop),
        Op::BindIpi { vcpu } => bind_ipi(domain, VcpuId(vcpu)).map(drop),
        Op::BindManyIpis => (0..30).try_for_each(|_| bind_ipi(domain, VcpuId(0)).map(drop)),
        Op::BindPirq { pirq } => bind_pirq(domain, pirq).map(drop),
        Op::BindVcpu { port, vcpu } => bind_vcpu(domain, Port(port), VcpuId(vcpu)),
        Op::Close { port } => close(domain, Port(port)),
        Op::Send { port } => send(domain, Port(port)),
        Op::Unmask { port } | Op::Mask { port } => unmask(domain, Port(port)),
        Op::SetPriority { port, priority } => set_priority(domain, Port(port), priority),
        Op::InitControl { vcpu } => domain.give_control_block(vcpu).map(drop),
        Op::ExpandArray => domain.give_array_page(0),
        Op::Reset => reset(domain, ResetStart::Fresh, || false).map(drop),
        Op::Raise { virq, vcpu } => {
            raise_vcpu(domain, VcpuId(vcpu), virq);
            Ok(())
        }
        _ => Ok(()),
    };
}

/// Each connected port's other end is connected to it.
fn peers_agree(domains: &[Domain]) {
    use xenolith_core::components::event_channel::PortStatus::Interdomain;
    for domain in domains {
        for port in 0..80 {
            if let Ok((Interdomain { remote, port: there }, _)) = status(domain, Port(port), true) {
                let back = status(&domains[usize::from(remote.0)], there, true).unwrap().0;
                assert_eq!(back, Interdomain { remote: domain.events().id(), port: Port(port) });
            }
        }
    }
}
