//! `[shared]`, and the sources that share: their meaning, and the messages about wrong ones.

use std::time::Duration;

use super::Sharing;
use super::tests::{assert_problem, good};
use crate::shared::{Access, Role, Tuning};

const STORE: &str = "[shared]\nstore = 'file:///mnt/lab'\n";

/// A bucket that shares, and nothing after it.
const BUCKET: &str = "[sources.b]\ntype = 's3'\nbucket = 'b'\naccess_key_id = 'AK'\n\
                      secret_access_key = { env = 'SECRET' }\nshared = true\n";

/// A web folder with a password that shares.
const CLOUD: &str = "[sources.c]\ntype = 'webdav'\nendpoint = 'https://h'\nusername = 'anna'\n\
                     password = { env = 'PW' }\nshared = true\n";

#[test]
fn a_source_with_a_secret_of_a_program_needs_no_key() {
    let config = good(&format!("{STORE}{BUCKET}"));
    let shared = config.shared.expect("it is there");
    assert_eq!((&*shared.shown(), shared.weak, shared.access), ("file:///mnt/lab", false, Access::Proven));
    assert_eq!((shared.tuning.role, shared.tuning.patience, shared.tuning.max_upload), (Role::ReadWrite, None, None));
    assert_eq!(config.sources[0].sharing, Some(Sharing { circle: None }));
    let alone = good(&BUCKET.replace("shared = true", "shared = false"));
    assert!(alone.shared.is_none() && alone.sources[0].sharing.is_none());
}

#[test]
fn every_key_of_the_table_means_what_it_says() {
    let config = good(&format!(
        "{STORE}key = {{ file = 'circle.key' }}\naccess = 'key'\nrole = 'read'\nweak = true\npatience = '70ms'\n\
         max_upload = '1MiB'\nlistings = true\ntrusted = ['{0}', '{0}']\nsigning_key = {{ file = 'own.key' }}\naudit = 0.25\nprove_first = '8MiB'\n\
         {CLOUD}circle = 'lab'\n",
        "1".repeat(64)
    ));
    let shared = config.shared.expect("it is there");
    assert!(format!("{:?}", shared.key).contains("/circle.key"), "it begins at the file's directory");
    assert_eq!((shared.weak, shared.access, shared.tuning.role), (true, Access::Same, Role::Read));
    assert_eq!(shared.tuning.patience, Some(Duration::from_millis(70)));
    assert_eq!(shared.tuning.max_upload, Some(1 << 20));
    assert_eq!((shared.listings, shared.trusted.len(), shared.tuning.audit), (true, 2, 0.25));
    assert_eq!((shared.tuning.prove_first, Tuning::default().prove_first), (8 << 20, 64 << 20));
    assert!(format!("{:?}", shared.signing_key).contains("/own.key"));
    assert_eq!(config.sources[0].sharing, Some(Sharing { circle: Some("lab".into()) }));
}

#[tokio::test]
async fn a_bucket_and_redis_have_settings_of_their_own() {
    let config = good(&format!(
        "[shared]\nstore = 's3://cache/fleet1'\nendpoint = 'https://s3.example.edu'\nregion = 'eu'\naccess_key_id = 'AK'\n\
         secret_access_key = {{ command = 'echo hunter2' }}\nredis = 'rediss://cache.example.edu:6379/0'\nredis_password = {{ command = 'echo swordfish' }}\n{BUCKET}"
    ));
    let shared = config.shared.expect("it is there");
    assert_eq!(shared.shown(), "s3://cache/fleet1, rediss://cache.example.edu:6379/0");
    assert!(!format!("{shared:?}").contains("hunter2"));
    let store = shared.store.expect("it is there").place().expect("its secrets are there");
    assert_eq!((store.endpoint.as_deref(), store.region.as_deref()), (Some("https://s3.example.edu"), Some("eu")));
    assert_eq!(store.secret_access_key.map(|secret| secret.expose().to_owned()).as_deref(), Some("hunter2"));
    let redis = shared.redis.expect("it is there").place().expect("its secrets are there");
    assert!(redis.endpoint.is_none() && redis.access_key_id.is_none());
    assert_eq!(redis.secret_access_key.map(|secret| secret.expose().to_owned()).as_deref(), Some("swordfish"));

    let alone = good(&format!("[shared]\nredis = 'redis://127.0.0.1'\n{BUCKET}")).shared.expect("it is there");
    assert!(alone.store.is_none() && alone.redis.is_some());
    assert_problem(&format!("{STORE}region = 'eu'\n{BUCKET}"), 3, &["`region` is for a store in a bucket"]);
    assert_problem(
        &format!("{STORE}redis_password = {{ env = 'X' }}\n{BUCKET}"),
        3,
        &["`redis_password` is for `redis`"],
    );
    assert_problem(&format!("{STORE}redis = 'http://h'\n{BUCKET}"), 3, &["`http`", "rediss://"]);
    let half = format!("[shared]\nstore = 's3://cache'\naccess_key_id = 'AK'\n{BUCKET}");
    assert_problem(&half, 2, &["belong together"]);
}

