//! What the test kernel printed: its cases with their results, and whether it came to its end.

use std::collections::BTreeMap;

/// The cases of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    /// The result of each case by its name.
    pub cases: BTreeMap<String, String>,
    /// What is wrong with the transcript itself; empty for a whole one.
    pub faults: Vec<String>,
}

impl Transcript {
    /// Reads a console: what stands between `TESTS BEGIN` and `TESTS END <count>`.
    ///
    /// Other lines, and whatever a hypervisor puts before a guest's words on a line, are passed over.
    #[must_use]
    pub fn read(console: &str) -> Self {
        let mut transcript = Self::default();
        let mut inside = false;
        let mut ended = false;
        for line in console.lines() {
            if line.contains("TESTS BEGIN") {
                inside = true;
            } else if let Some(count) = after(line, "TESTS END ").filter(|_| inside) {
                transcript.end(count);
                ended = true;
                break;
            } else if let Some(case) = after(line, "CASE ").filter(|_| inside) {
                transcript.add(case);
            } else if let Some(said) = after(line, "PANIC ").filter(|_| inside) {
                transcript.faults.push(format!("the test kernel panicked: {said}"));
            }
        }
        if !inside {
            transcript.faults.push("the test kernel never began (no TESTS BEGIN)".into());
        } else if !ended {
            let last = transcript.cases.len();
            transcript.faults.push(format!("the test kernel did not come to its end (no TESTS END); {last} cases ran"));
        }
        transcript
    }

    fn add(&mut self, case: &str) {
        let Some((name, result)) = case.split_once(" = ") else {
            self.faults.push(format!("a case without a result: {case}"));
            return;
        };
        let (name, result) = (name.trim().to_owned(), result.trim_end().to_owned());
        if self.cases.contains_key(&name) {
            self.faults.push(format!("two cases are called {name}"));
        }
        self.cases.insert(name, result);
    }

    fn end(&mut self, count: &str) {
        let (printed, said) = (self.cases.len().to_string(), count.trim());
        if printed != said {
            self.faults.push(format!("the test kernel counted {said} cases, and {printed} were printed"));
        }
    }
}

fn after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.split_once(mark).map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_run_is_read_among_other_lines() {
        let read = Transcript::read(
            "(XEN) boot\nCASE early = 0\n(d0) TESTS BEGIN\nCASE a = -ESRCH\n(XEN) noise\n(d0) CASE b.c = x = 1\nTESTS END 2\n",
        );
        assert_eq!(read.faults, Vec::<String>::new());
        let cases: Vec<_> = read.cases.into_iter().collect();
        assert_eq!(cases, [("a".into(), "-ESRCH".into()), ("b.c".into(), "x = 1".into())]);
    }

    #[test]
    fn a_run_that_broke_off_or_never_began_is_faulty() {
        assert!(Transcript::read("TESTS BEGIN\nCASE a = 1\n").faults[0].contains("1 cases ran"));
        assert!(Transcript::read("CASE a = 1\n").faults[0].contains("never began"));
    }

    #[test]
    fn a_lost_line_and_a_double_name_are_noticed() {
        assert!(Transcript::read("TESTS BEGIN\nCASE a = 1\nTESTS END 2\n").faults[0].contains("counted 2"));
        let doubled = Transcript::read("TESTS BEGIN\nCASE a = 1\nCASE a = 1\nTESTS END 1\n");
        assert!(doubled.faults[0].contains("two cases"));
    }

    #[test]
    fn a_panic_of_the_test_kernel_is_a_fault() {
        assert!(Transcript::read("TESTS BEGIN\nPANIC at x\nTESTS END 0\n").faults[0].contains("panicked"));
    }
}
