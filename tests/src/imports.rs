//! What a Rust source file imports, read from its text: enough for rules on who may know whom.
//!
//! Sees `use` declarations with their groups, and paths in the code such as `crate::core::run()`.
//! Comments, string literals and everything from `#[cfg(test)]` on are left out. Absent: name
//! resolution; a rename or a glob of a re-export is seen as the path that is written.

/// The part of a file that is not its tests.
pub fn without_tests(source: &str) -> &str {
    let tests = source.find("\n#[cfg(test)]\nmod ").map_or(source.len(), |at| at + 1);
    &source[..tests]
}

/// Every path of two or more segments, as `a::b::c`; relative ones begin with `self` or `super`.
pub fn paths(source: &str) -> Vec<String> {
    let code = without_comments_and_strings(without_tests(source));
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some((before, declaration)) = next_use(rest) {
        found.extend(inline_paths(before));
        let end = declaration.find(';').unwrap_or(declaration.len());
        expand("", &declaration[..end], &mut found);
        rest = &declaration[end..];
    }
    found.extend(inline_paths(rest));
    found
}

/// Splits before the next `use` declaration; the second part begins after the word.
fn next_use(code: &str) -> Option<(&str, &str)> {
    let mut from = 0;
    while let Some(at) = code[from..].find("use ").map(|at| at + from) {
        let begins_a_word =
            code[..at].chars().next_back().is_none_or(|c| c.is_whitespace() || c == '}');
        if begins_a_word {
            return Some((&code[..at], &code[at + 4..]));
        }
        from = at + 4;
    }
    None
}

/// Writes out `a::{b, c::{d}}` as `a::b` and `a::c::d`.
fn expand(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let join = |part: &str| {
        if prefix.is_empty() { part.to_owned() } else { format!("{prefix}::{part}") }
    };
    match tree.split_once('{') {
        None => {
            let path = tree.split(" as ").next().unwrap_or(tree).trim();
            found.push(join(path));
        }
        Some((head, group)) => {
            let head = join(head.trim().trim_end_matches("::"));
            let group = group.strip_suffix('}').unwrap_or(group);
            for part in split_outside_braces(group) {
                expand(head.trim_start_matches("::"), part, found);
            }
        }
    }
}

fn split_outside_braces(group: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn inline_paths(code: &str) -> impl Iterator<Item = String> + '_ {
    let in_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = code.split(move |c: char| !in_path(c));
    let paths = words.map(|word| word.trim_matches(':'));
    paths.filter(|word| word.contains("::")).map(str::to_owned)
}

fn without_comments_and_strings(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut characters = source.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '/' if characters.peek() == Some(&'/') => {
                characters.by_ref().find(|&c| c == '\n');
                code.push('\n');
            }
            '"' => {
                skip_string(&mut characters);
                code.push_str("\"\"");
            }
            // A quote as a character literal opens no string.
            '\'' if characters.peek() == Some(&'"') => {
                characters.next();
            }
            _ => code.push(character),
        }
    }
    code
}

fn skip_string(characters: &mut impl Iterator<Item = char>) {
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            '"' => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: &[&str]) {
        assert_eq!(paths(source), expected);
    }

    #[test]
    fn groups_are_written_out() {
        check(
            "use a::{b, c::{d, e as f}};\npub use crate::g::H;",
            &["a::b", "a::c::d", "a::c::e", "crate::g::H"],
        );
    }

    #[test]
    fn paths_in_code_count_and_those_in_comments_and_texts_do_not() {
        check(
            "// see crate::core::run\nfn f() { crate::fleet::g(\"std::fs::read\"); }\n",
            &["crate::fleet::g"],
        );
    }

    #[test]
    fn a_quote_in_a_text_does_not_end_it() {
        check(r#"let a = "\"x::y\""; b::c(); let q = '"'; d::e()"#, &["b::c", "d::e"]);
    }

    #[test]
    fn tests_may_import_what_they_like() {
        check("use a::b;\n\n#[cfg(test)]\nmod tests {\n    use c::d;\n}\n", &["a::b"]);
    }
}
