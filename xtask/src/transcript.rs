//! What the test kernel printed: its cases with their results, and whether it came to its end.

use std::collections::BTreeMap;

/// How a line of the hypervisor's own log begins.
const XENS: &str = "(XEN) ";

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
        for line in &whole_lines(console) {
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

/// Returns the lines of a console. Xen's own log goes to the same port, at times in the middle of a line of the kernel's:
/// such a line is put together again.
fn whole_lines(console: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut broken = false;
    for line in console.lines() {
        if line.starts_with(XENS) {
            lines.push(line.to_owned());
            continue;
        }
        let (said, breaks) = line.split_once(XENS).map_or((line, false), |(said, _)| (said, true));
        match lines.iter_mut().rev().find(|line| !line.starts_with(XENS)) {
            Some(begun) if broken => begun.push_str(said),
            _ => lines.push(said.to_owned()),
        }
        broken = breaks;
    }
    lines
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
    fn a_line_that_the_hypervisors_log_broke_is_put_together_again() {
        let read = Transcript::read(
            "TESTS BEGIN\nCASE a = o(XEN) d72v0: a vector\n(XEN) more\nk 0(XEN) and more\nx1\nCASE b = 2(XEN) at its end\n\nCASE c = 3\nTESTS END 3\n",
        );
        assert_eq!(read.faults, Vec::<String>::new());
        let cases: Vec<_> = read.cases.into_iter().collect();
        assert_eq!(cases, [("a".into(), "ok 0x1".into()), ("b".into(), "2".into()), ("c".into(), "3".into())]);
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
