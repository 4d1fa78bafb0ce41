//! `Redis`: a store of small files in Redis, Valkey, or what speaks as they do. It knows no leases; `leases` adds them.

mod leases;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion, RedisError, RedisResult,
    ServerErrorKind, TlsCertificates,
};

use self::leases::Channels;
use super::{Place, Store, Stored};
use crate::error::{Error, ErrorKind, Result};
use crate::shared::key::is_name;

/// The largest file whose values are kept here: they lie in memory.
pub(super) const LARGEST_FILE: u64 = 1 << 20;

/// How long a value is kept. A server that is full may forget it earlier (`maxmemory-policy allkeys-lru`).
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// What keys begin with, so that others may use the same database.
const PREFIX: &str = "kitovufs:";

/// How long it may take to connect, and to answer. Those who cannot wait for so long give up by themselves.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long after a failure to connect it is tried again, once.
const RETRY: Duration = Duration::from_millis(100);

/// How many keys are looked at together in a search for those of this program.
const SCANNED: usize = 1000;

/// What is said of a key that is no text.
const OF_ANOTHER_TYPE: &str = "WRONGTYPE";

/// What is said of how long a key is kept that is not there.
const GONE: i64 = -2;

/// A place that is right, for messages.
const EXAMPLE: &str = "rediss://cache.example.edu:6379/0";

/// A server, and the connection to it, which is made when it is first needed.
pub struct Redis {
    connection: ConnectionManager,
    /// The server, for people.
    shown: String,
    channels: Arc<Channels>,
}

impl Redis {
    /// How this place is reached.
    ///
    /// # Errors
    /// `InvalidConfig`: this is no place of such a server.
    pub(super) fn address(place: &Place) -> Result<ConnectionInfo> {
        let wrong = |why: String| Error::new("open Redis", ErrorKind::InvalidConfig).because(why);
        // Its own words may repeat the password.
        let no_place = |_| wrong(format!("{place:?} is no address of Redis; write for example {EXAMPLE}"));
        if place.url.password().is_some() {
            return Err(wrong("a password in a URL shows where it should not; it has a setting of its own".into()));
        }
        let info = place.url.as_str().into_connection_info().map_err(no_place)?;
        if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
            return Err(wrong(format!("{place:?} would trust any server; name its certificate as `ca_file` instead")));
        }
        let mut settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        if let Some(user) = &place.access_key_id {
            settings = settings.set_username(user.expose());
        }
        if let Some(password) = &place.secret_access_key {
            settings = settings.set_password(password.expose());
        }
        // A server that has gone without a word is noticed by what it does not acknowledge.
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(ANSWER_TIMEOUT);
        Ok(info.set_redis_settings(settings).set_tcp_settings(tcp))
    }

    /// The store at this place. It asks nothing of it, but is made within a runtime.
    ///
    /// # Errors
    /// `InvalidConfig`: this is no place of such a server.
    pub fn new(place: &Place) -> Result<Self> {
        let wrong = |why: String| Error::new("open Redis", ErrorKind::InvalidConfig).because(why);
        let info = Self::address(place)?;
        super::use_ring();
        let unusable = |e| wrong("cannot set up Redis".into()).caused_by(e);
        let client = match place.certificates()? {
            None => Client::open(info),
            certificates => Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: certificates }),
        };
        let channels = Arc::<Channels>::default();
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT))
            .set_number_of_retries(1)
            .set_min_delay(RETRY)
            .set_push_sender(channels.clone().hear())
            .set_automatic_resubscription();
        let connection =
            ConnectionManager::new_lazy_with_config(client.map_err(unusable)?, config).map_err(unusable)?;
        Ok(Self { connection, shown: format!("{place:?}"), channels })
    }

    /// What an answer is, in the words of this program.
    fn result<T>(&self, op: &'static str, result: RedisResult<T>) -> Result<T> {
        result.map_err(|error| {
            let (kind, advice) = judge(&error);
            Error::new(op, kind).on(&self.shown).because(advice).caused_by(error)
        })
    }
}

/// What kind of failure it is, and what to do.
fn judge(error: &RedisError) -> (ErrorKind, &'static str) {
    use redis::ErrorKind as Kind;
    match error.kind() {
        Kind::AuthenticationFailed => (ErrorKind::Unauthenticated, "Redis does not know this user with this password"),
        Kind::RESP3NotSupported => (ErrorKind::Unsupported, "this Redis is too old; it must be 6.0 or newer"),
        Kind::Server(ServerErrorKind::NoPerm) => {
            let advice =
                "this user may not; the ACL must allow +@read +@write +@scripting +@pubsub ~kitovufs:* &kitovufs:*";
            (ErrorKind::PermissionDenied, advice)
        }
        Kind::Server(ServerErrorKind::ReadOnly) => {
            (ErrorKind::PermissionDenied, "this Redis is a replica, which takes nothing; name the primary")
        }
        Kind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => {
            (ErrorKind::Unsupported, "this Redis is a part of a cluster; name one that is not, or a proxy before it")
        }
        _ if error.code() == Some("NOAUTH") => (ErrorKind::Unauthenticated, "Redis wants a password"),
        _ if error.code() == Some("WRONGPASS") => {
            (ErrorKind::Unauthenticated, "Redis does not know this user with this password")
        }
        _ if error.code() == Some("OOM") => {
            (ErrorKind::Other, "Redis is full; let it forget what is old: maxmemory-policy allkeys-lru")
        }
        _ if error.is_timeout() => {
            (ErrorKind::TimedOut, "Redis has not answered in time; is it overloaded, or stopped?")
        }
        _ if error.is_connection_refusal() => {
            (ErrorKind::Unreachable, "nothing listens there; check that Redis is up, and the port")
        }
        Kind::Io => (ErrorKind::Unreachable, "Redis cannot be reached; check its address, and redis:// or rediss://"),
        _ => (ErrorKind::Protocol, "Redis answers something unexpected; is it one?"),
    }
}

