//! The tiers of `tools/`, which holds what runs in domain 0: each crate there says its tier in its own manifest, and
//! names crates of lower tiers only.
//!
//! ```toml
//! [package.metadata.xenolith]
//! tier = "client"
//! ```

use super::tree::{Member, Tree};

/// The folder that holds them.
const FOLDER: &str = "tools";

/// The one crate outside of [`FOLDER`] that they may name.
const INTERFACE: &str = "xen-abi";

/// The crate outside of [`FOLDER`] that may name them: it feeds damaged input to what a guest can reach.
pub const FUZZERS: &str = "xenolith-fuzz";

/// What a crate under `tools/` is, from the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// What the operating system gives a program, such as mapped memory, in safe types. May hold `unsafe`.
    System,
    /// The bytes of a protocol that a client and a service share.
    Wire,
    /// One interface of Xen's: hypercalls, event channels, grants, the store. May hold `unsafe`.
    Client,
    /// What several services are made of: domains, rings.
    Library,
    /// Serves guests or programs by a protocol: xenstored, the back ends.
    Service,
    /// What a user or another system starts: the command line, the shim, the daemon.
    Program,
}

/// The tiers by the words that manifests use.
const TIERS: [(&str, Tier); 6] = [
    ("system", Tier::System),
    ("wire", Tier::Wire),
    ("client", Tier::Client),
    ("library", Tier::Library),
    ("service", Tier::Service),
    ("program", Tier::Program),
];

/// Returns true for a crate under `tools/` that may hold `unsafe`.
#[must_use]
pub fn may_hold_unsafe(member: &Member) -> bool {
    matches!(tier(member), Some(Tier::System | Tier::Client))
}

/// Returns true for a crate under `tools/`.
#[must_use]
pub fn is_tool(member: &Member) -> bool {
    member.directory.starts_with(FOLDER)
}

/// Returns the tier of a crate under `tools/`, where its manifest says one that there is.
fn tier(member: &Member) -> Option<Tier> {
    let said = member.tier.as_deref()?;
    TIERS.iter().find_map(|(word, tier)| (is_tool(member) && *word == said).then_some(*tier))
}

/// Returns every edge from a crate under `tools/` that does not lead down.
#[must_use]
pub fn check(tree: &Tree, member: &Member) -> Vec<String> {
    let Some(own) = tier(member) else {
        let words = TIERS.map(|(word, _)| word).join(", ");
        return vec![format!(
            "{}: its manifest must say its tier, one of {words}: [package.metadata.xenolith] tier = \"...\"",
            member.name
        )];
    };
    let is_lower = |name: &str| {
        name == INTERFACE
            || tool(tree, name).and_then(tier).is_some_and(|other| {
                // Libraries are made of each other; cargo itself refuses a circle.
                other < own || (own, other) == (Tier::Library, Tier::Library)
            })
    };
    // The tests of a client run against the service, so among themselves tests may name upwards.
    let is_tool_or_lower = |name: &str| is_lower(name) || tool(tree, name).is_some();
    let edges = member.dependencies.iter().filter(|name| !is_lower(name));
    let edges_of_tests = member.dev_dependencies.iter().filter(|name| !is_tool_or_lower(name));
    edges
        .map(|name| format!("{} ({own:?}) must not depend on {name}: crates of tools/ name lower tiers", member.name))
        .chain(edges_of_tests.map(|name| format!("the tests of {} must not depend on {name}", member.name)))
        .collect()
}

/// Returns the crate under `tools/` with this name.
pub fn tool<'a>(tree: &'a Tree, name: &str) -> Option<&'a Member> {
    tree.members.iter().find(|member| member.name == name && is_tool(member))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Makes a crate under `tools/` of such a tier.
    pub fn tool(name: &str, tier: &str, dependencies: &[&str]) -> Member {
        Member {
            name: name.into(),
            directory: format!("tools/{name}").into(),
            tier: Some(tier.into()),
            dependencies: dependencies.iter().map(|&name| name.into()).collect(),
            ..Member::default()
        }
    }

    fn found(judged: Member) -> Vec<String> {
        let mut members =
            ["system", "wire", "client", "library", "service", "program"].map(|tier| tool(tier, tier, &[])).to_vec();
        members.push(judged.clone());
        check(&Tree { members, ..Tree::default() }, &judged)
    }

    #[test]
    fn a_client_names_the_interface_the_system_and_protocols_alone() {
        assert!(found(tool("store", "client", &["xen-abi", "system", "wire"])).is_empty());
        assert_eq!(found(tool("memory", "system", &["system"])).len(), 1);
        for other in ["client", "library", "service", "program", "xenolith-hal"] {
            assert_eq!(found(tool("store", "client", &[other])).len(), 1, "{other}");
        }
    }

    #[test]
    fn a_service_names_clients_and_a_program_names_services() {
        assert!(found(tool("xenstored", "service", &["client", "wire", "library"])).is_empty());
        assert_eq!(found(tool("xenstored", "service", &["service"])).len(), 1);
        assert_eq!(found(tool("xenstored", "service", &["program"])).len(), 1);
        assert!(found(tool("daemon", "program", &["service", "client", "library"])).is_empty());
        assert_eq!(found(tool("daemon", "program", &["program"])).len(), 1);
        assert!(found(tool("domains", "library", &["library", "client"])).is_empty());
        assert_eq!(found(tool("domains", "library", &["service"])).len(), 1);
    }

    #[test]
    fn nothing_under_tools_names_the_hypervisor_nor_do_its_tests() {
        for (tier, _) in TIERS {
            for name in ["xenolith-core", "xenolith-hal", "xenolith-x86", "xenolith-fake"] {
                assert_eq!(found(tool("x", tier, &[name])).len(), 1, "{tier} {name}");
                let tests = Member { dev_dependencies: vec![name.into()], ..tool("x", tier, &[]) };
                assert_eq!(found(tests).len(), 1, "the tests of a {tier}: {name}");
            }
        }
    }

    #[test]
    fn the_tests_of_a_client_may_start_the_service() {
        let client = Member { dev_dependencies: vec!["service".into()], ..tool("store", "client", &[]) };
        assert!(found(client).is_empty());
    }

    #[test]
    fn a_crate_without_a_tier_or_with_an_unknown_one_is_refused() {
        assert!(found(Member { tier: None, ..tool("x", "", &[]) })[0].contains("must say its tier"));
        assert!(found(tool("x", "driver", &[]))[0].contains("must say its tier"));
    }
}
