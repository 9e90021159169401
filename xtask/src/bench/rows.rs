//! What the benchmark kernel printed: its rows, and whether it came to its end.

/// What one row came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Figure {
    /// A count, the same at each run.
    Exact(i64),
    /// A count that may differ a little from run to run.
    About(i64),
    /// It could not be taken, and why.
    None(String),
}

impl Figure {
    /// Returns the count, if there is one.
    #[must_use]
    pub fn count(&self) -> Option<i64> {
        match self {
            Self::Exact(count) | Self::About(count) => Some(*count),
            Self::None(_) => None,
        }
    }

    /// Returns what is left when another count is taken off; the first of the two that is none, if one is.
    #[must_use]
    pub fn less(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::None(_), _) => self.clone(),
            (_, Self::None(_)) => other.clone(),
            (Self::Exact(count), Self::Exact(less)) => Self::Exact(count - less),
            (Self::Exact(count) | Self::About(count), Self::Exact(less) | Self::About(less)) => {
                Self::About(count - less)
            }
        }
    }
}

/// The rows of one run, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub rows: Vec<(String, Figure)>,
    /// What made the hypervisor, in its own words.
    pub compiler: Option<String>,
    /// What is wrong with the run itself; empty for a whole one.
    pub faults: Vec<String>,
}

impl Run {
    /// Reads a console: what stands between `BENCH BEGIN` and `BENCH END <count>`.
    #[must_use]
    pub fn read(console: &str) -> Self {
        let mut run = Self::default();
        let (mut inside, mut ended) = (false, false);
        for line in console.lines() {
            if line.contains("BENCH BEGIN") {
                inside = true;
            } else if !inside {
                continue;
            } else if let Some((_, count)) = line.split_once("BENCH END ") {
                ended = true;
                if count.trim() != run.rows.len().to_string() {
                    run.faults.push(format!("{} rows were printed, and {} counted", run.rows.len(), count.trim()));
                }
                break;
            } else if let Some((_, row)) = line.split_once("ROW ") {
                run.add(row);
            } else if let Some((_, name)) = line.split_once("COMPILER ") {
                run.compiler = Some(name.trim().to_owned());
            } else if ["PANIC", "FATAL", "SETUP"].iter().any(|word| line.contains(word)) {
                run.faults.push(format!("the kernel said: {}", line.trim()));
            }
        }
        if !ended {
            run.faults.push(format!("the kernel did not come to its end; {} rows came", run.rows.len()));
        }
        run
    }

    fn add(&mut self, row: &str) {
        let (name, value, about) = match (row.split_once(" ~= "), row.split_once(" = ")) {
            (Some((name, value)), _) => (name, value, true),
            (None, Some((name, value))) => (name, value, false),
            (None, None) => {
                self.faults.push(format!("a row without a value: {row}"));
                return;
            }
        };
        let figure = match (value.trim().parse(), about) {
            (Ok(count), false) => Figure::Exact(count),
            (Ok(count), true) => Figure::About(count),
            (Err(_), _) => Figure::None(value.trim().trim_start_matches("- ").to_owned()),
        };
        self.rows.push((name.to_owned(), figure));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_among_other_lines() {
        let run = Run::read(
            "ROW early = 1\n(XEN) BENCH BEGIN\nCOMPILER rustc 1\n(d0) ROW a/b = 17\nnoise\nROW c ~= 5\nROW d = - result -38\nBENCH END 3\n",
        );
        assert_eq!(run.faults, Vec::<String>::new());
        let expected = [
            ("a/b".to_owned(), Figure::Exact(17)),
            ("c".to_owned(), Figure::About(5)),
            ("d".to_owned(), Figure::None("result -38".into())),
        ];
        assert_eq!(run.rows, expected);
        assert_eq!(run.compiler.as_deref(), Some("rustc 1"));
    }

    #[test]
    fn a_run_that_broke_off_or_lost_a_row_is_faulty() {
        assert!(Run::read("BENCH BEGIN\nROW a = 1\n").faults[0].contains("did not come to its end"));
        assert!(Run::read("BENCH BEGIN\nROW a = 1\nBENCH END 2\n").faults[0].contains("2 counted"));
        assert!(Run::read("BENCH BEGIN\nPANIC here\nBENCH END 0\n").faults[0].contains("PANIC here"));
    }
}
