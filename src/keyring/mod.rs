//! The keyring: where the desktop keeps secrets. It knows by which names a secret is kept there, and no source.

#[cfg(feature = "keyring")]
mod secret_service;

use std::fmt;

use toml::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::revealed::Revealed;

/// The other forms of a secret, for messages.
const OTHERS: &str = "use { file = \"…\" }, { command = \"…\" } or { env = \"NAME\" } instead";

/// The names by which one secret is kept. They are shown, and hold no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The purpose of the secret: `kitovu-smb`.
    pub service: String,
    /// The account, and the place where it is valid.
    pub identifier: String,
}

impl Item {
    /// The value that stands for an item in a source's settings, in place of `true`.
    pub fn to_toml(&self) -> Value {
        let fields = [("service", &self.service), ("identifier", &self.identifier)];
        Value::Table(fields.into_iter().map(|(key, text)| (key.to_owned(), text.clone().into())).collect())
    }

    /// Reads the form that [`Item::to_toml`] writes, also if a user wrote it by hand.
    pub fn from_toml(value: &Value) -> Option<Self> {
        let table = value.as_table().filter(|table| table.len() == 2)?;
        let text = |key: &str| table.get(key)?.as_str().map(str::to_owned);
        Some(Self { service: text("service")?, identifier: text("identifier")? })
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {:?}, user name {:?}", self.service, self.identifier)
    }
}

/// A keeper of secrets. Its methods may block.
pub trait Store: Send + Sync {
    /// Whether secrets can be kept here at all.
    ///
    /// # Errors
    /// `InvalidConfig`, with what to do instead.
    fn check(&self) -> Result<()>;

    /// The secret, if there is one. Never asks the user.
    ///
    /// # Errors
    /// `InvalidConfig` if there is no keyring, or it is locked.
    fn get(&self, item: &Item) -> Result<Option<Revealed>>;

    /// Keeps the secret, in place of one that is there. May have the desktop ask for the password of the keyring.
    fn set(&self, item: &Item, secret: &Revealed) -> Result<()>;
}

/// The keyring of this user's session, or what says that there is none.
pub fn system() -> Box<dyn Store> {
    #[cfg(feature = "keyring")]
    return Box::new(secret_service::SecretService);
    #[cfg(not(feature = "keyring"))]
    return Box::new(NotBuilt);
}

/// Gets a secret that must be there.
///
/// # Errors
/// It is not there, or the keyring cannot be asked; tells what to do.
pub fn reveal(item: &Item, store: &dyn Store) -> Result<Revealed> {
    store.get(item)?.ok_or_else(|| {
        Error::new("read secret", ErrorKind::InvalidConfig)
            .because(format!("the keyring has no secret for it ({item}); `kitovufs login SOURCE` stores one"))
    })
}

fn none_here(why: &str) -> Error {
    Error::new("read secret", ErrorKind::InvalidConfig).because(format!("{why}; {OTHERS}"))
}

/// In the place of a keyring that was left out of this program.
#[cfg(not(feature = "keyring"))]
struct NotBuilt;

#[cfg(not(feature = "keyring"))]
impl Store for NotBuilt {
    fn check(&self) -> Result<()> {
        Err(none_here("this kitovufs was built without a keyring"))
    }

    fn get(&self, _item: &Item) -> Result<Option<Revealed>> {
        self.check().map(|()| None)
    }

    fn set(&self, _item: &Item, _secret: &Revealed) -> Result<()> {
        self.check()
    }
}

/// A keyring in memory, for tests.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct InMemory(parking_lot::Mutex<std::collections::BTreeMap<(String, String), Revealed>>);

#[cfg(test)]
impl Store for InMemory {
    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn get(&self, item: &Item) -> Result<Option<Revealed>> {
        Ok(self.0.lock().get(&(item.service.clone(), item.identifier.clone())).cloned())
    }

    fn set(&self, item: &Item, secret: &Revealed) -> Result<()> {
        self.0.lock().insert((item.service.clone(), item.identifier.clone()), secret.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_not_there_is_an_error_that_names_it() {
        let store = InMemory::default();
        let item = Item { service: "kitovu-smb".into(), identifier: "anna\nHSR\nfiles".into() };
        let error = reveal(&item, &store).expect_err("nothing was stored").to_string();
        assert!(error.contains(r#""anna\nHSR\nfiles""#) && error.contains("kitovufs login"), "{error}");
        store.set(&item, &Revealed::new("hunter2")).expect("stored");
        assert_eq!(reveal(&item, &store).expect("stored").expose(), "hunter2");
    }
}
