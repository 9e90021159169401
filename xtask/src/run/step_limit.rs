//! The limits of dom0's steps (`dom0/root/job/step`), tried with the shell of this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use xenolith_tests::places;

/// A directory of a test's own, gone at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let place = std::env::temp_dir().join(format!("xenolith-step-{test}-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        Self(place)
    }

    /// Goes through steps there, and gives what they said.
    fn go_through(&self, steps: &str) -> String {
        let file = places::root().join("dom0/root/job/step");
        let script = format!(". '{}'\n{steps}", file.display());
        let output = Command::new("bash").args(["-c", &script]).current_dir(&self.0).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{said}");
        said
    }

    /// Returns whether the process runs whose number a step left in a file.
    fn runs(&self, file: &str) -> bool {
        let number = fs::read_to_string(self.0.join(file)).unwrap();
        let state = fs::read_to_string(Path::new("/proc").join(number.trim()).join("stat")).unwrap_or_default();
        // Behind the name in brackets; one that has ended may still be listed until its parent asks for it.
        state.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left lies in the system's own place for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns whether a line of a step's end stands in what was said, its time left out.
fn ends(said: &str, step: &str, result: &str, cause: &str) -> bool {
    said.lines().any(|line| {
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        matches!(words[..], ["STEP", name, how, _, why] if (name, how, why) == (step, result, cause))
            || matches!(words[..], ["STEP", name, how, _] if (name, how, "") == (step, result, cause))
    })
}

#[test]
fn a_step_that_is_out_of_time_ends_with_all_of_its_pipe() {
    let scratch = Scratch::new("pipe");
    let said = scratch
        .go_through("step slow 1 bash -c 'sleep 60 & echo $! > first; sleep 61 | (echo $BASHPID > second; exec cat)'");
    assert!(ends(&said, "slow", "failed", "no end within 1 s"), "{said}");
    assert!(!scratch.runs("first") && !scratch.runs("second"), "a part of the pipe was left behind");
}

#[test]
fn a_step_that_does_not_want_to_end_is_killed() {
    let scratch = Scratch::new("stubborn");
    let said = scratch.go_through("step stubborn 1 bash -c 'echo $$ > pid; trap \"\" TERM; while sleep 1; do :; done'");
    assert!(ends(&said, "stubborn", "failed", "no end within 1 s"), "{said}");
    assert!(!scratch.runs("pid"));
}

#[test]
fn a_step_that_ends_in_time_keeps_its_words_its_code_and_its_input() {
    let scratch = Scratch::new("fine");
    let said = scratch.go_through(
        "step fine 60 bash -c 'echo well; echo too >&2'\nstep code 60 bash -c 'exit 3'\nstep fed 60 cat <<< words\n",
    );
    assert!(said.contains("| well\n| too\n") && said.contains("| words\n"), "{said}");
    assert!(ends(&said, "fine", "ok", "") && ends(&said, "fed", "ok", ""), "{said}");
    assert!(ends(&said, "code", "failed", "code 3"), "{said}");
}

#[test]
fn what_is_awaited_is_tried_until_it_succeeds_or_time_is_up() {
    let scratch = Scratch::new("await");
    let said =
        scratch.go_through("await later 60 bash -c 'test -f done || { touch done; false; }'\nawait never 1 false");
    assert!(ends(&said, "later", "ok", ""), "{said}");
    assert!(ends(&said, "never", "failed", "not within 1 s"), "{said}");
}
