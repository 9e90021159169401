//! The list of domains.

use xen_abi::domctl::{DomainFlags, DomctlGetdomaininfo};

/// Bits of a page's address.
const PAGE_BITS: u32 = 12;

/// Returns the line of a domain: its name, its ID, MiB, vCPUs, its state and nanoseconds as seconds.
#[must_use]
pub fn line(name: &str, found: &DomctlGetdomaininfo) -> String {
    let mib = found.tot_pages >> (20 - PAGE_BITS);
    let seconds = found.cpu_time / 1_000_000_000;
    let state = state(found.flags);
    format!("{name:<32} {:>5} {mib:>6} {:>5}  {state:<12} {seconds:>8}", found.domain.0, found.nr_online_vcpus)
}

/// The line above the others.
#[must_use]
pub fn heading() -> String {
    format!("{:<32} {:>5} {:>6} {:>5}  {:<12} {:>8}", "name", "ID", "MiB", "vCPUs", "state", "seconds")
}

/// Returns a domain's state in a word.
fn state(flags: DomainFlags) -> String {
    if flags.contains(DomainFlags::DYING) {
        return "dying".into();
    }
    if flags.contains(DomainFlags::SHUTDOWN) {
        // **Source:** `sched.h`.
        let reasons = ["powered off", "restarts", "suspended", "crashed", "watchdog", "soft reset"];
        let reason = usize::try_from(flags.shutdown_reason()).ok().and_then(|reason| reasons.get(reason));
        return (*reason.unwrap_or(&"shut down")).into();
    }
    let states =
        [(DomainFlags::PAUSED, "paused"), (DomainFlags::RUNNING, "running"), (DomainFlags::BLOCKED, "waiting")];
    states.into_iter().find(|(flag, _)| flags.contains(*flag)).map_or("ready", |(_, word)| word).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domains_state_is_a_word() {
        assert_eq!(state(DomainFlags::PAUSED | DomainFlags::BLOCKED), "paused");
        assert_eq!(state(DomainFlags::HVM_GUEST), "ready");
        assert_eq!(state((DomainFlags::SHUTDOWN | DomainFlags::PAUSED).with_shutdown_reason(3)), "crashed");
        assert_eq!(state(DomainFlags::SHUTDOWN.with_shutdown_reason(200)), "shut down");
        assert_eq!(state(DomainFlags::SHUTDOWN | DomainFlags::DYING), "dying");
    }

    #[test]
    fn columns_stand_below_their_heads() {
        let found = DomctlGetdomaininfo { tot_pages: 16401, nr_online_vcpus: 2, ..DomctlGetdomaininfo::default() };
        assert_eq!(line("web", &found).len(), heading().len());
        assert!(line("web", &found).contains(" 64 "));
    }
}
