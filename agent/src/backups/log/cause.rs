//! Why a guest's backup failed, where an earlier line says it better than the last one.
//!
//! QEMU's errors come first as an `ERROR:` of their own. What tar, zstd or rsync complain about
//! is logged as `INFO:`, and the failure then names a command of a thousand characters only. What
//! compresses a virtual machine's archive complains into the task's log by itself, and all that
//! QEMU knows of a full storage then is a broken pipe.

/// Programs that vzdump runs and whose complaints are logged.
const PROGRAMS: &[&str] = &["tar", "zstd", "gzip", "pigz", "lzop", "rsync", "vma", "cp", "mount"];

/// What a complaint has that ends a program; a tar also tells of files that changed meanwhile.
const GRAVE: &[&str] =
    &["annot", "denied", "rror", "ailed", "No space", "Wrote only", "Broken pipe", "timed out"];

/// Whether a line is a complaint of a program that vzdump runs.
pub fn is_complaint(text: &str) -> bool {
    let Some((program, complaint)) = text.split_once(": ") else { return false };
    PROGRAMS.contains(&program) && GRAVE.iter().any(|word| complaint.contains(word))
}

/// What was seen so far of a guest that may explain its failure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suspects {
    last_error: Option<String>,
    first_complaint: Option<String>,
}

impl Suspects {
    /// An `ERROR:` before the end of the guest.
    pub fn error(&mut self, text: &str) {
        if !text.is_empty() {
            self.last_error = Some(text.to_owned());
        }
    }

    /// A complaint; the first is the cause, the others are its consequences.
    pub fn complaint(&mut self, text: &str) {
        self.first_complaint.get_or_insert_with(|| text.to_owned());
    }

    /// The line that explains a failure; none if the failure says all that is known.
    pub fn explain(self, failure: &str) -> Option<String> {
        let causes = [self.last_error, self.first_complaint].into_iter().flatten();
        causes.into_iter().find(|cause| !failure.contains(cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_names_its_program_and_is_grave() {
        assert!(is_complaint("tar: /x.tmp: Cannot open: Permission denied"));
        assert!(is_complaint(r"zstd: /*stdout*\: Input/output error"));
        assert!(!is_complaint("tar: ./run/x: socket ignored"));
        assert!(!is_complaint("tar: ./log: file changed as we read it"));
        assert!(!is_complaint("CT Name: error"));
    }

    #[test]
    fn an_error_explains_better_than_a_complaint() {
        let mut suspects = Suspects::default();
        suspects.complaint("tar: first error");
        suspects.complaint("tar: second error");
        assert_eq!(suspects.clone().explain("exit code 2").as_deref(), Some("tar: first error"));
        suspects.error("job failed");
        assert_eq!(suspects.clone().explain("exit code 2").as_deref(), Some("job failed"));
        // QEMU's error is repeated by the failure, and says nothing beyond it.
        assert_eq!(suspects.clone().explain("job failed").as_deref(), Some("tar: first error"));
        assert_eq!(suspects.explain("job failed, tar: first error"), None);
    }
}