#[test]
fn what_is_wrong_is_said_where_it_stands() {
    let table = |more: &str| format!("{STORE}key = {{ env = 'KEY' }}\n{more}\n{CLOUD}");
    for (more, words) in [
        ("role = 'both'", vec!["\"read-write\"", "\"both\""]),
        ("access = 'all'", vec!["\"own\"", "\"key\"", "\"all\""]),
        ("patience = '0s'", vec!["longer than nothing"]),
        ("max_upload = 10", vec!["\"1KiB\""]),
        ("weak = 1", vec!["true or false"]),
        ("trusted = 'x'", vec!["a list of keys", "kitovufs shared key new --signing"]),
        ("trusted = ['hunter2']", vec!["64 hexadecimal digits", "kitovufs shared key new --signing"]),
        ("audit = 1.5", vec!["from 0.0 to 1.0", "0.01"]),
        ("audit = 'all'", vec!["from 0.0 to 1.0"]),
        ("listings = 1", vec!["true or false"]),
        ("signing_key = { keyring = true }", vec!["no place for it"]),
    ] {
        assert_problem(&table(more), 4, &words);
    }
    for (store, words) in [
        ("'/mnt/lab'", vec!["no URL", "file:///mnt/lab/kitovufs"]),
        ("'gopher://host/x'", vec!["`gopher`", "file:///mnt/lab/kitovufs"]),
        ("'redis://host'", vec!["`redis`", "s3://my-bucket/kitovufs"]),
        ("'s3://'", vec!["`store`", "bucket"]),
        ("'file:///x?y=z'", vec!["no directory"]),
        ("7", vec!["`store` must be a URL"]),
    ] {
        assert_problem(&format!("[shared]\nstore = {store}\n{BUCKET}"), 2, &words);
    }
    let with_password = format!("[shared]\nstore = 's3://anna:hunter2@h/x'\n{BUCKET}");
    assert_problem(&with_password, 2, &["password"]);
    assert_problem(&format!("[shared]\nrole = 'read'\n{BUCKET}"), 1, &["no `store`", "file:///"]);
    assert_problem(&table("circle = 'lab'"), 4, &["unknown key `circle`"]);
    assert_problem(&format!("{STORE}key = {{ keyring = true }}\n{BUCKET}"), 3, &["no place for it", "{ file = "]);
}

#[test]
fn a_source_that_cannot_share_hears_why() {
    assert_problem(BUCKET, 6, &["source `b`", "needs the table [shared]"]);
    assert_problem(&format!("{STORE}{CLOUD}"), 8, &["a password could be guessed", "kitovufs shared key new FILE"]);
    let temporary = format!("{STORE}{BUCKET}session_token = {{ env = 'TOKEN' }}\n");
    assert_problem(&temporary, 8, &["nothing to make a key of"]);
    assert_problem(&format!("{STORE}{BUCKET}circle = 'lab'\n"), 8, &["`circle` needs a `key`"]);
    assert_problem(&format!("{STORE}access = 'key'\n{BUCKET}"), 3, &["there is none"]);
    let alone = BUCKET.replace("shared = true", "circle = 'lab'");
    assert_problem(&alone, 6, &["`circle` needs shared = true"]);
    assert_problem(&format!("{STORE}{}", BUCKET.replace("shared = true", "")), 1, &["no effect", "shared = true"]);
    assert_problem(&BUCKET.replace("shared = true", "shared = 'yes'"), 6, &["true or false"]);
}
