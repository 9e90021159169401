//! Which lines ran: what `llvm-cov` exports, without the lines of tests, as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Folders whose crates stand in the table: what a guest, a boot loader or a program in domain 0 can reach.
const REACHED: &[&str] = &["abi", "hv", "tools"];
/// Crates in them that are made for tests.
const FOR_TESTS: &[&str] = &["hv/fake", "hv/world"];

/// How many of some lines ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub ran: usize,
    pub all: usize,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.ran += other.ran;
        self.all += other.all;
    }

    /// Returns the part that ran in per cent, rounded down to tenths, so that 100.0 says all of them.
    fn per_cent(self) -> f64 {
        (1000 * self.ran).checked_div(self.all).map_or(100.0, |tenths| tenths as f64 / 10.0)
    }
}

/// The lines of each file, by its path in the repository, with how often each ran.
pub type Files = BTreeMap<PathBuf, BTreeMap<usize, u64>>;

/// Reads an export in the format of lcov; files outside of `root` are left out. Lines that several programs have count
/// together.
#[must_use]
pub fn read(export: &str, root: &Path) -> Files {
    let mut files = Files::new();
    let mut current: Option<PathBuf> = None;
    for line in export.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            current = Path::new(path).strip_prefix(root).ok().map(Path::to_path_buf);
        } else if let (Some((number, rest)), Some(path)) =
            (line.strip_prefix("DA:").and_then(|rest| rest.split_once(',')), &current)
        {
            let count = rest.split(',').next().and_then(|count| count.parse::<u64>().ok());
            if let (Ok(number), Some(count)) = (number.parse(), count) {
                let seen = files.entry(path.clone()).or_default().entry(number).or_default();
                *seen = seen.saturating_add(count);
            }
        }
    }
    files
}

/// Returns the number of the line where a file's tests begin, or one past the last. Tests stand at the end of a file, in
/// a module of their own.
#[must_use]
pub fn tests_begin(source: &str) -> usize {
    let lines: Vec<&str> = source.lines().collect();
    let begins = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    lines.windows(2).position(begins).unwrap_or(lines.len()) + 1
}

/// Returns the crate that a file is counted with, as its folder; none for a file that is not counted.
fn crate_of(path: &Path) -> Option<PathBuf> {
    let mut parts = path.iter();
    let first = parts.next()?;
    let of_tests = path.iter().any(|part| part == "tests" || part == "tests.rs" || part == "benches");
    if of_tests || !REACHED.iter().any(|folder| first == *folder) {
        return None;
    }
    let folder = if first == "abi" { PathBuf::from(first) } else { Path::new(first).join(parts.next()?) };
    (!FOR_TESTS.iter().any(|name| folder == Path::new(name))).then_some(folder)
}

/// Counts the lines of each file that no test stands in. `source` returns what is in a file.
#[must_use]
pub fn count(files: &Files, source: impl Fn(&Path) -> String) -> BTreeMap<PathBuf, BTreeMap<PathBuf, Count>> {
    let mut crates: BTreeMap<PathBuf, BTreeMap<PathBuf, Count>> = BTreeMap::new();
    for (path, lines) in files {
        let Some(folder) = crate_of(path) else { continue };
        let end = tests_begin(&source(path));
        let own = lines.iter().filter(|(number, _)| **number < end);
        let count = own
            .fold(Count::default(), |sum, (_, ran)| Count { ran: sum.ran + usize::from(*ran > 0), all: sum.all + 1 });
        if count.all > 0 {
            crates.entry(folder).or_default().insert(path.clone(), count);
        }
    }
    crates
}

/// Returns the table: each file below its crate's total.
#[must_use]
pub fn table(crates: &BTreeMap<PathBuf, BTreeMap<PathBuf, Count>>) -> String {
    let names = crates.values().flat_map(BTreeMap::keys).map(|path| path.display().to_string().len() + 2);
    let width = names.max().unwrap_or(0);
    let mut table = format!("{:width$} {:>6} {:>6} {:>7}\n", "", "lines", "ran", "");
    let mut row = |name: &str, count: Count| {
        let _ = writeln!(table, "{name:width$} {:>6} {:>6} {:>6.1}%", count.all, count.ran, count.per_cent());
    };
    for (folder, files) in crates {
        let mut total = Count::default();
        files.values().for_each(|count| total.add(*count));
        row(&folder.display().to_string(), total);
        for (path, count) in files {
            row(&format!("  {}", path.display()), *count);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPORT: &str = "SF:/r/hv/core/src/a.rs\nDA:1,5\nDA:2,0\nDA:9,3\nend_of_record\n\
                          SF:/r/hv/core/src/a.rs\nDA:2,1\nend_of_record\n\
                          SF:/r/hv/fake/src/b.rs\nDA:1,1\nend_of_record\n\
                          SF:/r/hv/x86/src/tests/c.rs\nDA:1,1\nend_of_record\n\
                          SF:/elsewhere/d.rs\nDA:1,1\nend_of_record\n";

    #[test]
    fn lines_of_several_programs_count_together_and_those_of_tests_not_at_all() {
        let files = read(EXPORT, Path::new("/r"));
        let source = |_: &Path| "fn a() {}\nfn b() {}\n\n#[cfg(test)]\nmod tests {\n}\n".to_owned();
        let crates = count(&files, source);
        let core = Path::new("hv/core");
        assert_eq!(crates.keys().collect::<Vec<_>>(), [core]);
        assert_eq!(crates[core][Path::new("hv/core/src/a.rs")], Count { ran: 2, all: 2 });
        assert!(table(&crates).contains("hv/core                 2      2  100.0%"), "{}", table(&crates));
    }

    #[test]
    fn a_file_without_tests_counts_to_its_end() {
        assert_eq!(tests_begin("fn a() {}\n"), 2);
        assert_eq!(tests_begin("#[cfg(test)]\nuse x;\nfn a() {}"), 4);
        assert_eq!(tests_begin("fn a() {}\n#[cfg(test)]\nmod tests {\n}"), 2);
    }

    #[test]
    fn less_than_all_is_never_called_all() {
        assert!(Count { ran: 9999, all: 10_000 }.per_cent() < 100.0);
    }
}
