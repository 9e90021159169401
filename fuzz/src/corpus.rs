//! The inputs that are kept: each made code run that no input before it did. They are replayed before any other.
//!
//! An input is its number, from which a target makes all that it does, so a corpus is a list of numbers
//! (`fuzz/corpus/TARGET`). `cargo xtask fuzz --keep` makes it anew, in a build that counts what runs.

use std::io;
use std::time::{Duration, Instant};

use crate::counters::{Counters, Pieces};
use crate::engine::{self, Target};

/// The most inputs that are kept of one target.
const MOST: usize = 64;

/// Returns the numbers in a corpus; lines that begin with `#` are for readers.
pub fn numbers(corpus: &str) -> impl Iterator<Item = u64> {
    corpus.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.trim().parse().ok())
}

/// Looks for inputs to keep, the ones that are kept already first, and returns their numbers; none in a build that does
/// not count.
///
/// **Errors:** the counters cannot be read.
pub fn keep(target: &Target, seconds: u64, first: u64) -> io::Result<Option<Vec<u64>>> {
    let Some(mut counters) = Counters::find()? else { return Ok(None) };
    let mut seen = counters.look()?;
    let (began, limit) = (Instant::now(), Duration::from_secs(seconds));
    let mut found = Vec::new();
    for number in numbers(target.corpus).chain(first..) {
        if began.elapsed() > limit {
            break;
        }
        engine::one(target, number);
        let ran = counters.look()?;
        if ran.beyond(&seen) > 0 {
            seen.join(&ran);
            found.push((number, ran));
        }
    }
    Ok(Some(choose(&found)))
}

/// Chooses inputs one by one, each time the one that runs most of what the chosen ones do not.
fn choose(found: &[(u64, Pieces)]) -> Vec<u64> {
    let (mut chosen, mut ran) = (Vec::new(), Pieces::default());
    while chosen.len() < MOST {
        // Of two that run as much, the first.
        let best = found.iter().rev().max_by_key(|(_, pieces)| pieces.beyond(&ran));
        let Some((number, pieces)) = best.filter(|(_, pieces)| pieces.beyond(&ran) > 0) else { break };
        chosen.push(*number);
        ran.join(pieces);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TARGETS;

    #[test]
    fn a_corpus_is_read_without_its_remarks() {
        assert_eq!(numbers("# why\n7\n\n 9 \n").collect::<Vec<_>>(), [7, 9]);
    }

    #[test]
    fn the_input_that_runs_most_is_chosen_first_and_one_that_runs_nothing_more_not_at_all() {
        let input = |number, counters: &[usize]| (number, counters.iter().copied().collect());
        let found = [input(1, &[1, 2]), input(2, &[1, 2, 3]), input(3, &[900]), input(4, &[3, 2])];
        assert_eq!(choose(&found), [2, 3]);
    }

    #[test]
    fn every_target_has_a_corpus_that_is_small() {
        for target in TARGETS {
            let kept = numbers(target.corpus).count();
            assert!((1..=MOST).contains(&kept), "{}: {kept} inputs", target.name);
        }
    }

    #[test]
    fn inputs_that_are_kept_find_nothing() {
        // All of them are replayed by each run of the fuzzers; here, in a build that is not optimised, the first ones.
        for target in TARGETS {
            for number in numbers(target.corpus).take(2) {
                engine::one(target, number);
            }
        }
    }
}
