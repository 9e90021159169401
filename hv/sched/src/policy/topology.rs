//! CPU topology: which CPUs share a core, a socket, a NUMA node.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use xenolith_hal::CpuId;

use crate::Cpus;

/// Position of a CPU. The numbers are unique in the machine: cores of different sockets have different numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CpuPlace {
    pub core: u32,
    pub socket: u32,
    pub node: u32,
}

/// What the CPUs of a run queue have in common.
///
/// **Source:** Xen's command-line manual, `credit2_runqueue`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sharing {
    /// Nothing: each CPU has its own run queue.
    Cpu,
    /// The core: hardware threads of one core share a run queue.
    Core,
    /// The socket.
    #[default]
    Socket,
    /// The NUMA node.
    Node,
    /// The pool: all its CPUs share one run queue.
    All,
}

/// Topology of a machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topology {
    places: Vec<CpuPlace>,
    /// For each CPU, the threads of its core, itself included.
    siblings: Vec<Cpus>,
}

impl Topology {
    /// Makes the topology of a machine whose CPU `n` is at `places[n]`.
    ///
    /// **Errors:** memory is short.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn new(places: Vec<CpuPlace>) -> Result<Self, TryReserveError> {
        let mut siblings = Vec::new();
        siblings.try_reserve_exact(places.len())?;
        siblings.extend(places.iter().map(|own| threads(&places, own.core)));
        Ok(Self { places, siblings })
    }

    /// Returns the number of CPUs.
    #[must_use]
    pub fn cpu_count(&self) -> usize {
        self.places.len()
    }

    /// Returns the threads of a CPU's core, itself included; the empty set for a CPU that is not in the topology.
    #[must_use]
    pub fn siblings(&self, cpu: CpuId) -> Cpus {
        self.siblings.get(cpu.index()).copied().unwrap_or(Cpus::only(cpu))
    }

    /// Returns the position of a CPU.
    #[must_use]
    pub fn place(&self, cpu: CpuId) -> Option<CpuPlace> {
        self.places.get(cpu.index()).copied()
    }

    /// Groups CPUs by what they share, at most `most` to a group. The threads of a core stay in one group, unless
    /// `sharing` is [`Sharing::Cpu`] or a core has more threads than `most`.
    ///
    /// **Errors:** memory is short.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn groups(&self, of: &Cpus, sharing: Sharing, most: usize) -> Result<Vec<Cpus>, TryReserveError> {
        let mut marks: Vec<u32> = Vec::new();
        let mut groups: Vec<Cpus> = Vec::new();
        let mut left = *of;
        while let Some(cpu) = left.lowest() {
            let Some(place) = self.place(cpu) else {
                left.remove(cpu);
                continue;
            };
            let (mark, mut together) = match sharing {
                Sharing::Cpu => (cpu.0, Cpus::only(cpu)),
                Sharing::Core => (place.core, self.siblings(cpu)),
                Sharing::Socket => (place.socket, self.siblings(cpu)),
                Sharing::Node => (place.node, self.siblings(cpu)),
                Sharing::All => (0, self.siblings(cpu)),
            };
            together = together.intersection(&left);
            if together.count() as usize > most {
                together = Cpus::only(cpu);
            }
            left = left.without(&together);
            let room = |group: &Cpus| group.count().saturating_add(together.count()) as usize <= most;
            match marks.iter().zip(&mut groups).find(|(of, group)| **of == mark && room(group)) {
                Some((_, group)) => *group = group.union(&together),
                None => {
                    marks.try_reserve(1)?;
                    groups.try_reserve(1)?;
                    marks.push(mark);
                    groups.push(together);
                }
            }
        }
        Ok(groups)
    }
}

fn threads(places: &[CpuPlace], core: u32) -> Cpus {
    let mut set = Cpus::NONE;
    let same = places.iter().zip(0..).filter(|(place, _)| place.core == core);
    same.for_each(|(_, cpu)| set.insert(CpuId(cpu)));
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a topology of two threads a core, two cores a socket, two sockets a node.
    fn machine(cpus: u32) -> Topology {
        Topology::new((0..cpus).map(|cpu| CpuPlace { core: cpu / 2, socket: cpu / 4, node: cpu / 8 }).collect())
            .unwrap()
    }

    fn sizes(sharing: Sharing, most: usize) -> Vec<u32> {
        machine(16).groups(&Cpus::first(16), sharing, most).unwrap().iter().map(Cpus::count).collect()
    }

    #[test]
    fn cpus_are_grouped_by_what_they_share() {
        assert_eq!(sizes(Sharing::Cpu, 64), [1; 16]);
        assert_eq!(sizes(Sharing::Core, 64), [2; 8]);
        assert_eq!(sizes(Sharing::Socket, 64), [4; 4]);
        assert_eq!(sizes(Sharing::Node, 64), [8; 2]);
        assert_eq!(sizes(Sharing::All, 64), [16]);
    }

    #[test]
    fn a_group_holds_no_more_than_it_may_and_splits_no_core() {
        assert_eq!(sizes(Sharing::All, 6), [6, 6, 4]);
        assert_eq!(sizes(Sharing::All, 5), [4; 4]);
        assert_eq!(sizes(Sharing::All, 1), [1; 16]);
    }

    #[test]
    fn a_cpu_that_the_machine_does_not_have_is_in_no_group() {
        assert_eq!(machine(2).groups(&Cpus::first(3), Sharing::All, 64).unwrap(), [Cpus::first(2)]);
    }
}
