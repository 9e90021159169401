//! Disks and network cards: what they are, and their nodes in xenstore.

use serde_json::{Value, json};
use xen_abi::io::xenbus::XENBUS_STATE_INITIALISING;

use crate::error::{Error, Step};
use crate::nodes::{Nodes, home, toolstack};
use crate::registry::{DOMAINS, read_by, shared_by};

/// Numbers of virtual disks: `xvdX` up to `p`, with 16 partitions each, and the extended form for the others.
/// **Source:** `docs/man/xen-vbd-interface.7.pandoc` of Xen.
const XVD: u32 = 202 << 8;
const XVD_DISKS: u32 = 16;
const PARTITION_BITS: u32 = 4;
const EXTENDED: u32 = 1 << 28;
const EXTENDED_PARTITION_BITS: u32 = 8;

/// A disk: a block device of domain 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// What the domain calls it: `xvda` to `xvdz`.
    pub device: String,
    /// The path in domain 0.
    pub path: String,
    /// Major and minor number of the block device.
    pub physical: (u32, u32),
    pub writable: bool,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its address: six pairs of digits with colons between.
    pub mac: String,
    /// The bridge in domain 0.
    pub bridge: String,
}

/// A device as xenstore knows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// `vbd`, `vif` or another kind.
    pub kind: String,
    /// The domain that uses it.
    pub domain: u16,
    /// Its number in that domain.
    pub number: String,
}

impl Place {
    /// Returns the path of the back end.
    #[must_use]
    pub fn back(&self) -> String {
        format!("{DOMAINS}/0/backend/{}/{}/{}", self.kind, self.domain, self.number)
    }

    /// Returns the path of the front end. The first console has it in a place of its own.
    #[must_use]
    pub fn front(&self) -> String {
        match (self.kind.as_str(), self.number.as_str()) {
            ("console", "0") => format!("{}/console", home(self.domain)),
            (kind, number) => format!("{}/device/{kind}/{number}", home(self.domain)),
        }
    }

    /// Returns the path of what the toolstack keeps of it.
    #[must_use]
    pub fn kept(&self) -> String {
        format!("{}/device/{}/{}", toolstack(self.domain), self.kind, self.number)
    }
}

impl Disk {
    /// Returns its number in the domain.
    ///
    /// **Errors:** [`Step::Settings`], without the domain's name, for a name that is none.
    pub fn number(&self) -> Result<u32, Error> {
        let letter = self.device.strip_prefix("xvd").and_then(|rest| match *rest.as_bytes() {
            [letter @ b'a'..=b'z'] => Some(u32::from(letter - b'a')),
            _ => None,
        });
        match letter {
            Some(disk) if disk < XVD_DISKS => Ok(XVD | disk << PARTITION_BITS),
            Some(disk) => Ok(EXTENDED | disk << EXTENDED_PARTITION_BITS),
            None => {
                Err(Error::new("", Step::Settings, format!("its disk {:?} has no name that there is", self.device))
                    .remedied("call it xvda to xvdz"))
            }
        }
    }

    /// Returns its place.
    ///
    /// **Errors:** those of [`Disk::number`].
    pub fn place(&self, domain: u16) -> Result<Place, Error> {
        Ok(Place { kind: "vbd".into(), domain, number: self.number()?.to_string() })
    }

    /// Adds its nodes.
    ///
    /// **Errors:** those of [`Disk::number`].
    pub fn add_nodes(&self, domain: u16, nodes: &mut Nodes) -> Result<(), Error> {
        let place = self.place(domain)?;
        let (mode, number) = (if self.writable { "w" } else { "r" }, place.number.clone());
        add_back(
            nodes,
            &place,
            &[
                ("removable", "0"),
                ("bootable", "1"),
                ("dev", &self.device),
                ("type", "phy"),
                ("mode", mode),
                ("device-type", "disk"),
                ("discard-enable", "1"),
                ("specification", "xen"),
                ("params", &self.path),
                ("script", "/etc/xen/scripts/block"),
            ],
        );
        add_front(nodes, &place, &[("virtual-device", &number), ("device-type", "disk")]);
        Ok(())
    }

    /// Returns it as `xl` keeps it in its file.
    #[must_use]
    pub fn kept(&self) -> Value {
        let writable = u8::from(self.writable);
        json!({ "pdev_path": self.path, "vdev": self.device, "format": "raw", "readwrite": writable })
    }
}

