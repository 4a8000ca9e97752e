//! The mapping of this process beside the recorded one. Another one is taken up by starting again, once the file is the recorded one.
//!
//! Everything in a process follows from its mapping: which collections the source reads, the tables of the sink, the units of reads.
//! So nothing is exchanged while it runs. It ends its work as for a stop, and begins again with the new file.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use crate::mapping::MappingFile;

/// The mapping of this process.
#[derive(Debug)]
pub(crate) struct OwnMapping {
    /// Where the file is.
    file: PathBuf,
    /// The digest of the file that the process has read.
    digest: [u8; 16],
    /// Ends the work of the process, which then begins again.
    again: CancellationToken,
}

impl OwnMapping {
    /// Creates the view of a file that the process has read; `again` is cancelled when another one is to be taken up.
    pub(crate) fn new(file: PathBuf, mapping: &MappingFile, again: CancellationToken) -> Self {
        Self { file, digest: mapping.digest(), again }
    }

    /// Compares the file with the recorded mapping, if that is not the one of this process. A role that needs the recorded one says so.
    pub(crate) fn compare(&self, recorded: Option<Vec<u8>>) {
        let Some(recorded) = recorded.filter(|recorded| *recorded != self.digest) else { return };
        if self.again.is_cancelled() {
            return;
        }
        let name = self.file.display().to_string();
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        if MappingFile::parse(&text, &name).is_ok_and(|file| recorded == file.digest()) {
            tracing::info!(file = name, "the mapping of the migration has changed: this process starts again with it");
            self.again.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_up_once_it_is_the_recorded_one() {
        let path = std::env::temp_dir().join(format!("driftless-own-mapping-{}.toml", std::process::id()));
        let text = "namespace = \"dns\"\n[collections.users]\nid = \"uuid5\"\n";
        let file = |text: &str| MappingFile::parse(text, "m.toml").expect("a mapping file");
        let (old, new) = (file(text), file(&text.replace("dns", "url")));
        let again = CancellationToken::new();
        let own = OwnMapping::new(path.clone(), &old, again.clone());
        let recorded = Some(new.digest().to_vec());
        own.compare(None);
        own.compare(recorded.clone());
        for other in [text, "[collections"] {
            std::fs::write(&path, other).expect("write a file");
            own.compare(Some(old.digest().to_vec()));
            own.compare(recorded.clone());
        }
        assert!(!again.is_cancelled());
        std::fs::write(&path, format!("# moved\n{}", new.text())).expect("write a file");
        own.compare(recorded);
        assert!(again.is_cancelled());
        std::fs::remove_file(&path).expect("remove it");
    }
}
