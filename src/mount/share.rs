//! `Shares`: what a mount has in common with those of other machines: the tier, and for each source that shares its circle. It mounts nothing.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use parking_lot::Mutex;

use crate::config::{self, Config, Remote, SharedConfig, SourceConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;
use crate::shared::{
    Access, Circle, CircleKey, Health, Late, LateCircle, Leases, Listed, Services, Shared, SigningKey, Store, Tier,
    Trust,
};
use crate::source::Source;
use crate::source::kind::ACCOUNT_KEYS;
use crate::source::settings::{FORMS, secret_of};
use crate::sources;
use crate::status::{ServiceStatus, SharedStatus};
use crate::version::Proven;

/// What the mount shares by; nothing if nothing is configured.
pub struct Shares(Option<Sharing>);

struct Sharing {
    config: SharedConfig,
    tier: Arc<Tier>,
    /// The circle of each source that shares, by its name.
    circles: Mutex<Vec<(String, Arc<LateCircle>)>>,
}

impl Shares {
    /// By this configuration. Nothing is asked of the store.
    pub fn of(config: &Config) -> Self {
        let sharing = |shared: &SharedConfig| {
            let tier = Tier::with(services(shared), shared.tuning);
            Sharing { config: shared.clone(), tier, circles: Mutex::default() }
        };
        Self(config.shared.as_ref().map(sharing))
    }

    /// What is to be told of the configuration to whoever mounts, once the sources are wrapped: what does not work.
    pub fn notes(&self) -> Vec<String> {
        let Some(sharing) = &self.0 else { return Vec::new() };
        let keyless = sharing.keyless().into_iter().map(|(name, why)| format!("source {name} shares nothing: {why}"));
        keyless.chain(exposed_keys(&sharing.config)).collect()
    }

    /// The source whose content is asked for: `source`, or one that asks the store first; and who wants to hear of each copy that is
    /// proven by its hash.
    pub fn wrap(&self, config: &SourceConfig, source: Arc<dyn Source>) -> (Arc<dyn Source>, Option<Box<Proven>>) {
        let (Some(Sharing { config: shared, tier, circles }), Some(sharing)) = (&self.0, &config.sharing) else {
            return (source, None);
        };
        let circle = circle(shared, sharing, config);
        circles.lock().push((config.name.escape_debug().to_string(), circle.clone()));
        // The secret of a keyring or a command may take a person's time; the others are here, and so the first file is shared. What fails
        // is told by `notes`.
        if !may_ask(shared, config) {
            let _ = circle.unlock();
        }
        let notes = config.settings.notes.clone();
        let shared = Arc::new(Shared::new(source, tier.clone(), circle, shared.weak, notes));
        let confirming = shared.clone();
        (shared, Some(Box::new(move |copy| confirming.confirm(copy))))
    }

    /// The source whose listings are asked for: `connection`, or one that asks the store first. Listings are shared by those with one account.
    pub fn wrap_listings(&self, config: &SourceConfig, connection: Arc<dyn Source>) -> Arc<dyn Source> {
        let (Some(Sharing { config: shared, tier, circles }), Some(sharing)) = (&self.0, &config.sharing) else {
            return connection;
        };
        if !shared.listings || sharing.circle.is_some() {
            return connection;
        }
        let name = config.name.escape_debug().to_string();
        let circle = circles.lock().iter().find(|(of, _)| *of == name).map(|(_, circle)| circle.clone());
        let circle = circle.unwrap_or_else(|| self::circle(shared, sharing, config));
        Arc::new(Listed::new(connection, tier.clone(), circle, config.fresh_for, SystemTime::now))
    }

    /// What came of it so far, at any time; `None` if nothing is shared.
    pub fn status(self) -> impl Fn() -> Option<SharedStatus> + Send + Sync + 'static {
        move || {
            let sharing = self.0.as_ref()?;
            let Sharing { config: shared, tier, .. } = sharing;
            let counts = tier.counts();
            let services = services_of(shared, tier);
            let state = match () {
                () if tier.is_resting() => "resting",
                () if services.iter().any(|service| service.state != "ok") => "partly",
                () => "ok",
            };
            Some(SharedStatus {
                store: shared.shown(),
                state: state.into(),
                last_error: counts.last_error.lock().clone(),
                last_refusal: counts.last_refusal.lock().clone(),
                services,
                keyless: sharing.keyless(),
                hits: counts.hits.load(Ordering::Relaxed),
                misses: counts.misses.load(Ordering::Relaxed),
                bytes_in: counts.bytes_in.load(Ordering::Relaxed),
                bytes_out: counts.bytes_out.load(Ordering::Relaxed),
                refused: counts.refused.load(Ordering::Relaxed),
                hedged: counts.hedged.load(Ordering::Relaxed),
                leases_won: counts.leases_won.load(Ordering::Relaxed),
                leases_waited: counts.leases_waited.load(Ordering::Relaxed),
                listings: counts.listings.load(Ordering::Relaxed),
                audited: counts.audited.load(Ordering::Relaxed),
                lies: counts.lies.load(Ordering::Relaxed),
            })
        }
    }
}

