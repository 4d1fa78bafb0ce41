//! The table of what machines cost their source: one alone, eight at once where there are leases, and one more later, by kind of store.

use super::stage::{Files, Services, Stage, Told, settle};

/// The files that all read.
const FILES: Files = Files { small: (1000, 64 << 10), large: (3, 256 << 20) };

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
            measure(&stage, store, &|| Services::start(weed, leases));
        }
    }
}

fn measure(stage: &Stage, store: &str, start: &dyn Fn() -> Services) {
    let mut services = start();
    let (told, alone) = stage.copy(1, services.table());
    row(store, "1", &told);
    settle(&alone);
    drop(alone);
    // Without leases each of them would retrieve nearly everything by itself.
    if services.redis.is_some() {
        drop(services);
        services = start();
        let (told, eight) = stage.copy(8, services.table());
        row(store, "8 at once", &told);
        settle(&eight);
    }
    row(store, "one more, later", &stage.copy(1, services.table()).0);
}

fn row(store: &str, who: &str, told: &Told) {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let (bytes, from_store) = (mib(told.bytes), mib(told.from_store));
    println!("| {store} | {who} | {bytes} | {} | {from_store} | {:.1} s |", told.retrievals, told.took.as_secs_f64());
}
