//! What dom0 told of its guests' moves.

use crate::run::account::{self, Said};

/// One way of a guest that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    guest: String,
    round: u32,
    way: String,
    /// The longest time in which it answered no ping, in milliseconds.
    gap: u64,
    /// From xl's start to its end, in milliseconds.
    whole: u64,
    /// The bytes that went to the other host.
    sent: u64,
}

/// One way of a guest in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    guest: String,
    round: u32,
    way: String,
    /// From its save to its restore, in milliseconds.
    whole: u64,
    /// The size of the file in bytes.
    size: u64,
}

/// All that was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub moves: Vec<Moved>,
    pub saves: Vec<Saved>,
    /// How each move that was cut short came out.
    pub cuts: Vec<String>,
    /// The steps that failed.
    pub failed: Vec<String>,
}

/// What moves took in the median.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// In milliseconds.
    pub downtime: Option<u64>,
    /// In bytes.
    pub sent: Option<u64>,
}

impl Figures {
    /// Returns what was sent, in MiB.
    pub fn mebibytes(&self) -> Option<u64> {
        self.sent.map(|bytes| bytes >> 20)
    }
}

impl Told {
    /// Reads it among the other lines of a console.
    pub fn of(said: &str) -> Self {
        let after = |word: &str| -> Vec<Vec<&str>> {
            let words = |line: &'_ str| line.find(word).map(|at| at + word.len());
            said.lines().filter_map(|line| Some(line.get(words(line)?..)?.split_whitespace().collect())).collect()
        };
        let failed = said.lines().filter(|line| matches!(account::step(line), Some((_, Said::Failed(_)))));
        Self {
            moves: after("MOVED ").iter().filter_map(|words| moved(words)).collect(),
            saves: after("SAVED ").iter().filter_map(|words| saved(words)).collect(),
            cuts: after("CUT ").iter().filter_map(|words| words.get(3).map(|&outcome| outcome.to_owned())).collect(),
            failed: failed.map(str::to_owned).collect(),
        }
    }

    /// Returns a line for each way of a guest, and one for all moves that were cut short.
    pub fn table(&self) -> String {
        let moves = self.moves.iter().map(|Moved { guest, round, way, gap, whole, sent }| {
            let sent = sent >> 20;
            format!("    {guest} {round} {way:<5}  no answer for {gap:>6} ms of {whole:>7} ms, {sent:>4} MiB sent\n")
        });
        let saves = self.saves.iter().map(|Saved { guest, round, way, whole, size }| {
            let size = size >> 20;
            format!("    {guest} {round} {way:<5}  saved and restored in {whole:>7} ms, {size:>4} MiB\n")
        });
        let cuts = (!self.cuts.is_empty()).then(|| self.of_cuts());
        moves.chain(saves).chain(cuts).collect()
    }

    fn of_cuts(&self) -> String {
        let count = |wanted: &str| self.cuts.iter().filter(|&outcome| outcome == wanted).count();
        format!(
            "    {} moves cut short: {} guests stayed, {} went, {} had no xl left to go on for them, {} ran twice\n",
            self.cuts.len(),
            count("stayed"),
            count("went"),
            count("stranded"),
            count("twice")
        )
    }

    pub fn figures(&self) -> Figures {
        let downtime = median(self.moves.iter().map(|each| each.gap));
        Figures { downtime, sent: median(self.moves.iter().map(|each| each.sent)) }
    }
}

fn moved(words: &[&str]) -> Option<Moved> {
    let &[guest, round, way, gap, whole, sent] = words else { return None };
    let (gap, whole, sent) = (gap.parse().ok()?, whole.parse().ok()?, sent.parse().ok()?);
    Some(Moved { guest: guest.to_owned(), round: round.parse().ok()?, way: way.to_owned(), gap, whole, sent })
}

fn saved(words: &[&str]) -> Option<Saved> {
    let &[guest, round, way, whole, size] = words else { return None };
    let (whole, size) = (whole.parse().ok()?, size.parse().ok()?);
    Some(Saved { guest: guest.to_owned(), round: round.parse().ok()?, way: way.to_owned(), whole, size })
}

/// Returns the value in the middle; of two, the lower one.
pub fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut sorted: Vec<u64> = values.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_read_among_other_lines() {
        let said = "| x\nMOVED hvm 2 back 70 900 3145728\nSAVED pvh 1 there 800 5000000\nMOVED cut off\n\
                    CUT 1 cable 1200 went\nCUT 2 sender 40 stranded\nSTEP a failed 1 code 1\nSTEP b ok 1\n";
        let told = Told::of(said);
        assert_eq!(told.figures(), Figures { downtime: Some(70), sent: Some(3 << 20) });
        assert_eq!((told.moves.len(), told.saves.len()), (1, 1));
        assert_eq!(told.cuts, ["went", "stranded"]);
        assert_eq!(told.failed, ["STEP a failed 1 code 1"]);
        let table = told.table();
        assert!(table.contains("hvm 2 back   no answer for     70 ms of     900 ms,    3 MiB sent"), "{table}");
        assert!(table.contains("pvh 1 there  saved and restored in     800 ms,    4 MiB"), "{table}");
        let cuts = "2 moves cut short: 0 guests stayed, 1 went, 1 had no xl left to go on for them, 0 ran twice\n";
        assert!(table.ends_with(cuts), "{table}");
    }

    #[test]
    fn the_median_of_two_is_the_lower_one() {
        assert_eq!(median([3, 1].into_iter()), Some(1));
        assert_eq!(median([9, 1, 3].into_iter()), Some(3));
        assert_eq!(median([].into_iter()), None);
    }
}
