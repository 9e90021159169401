//! Reasons for which responses may differ. `docs/control-plane.md` has the same list.

use std::collections::BTreeMap;

use xenstore_wire::Kind;

/// The reasons that occurred, with their counts.
#[derive(Debug, Default)]
pub struct Reasons {
    met: BTreeMap<&'static str, u64>,
}

/// Two transactions that create or read different nodes in one directory do not conflict.
pub const DIRECTORY: &str = "a transaction that is EAGAIN for a child of a node that it did not list";

impl Reasons {
    /// Counts a reason.
    pub fn count(&mut self, reason: &'static str) {
        let count = self.met.entry(reason).or_default();
        *count = count.saturating_add(1);
    }

    /// Returns the reasons that occurred, with their counts.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        self.met.iter().map(|(reason, count)| (*reason, *count)).collect()
    }

    /// Returns whether the difference between two responses to one request has a documented reason, and counts it.
    pub fn allow(&mut self, kind: Option<Kind>, body: &[u8], one: &str, other: &str) -> bool {
        if one == other {
            return true;
        }
        let reason = match kind {
            Some(Kind::Directory) if sorted(one) == sorted(other) => {
                "the order of children, after a transaction that was done again"
            }
            Some(Kind::DirectoryPart) if sorted(tail(one)) == sorted(tail(other)) => "the generation of a directory",
            Some(Kind::TransactionStart) => "the number of a transaction",
            Some(Kind::GetDomainPath | Kind::IsDomainIntroduced | Kind::Release | Kind::Resume | Kind::SetTarget)
                if other == "error EINVAL\\x00" =>
            {
                "numbers that are none, in requests about domains"
            }
            Some(Kind::SetPermissions) if other == "error EINVAL\\x00" => "an owner that is no domain's number",
            _ if !body.ends_with(&[0]) && other == "error EINVAL\\x00" && one.starts_with("error") => {
                "a body without its end"
            }
            _ => return false,
        };
        self.count(reason);
        true
    }
}

/// Returns what follows the generation in a response.
fn tail(answer: &str) -> &str {
    answer.split_once("\\x00").map_or(answer, |(_, tail)| tail)
}

fn sorted(names: &str) -> Vec<&str> {
    let mut names: Vec<&str> = names.split("\\x00").collect();
    names.sort_unstable();
    names
}
