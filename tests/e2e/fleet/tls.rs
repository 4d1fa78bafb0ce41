//! A store and Redis that speak TLS under a certificate that no system knows.

use std::fs;

use super::{FIRST_BLOCKS, Fleet, SECRET, cost, shared};
use crate::kit::home::text;
use crate::kit::moto::Moto;
use crate::kit::mount::Mount;
use crate::kit::redis::Redis;
use crate::kit::wait::eventually;

#[test]
fn a_store_and_redis_with_tls_are_shared_with_who_has_their_certificates() {
    let fleet = Fleet::new();
    let dir = |name: &str| {
        let dir = fleet.store.with_file_name(name);
        fs::create_dir(&dir).unwrap();
        dir
    };
    let (bucket, redis) = (Moto::with_tls(&dir("bucket")), Redis::with_tls(&dir("redis")));
    let certificates = fleet.store.with_file_name("both.pem");
    let both = [bucket.certificate(), redis.certificate()].map(|file| fs::read_to_string(file).unwrap());
    fs::write(&certificates, both.concat()).unwrap();
    let lines = |redis: &str, ca_file: &str| {
        format!(
            "store = \"s3://bucket/fleet1\"\nendpoint = \"https://127.0.0.1:{}\"\naccess_key_id = \"store\"\n\
             secret_access_key = \"the-secret-of-the-store\"\nredis = \"{redis}\"\n{ca_file}",
            bucket.port()
        )
    };
    let trusting = lines(&redis.tls_url(), &format!("ca_file = \"{}\"\n", certificates.display()));
    let machine = || Mount::of(&fleet.config_of(&trusting, SECRET, "patience = \"30s\"\n"));
    let first = machine();
    fleet.read(&first);
    eventually("everything is given", || shared(&first, "bytes_out") == fleet.bytes());
    let second = machine();
    fleet.read(&second);
    assert_eq!(cost(&second), FIRST_BLOCKS, "{:#}", second.status());
    let checked = |machine: &Mount| {
        let output = machine.home().kitovufs(["check", "-c", &text(machine.home().config())]);
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (works, said) = checked(&second);
    assert!(works && said.contains("who retrieves what can be agreed on"), "{said}");

    // Who does not know the certificates trusts nobody, and who speaks without TLS is not understood: all comes from the source.
    for (lines, certificate) in [(lines(&redis.tls_url(), ""), true), (lines(&redis.url(), ""), false)] {
        let stranger = Mount::of(&fleet.config_of(&lines, SECRET, ""));
        fleet.read(&stranger);
        assert_eq!((cost(&stranger).0, shared(&stranger, "hits")), (fleet.bytes(), 0));
        let (works, said) = checked(&stranger);
        assert!(!works && said.matches("FAILED").count() >= 2 && said.contains("ca_file"), "{said}");
        assert!(said.contains("rediss://"), "{said}");
        assert!(!certificate || said.matches("certificate").count() >= 2, "{said}");
    }
}
