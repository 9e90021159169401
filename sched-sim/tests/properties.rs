//! The first cases of each property of `cargo xtask sched-sim --check`, without the cost, which needs valgrind.

use sched_sim::check::properties;

const CASES: u32 = 6;

#[test]
fn what_must_hold_of_the_policies_holds_in_some_cases_of_each_property() {
    let quick = properties().into_iter().filter(|property| !property.name.starts_with("all:"));
    let failed: Vec<String> = quick
        .filter_map(|property| Some(format!("{}: {}", property.name, property.check(7_000, CASES).err()?)))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
