//! `SecretService`: the keyring of the desktop (GNOME, KDE, KeePassXC), asked over D-Bus. Items look as Python's `keyring` makes them.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use ::secret_service::{Collection, EncryptionType, Error as ServiceError, SecretService as Connection};

use super::{Item, Store, none_here};
use crate::error::{Error, ErrorKind, Result};
use crate::revealed::Revealed;

/// The time that the keyring may take where it does not ask the user. Starting its program takes a second or two.
const KEYRING_TIMEOUT: Duration = Duration::from_secs(10);

/// The time that the user may take to answer the keyring's question.
const PROMPT_TIMEOUT: Duration = Duration::from_secs(120);

/// The Secret Service of this user's session.
pub(super) struct SecretService;

impl Store for SecretService {
    fn check(&self) -> Result<()> {
        wait(KEYRING_TIMEOUT, async { connect().await.map(drop) })
    }

    fn get(&self, item: &Item) -> Result<Option<Revealed>> {
        wait(KEYRING_TIMEOUT, async {
            let service = connect().await?;
            let found = service.search_items(attributes(item)).await.map_err(failed)?;
            let Some(known) = found.unlocked.first() else {
                return if found.locked.is_empty() { Ok(None) } else { Err(locked()) };
            };
            let secret = known.get_secret().await.map_err(failed)?;
            let text = String::from_utf8(secret).map_err(|_| {
                Error::new("read secret", ErrorKind::InvalidConfig)
                    .because(format!("the keyring's secret is no text ({item})"))
            })?;
            Ok(Some(Revealed::new(text)))
        })
    }

    fn set(&self, item: &Item, secret: &Revealed) -> Result<()> {
        wait(PROMPT_TIMEOUT, async {
            let service = connect().await?;
            let collection = collection(&service).await.map_err(failed)?;
            if collection.is_locked().await.map_err(failed)? {
                collection.unlock().await.map_err(failed)?;
            }
            // The program that stored it may have added attributes of its own: a new item would then be a second one.
            let known = collection.search_items(attributes(item)).await.map_err(failed)?;
            let result = match known.first() {
                Some(known) => known.set_secret(secret.expose().as_bytes(), "text/plain").await,
                None => {
                    let label = format!("Password for '{}' on '{}'", item.identifier.replace('\n', " "), item.service);
                    let mut attributes = attributes(item);
                    attributes.insert("application", "kitovufs");
                    let secret = secret.expose().as_bytes();
                    collection.create_item(&label, attributes, secret, true, "text/plain").await.map(drop)
                }
            };
            result.map_err(failed)
        })
    }
}

/// The attributes that Python's `keyring` looks for.
fn attributes(item: &Item) -> HashMap<&str, &str> {
    HashMap::from([("service", &*item.service), ("username", &*item.identifier)])
}

async fn connect() -> Result<Connection<'static>> {
    Connection::connect(EncryptionType::Dh).await.map_err(|error| match error {
        ServiceError::Unavailable | ServiceError::Zbus(_) | ServiceError::ZbusFdo(_) => none_here(
            "there is no keyring to ask: no D-Bus session, as on a machine without desktop, or none with a keyring",
        )
        .caused_by(error),
        other => failed(other),
    })
}

/// The collection of new secrets; made if the keyring is new.
async fn collection<'a>(service: &'a Connection<'_>) -> Result<Collection<'a>, ServiceError> {
    match service.get_default_collection().await {
        Err(ServiceError::NoResult) => service.create_collection("Login", "default").await,
        found => found,
    }
}

fn locked() -> Error {
    Error::new("read secret", ErrorKind::InvalidConfig)
        .because("the keyring is locked; unlock it (logging in to the desktop does), and try again")
}

fn failed(error: ServiceError) -> Error {
    match error {
        ServiceError::Locked | ServiceError::Prompt => locked(),
        error => Error::new("ask keyring", ErrorKind::Other).caused_by(error),
    }
}

/// Waits in a thread of its own: the caller may be inside a runtime or not.
fn wait<T: Send>(patience: Duration, ask: impl Future<Output = Result<T>> + Send) -> Result<T> {
    let lost = || Error::new("ask keyring", ErrorKind::Other);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| lost().caused_by(error))?;
            runtime.block_on(async {
                let answer = tokio::time::timeout(patience, ask).await;
                answer.unwrap_or_else(|_| Err(Error::new("ask keyring", ErrorKind::TimedOut)))
            })
        });
        asking.join().unwrap_or_else(|_| Err(lost().because("asking the keyring ended unexpectedly")))
    })
}
