//! Blanks what looks like a secret in a line of a log.
//!
//! A safety net, not a promise: a program that logs its secrets in its own words gets through.
//! Such units belong into `[units.log] exclude`.

use std::borrow::Cow;

use regex_lite::{Captures, Regex};

use super::config::RedactPattern;

/// What stands in the place of a secret.
pub const BLANK: &str = "[redacted]";

/// What is blanked always. A group named `secret` is blanked alone, otherwise the whole match.
const DEFAULTS: [&str; 7] = [
    // password=..., "token": "...", API_KEY: ..., --secret ...
    r#"(?i)(?:pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|(?:api|access|auth|private|encryption)[_-]?key)["']?(?:\s*[:=]\s*|\s+is\s+|=)(?<secret>"[^"]*"|'[^']*'|[^\s,;&"']+)"#,
    r"(?i)--?(?:password|passwd|passphrase|secret|token|api-?key)[ =](?<secret>[^\s]+)",
    // HTTP headers.
    r"(?i)(?:proxy-)?authorization\s*[:=]\s*(?<secret>(?:(?:basic|bearer|digest|negotiate|pveapitoken=?|pbsapitoken=?)\s*)?[^\s]+)",
    r"(?i)\b(?:bearer|basic)\s+(?<secret>[A-Za-z0-9+/_.=~-]{16,})",
    r"(?i)(?:set-)?cookie\s*:\s*(?<secret>[^\n]+)",
    // scheme://user:password@host
    r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s:/@]*:(?<secret>[^\s@]+)@",
    // Proxmox tickets and API tokens: PVE:user@realm:0123ABCD::signature, user@realm!id=uuid
    r"(?:PVE|PBS|PVEVNC|PBSVNC|PMG|PDM):[^\s:]+:[0-9A-F]{8}::(?<secret>[^\s]+)|[^\s@]+@[a-z]+![\w.-]+[=:](?<token>[0-9a-fA-F-]{36})",
];

/// Compiled patterns.
#[derive(Debug)]
pub struct Redactor {
    patterns: Vec<Regex>,
}

impl Redactor {
    /// The default patterns, and more.
    pub fn new(more: &[RedactPattern]) -> Self {
        let defaults = DEFAULTS.iter().filter_map(|pattern| Regex::new(pattern).ok());
        Self { patterns: defaults.chain(more.iter().map(|pattern| pattern.0.clone())).collect() }
    }

    /// Blanks the secrets of a text; says how many there were.
    pub fn redact(&self, text: &str) -> (String, u32) {
        let mut count = 0;
        let mut text = Cow::Borrowed(text);
        for pattern in &self.patterns {
            if !pattern.is_match(&text) {
                continue;
            }
            let blanked = pattern.replace_all(&text, |captures: &Captures<'_>| {
                let (whole, secret) = secret_of(captures);
                if secret == BLANK || secret.is_empty() {
                    return whole.to_owned();
                }
                count += 1;
                whole.replacen(secret, BLANK, whole.matches(secret).count().max(1))
            });
            text = Cow::Owned(blanked.into_owned());
        }
        (text.into_owned(), count)
    }
}

/// The match and the part of it that is to be blanked.
fn secret_of<'t>(captures: &Captures<'t>) -> (&'t str, &'t str) {
    let whole = captures.get(0).map_or("", |found| found.as_str());
    let named = captures.name("secret").or_else(|| captures.name("token"));
    (whole, named.map_or(whole, |found| found.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        let (text, count) = Redactor::new(&[]).redact(line);
        assert_eq!(text, expected, "{line}");
        assert_eq!(count > 0, line != expected, "{line}");
    }

    #[test]
    fn secrets_of_common_shapes_are_blanked() {
        for (line, expected) in [
            ("login with password=hunter2 ok", "login with password=[redacted] ok"),
            ("Password: 'a b c', user bob", "Password: [redacted], user bob"),
            (r#"{"token": "abc.def", "n": 1}"#, r#"{"token": [redacted], "n": 1}"#),
            ("DB_PASSWORD=x;HOST=y", "DB_PASSWORD=[redacted];HOST=y"),
            ("api_key: 123 access-key=456", "api_key: [redacted] access-key=[redacted]"),
            ("curl --password geheim https://x", "curl --password [redacted] https://x"),
            ("Authorization: Bearer abcdefghijklmnop", "Authorization: [redacted]"),
            ("authorization: Basic dXNlcjpwYXNz", "authorization: [redacted]"),
            ("got bearer abcdefghijklmnopqrst.", "got bearer [redacted]"),
            ("mqtt://node:geheim@broker:1883", "mqtt://node:[redacted]@broker:1883"),
            ("Set-Cookie: PVEAuthCookie=x; secure", "Set-Cookie: [redacted]"),
            ("PVE:root@pam:65A1B2C3::c2lnbmF0dXJl", "PVE:root@pam:65A1B2C3::[redacted]"),
            ("root@pam!mon=12345678-1234-1234-1234-123456789abc", "root@pam!mon=[redacted]"),
        ] {
            check(line, expected);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for line in [
            "Main process exited, code=exited, status=1/FAILURE",
            "pveproxy.service: Failed with result 'exit-code'.",
            "authentication failure; rhost=10.0.0.1 user=root@pam msg=no such user",
            "Started session 3 of user root.",
            "listening on http://10.0.0.1:8006/",
            "",
        ] {
            check(line, line);
        }
    }

    #[test]
    fn own_patterns_blank_their_group_or_their_match() {
        let own = |pattern: &str| RedactPattern::try_from(pattern.to_owned()).unwrap();
        let redactor = Redactor::new(&[own(r"pin (?<secret>\d+)"), own(r"card-\d+")]);
        assert_eq!(
            redactor.redact("pin 1234 of card-99"),
            ("pin [redacted] of [redacted]".to_owned(), 2)
        );
    }
}
