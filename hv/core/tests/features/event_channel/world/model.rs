//! What event channels do, said as plainly as possible: maps and sets, one step after the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use xen_abi::{DomId, Errno};
use xenolith_core::components::event_channel::{PORTS_PER_BUCKET, PortStatus, is_global};

pub type Result<T> = std::result::Result<T, Errno>;

/// A port of a domain.
type End = (usize, u32);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    Unbound(usize),
    To(End),
    Pirq(u32),
    Virq(u32),
    Ipi,
}

#[derive(Clone, Debug)]
pub struct PortModel {
    pub bound: Bound,
    pub vcpu: u32,
    pub priority: u32,
}

/// The bits of one form. Those of the other stay as they are meanwhile.
#[derive(Default, Debug)]
pub struct Bits {
    pub pending: BTreeSet<u32>,
    pub masked: BTreeSet<u32>,
}

#[derive(Default, Debug)]
pub struct Fifo {
    pub words: u32,
    pub control: BTreeSet<u32>,
    pub early: BTreeSet<u32>,
    pub bits: Bits,
    pub linked: BTreeSet<u32>,
    pub queues: BTreeMap<(u32, u32), VecDeque<u32>>,
    pub ready: BTreeSet<(u32, u32)>,
}

#[derive(Debug)]
pub struct DomainModel {
    pub vcpus: u32,
    pub max_port: u32,
    pub valid: u32,
    pub ports: BTreeMap<u32, PortModel>,
    pub two_level: Bits,
    pub selectors: BTreeSet<(u32, u32)>,
    pub fifo: Option<Fifo>,
    pub flags: BTreeSet<u32>,
    pub upcalls: Vec<u32>,
    /// What each polling vCPU polls for: one port, or any.
    pub polls: BTreeMap<u32, Option<u32>>,
    pub wakes: Vec<u32>,
    pub dying: bool,
}

pub struct Model {
    pub domains: Vec<DomainModel>,
}

impl DomainModel {
    pub fn bits(&mut self) -> &mut Bits {
        match &mut self.fifo {
            Some(fifo) => &mut fifo.bits,
            None => &mut self.two_level,
        }
    }

    /// Whether a port has bits in the form in use.
    pub fn has_bits(&self, port: u32) -> bool {
        port < self.fifo.as_ref().map_or(4096, |fifo| fifo.words)
    }

    fn find_free(&mut self) -> Result<u32> {
        if self.dying {
            return Err(Errno::EINVAL);
        }
        let limit = if self.fifo.is_some() { 1 << 17 } else { 4096 };
        for port in 1.. {
            if port > self.max_port || port >= limit {
                break;
            }
            if port >= self.valid {
                self.valid += PORTS_PER_BUCKET;
            }
            let linked = self.fifo.as_ref().is_some_and(|fifo| fifo.linked.contains(&port));
            if !self.ports.contains_key(&port) && !linked {
                return Ok(port);
            }
        }
        Err(Errno::ENOSPC)
    }

    fn bind(&mut self, bound: Bound, vcpu: u32) -> Result<u32> {
        let port = self.find_free()?;
        self.ports.insert(port, PortModel { bound, vcpu, priority: 7 });
        Ok(port)
    }

    fn check_vcpu(&self, vcpu: u32) -> Result<()> {
        if vcpu < self.vcpus { Ok(()) } else { Err(Errno::ENOENT) }
    }

    fn check_port(&self, port: u32) -> Result<()> {
        if port < self.valid { Ok(()) } else { Err(Errno::EINVAL) }
    }

    fn upcall(&mut self, vcpu: u32) {
        if self.flags.insert(vcpu) {
            self.upcalls.push(vcpu);
        }
    }

    fn wake_pollers(&mut self, port: u32) {
        let woken: Vec<u32> =
            self.polls.iter().filter(|(_, only)| only.is_none_or(|only| only == port)).map(|(vcpu, _)| *vcpu).collect();
        for vcpu in woken {
            self.polls.remove(&vcpu);
            self.wakes.push(vcpu);
        }
    }

