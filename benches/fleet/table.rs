//! The table of what machines cost their source: one alone, eight at once where there are leases, one more later, and one whose store or Redis is
//! stopped, by kind of store.

use std::thread;
use std::time::Duration;

use kit::servers::Server;

use super::services::Services;
use super::stage::{Files, Stage, Told, settle};

/// The files that all read.
const FILES: Files = Files { small: (1000, 64 << 10), large: (3, 256 << 20) };

/// When a service is stopped (SIGSTOP) of which a row tells that.
const STOPPED_AFTER: Duration = Duration::from_secs(5);

/// Prints it; of some kinds of stores only, if there are some that are `wanted`.
pub fn print(wanted: &[String]) {
    let stage = Stage::new(FILES);
    println!("| store | machines | from the source | retrievals | from the store | time |\n|---|---|---|---|---|---|");
    let is_wanted = |store: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == store);
    if is_wanted("none") {
        row("none", "1", &stage.copy(1, "").0);
    }
    for (store, weed, leases) in [
        ("a directory", false, false),
        ("a directory and Redis", false, true),
        ("SeaweedFS", true, false),
        ("SeaweedFS and Redis", true, true),
    ] {
        if is_wanted(store) {
            measure(&stage, store, weed, leases);
        }
    }
}

fn measure(stage: &Stage, store: &str, weed: bool, leases: bool) {
    let start = || Services::start(weed, leases);
    let mut services = start();
    let (told, alone) = stage.copy(1, services.table());
    row(store, "1", &told);
    settle(&alone);
    drop(alone);
    // Without leases each of them would retrieve nearly everything by itself.
    if leases {
        drop(services);
        services = start();
        let (told, eight) = stage.copy(8, services.table());
        row(store, "8 at once", &told);
        settle(&eight);
    }
    row(store, "one more, later", &stage.copy(1, services.table()).0);
    drop(services);
    let stopped = |what: &str, of: fn(&Services) -> Option<&Server>| {
        let services = start();
        let server = of(&services).expect("it was started");
        let told = with_one_stopped(stage, &services, server);
        row(store, &format!("1, {what} stopped after {} s", STOPPED_AFTER.as_secs()), &told);
    };
    if weed {
        stopped("store", |services| services.weed.as_deref());
    }
    if leases {
        stopped("Redis", |services| services.redis.as_deref());
    }
}

/// One machine that retrieves everything, while one of the services says nothing any more after a while.
fn with_one_stopped(stage: &Stage, services: &Services, server: &Server) -> Told {
    let told = thread::scope(|scope| {
        let copying = scope.spawn(|| stage.copy(1, services.table()).0);
        thread::sleep(STOPPED_AFTER);
        server.pause();
        copying.join().unwrap()
    });
    server.go_on();
    told
}

fn row(store: &str, who: &str, told: &Told) {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let (bytes, from_store) = (mib(told.bytes), mib(told.from_store));
    println!("| {store} | {who} | {bytes} | {} | {from_store} | {:.1} s |", told.retrievals, told.took.as_secs_f64());
}
