//! Encoding of journal records.

use std::sync::Arc;

use xenstore_wire::{Permission, StorePath};

use crate::store::Change;

/// The changes of one request, applied all or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The connection of the request, and the sequence number of the request in it; 0 for changes without a request.
    pub connection: u32,
    pub serial: u64,
    /// The response. It is still to be sent if the connection's mailbox does not have it.
    pub answer: Vec<u8>,
    pub changes: Vec<Change>,
}

impl Record {
    /// Serializes the record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = Vec::with_capacity(256);
        to.extend_from_slice(&self.connection.to_le_bytes());
        to.extend_from_slice(&self.serial.to_le_bytes());
        bytes(&mut to, &self.answer);
        self.changes.iter().for_each(|change| write(&mut to, change));
        to
    }

    /// Parses a record; None if the bytes are none.
    #[must_use]
    pub fn from_bytes(from: &[u8]) -> Option<Self> {
        let mut reader = Reader { left: from };
        let (connection, serial, answer) = (reader.u32()?, reader.u64()?, reader.bytes()?.to_vec());
        let mut changes = Vec::new();
        while !reader.left.is_empty() {
            changes.push(reader.change()?);
        }
        Some(Self { connection, serial, answer, changes })
    }
}

fn bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    to.extend_from_slice(bytes);
}

fn entries(to: &mut Vec<u8>, permissions: &[Permission]) {
    let spelled: Vec<String> = permissions.iter().map(ToString::to_string).collect();
    bytes(to, spelled.join(" ").as_bytes());
}

fn numbers(to: &mut Vec<u8>, tag: u8, numbers: &[u64]) {
    to.push(tag);
    numbers.iter().for_each(|number| to.extend_from_slice(&number.to_le_bytes()));
}

fn write(to: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Put { path, value, permissions } => {
            to.push(0);
            bytes(to, path.as_bytes());
            bytes(to, value);
            entries(to, permissions);
        }
        Change::Remove { path } => {
            to.push(1);
            bytes(to, path.as_bytes());
        }
        Change::Special { name, permissions } => {
            to.push(2);
            bytes(to, name.as_bytes());
            entries(to, permissions);
        }
        Change::Watch { connection, path, token } => {
            numbers(to, 3, &[u64::from(*connection)]);
            bytes(to, path);
            bytes(to, token);
        }
        Change::Unwatch { connection, path, token } => {
            numbers(to, 4, &[u64::from(*connection)]);
            bytes(to, path);
            bytes(to, token);
        }
        Change::TransactionStarted { connection, transaction } => {
            numbers(to, 5, &[u64::from(*connection), u64::from(*transaction)]);
        }
        Change::TransactionEnded { connection, transaction } => {
            numbers(to, 6, &[u64::from(*connection), u64::from(*transaction)]);
        }
        Change::Reset { connection } => numbers(to, 7, &[u64::from(*connection)]),
        Change::Connected { connection } => numbers(to, 8, &[u64::from(*connection)]),
        Change::DomainSeen { domain } => numbers(to, 9, &[u64::from(*domain)]),
        Change::Introduced { domain, gfn, port } => numbers(to, 10, &[u64::from(*domain), *gfn, u64::from(*port)]),
        Change::DomainGone { domain } => numbers(to, 11, &[u64::from(*domain)]),
        Change::ShutDown { domain, is } => numbers(to, 12, &[u64::from(*domain), u64::from(*is)]),
        Change::Target { domain, target } => numbers(to, 13, &[u64::from(*domain), u64::from(*target)]),
        Change::Limit { name, soft, value } => {
            numbers(to, 14, &[u64::from(*soft), *value]);
            bytes(to, name.as_bytes());
        }
    }
}

struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, left) = self.left.split_first_chunk::<N>()?;
        self.left = left;
        Some(*first)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// Reads a number that was widened when it was written; None if it does not fit.
    fn narrow<T: TryFrom<u64>>(&mut self) -> Option<T> {
        self.u64()?.try_into().ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        let (bytes, left) = self.left.split_at_checked(length)?;
        self.left = left;
        Some(bytes)
    }

    fn path(&mut self) -> Option<StorePath> {
        StorePath::absolute(self.bytes()?).ok()
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    fn entries(&mut self) -> Option<Arc<[Permission]>> {
        let spelled = self.bytes()?;
        spelled.split(|&byte| byte == b' ').map(Permission::parse).collect()
    }

    fn change(&mut self) -> Option<Change> {
        let [tag] = self.take()?;
        Some(match tag {
            0 => Change::Put { path: self.path()?, value: self.bytes()?.into(), permissions: self.entries()? },
            1 => Change::Remove { path: self.path()? },
            2 => Change::Special { name: self.text()?, permissions: self.entries()? },
            3 => Change::Watch {
                connection: self.narrow()?,
                path: self.bytes()?.to_vec(),
                token: self.bytes()?.to_vec(),
            },
            4 => Change::Unwatch {
                connection: self.narrow()?,
                path: self.bytes()?.to_vec(),
                token: self.bytes()?.to_vec(),
            },
            5 => Change::TransactionStarted { connection: self.narrow()?, transaction: self.narrow()? },
            6 => Change::TransactionEnded { connection: self.narrow()?, transaction: self.narrow()? },
            7 => Change::Reset { connection: self.narrow()? },
            8 => Change::Connected { connection: self.narrow()? },
            9 => Change::DomainSeen { domain: self.narrow()? },
            10 => Change::Introduced { domain: self.narrow()?, gfn: self.u64()?, port: self.narrow()? },
            11 => Change::DomainGone { domain: self.narrow()? },
            12 => Change::ShutDown { domain: self.narrow()?, is: self.u64()? != 0 },
            13 => Change::Target { domain: self.narrow()?, target: self.narrow()? },
            14 => {
                let (soft, value) = (self.u64()? != 0, self.u64()?);
                Change::Limit { name: self.text()?, soft, value }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xenstore_wire::Access;

    use super::*;

    fn record() -> Record {
        let permissions: Arc<[Permission]> =
            [Permission { access: Access::None, domain: 3 }, Permission { access: Access::Both, domain: 0 }].into();
        let path: StorePath = "/local/domain/3".parse().unwrap();
        let (connection, domain, token) = (70_000, 3, b"tok\xff".to_vec());
        let watched = b"device/vif".to_vec();
        Record {
            connection,
            serial: 1 << 40,
            answer: b"OK\0".to_vec(),
            changes: vec![
                Change::Put { path: path.clone(), value: [0, 1, 2].into(), permissions: permissions.clone() },
                Change::Remove { path },
                Change::Special { name: "@releaseDomain".into(), permissions },
                Change::Watch { connection, path: watched.clone(), token: token.clone() },
                Change::Unwatch { connection, path: watched, token },
                Change::TransactionStarted { connection, transaction: u32::MAX },
                Change::TransactionEnded { connection, transaction: 1 },
                Change::Reset { connection },
                Change::Connected { connection },
                Change::DomainSeen { domain },
                Change::Introduced { domain, gfn: u64::MAX, port: 7 },
                Change::DomainGone { domain },
                Change::ShutDown { domain, is: true },
                Change::Target { domain, target: 4 },
                Change::Limit { name: "nodes".into(), soft: false, value: 5 },
            ],
        }
    }

    #[test]
    fn every_change_is_read_as_it_was_written() {
        assert_eq!(Record::from_bytes(&record().to_bytes()), Some(record()));
    }

    proptest! {
        #[test]
        fn damaged_records_do_no_harm(at in any::<prop::sample::Index>(), value in any::<u8>(), length in any::<prop::sample::Index>()) {
            let mut bytes = record().to_bytes();
            let at = at.index(bytes.len());
            bytes[at] = value;
            bytes.truncate(length.index(bytes.len() + 1));
            let _ = Record::from_bytes(&bytes);
        }
    }
}
