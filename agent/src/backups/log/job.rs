//! The command line of a job, as `starting new backup job: ` shows it.

/// The value of an option of vzdump, such as `storage`, in a line that is quoted for a shell.
pub fn option(command: &str, name: &str) -> Option<String> {
    let mut words = words(command).into_iter();
    while let Some(word) = words.next() {
        if let Some(option) = word.strip_prefix("--") {
            match option.split_once('=') {
                Some((option, value)) if option == name => return Some(value.to_owned()),
                None if option == name => return words.next(),
                _ => {}
            }
        }
    }
    None
}

/// The words of a line as a POSIX shell takes them apart; a quote that is not closed goes to the
/// end.
pub fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some('\''), _) => word.get_or_insert_default().push(character),
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (_, '\\') => word.get_or_insert_default().extend(characters.next()),
            (None, ' ' | '\t') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_found_behind_quoted_ones() {
        let command = r"vzdump 100 --notes-template '{{guestname}} --storage no' --storage b-1";
        assert_eq!(option(command, "storage").as_deref(), Some("b-1"));
        assert_eq!(option("vzdump --storage='a b' 1", "storage").as_deref(), Some("a b"));
        assert_eq!(option("vzdump --storage", "storage"), None);
        assert_eq!(option("vzdump --storages x", "storage"), None);
    }

    #[test]
    fn quotes_are_a_shells() {
        assert_eq!(words(r"a 'b c'd \e '' 'x"), ["a", "b cd", "e", "", "x"]);
        assert_eq!(words(r#"'it'\''s' "q \" q""#), ["it's", "q \" q"]);
    }
}
