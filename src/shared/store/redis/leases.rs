//! Leases in Redis: one key for each, and a channel on which its end is told. They know nothing of values.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::aio::{AsyncPushSender, ConnectionManager, SendError};
use redis::{PushInfo, PushKind, RedisResult, Script, Value};
use tokio::sync::watch;

use super::{PREFIX, Redis};
use crate::error::Result;
use crate::shared::leases::{Ends, Leases, TERM};

/// Takes the lease `KEYS[1]` for `ARGV[1]`, from `ARGV[2]` if that is no empty text, for `ARGV[3]` ms. The other who has it, or nothing.
static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local held = redis.call('GET', KEYS[1])
         if held and held ~= ARGV[2] then return held end
         redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
         return false",
    )
});

/// Makes the lease `KEYS[1]` of `ARGV[1]` last for `ARGV[2]` ms. Whether it has it.
static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
         return redis.call('PEXPIRE', KEYS[1], ARGV[2])",
    )
});

/// Ends the lease `KEYS[1]` of `ARGV[1]`, and tells it on the channel of the same name in any case: what it was for is there.
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
         redis.call('PUBLISH', KEYS[1], '')
         return 1",
    )
});

/// The key of a lease, and the name of its channel.
fn key_of(name: &str) -> String {
    format!("{PREFIX}lease:{name}")
}

/// The channels that are listened to.
#[derive(Default)]
pub(super) struct Channels {
    senders: Mutex<HashMap<String, watch::Sender<()>>>,
    /// Held while a channel is begun or ended to be listened to, so that the server hears of it in that order.
    changing: tokio::sync::Mutex<()>,
}

impl Channels {
    /// What hears the messages of a connection.
    pub(super) fn hear(self: Arc<Self>) -> impl AsyncPushSender {
        move |push: PushInfo| -> std::result::Result<(), SendError> {
            match (push.kind, push.data.first()) {
                (PushKind::Message, Some(Value::BulkString(channel))) => {
                    if let Some(sender) = self.senders.lock().get(&*String::from_utf8_lossy(channel)) {
                        sender.send_replace(());
                    }
                }
                // What was told meanwhile is lost: let everybody look.
                (PushKind::Disconnection, _) => {
                    self.senders.lock().values().for_each(|sender| sender.send_replace(()));
                }
                _ => {}
            }
            Ok(())
        }
    }
}

/// Ends the listening to a channel when nobody does any more.
struct Listening {
    channels: Arc<Channels>,
    connection: ConnectionManager,
    channel: String,
    runtime: tokio::runtime::Handle,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let (channels, mut connection) = (self.channels.clone(), self.connection.clone());
        let channel = std::mem::take(&mut self.channel);
        self.runtime.spawn(async move {
            let _changing = channels.changing.lock().await;
            let is_last = channels.senders.lock().get(&channel).is_some_and(|sender| sender.receiver_count() == 0);
            if is_last {
                channels.senders.lock().remove(&channel);
                // If it fails, messages come that nobody minds.
                let _ = connection.unsubscribe(&channel).await;
            }
        });
    }
}

#[async_trait]
impl Leases for Redis {
    async fn take(&self, name: &str, holder: &str, from: Option<&str>) -> Result<Option<String>> {
        let mut take = TAKE.key(key_of(name));
        take.arg(holder).arg(from.unwrap_or_default()).arg(TERM.as_millis().to_string());
        let other: RedisResult<Option<String>> = take.invoke_async(&mut self.connection.clone()).await;
        self.result("take a lease in Redis", other)
    }

    async fn renew(&self, name: &str, holder: &str) -> Result<bool> {
        let mut renew = RENEW.key(key_of(name));
        renew.arg(holder).arg(TERM.as_millis().to_string());
        let renewed: RedisResult<bool> = renew.invoke_async(&mut self.connection.clone()).await;
        self.result("renew a lease in Redis", renewed)
    }

    async fn release(&self, name: &str, holder: &str) -> Result<()> {
        let mut release = RELEASE.key(key_of(name));
        release.arg(holder);
        let released: RedisResult<i64> = release.invoke_async(&mut self.connection.clone()).await;
        self.result("release a lease in Redis", released).map(drop)
    }

    async fn listen(&self, name: &str) -> Result<Ends> {
        let channel = key_of(name);
        let mut connection = self.connection.clone();
        let _changing = self.channels.changing.lock().await;
        let (heard, is_first) = {
            let mut senders = self.channels.senders.lock();
            let is_first = !senders.contains_key(&channel);
            let sender = senders.entry(channel.clone()).or_insert_with(|| watch::channel(()).0);
            (sender.subscribe(), is_first)
        };
        let listening = Listening {
            channels: self.channels.clone(),
            connection: connection.clone(),
            channel: channel.clone(),
            runtime: tokio::runtime::Handle::current(),
        };
        if is_first {
            self.result("listen to Redis", connection.subscribe(&channel).await)?;
        }
        Ok(Ends::new(heard, listening))
    }
}
