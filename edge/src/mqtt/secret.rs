//! A password that cannot be printed by accident.
//!
//! `Debug` and `Display` show a mark in its place; only [`Secret::expose`] gives the text.

use std::fmt;

/// A password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A new one that nobody can guess, for the time of one run: 32 hexadecimal digits.
    ///
    /// # Panics
    /// When the system has no source of randomness.
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        rustls::crypto::ring::default_provider()
            .secure_random
            .fill(&mut bytes)
            .expect("the system gives random numbers");
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether `other` is the same, in a time that does not tell how much of it is.
    pub fn matches(&self, other: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differing = own.iter().zip(other).fold(0, |bits, (a, b)| bits | (a ^ b));
        own.len() == other.len() && differing == 0
    }

    /// The password itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new("swordfish");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)).find("swordfish"), None);
        assert_eq!(secret.expose(), "swordfish");
    }

    #[test]
    fn only_the_same_password_matches() {
        let secret = Secret::new("swordfish");
        assert!(secret.matches(b"swordfish"));
        for other in ["", "swordfis", "swordfish ", "Swordfish"] {
            assert!(!secret.matches(other.as_bytes()), "{other}");
        }
        assert!(Secret::random() != Secret::random());
        assert_eq!(Secret::random().expose().len(), 32);
    }
}
