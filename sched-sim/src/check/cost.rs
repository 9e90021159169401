//! The cost of a decision on a large machine, compared with a small one.

use fastrand::Rng;

use super::Property;
use crate::cost::{POLICIES, SIZES, instructions};

/// The most that it may cost on the large machine, as a multiple of the small one.
const MOST: f64 = 3.0;

pub fn properties() -> Vec<Property> {
    let name = "all: a decision with 512 CPUs and 8192 vCPUs costs at most 3 times one with 8 and 64, in instructions";
    vec![Property { name, cases: 1, try_one }]
}

fn try_one(_: &mut Rng) -> Result<(), String> {
    for policy in POLICIES {
        let [small, large] = SIZES.map(|(cpus, vcpus)| instructions(policy, cpus, vcpus));
        let (small, large) = (small.map_err(|e| format!("{e:#}"))?, large.map_err(|e| format!("{e:#}"))?);
        println!("       {policy}: {small:.0} instructions and {large:.0}, {:.2} times", large / small);
        if large > MOST * small {
            return Err(format!("{policy}: {large:.0} instructions are {:.2} times {small:.0}", large / small));
        }
    }
    Ok(())
}
