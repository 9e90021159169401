//! Requests on domains, and the end of domains.

use std::sync::Arc;

use xenstore_wire::{ErrorName, Permission, Strings};

use super::connection::Connection;
use super::rights::Caller;
use super::{Answer, DomainState, Engine, Host, done};
use crate::store::Change;

/// Special watch: fires when a domain is introduced for the first time.
const INTRODUCED: &str = "@introduceDomain";
/// Special watch: fires when a domain shuts down or is destroyed.
const RELEASED: &str = "@releaseDomain";

/// A domain that the store has seen.
#[derive(Clone, Debug, Default)]
pub struct Domain {
    /// GFN and port of its ring, if it is introduced.
    pub ring: Option<(u64, u32)>,
    /// Its shutdown was reported by `@releaseDomain`.
    pub shut_down: bool,
    pub target: Option<u16>,
}

/// Parses a decimal number.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Parses a domain ID.
///
/// **Errors:** `EINVAL`.
fn domain_number(text: &[u8]) -> Result<u16, ErrorName> {
    number(text).and_then(|number| u16::try_from(number).ok()).ok_or(ErrorName::Invalid)
}

/// Returns the home directory of a domain.
pub(super) fn path(body: &[u8]) -> Answer {
    let domain = domain_number(Strings::only(body).ok_or(ErrorName::Invalid)?)?;
    Ok(format!("/local/domain/{domain}\0").into_bytes())
}

impl Engine {
    pub(super) fn introduce(&mut self, host: &mut impl Host, caller: &Caller, body: &[u8]) -> Answer {
        caller.must_be_privileged()?;
        let strings = Strings::all(body).ok_or(ErrorName::Invalid)?;
        let [domain, gfn, port, ..] = strings[..] else { return Err(ErrorName::Invalid) };
        let domain = domain_number(domain)?;
        // Frames travel as signed numbers.
        let gfn = std::str::from_utf8(gfn).ok().and_then(|text| text.parse::<i64>().ok()).ok_or(ErrorName::Invalid)?;
        let port = number(port).and_then(|port| u32::try_from(port).ok()).ok_or(ErrorName::Invalid)?;
        if domain == 0 {
            // Its ring is served from the start.
            return done();
        }
        if host.state(domain) == DomainState::Gone {
            return Err(ErrorName::Missing);
        }
        let gfn = gfn.cast_unsigned();
        host.connect(domain, gfn, port)?;
        self.serve(domain, gfn, port);
        done()
    }

    /// Marks a domain as introduced. Its ring must be connected.
    pub fn serve(&mut self, domain: u16, gfn: u64, port: u32) {
        let known = self.domains.entry(domain).or_default();
        let is_new = known.ring.replace((gfn, port)).is_none();
        self.changes.push(Change::Introduced { domain, gfn, port });
        if is_new {
            self.connections.insert(u32::from(domain), Connection::new(domain));
            if domain != 0 {
                self.fire_special(INTRODUCED);
            }
        }
    }

    /// Returns the rings of introduced domains: domain, GFN, port of the domain.
    pub fn served(&self) -> impl Iterator<Item = (u16, u64, u32)> {
        self.domains.iter().filter_map(|(&domain, known)| known.ring.map(|(gfn, port)| (domain, gfn, port)))
    }

    /// Parses the ID of a domain that is introduced and is not dom0.
    fn other_served(&self, caller: &Caller, text: &[u8]) -> Result<u16, ErrorName> {
        caller.must_be_privileged()?;
        let domain = domain_number(text)?;
        if domain == 0 {
            return Err(ErrorName::Invalid);
        }
        let is_served = self.domains.get(&domain).is_some_and(|known| known.ring.is_some());
        if is_served { Ok(domain) } else { Err(ErrorName::Missing) }
    }

    pub(super) fn release(&mut self, host: &mut impl Host, caller: &Caller, body: &[u8]) -> Answer {
        caller.must_be_privileged()?;
        let domain = self.other_served(caller, Strings::only(body).ok_or(ErrorName::Invalid)?)?;
        self.forget(host, domain);
        self.fire_special(RELEASED);
        done()
    }

    pub(super) fn resume(&mut self, caller: &Caller, body: &[u8]) -> Answer {
        caller.must_be_privileged()?;
        let domain = self.other_served(caller, Strings::only(body).ok_or(ErrorName::Invalid)?)?;
        self.mark_shut_down(domain, false);
        done()
    }

