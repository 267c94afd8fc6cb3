//! Who is known to the embedded broker: names, roles, and passwords read from their files.
//!
//! Who is not listed is let in by certificate alone, as a node.

use std::collections::BTreeMap;
use std::path::Path;

use pvewatch_edge::mqtt::Secret;

use super::BrokerStartError;
use super::access::Role;
use super::settings::UserSettings;

/// The users with their passwords, read and checked.
#[derive(Debug, Default)]
pub(super) struct Users {
    by_name: BTreeMap<String, User>,
}

#[derive(Debug)]
struct User {
    role: Role,
    password: Option<Secret>,
}

impl Users {
    pub(super) fn read(settings: &[UserSettings]) -> Result<Self, BrokerStartError> {
        let mut users = Self::default();
        for user in settings {
            if user.name.is_empty() {
                return Err(BrokerStartError::UserWithoutName);
            }
            let password = match (&user.password, &user.password_file) {
                (Some(password), _) => Some(password.clone()),
                (None, Some(path)) => Some(read_password(&user.name, path)?),
                (None, None) => None,
            };
            if !users.add(&user.name, user.role, password) {
                return Err(BrokerStartError::UserTwice { name: user.name.clone() });
            }
        }
        Ok(users)
    }

    /// False if there is such a user already.
    pub(super) fn add(&mut self, name: &str, role: Role, password: Option<Secret>) -> bool {
        if self.by_name.contains_key(name) {
            return false;
        }
        self.by_name.insert(name.to_owned(), User { role, password });
        true
    }

    /// The role of a user whom the broker has let in: who is not listed came by certificate,
    /// and is a node.
    pub(super) fn role(&self, name: &str) -> Role {
        self.by_name.get(name).map_or(Role::Node, |user| user.role)
    }

    /// Whether this is the user's password.
    pub(super) fn password_fits(&self, name: &str, password: &[u8]) -> bool {
        let user = self.by_name.get(name);
        user.and_then(|user| user.password.as_ref()).is_some_and(|own| own.matches(password))
    }
}

fn read_password(name: &str, path: &Path) -> Result<Secret, BrokerStartError> {
    let wrong = |cause: String| BrokerStartError::Password {
        name: name.to_owned(),
        path: path.to_owned(),
        cause,
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line {
        "" => Err(wrong("it is empty".to_owned())),
        line if line.contains('\n') => Err(wrong("it has more than one line".to_owned())),
        line => Ok(Secret::new(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listed_user_has_a_password_and_any_other_is_a_node() {
        let mut users = Users::default();
        assert!(users.add("bot", Role::Reader, Some(Secret::new("x"))));
        assert!(users.add("ops", Role::Collector, None));
        assert!(!users.add("bot", Role::Node, None));
        assert_eq!((users.role("bot"), users.role("ops")), (Role::Reader, Role::Collector));
        assert_eq!(users.role("pve1"), Role::Node);
        assert!(users.password_fits("bot", b"x"));
        for (name, password) in [("bot", "y"), ("bot", ""), ("ops", ""), ("pve1", ""), ("", "")] {
            assert!(!users.password_fits(name, password.as_bytes()), "{name} {password}");
        }
    }
}
