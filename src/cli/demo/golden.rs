//! The demo's golden image: a small ext4 file with what a browser VM needs, and one without the agent.
//!
//! They were made by mke2fs and are part of the program, so that the demo needs nothing installed; a mebibyte each, nearly
//! all of it zeros.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

const WITH_AGENT: &[u8] = include_bytes!("assets/with-agent.ext4.gz");
const WITHOUT_AGENT: &[u8] = include_bytes!("assets/without-agent.ext4.gz");
/// How a program for x86-64 begins, and what says so in it.
const ELF: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\0\0";
const X86_64: u8 = 62;
const AARCH64: u8 = 183;

/// The file from which the simulated controller's VMs are cloned.
#[derive(Clone, Debug)]
pub(super) struct Golden {
    path: PathBuf,
}

impl Golden {
    pub(super) fn beside(log: &Path) -> Golden {
        Golden {
            path: log.with_file_name("golden-browser-rootfs.ext4"),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Builds it anew, as a build does: the new file takes the old one's place at once.
    pub(super) fn build(&self, with_agent: bool) -> io::Result<()> {
        let packed = match with_agent {
            true => WITH_AGENT,
            false => WITHOUT_AGENT,
        };
        let mut image = Vec::new();
        flate2::read::GzDecoder::new(packed).read_to_end(&mut image)?;
        if cfg!(target_arch = "aarch64") {
            for_aarch64(&mut image);
        }
        let building = self.path.with_extension("building");
        std::fs::write(&building, image)?;
        std::fs::rename(building, &self.path)
    }
}

/// The guests run on the host's own kind of machine.
fn for_aarch64(image: &mut [u8]) {
    let places: Vec<usize> = memchr::memmem::find_iter(image, ELF)
        .map(|place| place + ELF.len())
        .collect();
    for place in places {
        if let Some(machine) = image.get_mut(place).filter(|machine| **machine == X86_64) {
            *machine = AARCH64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::image::{Verdict, overall};
    use crate::image::{Places, audit};

    fn verdict(with_agent: bool) -> (Verdict, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let golden = Golden::beside(&folder.path().join("x.log"));
        golden.build(with_agent).unwrap();
        let places = Places {
            image: golden.path().to_owned(),
            ..Places::default()
        };
        let image = audit(&places).unwrap();
        let failed = image
            .findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Fail)
            .map(|finding| finding.check.to_string())
            .collect();
        (overall(&image.findings), failed)
    }

    #[test]
    fn one_image_has_everything_and_the_other_lacks_the_agent_alone() {
        assert_eq!(verdict(true).1, Vec::<String>::new());
        let (overall, failed) = verdict(false);
        assert_eq!(overall, Verdict::Fail);
        assert_eq!(failed, ["agent", "unit"]);
    }

    #[test]
    fn programs_of_the_image_become_those_of_the_other_machine() {
        let mut image = [ELF, &[X86_64, 0], b"rest", ELF, &[3, 0]].concat();
        for_aarch64(&mut image);
        assert_eq!(image[ELF.len()], AARCH64);
        assert_eq!(image[image.len() - 2], 3, "no program of x86-64");
    }
}