    pub(super) fn is_introduced(&mut self, caller: &Caller, body: &[u8]) -> Answer {
        caller.must_be_privileged()?;
        let domain = domain_number(Strings::only(body).ok_or(ErrorName::Invalid)?)?;
        let is_served = self.domains.get(&domain).is_some_and(|known| known.ring.is_some());
        Ok(if domain == 0 || is_served { b"T\0".to_vec() } else { b"F\0".to_vec() })
    }

    pub(super) fn set_target(&mut self, caller: &Caller, body: &[u8]) -> Answer {
        caller.must_be_privileged()?;
        let strings = Strings::all(body).ok_or(ErrorName::Invalid)?;
        let [domain, target] = strings[..] else { return Err(ErrorName::Invalid) };
        let (domain, target) = (self.other_served(caller, domain)?, self.other_served(caller, target)?);
        if let Some(known) = self.domains.get_mut(&domain) {
            known.target = Some(target);
            self.changes.push(Change::Target { domain, target });
        }
        done()
    }

    /// Returns whether a domain exists, as far as the store or the hypervisor knows.
    pub(super) fn is_known(&self, host: &mut impl Host, domain: u16) -> bool {
        domain == 0 || self.domains.contains_key(&domain) || host.state(domain) != DomainState::Gone
    }

    /// Records the owner of a node, so that its nodes are removed when the domain is gone, even if it is never
    /// introduced.
    pub(super) fn see_owner(&mut self, host: &mut impl Host, permissions: &Arc<[Permission]>) {
        let owner = permissions.first().map_or(0, |entry| entry.domain);
        if owner != 0 && !self.domains.contains_key(&owner) && host.state(owner) != DomainState::Gone {
            self.domains.insert(owner, Domain::default());
            self.changes.push(Change::DomainSeen { domain: owner });
        }
    }

    fn mark_shut_down(&mut self, domain: u16, is: bool) {
        if let Some(known) = self.domains.get_mut(&domain).filter(|known| known.shut_down != is) {
            known.shut_down = is;
            self.changes.push(Change::ShutDown { domain, is });
        }
    }

    /// Looks for domains that have shut down or are gone, after a `VIRQ_DOM_EXC`.
    pub fn domains_changed(&mut self, host: &mut impl Host) {
        let known: Vec<u16> = self.domains.keys().copied().filter(|&domain| domain != 0).collect();
        let mut ended = false;
        for domain in known {
            let is_served = self.domains.get(&domain).is_some_and(|known| known.ring.is_some());
            let was_shut_down = self.domains.get(&domain).is_some_and(|known| known.shut_down);
            match host.state(domain) {
                DomainState::Running => {}
                DomainState::ShutDown if was_shut_down => {}
                DomainState::ShutDown => {
                    self.mark_shut_down(domain, true);
                    ended |= is_served;
                }
                DomainState::Gone => {
                    self.forget(host, domain);
                    ended |= is_served;
                }
            }
        }
        if ended {
            self.fire_special(RELEASED);
        }
    }

    /// Removes a domain: its connection and its nodes.
    fn forget(&mut self, host: &mut impl Host, domain: u16) {
        host.disconnect(domain);
        self.disconnect(u32::from(domain));
        if !self.keep_orphans {
            while let Some(path) = self.accounts.first_owned(domain) {
                self.remove_with_events(&path);
            }
        }
        self.domain_gone(domain);
        self.changes.push(Change::DomainGone { domain });
    }

    /// Records that a domain is gone, after its connection and nodes were removed.
    pub(super) fn domain_gone(&mut self, domain: u16) {
        self.domains.remove(&domain);
        for known in self.domains.values_mut().filter(|known| known.target == Some(domain)) {
            known.target = None;
        }
        self.last_gone.insert(domain, self.tree.clock());
        if self.accounts.nodes(domain) == 0 {
            self.accounts.forget(domain);
        }
    }

    /// Sets the permissions of a special watch: which domains are notified.
    pub(super) fn set_special_permissions(&mut self, caller: &Caller, name: &[u8], entries: Vec<Permission>) -> Answer {
        let known = [INTRODUCED, RELEASED].into_iter().find(|known| known.as_bytes() == name);
        let name = known.ok_or(ErrorName::Invalid)?;
        caller.must_be_privileged()?;
        let permissions: Arc<[Permission]> = entries.into();
        self.specials.insert(name.to_owned(), permissions.clone());
        self.changes.push(Change::Special { name: name.to_owned(), permissions });
        done()
    }
}
