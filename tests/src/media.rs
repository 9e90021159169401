//! What a machine boots from.

use std::path::PathBuf;

/// A boot module: a file and the words that follow its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    pub file: PathBuf,
    pub command_line: String,
}

/// What the firmware or the emulator loads first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// The emulator itself loads the image and its modules (`-kernel`, `-append`, `-initrd`).
    Kernel { image: PathBuf, options: String, modules: Vec<Module> },
    /// A boot disc under the BIOS.
    BiosDisc { iso: PathBuf },
    /// What the BIOS finds on a disc among the machine's further devices.
    OwnDisc,
    /// A boot disc under UEFI; `code` is the firmware, `variables` a copy of its variable store that it may write.
    UefiDisc { iso: PathBuf, code: PathBuf, variables: PathBuf },
}

impl Media {
    /// Returns the emulator's arguments for it.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        match self {
            Self::Kernel { image, options, modules } => {
                let mut words = vec!["-kernel".into(), image.display().to_string()];
                if !options.is_empty() {
                    words.extend(["-append".into(), options.clone()]);
                }
                if !modules.is_empty() {
                    words.extend(["-initrd".into(), module_list(modules)]);
                }
                words
            }
            Self::BiosDisc { iso } => vec!["-cdrom".into(), iso.display().to_string(), "-boot".into(), "d".into()],
            Self::OwnDisc => Vec::new(),
            Self::UefiDisc { iso, code, variables } => vec![
                "-drive".into(),
                format!("if=pflash,format=raw,unit=0,readonly=on,file={}", code.display()),
                "-drive".into(),
                format!("if=pflash,format=raw,unit=1,file={}", variables.display()),
                "-cdrom".into(),
                iso.display().to_string(),
            ],
        }
    }
}

/// Returns the emulator parts modules by commas; a comma that belongs to a command line is doubled.
fn module_list(modules: &[Module]) -> String {
    let spelled = |module: &Module| {
        let words = format!("{} {}", module.file.display(), module.command_line);
        words.trim_end().replace(',', ",,")
    };
    modules.iter().map(spelled).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(file: &str, command_line: &str) -> Module {
        Module { file: file.into(), command_line: command_line.into() }
    }

    #[test]
    fn modules_are_parted_by_commas_and_their_own_commas_are_doubled() {
        let list = module_list(&[module("vmlinuz", "console=ttyS0,115200"), module("initrd", "")]);
        assert_eq!(list, "vmlinuz console=ttyS0,,115200,initrd");
    }

    #[test]
    fn an_image_without_modules_gets_no_initrd_argument() {
        let media = Media::Kernel { image: "xenolith".into(), options: String::new(), modules: vec![] };
        assert_eq!(media.arguments(), ["-kernel", "xenolith"]);
    }
}
