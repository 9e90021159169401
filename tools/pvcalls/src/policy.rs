//! Where a guest may connect to, and where it may listen.
//!
//! As with Docker, a guest may connect everywhere but to the host itself, and is reached only where a port is published.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::str::FromStr;

use rustix::io::Errno;

/// A port of the host that leads to one of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where the host listens.
    pub host: SocketAddrV4,
    /// The port that the guest listens on.
    pub port: u16,
}

/// An exception to where a guest may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whether it allows or denies.
    pub allow: bool,
    network: u32,
    mask: u32,
    ports: RangeInclusive<u16>,
}

/// The policy of one guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Looked at in this order; the first that matches counts.
    rules: Vec<Rule>,
    published: Vec<Publish>,
}

/// Words that are no rule or no port; says what is wrong and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPolicy(String);

impl fmt::Display for BadPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadPolicy {}

impl FromStr for Publish {
    type Err = BadPolicy;

    /// Reads `[ADDRESS:]HOST-PORT:PORT`; without an address all of the host's.
    fn from_str(text: &str) -> Result<Self, BadPolicy> {
        let bad = || BadPolicy(format!("{text:?} is no port to publish; write [ADDRESS:]HOST-PORT:PORT, as 8080:80"));
        let (ahead, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let (address, host) = ahead.rsplit_once(':').map_or(("0.0.0.0", ahead), |parts| parts);
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let (host, port): (u16, u16) = (host.parse().map_err(|_| bad())?, port.parse().map_err(|_| bad())?);
        if host == 0 || port == 0 {
            return Err(bad());
        }
        Ok(Self { host: SocketAddrV4::new(address, host), port })
    }
}

impl FromStr for Rule {
    type Err = BadPolicy;

    /// Reads `allow=NETWORK` or `deny=NETWORK`, where a network is `ADDRESS[/BITS][:PORT[-PORT]]`.
    fn from_str(text: &str) -> Result<Self, BadPolicy> {
        let bad = || {
            BadPolicy(format!(
                "{text:?} is no rule; write allow= or deny= and ADDRESS[/BITS][:PORT[-PORT]], as deny=10.0.0.0/8:25"
            ))
        };
        let (word, network) = text.split_once('=').ok_or_else(bad)?;
        let allow = match word {
            "allow" => true,
            "deny" => false,
            _ => return Err(bad()),
        };
        let (network, ports) = match network.split_once(':') {
            Some((network, ports)) => {
                let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
                (network, first.parse().map_err(|_| bad())?..=last.parse().map_err(|_| bad())?)
            }
            None => (network, 0..=u16::MAX),
        };
        let (address, bits) = network.split_once('/').unwrap_or((network, "32"));
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let bits: u32 = bits.parse().ok().filter(|bits| *bits <= 32).ok_or_else(bad)?;
        let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits)).unwrap_or(0);
        if u32::from(address) & !mask != 0 {
            return Err(BadPolicy(format!(
                "{text:?}: the address has bits behind the first {bits}; write /32 or clear them"
            )));
        }
        if ports.is_empty() {
            return Err(bad());
        }
        Ok(Self { allow, network: address.into(), mask, ports })
    }
}

impl Policy {
    /// Makes a policy of rules, of which the first that matches counts, and of published ports.
    ///
    /// **Errors:** [`BadPolicy`] if a port of the guest is published twice, or one of the host leads to two.
    pub fn new(rules: Vec<Rule>, published: Vec<Publish>) -> Result<Self, BadPolicy> {
        for (index, one) in published.iter().enumerate() {
            for other in published.iter().skip(index.saturating_add(1)) {
                if one.port == other.port {
                    return Err(BadPolicy(format!("port {} is published twice; leave one of them out", one.port)));
                }
                if one.host == other.host {
                    return Err(BadPolicy(format!("{} leads to two ports; choose another for one of them", one.host)));
                }
            }
        }
        Ok(Self { rules, published })
    }

    /// Returns whether a guest may connect to an address. `is_own` tells whether an address is the host's.
    ///
    /// **Errors:** `EACCES` if it may not, `ENETUNREACH` for an address of many.
    pub fn connect(&self, to: SocketAddrV4, is_own: impl FnOnce(Ipv4Addr) -> bool) -> Result<(), Errno> {
        let address = *to.ip();
        if let Some(rule) = self.rules.iter().find(|rule| rule.matches(to)) {
            return if rule.allow { Ok(()) } else { Err(Errno::ACCESS) };
        }
        if address.is_multicast() || address.is_broadcast() {
            return Err(Errno::NETUNREACH);
        }
        // Linux takes 0.0.0.0 for the host itself.
        let [first, ..] = address.octets();
        if first == 0 || address.is_loopback() || is_own(address) { Err(Errno::ACCESS) } else { Ok(()) }
    }