    pub fn set_pending(&mut self, port: u32) {
        let Some(PortModel { vcpu, priority, .. }) = self.ports.get(&port).cloned() else { return };
        let Some(fifo) = &mut self.fifo else {
            if self.two_level.pending.insert(port) {
                if !self.two_level.masked.contains(&port) {
                    self.select(vcpu, port);
                }
                self.wake_pollers(port);
            }
            return;
        };
        if port >= fifo.words {
            fifo.early.insert(port);
            return;
        }
        if !fifo.control.contains(&vcpu) {
            return;
        }
        let news = fifo.bits.pending.insert(port);
        let mut tell = false;
        if !fifo.bits.masked.contains(&port) && fifo.linked.insert(port) {
            let queue = fifo.queues.entry((vcpu, priority)).or_default();
            queue.push_back(port);
            tell = queue.len() == 1 && fifo.ready.insert((vcpu, priority));
        }
        if tell {
            self.upcall(vcpu);
        }
        if news {
            self.wake_pollers(port);
        }
    }

    fn select(&mut self, vcpu: u32, port: u32) {
        if self.selectors.insert((vcpu, port / 64)) {
            self.upcall(vcpu);
        }
    }

    pub fn unmask(&mut self, port: u32) -> Result<()> {
        self.check_port(port)?;
        let Some(PortModel { vcpu, .. }) = self.ports.get(&port).cloned() else { return Ok(()) };
        if !self.has_bits(port) {
            return Ok(());
        }
        let was_masked = self.bits().masked.remove(&port);
        if self.bits().pending.contains(&port) {
            if self.fifo.is_some() {
                self.set_pending(port);
            } else if was_masked {
                self.select(vcpu, port);
            }
        }
        Ok(())
    }

    pub fn bind_virq(&mut self, virq: u32, vcpu: u32) -> Result<u32> {
        if virq >= 24 || (is_global(virq) && vcpu != 0) {
            return Err(Errno::EINVAL);
        }
        self.check_vcpu(vcpu)?;
        if self.virq_port(virq, vcpu).is_some() {
            return Err(Errno::EEXIST);
        }
        self.bind(Bound::Virq(virq), vcpu)
    }

    fn virq_port(&self, virq: u32, vcpu: u32) -> Option<u32> {
        let bound = |port: &PortModel| port.bound == Bound::Virq(virq) && (is_global(virq) || port.vcpu == vcpu);
        self.ports.iter().find(|(_, port)| bound(port)).map(|(port, _)| *port)
    }

    pub fn raise(&mut self, virq: u32, vcpu: u32) {
        if let Some(port) = self.virq_port(virq, vcpu).filter(|_| !is_global(virq) || vcpu == 0) {
            self.set_pending(port);
        }
    }

    pub fn bind_pirq(&mut self, pirq: u32) -> Result<u32> {
        if pirq >= 16 {
            return Err(Errno::EINVAL);
        }
        if self.ports.values().any(|port| port.bound == Bound::Pirq(pirq)) {
            return Err(Errno::EEXIST);
        }
        self.bind(Bound::Pirq(pirq), 0)
    }

    pub fn bind_ipi(&mut self, vcpu: u32) -> Result<u32> {
        self.check_vcpu(vcpu)?;
        self.bind(Bound::Ipi, vcpu)
    }

    pub fn bind_vcpu(&mut self, port: u32, vcpu: u32) -> Result<()> {
        self.check_vcpu(vcpu)?;
        match self.ports.get_mut(&port) {
            Some(model) => match model.bound {
                Bound::Ipi => Err(Errno::EINVAL),
                Bound::Virq(virq) if !is_global(virq) => Err(Errno::EINVAL),
                _ => {
                    model.vcpu = vcpu;
                    Ok(())
                }
            },
            None => Err(Errno::EINVAL),
        }
    }

    pub fn set_priority(&mut self, port: u32, priority: u32) -> Result<()> {
        self.check_port(port)?;
        if self.fifo.is_none() {
            return Err(Errno::ENOSYS);
        }
        let model = self.ports.get_mut(&port).ok_or(Errno::EACCES)?;
        if priority > 15 {
            return Err(Errno::EINVAL);
        }
        model.priority = priority;
        Ok(())
    }

    pub fn init_control(&mut self, vcpu: u32) -> Result<u8> {
        self.check_vcpu(vcpu)?;
        if self.fifo.is_none() {
            let early = self.ports.keys().filter(|port| self.two_level.pending.contains(port)).copied().collect();
            for port in self.ports.values_mut() {
                port.priority = 7;
            }
            self.fifo = Some(Fifo { early, ..Fifo::default() });
        }
        let fifo = self.fifo.as_mut().unwrap();
        if fifo.control.insert(vcpu) { Ok(17) } else { Err(Errno::EINVAL) }
    }

    pub fn expand_array(&mut self) -> Result<()> {
        let fifo = self.fifo.as_mut().ok_or(Errno::EOPNOTSUPP)?;
        fifo.words += 1024;
        for port in std::mem::take(&mut fifo.early) {
            self.set_pending(port);
        }
        Ok(())
    }

