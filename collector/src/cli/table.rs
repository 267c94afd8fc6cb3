//! A table with aligned columns that fits the terminal; the last column gives way.

use std::io::IsTerminal;

use super::paint::Paint;
use crate::output::http::Tone;

/// Between two columns.
const GAP: &str = "  ";

/// A last column is cut no shorter than this.
const LAST_WIDTH_MIN: usize = 20;

/// A cell and its colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell without colour. Control characters are shown, not obeyed.
    pub fn plain(text: impl AsRef<str>) -> Self {
        Self::toned(text, Tone::Neutral)
    }

    /// A cell in the colour of a tone.
    pub fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: printable(text.as_ref()), tone }
    }
}

/// Writes a table. `width` is the terminal's; without one nothing is cut.
pub fn write<const N: usize>(
    headings: [&str; N],
    rows: &[[Cell; N]],
    paint: Paint,
    width: Option<usize>,
) -> String {
    let mut widths = headings.map(str::len);
    for row in rows {
        for (column, cell) in widths.iter_mut().zip(row) {
            *column = (*column).max(cell.text.chars().count());
        }
    }
    if let (Some(width), Some((last, others))) = (width, widths.split_last_mut()) {
        let taken: usize = others.iter().map(|other| other + GAP.len()).sum();
        *last = (*last).min(width.saturating_sub(taken).max(LAST_WIDTH_MIN));
    }
    let mut text = String::new();
    let headings = headings.map(Cell::plain);
    push_row(&mut text, &headings, &widths, |_, shown| paint.dim(shown));
    for row in rows {
        push_row(&mut text, row, &widths, |cell, shown| paint.tone(cell.tone, shown));
    }
    text
}

fn push_row(
    text: &mut String,
    row: &[Cell],
    widths: &[usize],
    colour: impl Fn(&Cell, &str) -> String,
) {
    let last = row.len().saturating_sub(1);
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        let shown = cut(&cell.text, *width);
        text.push_str(&colour(cell, &shown));
        if column < last {
            let padding = width.saturating_sub(shown.chars().count());
            text.extend(std::iter::repeat_n(' ', padding));
            text.push_str(GAP);
        }
    }
    text.push('\n');
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// The text with control characters written out: a unit's name must not move the cursor.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_direction(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Characters that change the direction of the text around them.
fn is_direction(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How wide the terminal is; none if standard output is no terminal.
pub fn width_of_stdout() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stdout).ok()?;
    Some(usize::from(size.ws_col)).filter(|width| *width > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [[Cell; 2]; 2] {
        [
            [Cell::toned("pve1", Tone::Good), Cell::plain("short")],
            [Cell::plain("a-long-name"), Cell::plain("a summary that is rather long")],
        ]
    }

    #[test]
    fn columns_are_aligned_and_nothing_is_cut_without_a_terminal() {
        let expected = "NODE         SUMMARY\n\
                        pve1         short\n\
                        a-long-name  a summary that is rather long\n";
        assert_eq!(write(["NODE", "SUMMARY"], &rows(), Paint::Plain, None), expected);
    }

    #[test]
    fn the_last_column_is_cut_to_the_terminal() {
        let narrow = write(["NODE", "SUMMARY"], &rows(), Paint::Plain, Some(36));
        assert!(narrow.lines().all(|line| line.chars().count() <= 36), "{narrow}");
        assert!(narrow.ends_with("a summary that is rath…\n"), "{narrow}");
    }

    #[test]
    fn colour_does_not_change_the_alignment() {
        let table = write(["NODE", "SUMMARY"], &rows(), Paint::Colour, None);
        assert!(table.contains("\x1b[32mpve1\x1b[0m         short"), "{table:?}");
    }

    #[test]
    fn a_name_cannot_control_the_terminal() {
        assert_eq!(printable("a\x1b[2J\n\u{202e}b"), "a\\u{1b}[2J\\n\\u{202e}b");
    }
}