fn key_of(name: &str) -> String {
    format!("{PREFIX}{name}")
}

#[async_trait]
impl Store for Redis {
    fn largest_file(&self) -> u64 {
        LARGEST_FILE
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Option<Bytes>> {
        // All of it, because that is what is nearly always wanted, and because a part of nothing cannot be told from an empty part.
        let value: RedisResult<Option<Bytes>> =
            redis::cmd("GET").arg(key_of(name)).query_async(&mut self.connection.clone()).await;
        if value.as_ref().is_err_and(|error| error.code() == Some(OF_ANOTHER_TYPE)) {
            return Ok(Some(Bytes::new()));
        }
        let value = self.result("read from Redis", value)?;
        let at = |at: u64, value: &Bytes| usize::try_from(at).unwrap_or(usize::MAX).min(value.len());
        Ok(value.map(|value| value.slice(at(range.start, &value)..at(range.end, &value))))
    }

    async fn put_if_absent(&self, name: &str, value: Bytes) -> Result<bool> {
        let mut command = redis::cmd("SET");
        command.arg(key_of(name)).arg(&value[..]).arg("NX").arg("EX").arg(KEPT_FOR.as_secs());
        let put: RedisResult<Option<String>> = command.query_async(&mut self.connection.clone()).await;
        Ok(self.result("write to Redis", put)?.is_some())
    }

    async fn put(&self, name: &str, value: Bytes, kept_for: Duration) -> Result<()> {
        let mut command = redis::cmd("SET");
        // Nothing is kept for no time at all.
        command.arg(key_of(name)).arg(&value[..]).arg("PX").arg(kept_for.as_millis().max(1).to_string());
        let put: RedisResult<()> = command.query_async(&mut self.connection.clone()).await;
        self.result("write to Redis", put)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let removed: RedisResult<()> =
            redis::cmd("UNLINK").arg(key_of(name)).query_async(&mut self.connection.clone()).await;
        self.result("remove from Redis", removed)
    }

    async fn list(&self, counting: &Arc<AtomicU64>) -> Result<Vec<Stored>> {
        const OP: &str = "list Redis";
        let (mut found, mut cursor) = (Vec::new(), 0_u64);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{PREFIX}v1/*")).arg("COUNT").arg(SCANNED);
            let page: RedisResult<(u64, Vec<String>)> = scan.query_async(&mut self.connection.clone()).await;
            let (next, keys) = self.result(OP, page)?;
            let ours = |key: &String| key.strip_prefix(PREFIX).is_some_and(is_name);
            let keys: Vec<_> = keys.into_iter().filter(ours).collect();
            let mut ask = redis::pipe();
            for key in &keys {
                ask.cmd("STRLEN").arg(key).cmd("PTTL").arg(key);
            }
            // One key of another type says nothing about the others.
            ask.ignore_errors();
            let told: RedisResult<Vec<RedisResult<i64>>> = match keys.is_empty() {
                true => Ok(Vec::new()),
                false => ask.query_async(&mut self.connection.clone()).await,
            };
            let mut told = self.result(OP, told)?.into_iter();
            for key in &keys {
                let (Some(size), Some(left)) = (told.next(), told.next()) else { break };
                let is_odd = size.as_ref().is_err_and(|error| error.code() == Some(OF_ANOTHER_TYPE));
                let size = if is_odd { 0 } else { self.result(OP, size)? };
                let used = match self.result(OP, left)? {
                    GONE => continue,
                    // It has no end, and so tells not when it was put.
                    left => u64::try_from(left).map_or(SystemTime::UNIX_EPOCH, put_at),
                };
                let name = key.trim_start_matches(PREFIX).to_owned();
                found.push(Stored { name, size: size.unsigned_abs(), used, is_odd });
                counting.fetch_add(1, Ordering::Relaxed);
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        // A key may be told twice while the server makes room for more.
        found.sort_by(|one, other| one.name.cmp(&other.name));
        found.dedup_by(|one, other| one.name == other.name);
        Ok(found)
    }
}

/// When a value was put that is kept for so many milliseconds more.
fn put_at(left: u64) -> SystemTime {
    let age = KEPT_FOR.saturating_sub(Duration::from_millis(left));
    SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)
}