    /// Takes the next event out of a vCPU's queues.
    pub fn take_event(&mut self, vcpu: u32) -> Option<(u32, bool)> {
        let fifo = self.fifo.as_mut()?;
        let (&(_, priority), queue) =
            fifo.queues.iter_mut().find(|((of, _), queue)| *of == vcpu && !queue.is_empty())?;
        let port = queue.pop_front()?;
        fifo.ready.retain(|(of, _)| *of != vcpu);
        let _ = priority;
        fifo.linked.remove(&port);
        let handled = fifo.bits.pending.contains(&port) && !fifo.bits.masked.contains(&port);
        if handled {
            fifo.bits.pending.remove(&port);
        }
        Some((port, handled))
    }
}

impl Model {
    pub fn new(domains: &[(u32, u32)]) -> Self {
        let make = |&(vcpus, max_port): &(u32, u32)| DomainModel {
            vcpus,
            max_port,
            valid: PORTS_PER_BUCKET,
            ports: BTreeMap::new(),
            two_level: Bits::default(),
            selectors: BTreeSet::new(),
            fifo: None,
            flags: BTreeSet::new(),
            upcalls: Vec::new(),
            polls: BTreeMap::new(),
            wakes: Vec::new(),
            dying: false,
        };
        Self { domains: domains.iter().map(make).collect() }
    }

    pub fn alloc_unbound(&mut self, domain: usize, remote: usize) -> Result<u32> {
        self.domains[domain].bind(Bound::Unbound(remote), 0)
    }

    pub fn bind_interdomain(&mut self, domain: usize, remote: usize, remote_port: u32) -> Result<u32> {
        if remote >= self.domains.len() {
            return Err(Errno::ESRCH);
        }
        let port = self.domains[domain].find_free()?;
        let there = self.domains[remote].ports.get_mut(&remote_port).ok_or(Errno::EINVAL)?;
        if there.bound != Bound::Unbound(domain) {
            return Err(Errno::EINVAL);
        }
        there.bound = Bound::To((domain, port));
        let here = &mut self.domains[domain];
        here.ports.insert(port, PortModel { bound: Bound::To((remote, remote_port)), vcpu: 0, priority: 7 });
        here.set_pending(port);
        Ok(port)
    }

    pub fn send(&mut self, domain: usize, port: u32) -> Result<()> {
        match self.domains[domain].ports.get(&port).map(|port| port.bound) {
            Some(Bound::To((remote, remote_port))) => self.domains[remote].set_pending(remote_port),
            Some(Bound::Ipi) => self.domains[domain].set_pending(port),
            Some(Bound::Unbound(_)) => {}
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    pub fn close(&mut self, domain: usize, port: u32) -> Result<()> {
        let here = &mut self.domains[domain];
        let model = here.ports.remove(&port).ok_or(Errno::EINVAL)?;
        here.bits().pending.remove(&port);
        if let Some(fifo) = &mut here.fifo {
            fifo.early.remove(&port);
        }
        if let Bound::To((remote, remote_port)) = model.bound {
            self.domains[remote].ports.get_mut(&remote_port).unwrap().bound = Bound::Unbound(domain);
        }
        Ok(())
    }

    pub fn reset(&mut self, domain: usize) {
        let ports: Vec<u32> = self.domains[domain].ports.keys().copied().collect();
        for port in ports {
            self.close(domain, port).unwrap();
        }
        self.domains[domain].fifo = None;
    }

    pub fn teardown(&mut self, domain: usize) {
        self.domains[domain].dying = true;
        self.reset(domain);
        self.domains[domain].polls.clear();
    }

    pub fn status(&self, domain: usize, port: u32) -> Result<(PortStatus, u32)> {
        let here = &self.domains[domain];
        here.check_port(port)?;
        let Some(model) = here.ports.get(&port) else { return Ok((PortStatus::Closed, 0)) };
        let status = match model.bound {
            Bound::Unbound(remote) => PortStatus::Unbound { remote: DomId(remote as u16) },
            Bound::To((remote, port)) => {
                PortStatus::Interdomain { remote: DomId(remote as u16), port: xen_abi::Port(port) }
            }
            Bound::Pirq(pirq) => PortStatus::Pirq(pirq),
            Bound::Virq(virq) => PortStatus::Virq(virq),
            Bound::Ipi => PortStatus::Ipi,
        };
        Ok((status, model.vcpu))
    }
}
