//! Which crate may name which: the hypervisor's core never sees the hardware, the hardware never sees the core, and
//! neither sees `tools/`, whose own rule is in [`tiers`].

use super::tiers;
use super::tree::{Member, Tree};

/// A crate, what it may depend on, and what its tests may depend on besides.
type Rule = (&'static str, &'static [&'static str], &'static [&'static str]);

const RULES: &[Rule] = &[
    ("xen-abi", &[], &[]),
    ("xenolith-hal", &["xen-abi"], &[]),
    ("xenolith-sync", &[], &[]),
    ("xenolith-sched", &["xenolith-hal", "xen-abi"], &[]),
    ("xenolith-devices", &["xenolith-hal", "xen-abi"], &[]),
    ("xenolith-bootinfo", &["xenolith-hal", "xen-abi"], &[]),
    (
        "xenolith-core",
        &["xen-abi", "xenolith-hal", "xenolith-sync", "xenolith-sched", "xenolith-devices"],
        &["xenolith-fake", "xenolith-world"],
    ),
    ("xenolith-fake", &["xen-abi", "xenolith-hal"], &["xenolith-core"]),
    (
        "xenolith-world",
        &["xen-abi", "xenolith-hal", "xenolith-sync", "xenolith-devices", "xenolith-core", "xenolith-fake"],
        &[],
    ),
    ("xenolith-x86", &["xen-abi", "xenolith-hal", "xenolith-sync", "xenolith-bootinfo"], &[]),
    (
        "xenolith-image",
        &[
            "xen-abi",
            "xenolith-hal",
            "xenolith-sync",
            "xenolith-sched",
            "xenolith-devices",
            "xenolith-bootinfo",
            "xenolith-core",
            "xenolith-x86",
        ],
        &[],
    ),
    ("xenolith-guest-kit", &["xen-abi"], &[]),
    ("xenolith-misfit", &["xen-abi", "xenolith-guest-kit"], &[]),
    ("xenolith-test-kernel", &["xen-abi", "xenolith-guest-kit"], &[]),
    ("xenolith-bench-kernel", &["xen-abi", "xenolith-guest-kit"], &[]),
    ("xenolith-dice-kernel", &["xen-abi", "xenolith-guest-kit"], &[]),
    ("xenolith-tests", &[], &[]),
    (
        "xenolith-fuzz",
        &[
            "xen-abi",
            "xenolith-hal",
            "xenolith-sync",
            "xenolith-devices",
            "xenolith-bootinfo",
            "xenolith-core",
            "xenolith-fake",
            "xenolith-world",
            "xenolith-x86",
        ],
        &[],
    ),
    ("xenolith-sched-sim", &["xenolith-hal", "xenolith-sched"], &[]),
    ("xtask", &["xenolith-tests"], &[]),
];

/// Every edge that is not allowed, and every crate that no rule names.
#[must_use]
pub fn check(tree: &Tree) -> Vec<String> {
    tree.members.iter().flat_map(|member| check_member(tree, member)).collect()
}

fn check_member(tree: &Tree, member: &Member) -> Vec<String> {
    if tiers::is_tool(member) {
        return tiers::check(tree, member);
    }
    let Some((_, allowed, for_tests)) = RULES.iter().find(|(name, ..)| *name == member.name) else {
        return vec![format!("{}: no rule says what it may depend on; add one to the layering check", member.name)];
    };
    let is_allowed =
        |name: &str| allowed.contains(&name) || member.name == tiers::FUZZERS && tiers::tool(tree, name).is_some();
    let forbidden = member.dependencies.iter().filter(|name| !is_allowed(name));
    let forbidden_in_tests =
        member.dev_dependencies.iter().filter(|name| !is_allowed(name) && !for_tests.contains(&name.as_str()));
    forbidden
        .map(|name| format!("{} must not depend on {name}", member.name))
        .chain(forbidden_in_tests.map(|name| format!("the tests of {} must not depend on {name}", member.name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, dependencies: &[&str], dev_dependencies: &[&str]) -> Member {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Member {
            name: name.into(),
            directory: "hv".into(),
            dependencies: owned(dependencies),
            dev_dependencies: owned(dev_dependencies),
            ..Member::default()
        }
    }

    fn check_member(judged: &Member) -> Vec<String> {
        let members = vec![tiers::tests::tool("xenstored", "service", &[])];
        super::check_member(&Tree { members, ..Tree::default() }, judged)
    }

    #[test]
    fn nothing_but_the_fuzzers_names_what_runs_in_domain_0() {
        for (name, ..) in RULES.iter().filter(|(name, ..)| *name != tiers::FUZZERS) {
            assert_eq!(check_member(&member(name, &["xenstored"], &[])).len(), 1, "{name}");
            assert_eq!(check_member(&member(name, &[], &["xenstored"])).len(), 1, "the tests of {name}");
        }
        assert!(check_member(&member(tiers::FUZZERS, &["xenstored"], &[])).is_empty());
    }

    #[test]
    fn a_crate_under_tools_is_judged_by_its_tier() {
        assert!(check_member(&tiers::tests::tool("xenstore", "client", &["xen-abi"])).is_empty());
        assert_eq!(check_member(&tiers::tests::tool("xenstore", "client", &["xenstored"])).len(), 1);
    }

    #[test]
    fn the_core_may_not_name_the_hardware_nor_the_hardware_the_core() {
        assert_eq!(check_member(&member("xenolith-core", &["xenolith-x86"], &[])).len(), 1);
        assert_eq!(check_member(&member("xenolith-x86", &["xenolith-core"], &[])).len(), 1);
        assert!(check_member(&member("xenolith-image", &["xenolith-core", "xenolith-x86"], &[])).is_empty());
    }

    #[test]
    fn the_fake_machine_is_for_the_tests_of_the_core_only() {
        assert_eq!(check_member(&member("xenolith-core", &["xenolith-fake"], &[])).len(), 1);
        assert!(check_member(&member("xenolith-core", &[], &["xenolith-fake"])).is_empty());
    }

    #[test]
    fn a_crate_that_no_rule_names_is_refused() {
        assert!(check_member(&member("newcomer", &[], &[]))[0].contains("no rule"));
    }
}
