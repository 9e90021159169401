//! What is written down of each call, as one line of JSON.

use std::net::SocketAddrV4;
use std::time::Duration;

use serde_json::{Map, Value};

/// A call with its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The command's name, or `close` for the end of a connection.
    pub call: &'static str,
    /// The guest's name for the socket.
    pub id: u64,
    /// The address that the guest named, or the peer of a connection.
    pub address: Option<SocketAddrV4>,
    /// Where the host listens in its place.
    pub host: Option<SocketAddrV4>,
    /// 0 or a negative error number of Linux's.
    pub result: i32,
    /// Why the back end refused it: `policy` or `budget`.
    pub refused: Option<&'static str>,
    /// Bytes that a connection that ended has received and sent, as the guest sees it.
    pub bytes: Option<(u64, u64)>,
}

impl Record {
    /// Returns the line, without an end. `time` is since 1970.
    #[must_use]
    pub fn line(&self, container: &str, domain: u16, time: Duration) -> String {
        let mut line = Map::new();
        let mut put = |name: &str, value: Value| line.insert(name.to_owned(), value).map_or((), drop);
        put("time", format!("{}.{:03}", time.as_secs(), time.subsec_millis()).into());
        put("container", container.into());
        put("domain", domain.into());
        put("call", self.call.into());
        put("socket", format!("{:x}", self.id).into());
        for (name, address) in [("address", self.address), ("host", self.host)] {
            address.iter().for_each(|address| put(name, address.to_string().into()));
        }
        put("result", self.result.into());
        self.refused.iter().for_each(|refused| put("refused", (*refused).into()));
        if let Some((received, sent)) = self.bytes {
            put("received", received.into());
            put("sent", sent.into());
        }
        Value::Object(line).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_json_whatever_the_container_is_called() {
        let record = Record {
            call: "connect",
            id: 0xffff_8880_1234_5678,
            address: Some("10.0.0.1:80".parse().unwrap()),
            host: None,
            result: -13,
            refused: Some("policy"),
            bytes: None,
        };
        let line = record.line("we\"b\n", 7, Duration::from_millis(1_234_567));
        assert!(!line.contains('\n'));
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&read["container"], &read["socket"], &read["time"]),
            (&"we\"b\n".into(), &"ffff888012345678".into(), &"1234.567".into())
        );
        assert_eq!((&read["result"], &read["refused"], read.get("sent")), (&(-13).into(), &"policy".into(), None));
    }
}
