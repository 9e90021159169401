//! What is being done, for one who waits: a spinner on a terminal, plain lines elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// One step that takes a while.
pub struct Step {
    what: String,
    began: Instant,
    bar: Option<ProgressBar>,
}

impl Step {
    /// Says that `what` begins.
    #[must_use]
    pub fn begin(what: impl Into<String>) -> Self {
        let what = what.into();
        let bar = std::io::stderr().is_terminal().then(|| spinner(&what));
        if bar.is_none() {
            eprintln!("==> {what}");
        }
        Self { what, began: Instant::now(), bar }
    }

    /// Says that it is done, how it came out, and how long it took.
    pub fn end(self, outcome: &str) {
        let line = format!("    {}: {outcome} ({:.1} s)", self.what, self.began.elapsed().as_secs_f32());
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{line}");
    }
}

fn spinner(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}
