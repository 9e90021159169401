//! Counters of one guest, for Prometheus.

use std::fmt::Write;

use crate::Record;

/// The calls that are counted, in the order of their numbers; the last is the end of a connection.
const CALLS: [&str; 9] = ["socket", "connect", "release", "bind", "listen", "accept", "poll", "unknown", "close"];

/// What has been counted since the guest connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls that succeeded and that failed.
    calls: [(u64, u64); CALLS.len()],
    /// Calls that policy refused.
    pub refused_by_policy: u64,
    /// Calls that the budget refused.
    pub refused_by_budget: u64,
    /// Bytes that the guest received.
    pub received: u64,
    /// Bytes that the guest sent.
    pub sent: u64,
    /// Bytes of closed sockets that were given up.
    pub lost: u64,
    /// Data rings whose indexes made no sense.
    pub broken_rings: u64,
    /// Calls of which no line was written.
    pub unlogged: u64,
}

/// What a guest has now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub sockets: usize,
    pub connections: usize,
    pub pages: usize,
    pub bytes: usize,
}

impl Counters {
    /// Counts a call.
    pub fn count(&mut self, record: &Record) {
        let place = CALLS.iter().zip(&mut self.calls).find(|(call, _)| **call == record.call);
        if let Some((_, (succeeded, failed))) = place {
            let counter = if record.result < 0 { failed } else { succeeded };
            *counter = counter.saturating_add(1);
        }
        let refused = match record.refused {
            Some("policy") => &mut self.refused_by_policy,
            Some(_) => &mut self.refused_by_budget,
            None => return,
        };
        *refused = refused.saturating_add(1);
    }

    /// Returns how many calls of a name succeeded and failed.
    #[must_use]
    pub fn calls(&self, call: &str) -> (u64, u64) {
        let place = CALLS.iter().zip(&self.calls).find(|(name, _)| **name == call);
        place.map_or((0, 0), |(_, counted)| *counted)
    }

    /// Returns all in the text form of Prometheus.
    #[must_use]
    pub fn text(&self, container: &str, domain: u16, usage: Usage) -> String {
        let container = container.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let guest = format!("container=\"{container}\",domain=\"{domain}\"");
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, values: &[(String, u64)]| {
            // A string takes whatever is written.
            let _ = writeln!(text, "# HELP xenolith_pvcalls_{name} {help}\n# TYPE xenolith_pvcalls_{name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(text, "xenolith_pvcalls_{name}{{{guest}{labels}}} {value}");
            }
        };
        let calls: Vec<(String, u64)> = CALLS
            .iter()
            .zip(self.calls)
            .flat_map(|(call, (succeeded, failed))| {
                [("ok", succeeded), ("error", failed)]
                    .map(|(outcome, count)| (format!(",call=\"{call}\",outcome=\"{outcome}\""), count))
            })
            .collect();
        family("calls_total", "counter", "Calls, by command and outcome.", &calls);
        let refused = [
            (",by=\"policy\"".to_owned(), self.refused_by_policy),
            (",by=\"budget\"".to_owned(), self.refused_by_budget),
        ];
        family("refused_total", "counter", "Calls that the back end refused.", &refused);
        let one = |value: u64| [(String::new(), value)];
        family("received_bytes_total", "counter", "Bytes that the guest received.", &one(self.received));
        family("sent_bytes_total", "counter", "Bytes that the guest sent.", &one(self.sent));
        family("lost_bytes_total", "counter", "Bytes of closed sockets that were given up.", &one(self.lost));
        family("broken_rings_total", "counter", "Data rings whose indexes made no sense.", &one(self.broken_rings));
        family("unlogged_total", "counter", "Calls of which no line was written.", &one(self.unlogged));
        let count = |value: usize| one(value as u64);
        family("sockets", "gauge", "Sockets that are open.", &count(usage.sockets));
        family("connections", "gauge", "Connections that are open or being made.", &count(usage.connections));
        family("mapped_pages", "gauge", "Pages of rings that are mapped.", &count(usage.pages));
        family("unsent_bytes", "gauge", "Bytes that closed sockets have still to send.", &count(usage.bytes));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_name_and_outcome_and_labels_are_escaped() {
        let mut counters = Counters::default();
        let record =
            |call, result, refused| Record { call, id: 1, address: None, host: None, result, refused, bytes: None };
        counters.count(&record("connect", 0, None));
        counters.count(&record("connect", -111, None));
        counters.count(&record("connect", -13, Some("policy")));
        counters.count(&record("socket", -24, Some("budget")));
        assert_eq!((counters.calls("connect"), counters.calls("socket")), ((1, 2), (0, 1)));
        let text = counters.text("a\"b", 3, Usage { sockets: 5, ..Usage::default() });
        for line in [
            "xenolith_pvcalls_calls_total{container=\"a\\\"b\",domain=\"3\",call=\"connect\",outcome=\"error\"} 2",
            "xenolith_pvcalls_refused_total{container=\"a\\\"b\",domain=\"3\",by=\"policy\"} 1",
            "xenolith_pvcalls_sockets{container=\"a\\\"b\",domain=\"3\"} 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert_eq!(text.matches("# TYPE").count(), 11);
    }
}