impl Sharing {
    /// Why a source shares nothing, by the names of those that have not got the key of their circle.
    fn keyless(&self) -> BTreeMap<String, String> {
        let circles = self.circles.lock();
        circles.iter().filter_map(|(name, circle)| Some((name.clone(), circle.why_locked()?))).collect()
    }
}

fn services_of(shared: &SharedConfig, tier: &Tier) -> Vec<ServiceStatus> {
    let urls = [&shared.store, &shared.redis].map(|remote| remote.as_ref().map(|remote| remote.url.to_string()));
    let services = urls.into_iter().zip(tier.health()).filter_map(|(url, health)| Some((url?, health?)));
    let service = |(url, health)| {
        let (state, why) = match health {
            Health::Ok => ("ok", None),
            Health::TakesNothing(why) => ("takes nothing", Some(why)),
            Health::Resting(why) => ("resting", Some(why)),
        };
        ServiceStatus { url, state: state.into(), why }
    };
    services.map(service).collect()
}

/// What is to be done about the files of keys that others than their owner may read.
pub fn exposed_keys(shared: &SharedConfig) -> impl Iterator<Item = String> {
    let keys = [("key", &shared.key), ("signing_key", &shared.signing_key)].into_iter();
    keys.filter_map(|(name, key)| exposed(name, key.as_ref()?))
}

fn exposed(name: &str, key: &Secret) -> Option<String> {
    let Secret::File(path) = key else { return None };
    // One that cannot be read is told of where it is needed.
    let mode = std::fs::metadata(path).ok()?.mode();
    let path = path.display();
    (mode & 0o077 != 0).then(|| {
        format!(
            "`{name}` of [shared]: {path} can be read or changed by others (mode {:o}); run: chmod 600 {path}",
            mode & 0o777
        )
    })
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
pub fn circle(shared: &SharedConfig, sharing: &config::Sharing, config: &SourceConfig) -> Arc<LateCircle> {
    let (shared, sharing, config) = (shared.clone(), sharing.clone(), config.clone());
    LateCircle::new(move || {
        let trust = trust(&shared)?;
        let Some(key) = &shared.key else {
            // Who has the secret may read at the source what is shared with it.
            return Ok(Circle::signing(&key_of_its_own(&config)?, Access::Same, source_id(&config)?, trust));
        };
        let key = key.reveal().and_then(|text| CircleKey::parse(text.expose()).map_err(wrong))?;
        let (key, id) = match &sharing.circle {
            None => (key, source_id(&config)?),
            Some(name) => (key.of_circle(name), config.identity_without(&ACCOUNT_KEYS)),
        };
        Ok(Circle::signing(&key, shared.access, id, trust))
    })
}

/// Whose values are taken, if not those of everybody who has the key.
fn trust(shared: &SharedConfig) -> Result<Option<Arc<Trust>>> {
    let signing = shared.signing_key.as_ref().map(|key| {
        let text = key.reveal()?;
        SigningKey::parse(text.expose()).map_err(|why| wrong(format!("`signing_key`: {why}")))
    });
    let signing = signing.transpose()?;
    let signs = signing.is_some() || !shared.trusted.is_empty();
    Ok(signs.then(|| Arc::new(Trust::new(shared.trusted.clone(), signing))))
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
        || shared.signing_key.as_ref().is_some_and(asks)
        || accounts(config).any(|(_, secret)| asks(&secret))
}
