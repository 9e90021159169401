//! A domain and a tool that keep to the rules, in bad company.

use fastrand::Rng;
use xenstore_wire::Kind;
use xenstored::serve::Inside;

use super::SOON;
use super::machine::World;
use super::ring::RingPeer;
use super::socket::SocketPeer;

/// What the domain keeps to itself.
const SECRET: &[u8] = b"/local/domain/2/secret\0untouched";

/// The domain, and the tool.
pub struct Good {
    ring: RingPeer,
    tool: SocketPeer,
    /// What the domain wrote last.
    value: u32,
}

impl Good {
    /// Makes three domains by the tool; the second is the good one.
    pub fn new(inside: &mut Inside, world: &World) -> Self {
        let mut good = Self { ring: RingPeer::new(world, 2, true), tool: SocketPeer::new(true), value: 0 };
        for domain in 1..=3 {
            good.make_domain(inside, domain);
        }
        good.tell(inside, Kind::Write, SECRET);
        good.tell(inside, Kind::Write, b"/shared\0v");
        good.tell(inside, Kind::SetPermissions, b"/shared\0b0\0");
        good.own(inside, world, Kind::Write, b"mine\x000");
        good.own(inside, world, Kind::Watch, b"mine\0t\0");
        good
    }

    fn make_domain(&mut self, inside: &mut Inside, domain: u16) {
        let at = format!("/local/domain/{domain}");
        self.tell(inside, Kind::MakeDirectory, format!("{at}\0").as_bytes());
        self.tell(inside, Kind::SetPermissions, format!("{at}\0n{domain}\0").as_bytes());
        self.tell(inside, Kind::Introduce, format!("{domain}\x001\x005\0").as_bytes());
    }

    /// Lets the tool ask for something that is done.
    fn tell(&mut self, inside: &mut Inside, kind: Kind, body: &[u8]) {
        assert_eq!(self.asked(inside, kind, body), b"OK\0");
    }

    /// Returns what the tool is answered.
    fn asked(&mut self, inside: &mut Inside, kind: Kind, body: &[u8]) -> Vec<u8> {
        self.tool.ask(inside, kind, body);
        for _ in 0..SOON {
            inside.turn().expect("the worker goes on");
            if let Some(answer) = self.tool.answer() {
                return answer.body;
            }
        }
        panic!("a tool that keeps to the rules was not answered within {SOON} turns");
    }

    /// Returns what the domain is answered.
    fn own(&mut self, inside: &mut Inside, world: &World, kind: Kind, body: &[u8]) -> Vec<u8> {
        self.ring.ask(world, kind, body);
        for _ in 0..SOON {
            inside.turn().expect("the worker goes on");
            if let Some(answer) = self.ring.answer() {
                return answer.body;
            }
        }
        panic!("a domain that keeps to the rules was not answered within {SOON} turns");
    }

    /// Sees that both are answered, that what they wrote is there, and that the domain hears of its own change. Returns how
    /// many messages that took.
    pub fn check(&mut self, dice: &mut Rng, inside: &mut Inside, world: &World) -> u64 {
        let before = self.value.to_string();
        assert_eq!(self.own(inside, world, Kind::Read, b"mine\0"), before.as_bytes(), "an acknowledged write is lost");
        self.value = dice.u32(..);
        self.ring.events();
        assert_eq!(self.own(inside, world, Kind::Write, format!("mine\0{}", self.value).as_bytes()), b"OK\0");
        let mut heard = self.ring.events();
        for _ in 0..SOON {
            if heard.is_empty() {
                inside.turn().expect("the worker goes on");
                assert!(self.ring.answer().is_none());
                heard = self.ring.events();
            }
        }
        assert!(heard.iter().any(|event| event == b"mine\0t\0"), "a watch is lost");
        let path = b"/local/domain/2/secret\0";
        assert_eq!(self.asked(inside, Kind::Read, path), b"untouched", "what a domain keeps to itself was changed");
        3
    }

    /// Lets the third domain end, and another with its number begin.
    pub fn domain_ends(&mut self, inside: &mut Inside, world: &World, ring: &mut RingPeer) {
        world.set_gone(true);
        for _ in 0..SOON {
            inside.turn().expect("the worker goes on");
        }
        let introduced = self.asked(inside, Kind::IsDomainIntroduced, b"3\0");
        assert_eq!(introduced, b"F\0", "a domain that ended is not forgotten");
        world.set_gone(false);
        ring.begin_anew();
        self.make_domain(inside, 3);
    }
}
