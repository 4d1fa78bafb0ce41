//! What a package brings besides the program: completion by shells, and files of this repository. `scripts/package` makes and tries it.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::kit::home::{Home, local, text};
use crate::kit::mount::Mount;

/// Has bash complete the last of `words`, after `kitovufs`.
fn completed(home: &Home, words: &[&str]) -> Vec<String> {
    let words: Vec<String> = ["kitovufs"].iter().chain(words).map(|word| format!("'{word}'")).collect();
    let script = format!(
        "source <(KITOVUFS_COMPLETE=bash kitovufs)
         COMP_WORDS=({}) COMP_CWORD={} COMP_TYPE=9
         _clap_complete_kitovufs kitovufs {} ''
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        words.len() - 1,
        words.last().expect("there is one"),
    );
    let binary = home.binary();
    let path = format!("{}:{}", text(binary.parent().unwrap()), std::env::var("PATH").unwrap());
    let output = home.command("bash").args(["-euc", &script]).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn shells_know_sources_and_mounted_folders() {
    let docs = Path::new("/usr/share/common-licenses");
    let config = local("docs", docs) + &local("more", docs);
    let mount = Mount::of(&config);
    let home = mount.home();
    let default = home.dir().join("config/kitovufs");
    fs::create_dir(&default).unwrap();
    fs::write(default.join("config.toml"), config).unwrap();
    assert_eq!(completed(home, &["login", ""])[..2], ["docs", "more"]);
    assert_eq!(completed(home, &["remove", "m"]), ["more"]);
    assert_eq!(completed(home, &["config", "example", "sf"]), ["sftp"]);
    assert!(completed(home, &["unmount", ""]).contains(&text(home.mountpoint())));
    assert!(completed(home, &["mount", "--st"]).contains(&"--strict".to_owned()));
    let commands = completed(home, &[""]);
    assert!(commands.contains(&"mount".to_owned()) && !commands.contains(&"ask".to_owned()), "{commands:?}");
}

/// This repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The section of Cargo.toml that describes the package.
fn described() -> toml::Table {
    let manifest: toml::Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    manifest["package"]["metadata"]["deb"].as_table().unwrap().clone()
}

#[test]
fn what_the_package_is_to_hold_is_there() {
    let described = described();
    let assets = described["assets"].as_array().unwrap();
    let sources = assets.iter().filter_map(|asset| asset.as_array()?.first()?.as_str());
    // What is built is not there yet.
    let kept: Vec<_> = sources.filter(|source| !source.starts_with("target/")).collect();
    assert!(kept.len() > 3, "{kept:?}");
    for source in kept {
        match source.split_once('*') {
            Some((dir, _)) => assert!(root().join(dir).read_dir().unwrap().next().is_some(), "{source}"),
            None => assert!(root().join(source).is_file(), "{source}"),
        }
    }
    for unit in ["system/kitovufs@.service", "user/kitovufs.service"] {
        let text = fs::read_to_string(root().join("packaging/systemd").join(unit)).unwrap();
        assert!(text.contains("\nExecStart=/usr/bin/kitovufs mount -f"), "{text}");
    }
}

/// The scripts that a package manager runs, where systemd does not: without it they do nothing, but for what is purged.
#[test]
fn the_scripts_of_the_package_succeed_without_systemd() {
    let scripts = root().join(described()["maintainer-scripts"].as_str().unwrap());
    let names = ["postinst", "prerm", "postrm"];
    assert_eq!(scripts.read_dir().unwrap().count(), names.len());
    for name in names {
        let parsed = Command::new("sh").arg("-n").arg(scripts.join(name)).status().unwrap();
        assert!(parsed.success(), "{name}");
        let text = fs::read_to_string(scripts.join(name)).unwrap();
        for (at, _) in text.match_indices("systemctl").chain(text.match_indices("deb-systemd-invoke")) {
            assert!(text[..at].contains("[ -d /run/systemd/system ]"), "{name}");
        }
    }
}

#[test]
fn man_has_nothing_to_say_against_the_pages() {
    let home = Home::of("");
    let share = home.dir().join("share");
    let generated = home.kitovufs(["generate", &text(&share)]);
    assert!(generated.status.success(), "{}", String::from_utf8_lossy(&generated.stderr));
    let pages: Vec<_> = share.join("man/man1").read_dir().unwrap().map(|page| page.unwrap().path()).collect();
    assert!(pages.len() > 20, "{pages:?}");
    for page in pages {
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]).arg(&page);
        man.envs([("LC_ALL", "C.UTF-8"), ("MANROFFSEQ", ""), ("MANWIDTH", "80")]);
        let output = man.output().unwrap_or_else(|e| panic!("man: {e}; scripts/test installs it"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{}: {said}", page.display());
    }
}

#[test]
fn the_licences_of_all_that_is_linked_are_found() {
    let home = Home::of("");
    let script =
        "\"$CARGO\" metadata --offline --locked --format-version 1 --filter-platform x86_64-unknown-linux-gnu |
        packaging/copyright.py LICENSE-MIT \"$1\"";
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", script, "bash"]).arg(home.dir()).env("CARGO", cargo).current_dir(root());
    assert!(bash.status().unwrap().success());
    let read = |name| fs::read_to_string(home.dir().join(name)).unwrap();
    let (own, others) = (read("copyright"), read("third-party-licenses"));
    assert!(own.contains("Files: *") && own.contains("\n Permission is hereby granted"), "{own}");
    for crate_and_licence in ["\ntokio 1.", "\nring 0.", "\nrusqlite 0."] {
        assert!(others.contains(crate_and_licence), "{crate_and_licence}");
    }
    let without = others.matches("The crate has no text").count();
    assert!(without < 10, "{without} licences without a text");
}
