//! Runs the cases: one line for each, whatever happens in it.

use core::fmt::{self, Write};

use xen_abi::Errno;
use xenolith_guest_kit::console::{self, Line};
use xenolith_guest_kit::{Fault, catch, traps};

/// What a case has to say: fields with a space between them.
pub struct Report(Line);

impl Report {
    /// Adds a field as it formats itself.
    pub fn field(&mut self, value: impl fmt::Display) -> &mut Self {
        let gap = if self.0.text().is_empty() { "" } else { " " };
        // A report that is too long is cut, which is no error.
        let _ = write!(self.0, "{gap}{value}");
        self
    }

    /// Adds `name=value`.
    pub fn named(&mut self, name: &str, value: impl fmt::Display) -> &mut Self {
        self.field(format_args!("{name}={value}"))
    }

    /// Adds a field in hexadecimal.
    pub fn hex(&mut self, value: u64) -> &mut Self {
        self.field(format_args!("{value:#x}"))
    }

    /// Adds `name=yes` or `name=no`.
    pub fn holds(&mut self, name: &str, value: bool) -> &mut Self {
        self.named(name, if value { "yes" } else { "no" })
    }

    /// Adds a hypercall's result: the number, or the error's name.
    pub fn result(&mut self, value: i64) -> &mut Self {
        match Errno::from_return(value) {
            Some(errno) => self.field(format_args!("-{errno}")),
            None => self.field(value),
        }
    }

    /// Adds `name=` and a hypercall's result.
    pub fn named_result(&mut self, name: &str, value: i64) -> &mut Self {
        match Errno::from_return(value) {
            Some(errno) => self.field(format_args!("{name}=-{errno}")),
            None => self.named(name, value),
        }
    }

    /// Adds a value in hexadecimal, or the exception that came instead.
    pub fn caught(&mut self, value: Result<u64, Fault>) -> &mut Self {
        match value {
            Ok(value) => self.hex(value),
            Err(fault) => self.fault(&fault),
        }
    }

    /// Adds `ok`, or the exception that came instead.
    pub fn done(&mut self, value: Result<(), Fault>) -> &mut Self {
        match value {
            Ok(()) => self.field("ok"),
            Err(fault) => self.fault(&fault),
        }
    }

    /// Adds an exception: its name and error code.
    pub fn fault(&mut self, fault: &Fault) -> &mut Self {
        self.field(format_args!("{}({:#x})", fault.name(), fault.code))
    }
}

/// Names, counts and prints the cases.
pub struct Runner<'a> {
    only: Option<&'a str>,
    without: Option<&'a str>,
    count: u32,
    /// What the names of all cases of this domain begin with.
    domain: &'static str,
    /// What the names of the cases begin with after that.
    prefix: &'static str,
}

impl<'a> Runner<'a> {
    /// Creates a runner of the cases whose name begins with one of the prefixes in `only`, parted by commas, or of all; but
    /// not of those whose name begins with one in `without`. `domain` is put before each name.
    pub fn new(domain: &'static str, only: Option<&'a str>, without: Option<&'a str>) -> Self {
        Self { only, without, count: 0, domain, prefix: "" }
    }

    /// Returns the prefixes of the cases that are to run.
    pub const fn only(&self) -> Option<&'a str> {
        self.only
    }

    /// Returns the prefixes of the cases that are left out.
    pub const fn without(&self) -> Option<&'a str> {
        self.without
    }

    /// Counts a case that another domain ran.
    pub const fn count_one(&mut self) {
        self.count += 1;
    }

    /// Runs one case and prints its line. An exception in it ends it, and is reported as `uncaught`.
    pub fn case(&mut self, name: &str, run: impl FnOnce(&mut Report)) {
        self.case_of(format_args!("{name}"), run);
    }

    /// Runs one case whose name is put together.
    pub fn case_of(&mut self, name: fmt::Arguments<'_>, run: impl FnOnce(&mut Report)) {
        let mut named = Line::new();
        // A name that is too long is cut, which is no error.
        let _ = named.write_fmt(format_args!("{}{}{name}", self.domain, self.prefix));
        let name = named.text();
        let named_by = |prefixes: &str| prefixes.split(',').any(|prefix| name.starts_with(prefix));
        if self.only.is_some_and(|only| !named_by(only)) || self.without.is_some_and(named_by) {
            return;
        }
        self.count += 1;
        let mut report = Report(Line::new());
        if let Err(fault) = catch(|| run(&mut report)) {
            report.field("uncaught").fault(&fault);
        }
        traps::LEAVE_IN_SERVICE.store(false, core::sync::atomic::Ordering::Relaxed);
        console::line(format_args!("CASE {name} = {}", report.0.text()));
    }

    /// Names cases with `prefix` before their names from now on.
    pub const fn begin_names_with(&mut self, prefix: &'static str) {
        self.prefix = prefix;
    }

    /// Returns how many cases ran.
    pub fn count(&self) -> u32 {
        self.count
    }
}
