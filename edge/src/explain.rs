//! An error with its causes, as one line for a person.

use std::error::Error;

/// The error and its causes, outermost first. A cause whose words are already there is not
/// repeated: most errors of this project name their cause themselves.
pub fn explain(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !said.contains(&words) {
            said = format!("{said}: {words}");
        }
        cause = error.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no such file")]
    struct Cause;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("a.toml cannot be read: {source}")]
        Telling { source: Cause },
        #[error("the settings are wrong")]
        Silent { source: Cause },
    }

    #[test]
    fn every_cause_is_said_once() {
        let telling = Outer::Telling { source: Cause };
        assert_eq!(explain(&telling), "a.toml cannot be read: no such file");
        let silent = Outer::Silent { source: Cause };
        assert_eq!(explain(&silent), "the settings are wrong: no such file");
    }
}