impl Card {
    /// Checks its address and the name of its bridge, for the domain `name`.
    ///
    /// **Errors:** [`Step::Settings`].
    pub fn check(&self, name: &str) -> Result<(), Error> {
        let is_pair = |pair: &str| pair.len() == 2 && pair.chars().all(|digit| digit.is_ascii_hexdigit());
        if self.mac.split(':').count() != 6 || !self.mac.split(':').all(is_pair) {
            let cause = format!("its card has the address {:?}", self.mac);
            return Err(Error::new(name, Step::Settings, cause).remedied("write it as 00:16:3e:00:00:01"));
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        // Linux's names of interfaces have at most 15 bytes.
        if self.bridge.is_empty() || self.bridge.len() > 15 || !self.bridge.chars().all(is_plain) {
            let cause = format!("its card is to join the bridge {:?}, which no bridge is called", self.bridge);
            return Err(Error::new(name, Step::Settings, cause).remedied("name a bridge of domain 0, such as xenbr0"));
        }
        Ok(())
    }

    /// Returns the place of the card with this number.
    #[must_use]
    pub fn place(domain: u16, number: u32) -> Place {
        Place { kind: "vif".into(), domain, number: number.to_string() }
    }

    /// Adds the nodes of the card with this number.
    pub fn add_nodes(&self, domain: u16, number: u32, nodes: &mut Nodes) {
        let place = Self::place(domain, number);
        let handle = number.to_string();
        add_back(
            nodes,
            &place,
            &[
                ("script", "/etc/xen/scripts/vif-bridge"),
                ("mac", &self.mac),
                ("bridge", &self.bridge),
                ("handle", &handle),
                ("type", "vif"),
                ("hotplug-status", ""),
            ],
        );
        add_front(nodes, &place, &[("handle", &handle), ("mac", &self.mac), ("mtu", "1500")]);
    }

    /// Returns it as `xl` keeps it in its file.
    #[must_use]
    pub fn kept(&self, number: u32) -> Value {
        json!({ "devid": number, "mac": self.mac, "bridge": self.bridge, "nictype": "vif" })
    }
}

/// Adds a back end with the nodes that all have, and the same in what the toolstack keeps.
fn add_back(nodes: &mut Nodes, place: &Place, own: &[(&str, &str)]) {
    let (front, back, kept) = (place.front(), place.back(), place.kept());
    let (id, state) = (place.domain.to_string(), XENBUS_STATE_INITIALISING.to_string());
    let told = [("frontend", &*front), ("frontend-id", &id), ("online", "1"), ("state", &state)];
    nodes.add_for(&back, "", read_by(place.domain));
    nodes.add_below(&back, &told);
    nodes.add_below(&back, own);
    nodes.add(&kept, "");
    nodes.add_below(&kept, &told);
    nodes.add_below(&kept, own);
    nodes.add(&format!("{kept}/backend"), &back);
}

/// Adds a front end, which the domain owns.
fn add_front(nodes: &mut Nodes, place: &Place, own: &[(&str, &str)]) {
    let front = place.front();
    nodes.add_for(&front, "", shared_by(place.domain));
    let state = XENBUS_STATE_INITIALISING.to_string();
    nodes.add_below(&front, &[("backend", &*place.back()), ("backend-id", "0"), ("state", &state), ("trusted", "1")]);
    nodes.add_below(&front, own);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(device: &str) -> Disk {
        Disk { device: device.into(), path: "/dev/ram0".into(), physical: (1, 0), writable: true }
    }

    #[test]
    fn disks_are_numbered_as_linux_does() {
        let numbers = ["xvda", "xvdb", "xvdp", "xvdq"].map(|name| disk(name).number().unwrap());
        assert_eq!(numbers, [51712, 51728, 51952, 0x1000_1000]);
        for name in ["", "xvd", "xvdA", "sda", "xvda1", "xvdaa", "xvd/"] {
            assert_eq!(disk(name).number().unwrap_err().step, Step::Settings, "{name}");
        }
    }

    #[test]
    fn a_card_without_an_address_or_a_bridge_is_refused() {
        let card = |mac: &str, bridge: &str| Card { mac: mac.into(), bridge: bridge.into() }.check("web");
        assert_eq!(card("00:16:3e:00:00:9A", "xenbr0"), Ok(()));
        for (mac, bridge) in [
            ("", "xenbr0"),
            ("00:16:3e:00:00", "xenbr0"),
            ("00:16:3e:00:00:0g", "xenbr0"),
            ("00:16:3e:00:00:01", ""),
            ("00:16:3e:00:00:01", "a b"),
            ("00:16:3e:00:00:01", "../../net"),
            ("00:16:3e:00:00:01", "sixteen-letters-"),
        ] {
            assert!(card(mac, bridge).is_err(), "{mac} {bridge}");
        }
    }

    #[test]
    fn the_two_ends_of_a_device_name_each_other() {
        let mut nodes = Nodes::default();
        disk("xvda").add_nodes(7, &mut nodes).unwrap();
        let value = |path: &str| nodes.0.iter().find(|node| node.path == path).map(|node| node.value.clone());
        let (back, front) = ("/local/domain/0/backend/vbd/7/51712", "/local/domain/7/device/vbd/51712");
        assert_eq!(value(&format!("{back}/frontend")).as_deref(), Some(front));
        assert_eq!(value(&format!("{front}/backend")).as_deref(), Some(back));
        assert_eq!(value("/libxl/7/device/vbd/51712/backend").as_deref(), Some(back));
        let owner =
            |path: &str| nodes.0.iter().find(|node| node.path == path).unwrap().rights.clone().unwrap()[0].domain;
        assert_eq!((owner(back), owner(front)), (0, 7), "a domain owns its front end and not the back end");
    }
}
