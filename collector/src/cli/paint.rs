//! Colour on a terminal, and only there.

use std::io::IsTerminal;

use crate::output::http::Tone;

/// Whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// With ANSI sequences.
    Colour,
    /// As it is.
    Plain,
}

impl Paint {
    /// Colour if standard output is a terminal that can show it and `NO_COLOR` is not set.
    pub fn of_stdout() -> Self {
        let is_wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let is_able = std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb");
        if is_wanted && is_able && std::io::stdout().is_terminal() {
            Self::Colour
        } else {
            Self::Plain
        }
    }

    /// The text in the colour of a tone.
    pub fn tone(self, tone: Tone, text: &str) -> String {
        match tone {
            Tone::Bad => self.wrap("1;31", text),
            Tone::Doubtful => self.wrap("33", text),
            Tone::Good => self.wrap("32", text),
            Tone::Neutral => text.to_owned(),
        }
    }

    /// The text as a heading.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// The text as something of less weight.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self {
            Self::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Plain => text.to_owned(),
        }
    }
}

/// The colour of a severity.
pub fn severity_tone(severity: &str) -> Tone {
    match severity {
        "critical" => Tone::Bad,
        "warning" => Tone::Doubtful,
        _ => Tone::Neutral,
    }
}
