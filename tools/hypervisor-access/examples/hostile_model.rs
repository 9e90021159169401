//! `hostile-model OWN OTHER`: a device model that gives its rights away but for the domain OWN, as QEMU does with
//! `dm_restrict`, and then tries to reach anything else with what it still holds. It says what it reached.

use std::io;
use std::process::ExitCode;

use hypervisor_access::{EventChannels, Hypercalls, Resource};

/// Calls of `dm_op` with nonsense, for the domain that it may name.
const ROUNDS: u32 = 2000;

/// Numbers that look like any (xorshift).
struct Nonsense(u64);

impl Nonsense {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// What was tried, and what of it went through.
#[derive(Default)]
struct Tried {
    attempts: u32,
    reached: Vec<String>,
}

impl Tried {
    fn refused<T>(&mut self, what: impl FnOnce() -> String, answer: io::Result<T>) {
        self.attempts += 1;
        if answer.is_ok() {
            self.reached.push(what());
        }
    }
}

fn main() -> ExitCode {
    let numbers: Vec<u16> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let &[own, other] = numbers.as_slice() else {
        eprintln!("usage: hostile-model OWN OTHER (numbers of domains)");
        return ExitCode::from(2);
    };
    match run(own, other) {
        Ok(tried) => {
            tried.reached.iter().for_each(|what| println!("reached: {what}"));
            println!("hostile: {} attempts, {} reached something", tried.attempts, tried.reached.len());
            ExitCode::from(u8::from(!tried.reached.is_empty()))
        }
        Err(error) => {
            eprintln!("hostile-model: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(own: u16, other: u16) -> io::Result<Tried> {
    let (hypercalls, channels) = (Hypercalls::open()?, EventChannels::open()?);
    // What is refused below is not refused to everybody.
    let seen = hypercalls.domains(0, 64)?;
    if seen.len() < 2 {
        return Err(io::Error::other("there is no other domain to reach for"));
    }
    drop(hypercalls.map_foreign(own, &[0])?);
    hypercalls.restrict(own)?;
    channels.restrict(own)?;
    // Its own guest it still reaches.
    drop(hypercalls.map_foreign(own, &[0])?);

    let mut tried = Tried::default();
    tried.refused(|| "the list of domains".into(), hypercalls.domains(0, 64));
    tried.refused(|| format!("a pause of domain {other}"), hypercalls.pause(other, true));
    for number in 0..64 {
        tried.refused(|| format!("hypercall {number}"), hypercalls.call_with_nothing(number));
    }
    for domain in [other, 0x7ff0, 0x7ff1, 0x7ff2] {
        tried.refused(|| format!("another handle for {domain:#x}"), hypercalls.restrict(domain));
        tried.refused(|| format!("memory of {domain:#x}"), hypercalls.map_foreign(domain, &[0]));
        for resource in [Resource::GrantTable, Resource::IoreqServer { server: 0 }] {
            let mapped = hypercalls.map_resource(domain, resource, 0, 1);
            tried.refused(|| format!("{resource:?} of {domain:#x}"), mapped);
        }
        for operation in 0..32_u32 {
            let mut words = [0; 256];
            words[..4].copy_from_slice(&operation.to_le_bytes());
            let answer = hypercalls.device_model_call(domain, &mut [&mut words]);
            tried.refused(|| format!("dm_op {operation} of {domain:#x}"), answer);
        }
        tried.refused(|| format!("a port of {domain:#x}"), channels.bind_interdomain(domain, 1));
        tried.refused(|| format!("a port for {domain:#x}"), channels.offer(domain));
    }
    for virq in 0..24 {
        tried.refused(|| format!("VIRQ {virq}"), channels.bind_virq(virq));
    }
    // Nonsense about its own guest may do anything to that one, and must do nothing to the hypervisor.
    let mut nonsense = Nonsense(0x9e37_79b9_7f4a_7c15);
    for round in 0..ROUNDS {
        let mut words = [0_u8; 256];
        words.chunks_mut(8).for_each(|word| word.copy_from_slice(&nonsense.next().to_le_bytes()));
        words[..4].copy_from_slice(&(round % 24).to_le_bytes());
        let mut more = [0_u8; 64];
        let (length, rest) = ((nonsense.next() % 257) as usize, (nonsense.next() % 65) as usize);
        let _ = hypercalls.device_model_call(own, &mut [&mut words[..length], &mut more[..rest]]);
    }
    drop(hypercalls.map_foreign(own, &[0])?);
    Ok(tried)
}