    /// Returns where the host is to listen for a guest that binds to an address.
    ///
    /// **Errors:** `EACCES` for a port that is not published; `EADDRNOTAVAIL` for another address than all or the published
    /// one. A guest's loopback is its own, and is not published.
    pub fn listen(&self, at: SocketAddrV4) -> Result<SocketAddrV4, Errno> {
        let published = self.published.iter().find(|publish| publish.port == at.port()).ok_or(Errno::ACCESS)?;
        let is_named = at.ip() == published.host.ip() && !at.ip().is_loopback();
        if at.ip().is_unspecified() || is_named { Ok(published.host) } else { Err(Errno::ADDRNOTAVAIL) }
    }
}

impl Rule {
    fn matches(&self, to: SocketAddrV4) -> bool {
        u32::from(*to.ip()) & self.mask == self.network && self.ports.contains(&to.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddrV4 {
        text.parse().unwrap()
    }

    #[test]
    fn a_guest_connects_everywhere_but_to_the_host() {
        let policy = Policy::default();
        let own = |address: Ipv4Addr| address == Ipv4Addr::new(192, 168, 1, 1);
        assert_eq!(policy.connect(at("9.9.9.9:53"), own), Ok(()));
        for host in ["127.0.0.1:80", "127.8.9.1:80", "0.0.0.0:80", "0.0.0.9:80", "192.168.1.1:22"] {
            assert_eq!(policy.connect(at(host), own), Err(Errno::ACCESS), "{host}");
        }
        assert_eq!(policy.connect(at("224.0.0.1:80"), own), Err(Errno::NETUNREACH));
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let rules = ["deny=10.1.0.0/16:25", "allow=10.0.0.0/8", "allow=127.0.0.1:5000-5001", "deny=0.0.0.0/0"];
        let policy = Policy::new(rules.iter().map(|rule| rule.parse().unwrap()).collect(), vec![]).unwrap();
        let may = |to: &str| policy.connect(at(to), |_| false);
        assert_eq!([may("10.1.2.3:25"), may("10.1.2.3:26"), may("10.2.2.3:25")], [Err(Errno::ACCESS), Ok(()), Ok(())]);
        assert_eq!([may("127.0.0.1:5001"), may("127.0.0.1:5002")], [Ok(()), Err(Errno::ACCESS)]);
        assert_eq!(may("9.9.9.9:53"), Err(Errno::ACCESS));
    }

    #[test]
    fn a_guest_listens_where_a_port_is_published() {
        let published =
            vec!["8080:80".parse().unwrap(), "10.0.0.1:8443:443".parse().unwrap(), "127.0.0.1:99:99".parse().unwrap()];
        let policy = Policy::new(vec![], published).unwrap();
        assert_eq!(policy.listen(at("0.0.0.0:80")), Ok(at("0.0.0.0:8080")));
        assert_eq!(policy.listen(at("10.0.0.1:443")), Ok(at("10.0.0.1:8443")));
        assert_eq!(policy.listen(at("0.0.0.0:99")), Ok(at("127.0.0.1:99")));
        assert_eq!(policy.listen(at("127.0.0.1:99")), Err(Errno::ADDRNOTAVAIL));
        assert_eq!(policy.listen(at("10.0.0.2:443")), Err(Errno::ADDRNOTAVAIL));
        assert_eq!(policy.listen(at("0.0.0.0:8080")), Err(Errno::ACCESS));
    }

    #[test]
    fn words_that_are_no_policy_are_refused_with_what_helps() {
        for text in ["80", "0:80", "80:0", "x:80", "1.2.3:80:80", "80:65536", "1.2.3.4:1:2:3"] {
            assert!(text.parse::<Publish>().unwrap_err().to_string().contains("HOST-PORT"), "{text}");
        }
        for text in
            ["10.0.0.0/8", "permit=1.2.3.4", "allow=1.2.3.4/33", "allow=1.2.3.4:9-8", "allow=1.2.3.4:x", "deny="]
        {
            assert!(text.parse::<Rule>().unwrap_err().to_string().contains("allow= or deny="), "{text}");
        }
        assert!("allow=10.0.0.1/8".parse::<Rule>().unwrap_err().to_string().contains("/32"));
        let twice = |one: &str, two: &str| Policy::new(vec![], vec![one.parse().unwrap(), two.parse().unwrap()]);
        assert!(
            twice("80:80", "81:80").is_err() && twice("80:80", "80:81").is_err() && twice("80:80", "81:81").is_ok()
        );
    }
}
