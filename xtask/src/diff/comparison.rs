//! How the results of two runs of the test kernel compare, case by case.

use std::collections::{BTreeMap, BTreeSet};

/// The results of one run by the names of its cases.
pub(super) type Cases = BTreeMap<String, String>;

/// How two runs compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Comparison {
    /// What the two runs are called.
    names: [&'static str; 2],
    pub(super) cases: usize,
    /// Each: the name, what the first said, what the second said.
    pub(super) unexplained: Vec<(String, String, String)>,
    pub(super) explained: usize,
    /// Cases of which the first said something else when it was asked again, which is what the second said.
    wavering: Vec<String>,
    /// Reasons for cases that do not differ, or do not exist.
    pub(super) idle_reasons: BTreeSet<String>,
}

impl Comparison {
    /// Passes over the differences that the first has with itself: those where it said in another run what the second
    /// said.
    pub(super) fn pass_over_wavering(&mut self, again: &BTreeMap<String, String>) {
        let (wavering, left) = std::mem::take(&mut self.unexplained)
            .into_iter()
            .partition(|(name, _, second)| again.get(name).is_some_and(|first| first == second));
        self.unexplained = left;
        self.wavering.extend(Vec::into_iter(wavering).map(|(name, ..)| name));
    }

    /// Prints what was found and a line that sums it up under `title`; returns whether nothing is unexplained and no
    /// reason in the list `file` idle.
    pub(super) fn judge(&self, title: &str, file: &str) -> bool {
        print!("{}", self.shown());
        for name in &self.idle_reasons {
            println!("{name}\n    does not differ; take it out of tests/{file}");
        }
        let (cases, unexplained, explained) = (self.cases, self.unexplained.len(), self.explained);
        println!("{title}: {cases} cases, {unexplained} unexplained, {explained} explained");
        self.unexplained.is_empty() && self.idle_reasons.is_empty()
    }

    /// Returns each difference that nothing explains, and the cases that were passed over.
    pub(super) fn shown(&self) -> String {
        let [one, other] = self.names;
        let width = one.len().max(other.len()) + 1;
        let differences = self.unexplained.iter().map(|(name, first, second)| {
            format!("{name}\n    {:width$} {first}\n    {:width$} {second}\n", format!("{one}:"), format!("{other}:"))
        });
        let wavering = self.wavering.iter().map(|name| format!("{name}\n    {one} says now one thing, now another\n"));
        differences.chain(wavering).collect()
    }
}

/// Compares two runs, each the results by the cases' names; `reasons` are those for which a case may differ.
pub(super) fn compare(
    [(one, first), (other, second)]: [(&'static str, &Cases); 2],
    reasons: &BTreeMap<String, String>,
) -> Comparison {
    let names: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let mut comparison = Comparison { names: [one, other], cases: names.len(), ..Comparison::default() };
    let mut differing = BTreeSet::new();
    for name in names {
        let result = |run: &Cases| run.get(name).map_or("(no such case)", String::as_str).to_owned();
        let (said, also_said) = (result(first), result(second));
        if said == also_said {
            continue;
        }
        differing.insert(name);
        if reasons.contains_key(name) {
            comparison.explained += 1;
        } else {
            comparison.unexplained.push((name.clone(), said, also_said));
        }
    }
    comparison.idle_reasons = reasons.keys().filter(|name| !differing.contains(name)).cloned().collect();
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(xen: &Cases, xenolith: &Cases, reasons: &BTreeMap<String, String>) -> Comparison {
        super::compare([("Xen", xen), ("Xenolith", xenolith)], reasons)
    }

    fn cases(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(name, result)| (name.to_owned(), result.to_owned())).collect()
    }

    #[test]
    fn a_difference_that_nothing_explains_is_named_with_both_results() {
        let found = compare(&cases(&[("a", "0"), ("b", "1")]), &cases(&[("a", "0"), ("b", "2")]), &cases(&[]));
        assert_eq!(found.unexplained, [("b".into(), "1".into(), "2".into())]);
        assert_eq!(found.shown(), "b\n    Xen:      1\n    Xenolith: 2\n");
        assert_eq!((found.cases, found.explained), (2, 0));
    }

    #[test]
    fn an_explained_difference_is_counted_and_not_shown() {
        let found = compare(&cases(&[("a", "0")]), &cases(&[("a", "1")]), &cases(&[("a", "by design")]));
        assert_eq!((found.unexplained.len(), found.explained, found.shown().as_str()), (0, 1, ""));
    }

    #[test]
    fn a_case_that_only_one_of_them_ran_is_a_difference() {
        assert_eq!(compare(&cases(&[("a", "0")]), &cases(&[]), &cases(&[])).unexplained.len(), 1);
        assert_eq!(compare(&cases(&[]), &cases(&[("a", "0")]), &cases(&[])).unexplained.len(), 1);
    }

    #[test]
    fn a_difference_that_real_xen_has_with_itself_is_passed_over() {
        let xenolith = cases(&[("a", "1"), ("b", "1")]);
        let mut found = compare(&cases(&[("a", "0"), ("b", "0")]), &xenolith, &cases(&[]));
        found.pass_over_wavering(&cases(&[("a", "1"), ("b", "2")]));
        assert_eq!(found.unexplained, [("b".into(), "0".into(), "1".into())]);
        assert_eq!(found.wavering, ["a"]);
        assert!(found.shown().contains("a\n    Xen says"));
    }

    #[test]
    fn a_reason_for_no_difference_is_found() {
        let found = compare(&cases(&[("a", "0")]), &cases(&[("a", "0")]), &cases(&[("a", "once"), ("gone", "once")]));
        assert_eq!(found.idle_reasons.into_iter().collect::<Vec<_>>(), ["a", "gone"]);
    }
}
