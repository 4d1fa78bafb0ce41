//! `Shares`: what a mount has in common with those of other machines: the tier, and for each source that shares its circle. It mounts nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::warn;

use crate::config::{Config, Remote, SharedConfig, Sharing, SourceConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;
use crate::shared::{Access, Circle, CircleKey, Late, LateCircle, Leases, Services, Shared, Store, Tier};
use crate::source::Source;
use crate::source::kind::ACCOUNT_KEYS;
use crate::source::settings::{FORMS, secret_of};
use crate::sources;
use crate::status::SharedStatus;
use crate::version::Proven;

/// What the mount shares by; nothing if nothing is configured.
pub struct Shares(Option<(SharedConfig, Arc<Tier>)>);

impl Shares {
    /// By this configuration. Nothing is asked of the store.
    pub fn of(config: &Config) -> Self {
        let tier = |shared: &SharedConfig| Tier::with(services(shared), shared.tuning);
        Self(config.shared.as_ref().map(|shared| (shared.clone(), tier(shared))))
    }

    /// The source whose content is asked for: `source`, or one that asks the store first; and who wants to hear of each copy that is
    /// proven by its hash.
    pub fn wrap(&self, config: &SourceConfig, source: Arc<dyn Source>) -> (Arc<dyn Source>, Option<Box<Proven>>) {
        let (Some((shared, tier)), Some(sharing)) = (&self.0, &config.sharing) else { return (source, None) };
        let circle = circle(shared, sharing, config);
        // The secret of a keyring or a command may take a person's time; the others are here, and so the first file is shared.
        if !may_ask(shared, config)
            && let Err(error) = circle.unlock()
        {
            warn!("source {}: without the key of its circle it shares nothing: {error}", config.name.escape_debug());
        }
        let notes = config.settings.notes.clone();
        let shared = Arc::new(Shared::new(source, tier.clone(), circle, shared.weak, notes));
        let confirming = shared.clone();
        (shared, Some(Box::new(move |copy| confirming.confirm(copy))))
    }

    /// What came of it so far, at any time; `None` if nothing is shared.
    pub fn status(self) -> impl Fn() -> Option<SharedStatus> + Send + Sync + 'static {
        move || {
            let (shared, tier) = self.0.as_ref()?;
            let counts = tier.counts();
            Some(SharedStatus {
                store: shared.shown(),
                state: if tier.is_resting() { "resting" } else { "ok" }.into(),
                last_error: counts.last_error.lock().clone(),
                hits: counts.hits.load(Ordering::Relaxed),
                misses: counts.misses.load(Ordering::Relaxed),
                bytes_in: counts.bytes_in.load(Ordering::Relaxed),
                bytes_out: counts.bytes_out.load(Ordering::Relaxed),
                refused: counts.refused.load(Ordering::Relaxed),
                hedged: counts.hedged.load(Ordering::Relaxed),
                leases_won: counts.leases_won.load(Ordering::Relaxed),
                leases_waited: counts.leases_waited.load(Ordering::Relaxed),
            })
        }
    }
}

/// What is configured. It is opened when it is first asked.
pub fn services(shared: &SharedConfig) -> Services {
    let store = |remote: Remote| Arc::new(Late::store(move || remote.place()));
    let redis = shared.redis.clone().map(|remote| Arc::new(Late::redis(move || remote.place())));
    Services {
        store: shared.store.clone().map(|remote| store(remote) as Arc<dyn Store>),
        small: redis.clone().map(|redis| redis as Arc<dyn Store>),
        leases: redis.map(|redis| redis as Arc<dyn Leases>),
    }
}

/// The circle of a source.
pub fn circle(shared: &SharedConfig, sharing: &Sharing, config: &SourceConfig) -> Arc<LateCircle> {
    let (shared, sharing, config) = (shared.clone(), sharing.clone(), config.clone());
    LateCircle::new(move || {
        let Some(key) = &shared.key else {
            // Who has the secret may read at the source what is shared with it.
            return Ok(Circle::new(&key_of_its_own(&config)?, Access::Same, source_id(&config)?));
        };
        let key = key.reveal().and_then(|text| CircleKey::parse(text.expose()).map_err(wrong))?;
        Ok(match &sharing.circle {
            None => Circle::new(&key, shared.access, source_id(&config)?),
            Some(name) => Circle::new(&key.of_circle(name), shared.access, config.identity_without(&ACCOUNT_KEYS)),
        })
    })
}

fn wrong(why: impl Into<String>) -> Error {
    Error::new("read the key of a circle", ErrorKind::InvalidConfig).because(why.into())
}

/// Where the key of a source's circle comes from if `[shared]` has none.
fn lasting_secret(config: &SourceConfig) -> Option<(&'static str, Secret)> {
    let settings = &config.settings;
    let key = sources::kind(&config.type_name)?.lasting_secret(settings)?;
    Some((key, secret_of(settings.values.get(key)?, settings.private, FORMS).ok()?))
}

fn key_of_its_own(config: &SourceConfig) -> Result<CircleKey> {
    let (key, secret) = lasting_secret(config).ok_or_else(|| wrong("the source has no secret to make one of"))?;
    CircleKey::of_secret(secret.reveal()?.expose()).ok_or_else(|| {
        wrong(format!(
            "`{key}` is so short that it could be guessed; add key = {{ file = \"…\" }} to [shared], for which `kitovufs shared key new \
             FILE` makes one"
        ))
    })
}

/// The identity of a source's remote together with the account.
fn source_id(config: &SourceConfig) -> Result<String> {
    let mut id = config.identity();
    for (key, secret) in accounts(config) {
        id.push_str(&format!("\n{key} of {}", secret.reveal()?.expose()));
    }
    Ok(id)
}

/// The accounts that are written as secrets, which the identity of a remote does not tell.
fn accounts(config: &SourceConfig) -> impl Iterator<Item = (&'static str, Secret)> {
    let settings = &config.settings;
    let values = ACCOUNT_KEYS.into_iter().filter_map(|key| Some((key, settings.values.get(key)?)));
    let secrets = values.filter(|(_, value)| value.is_table());
    secrets.filter_map(|(key, value)| Some((key, secret_of(value, settings.private, FORMS).ok()?)))
}

/// Whether the secrets of a circle may have to be asked of a program or a person.
fn may_ask(shared: &SharedConfig, config: &SourceConfig) -> bool {
    let asks = |secret: &Secret| matches!(secret, Secret::Command(_) | Secret::Keyring(_));
    let own = || lasting_secret(config).map(|(_, secret)| secret);
    shared.key.clone().or_else(own).is_some_and(|secret| asks(&secret))
        || accounts(config).any(|(_, secret)| asks(&secret))
}
