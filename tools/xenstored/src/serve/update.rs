//! Live update: another program takes the place of the worker, as `xenstore-control` requests step by step.
//!
//! The state outlives the worker at any moment anyway, so there is nothing to wait for: clients try open transactions
//! again.

use std::os::unix::fs::PermissionsExt;

use xenstore_wire::ErrorName;

/// State of a live update that was requested.
#[derive(Debug, Default)]
pub struct Update {
    program: Option<String>,
    words: Vec<String>,
    /// Whether it must be done now.
    pub is_due: bool,
}

impl Update {
    /// Does one step.
    ///
    /// **Errors:** `EINVAL` for words that are not valid. Other failures are the text of the response.
    pub fn command(&mut self, words: &[&str]) -> Result<String, ErrorName> {
        match words {
            ["-a"] if self.program.is_none() => Ok("No live-update session active.".to_owned()),
            ["-a"] => {
                *self = Self::default();
                Ok("OK".to_owned())
            }
            ["-f", program] => {
                let found = std::fs::metadata(program);
                let may_run = found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
                if !may_run {
                    return Ok("File not accessible.".to_owned());
                }
                *self = Self { program: Some((*program).to_owned()), ..Self::default() };
                Ok("OK".to_owned())
            }
            ["-c", words] => {
                if self.program.is_none() {
                    return Ok("Not in live-update session.".to_owned());
                }
                self.words = words.split_ascii_whitespace().map(str::to_owned).collect();
                Ok("OK".to_owned())
            }
            ["-s", how @ ..] => {
                check_how(how)?;
                if self.program.is_none() {
                    return Ok("Not in live-update session.".to_owned());
                }
                self.is_due = true;
                Ok("OK".to_owned())
            }
            _ => Err(ErrorName::Invalid),
        }
    }

    /// Returns the command line of the new worker; of the current one, if none was given.
    #[must_use]
    pub fn program(&self) -> Vec<String> {
        self.program.iter().chain(&self.words).cloned().collect()
    }
}

fn check_how(mut words: &[&str]) -> Result<(), ErrorName> {
    loop {
        words = match words {
            [] => return Ok(()),
            ["-F", rest @ ..] => rest,
            ["-t", seconds, rest @ ..] if seconds.parse::<u32>().is_ok() => rest,
            _ => return Err(ErrorName::Invalid),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_answered_as_xenstore_control_expects() {
        let mut update = Update::default();
        let mut says = |words: &[&str]| update.command(words).map_err(ErrorName::name).map(|said| said.to_owned());
        assert_eq!(says(&["-a"]), Ok("No live-update session active.".into()));
        assert_eq!(says(&["-f", "/nope"]), Ok("File not accessible.".into()));
        assert_eq!(says(&["-s"]), Ok("Not in live-update session.".into()));
        assert_eq!(says(&["-f", "/bin/true"]), Ok("OK".into()));
        assert_eq!(says(&["-c", "-N  -V"]), Ok("OK".into()));
        assert_eq!(says(&["-s", "-t"]), Err("EINVAL"));
        assert_eq!(says(&["-x"]), Err("EINVAL"));
        assert_eq!(says(&["-s", "-t", "30", "-F"]), Ok("OK".into()));
        assert_eq!((update.program(), update.is_due), (vec!["/bin/true".into(), "-N".into(), "-V".into()], true));
    }
}
