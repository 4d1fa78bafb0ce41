//! What a package brings besides the program: completion by shells, and files of this repository. `scripts/package` makes and tries it.

use std::fs;
use std::path::Path;

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

#[test]
fn what_the_package_is_to_hold_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().unwrap();
    let sources = assets.iter().filter_map(|asset| asset.as_array()?.first()?.as_str());
    // What is built is not there yet.
    let kept: Vec<_> = sources.filter(|source| !source.starts_with("target/")).collect();
    assert!(kept.len() > 3, "{kept:?}");
    for file in kept {
        assert!(root.join(file).is_file(), "{file}");
    }
    for unit in ["system/kitovufs@.service", "user/kitovufs.service"] {
        let text = fs::read_to_string(root.join("packaging/systemd").join(unit)).unwrap();
        assert!(text.contains("\nExecStart=/usr/bin/kitovufs mount -f"), "{text}");
    }
}
