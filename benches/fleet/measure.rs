//! What `scripts/fleet_simulation.py` has to know: what one machine asks that retrieves everything, what another asks that finds everything
//! in the store, and what eight at once ask, with which it compares what it computes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kit::cpu;
use kit::redis::Redis;
use kit::servers::find;
use serde_json::{Value, json};

use super::services::Services;
use super::stage::{BANDWIDTH, DELAY, Files, Stage, Told, settle};

/// The files that all read.
const FILES: Files = Files { small: (200, 64 << 10), large: (1, 64 << 20) };

/// The bytes of a large file that are one value of the store (`src/shared/sealed.rs`).
const EXTENT: u64 = 4 << 20;

/// So that what is counted does not depend on how busy this computer is.
const PATIENCE: Duration = Duration::from_secs(30);

/// Commands to Redis that this measurement gives, or that a client gives once, when it connects.
const NOT_COUNTED: [&str; 8] =
    ["info", "config|resetstat", "hello", "client|setinfo", "select", "ping", "script|load", "auth"];

/// Measures, and writes it into a file in JSON.
pub fn into(file: &Path) {
    let stage = Stage::new(FILES);
    let services = Services::start(false, true);
    let first = round("one machine, which retrieves everything", &stage, &services, 1);
    let second = round("another one, later", &stage, &services, 1);
    let redis = services.redis.as_ref().expect("it was started");
    let gets_a_second = gets_a_second(redis);
    drop(services);
    let together = round("eight machines at once, new to all", &stage, &Services::start(false, true), 8);
    let cores = std::thread::available_parallelism().unwrap().get();
    let ((small, small_bytes), (large, large_bytes)) = (FILES.small, FILES.large);
    let measured = json!({
        "small": small, "small_bytes": small_bytes, "large": large, "large_bytes": large_bytes, "extent": EXTENT,
        "patience": PATIENCE.as_secs_f64(), "line": BANDWIDTH, "round_trip": (DELAY * 2).as_secs_f64(),
        "cores": cores, "gets_a_second": gets_a_second,
        "first": first, "second": second, "together": together,
    });
    fs::write(file, measured.to_string()).unwrap();
}

fn round(what: &str, stage: &Stage, services: &Services, machines: usize) -> Value {
    let redis = services.redis.as_ref().expect("it was started");
    redis.ask(&["config", "resetstat"]);
    let shared = format!("{}patience = \"{}s\"\n", services.table(), PATIENCE.as_secs());
    let (told, mounts) = stage.walk(machines, &shared);
    settle(&mounts);
    let cpu: f64 = mounts.iter().filter_map(|mount| cpu::of(mount.pid())).sum();
    let (commands, redis_seconds) = commands(redis);
    let Told { bytes, retrievals, from_store, took } = told;
    println!(
        "{what}: {bytes} bytes from the source in {retrievals} retrievals, {from_store} from the store, {:.1} s",
        took.as_secs_f64()
    );
    json!({
        "machines": machines, "cpu": cpu, "seconds": took.as_secs_f64(), "commands": commands,
        "redis_seconds": redis_seconds, "bytes": bytes, "retrievals": retrievals,
    })
}

/// How many commands Redis has counted, those within scripts too, and the seconds that they took.
fn commands(redis: &Redis) -> (u64, f64) {
    let told = redis.ask(&["info", "commandstats"]);
    // cmdstat_get:calls=839,usec=1320,usec_per_call=1.57,…
    let counted = told.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(':'));
    let counted = counted.filter(|(name, _)| !NOT_COUNTED.contains(name));
    let field = |fields: &str, name: &str| {
        fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.parse::<u64>().ok()).unwrap()
    };
    let (calls, microseconds) = counted.fold((0, 0), |(calls, microseconds), (_, fields)| {
        (calls + field(fields, "calls="), microseconds + field(fields, "usec="))
    });
    (calls, microseconds as f64 / 1e6)
}

/// The answers a second to one client, which waits for each.
fn gets_a_second(redis: &Redis) -> f64 {
    let mut client = Command::new(find("redis-benchmark", None));
    client.args(["-p", &redis.port().to_string(), "-c", "1", "-n", "2000", "-t", "get", "-q", "--csv"]);
    let told = String::from_utf8(client.output().expect("redis-benchmark runs").stdout).unwrap();
    // "GET","29850.75",…
    let line = told.lines().find(|line| line.starts_with("\"GET\"")).expect("it tells of GET");
    line.split('"').nth(3).and_then(|number| number.parse().ok()).expect("it tells a number")
}
