//! Shapes of machines: the number of CPUs, and their topology.

use anyhow::{Result, bail};
use xenolith_sched::policy::{CpuPlace, Topology};

/// The most CPUs that a policy handles.
pub const MOST_CPUS: u32 = 512;

/// The number of CPUs and their topology.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    pub cpus: u32,
    pub threads_per_core: u32,
    pub cores_per_socket: u32,
    pub sockets_per_node: u32,
}

impl Shape {
    /// Returns the usual shape of a machine: no hardware threads up to 4 CPUs, two a core above, and 8 cores a socket.
    #[must_use]
    pub fn usual(cpus: u32) -> Self {
        let threads_per_core = if cpus > 4 { 2 } else { 1 };
        Self { cpus, threads_per_core, cores_per_socket: 8, sockets_per_node: if cpus > 64 { 2 } else { 1 } }
    }

    /// Parses `CPUS` or `THREADSxCORESxSOCKETSxNODES`: threads of a core, cores of a socket, sockets of a node, nodes.
    ///
    /// **Errors:** the text is neither, or means more than [`MOST_CPUS`].
    pub fn parse(text: &str) -> Result<Self> {
        let numbers: Vec<u32> = text.split('x').map(str::parse).collect::<Result<_, _>>()?;
        let shape = match numbers[..] {
            [cpus] => Self::usual(cpus),
            [threads_per_core, cores_per_socket, sockets_per_node, nodes] => {
                let cpus = [cores_per_socket, sockets_per_node, nodes]
                    .iter()
                    .fold(threads_per_core, |all, more| all.saturating_mul(*more));
                Self { cpus, threads_per_core, cores_per_socket, sockets_per_node }
            }
            _ => bail!("a topology is a number of CPUs, or THREADSxCORESxSOCKETSxNODES as in 2x8x2x2"),
        };
        if !(1..=MOST_CPUS).contains(&shape.cpus) {
            bail!("a machine has 1 to {MOST_CPUS} CPUs, not {}", shape.cpus);
        }
        Ok(shape)
    }

    /// Returns the topology of its CPUs.
    #[must_use]
    pub fn topology(&self) -> Topology {
        let place = |cpu: u32| {
            let core = cpu / self.threads_per_core;
            let socket = core / self.cores_per_socket;
            CpuPlace { core, socket, node: socket / self.sockets_per_node }
        };
        Topology::new((0..self.cpus).map(place).collect()).expect("memory for a topology")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_given_by_its_cpus_or_by_its_levels() {
        assert_eq!(Shape::parse("4").unwrap(), Shape::usual(4));
        assert_eq!(Shape::parse("2x8x2x4").unwrap().cpus, 128);
        assert!(Shape::parse("0").is_err() && Shape::parse("513").is_err() && Shape::parse("2x2").is_err());
        let place = Shape::parse("2x8x2x4").unwrap().topology().place(xenolith_hal::CpuId(127)).unwrap();
        assert_eq!((place.core, place.socket, place.node), (63, 7, 3));
    }
}
