//! Why answers may differ. The same list, for people, stands in `docs/control-plane.md`.

use std::collections::BTreeMap;

use xenstore_wire::Kind;

/// The reasons that were met, and how often.
#[derive(Debug, Default)]
pub struct Reasons {
    met: BTreeMap<&'static str, u64>,
}

/// Two transactions that make or look at different things in one directory do not conflict.
pub const DIRECTORY: &str = "a transaction that is EAGAIN for a child of a node that it did not list";

impl Reasons {
    /// Counts a reason.
    pub fn meet(&mut self, reason: &'static str) {
        let count = self.met.entry(reason).or_default();
        *count = count.saturating_add(1);
    }

    /// Gives what was met.
    pub fn told(&self) -> Vec<(&'static str, u64)> {
        self.met.iter().map(|(reason, count)| (*reason, *count)).collect()
    }

    /// Says whether two answers to one request may be as they are.
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
        self.meet(reason);
        true
    }
}

/// What comes after the generation.
fn tail(answer: &str) -> &str {
    answer.split_once("\\x00").map_or(answer, |(_, tail)| tail)
}

fn sorted(names: &str) -> Vec<&str> {
    let mut names: Vec<&str> = names.split("\\x00").collect();
    names.sort_unstable();
    names
}
