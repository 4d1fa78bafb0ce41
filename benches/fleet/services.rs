//! `Services`: a store that machines have in common, and Redis.

use std::fs;

use kit::home::new_key;
use kit::reaper;
use kit::redis::Redis;
use kit::seaweed::Seaweed;
use tempfile::TempDir;

/// An empty store that machines have in common, with what agrees on who retrieves what, if anything.
pub struct Services {
    pub redis: Option<Redis>,
    pub weed: Option<Seaweed>,
    table: String,
    _dir: TempDir,
}

impl Services {
    /// A directory or, with `weed`, SeaweedFS; with `leases`, Redis too.
    pub fn start(weed: bool, leases: bool) -> Self {
        let dir = reaper::temporary();
        let [store, own] = ["store", "redis"].map(|name| dir.path().join(name));
        [&store, &own].iter().for_each(|dir| fs::create_dir(dir).unwrap());
        let weed = weed.then(|| Seaweed::start(&store));
        let redis = leases.then(|| Redis::start(&own));
        let mut table = match &weed {
            None => format!("[shared]\nstore = \"file://{}\"\n", store.display()),
            Some(weed) => format!("[shared]\n{}", weed.store(weed.port())),
        };
        table += &redis.as_ref().map(|redis| format!("redis = \"{}\"\n", redis.url())).unwrap_or_default();
        table += &new_key(&dir.path().join("key"));
        table += "access = \"key\"\n";
        Self { redis, weed, table, _dir: dir }
    }

    /// The table `[shared]` of a machine that uses them.
    pub fn table(&self) -> &str {
        &self.table
    }
}
