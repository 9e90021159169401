//! The policies, with their parameters for simulated vCPUs.

use std::collections::BTreeMap;
use std::sync::Arc;

use xenolith_sched::credit2::{self, CAP_PERIOD_DEFAULT_NS, Credit2, Pot};

use xenolith_sched::null::Null;
use xenolith_sched::rtds::{self, Rtds};

use crate::machine::Simulated;
use crate::task::Spec;

impl Simulated for Credit2 {
    const NAME: &'static str = "credit2";

    fn parameters(specs: &[Spec]) -> Vec<credit2::Parameters> {
        let mut units: BTreeMap<u32, u32> = BTreeMap::new();
        specs.iter().for_each(|spec| *units.entry(spec.domain).or_default() += 1);
        let mut pots: BTreeMap<u32, Arc<Pot>> = BTreeMap::new();
        let of = |spec: &Spec| {
            let pot = (spec.cap_percent > 0).then(|| {
                let count = units.get(&spec.domain).copied().unwrap_or(1);
                let new = || Arc::new(Pot::new(spec.cap_percent, count, CAP_PERIOD_DEFAULT_NS));
                Arc::clone(pots.entry(spec.domain).or_insert_with(new))
            });
            credit2::Parameters { pot, ..credit2::Parameters::of_weight(spec.weight) }
        };
        specs.iter().map(of).collect()
    }
}

impl Simulated for Null {
    const NAME: &'static str = "null";

    fn parameters(specs: &[Spec]) -> Vec<()> {
        vec![(); specs.len()]
    }
}

impl Simulated for Rtds {
    const NAME: &'static str = "rtds";

    fn parameters(specs: &[Spec]) -> Vec<rtds::Parameters> {
        let of = |spec: &Spec| rtds::Parameters {
            period_ns: spec.period_us * 1000,
            budget_ns: spec.budget_us * 1000,
            extratime: spec.extratime,
        };
        specs.iter().map(of).collect()
    }
}
