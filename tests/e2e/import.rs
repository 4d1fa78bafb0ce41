//! `import`: a configuration of kitovu becomes one that can be mounted.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::kit::home::{Home, text};
use crate::kit::mount::Mount;
use crate::kit::reaper;
use crate::kit::samba::Samba;

#[test]
fn a_configuration_of_kitovu_is_mounted_as_it_was_synchronised() {
    let share = reaper::temporary();
    fs::create_dir_all(share.path().join("Informatik/EPJ")).unwrap();
    fs::write(share.path().join("Informatik/EPJ/script.pdf"), "script").unwrap();
    fs::write(share.path().join("Informatik/EPJ/Thumbs.db"), "ignored").unwrap();
    let server = Samba::run(share.path());
    let ours: toml::Table = server.table("kit").parse().unwrap();
    let told = |key: &str| ours[key].as_str().expect("a text").to_owned();

    let home = Home::of("");
    let (yaml, config) = (home.dir().join("kitovu.yaml"), home.dir().join("imported/config.toml"));
    let host = ours.get("hostname").or(ours.get("host")).and_then(toml::Value::as_str).expect("a host");
    fs::write(
        &yaml,
        format!(
            "root-dir: {}\nglobal-ignore: [Thumbs.db]\nconnections:\n  - {{name: skripte, plugin: smb, hostname: {host}, \
             port: {}, share: kit, username: {}, domain: ''}}\nsubjects:\n  - name: EPJ\n    sources:\n      \
             - {{connection: skripte, remote-dir: /Informatik/EPJ/}}\n",
            text(home.mountpoint()),
            ours["port"].as_integer().expect("a port"),
            told("username"),
        ),
    )
    .unwrap();
    let import = || home.kitovufs(["import", &text(&yaml), "-o", &text(&config)]);
    let output = import();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.is_empty());
    assert_eq!(fs::metadata(&config).unwrap().permissions().mode() & 0o777, 0o600);
    let written = fs::read_to_string(&config).unwrap();
    let shown = home.kitovufs(["import", &text(&yaml)]);
    assert_eq!(String::from_utf8(shown.stdout).unwrap(), written);

    let again = import();
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("it is there already"));
    assert_eq!(fs::read_to_string(&config).unwrap(), written);

    // The keyring, to which kitovu gave the password, is tested elsewhere.
    assert!(written.contains("password = { keyring = true }"), "{written}");
    home.configure(&written.replace("{ keyring = true }", &format!("{:?}", told("password"))));
    let mount: Mount = home.mount();
    assert_eq!(mount.sh("ls . EPJ"), ".:\nEPJ\n\nEPJ:\nscript.pdf\n");
    assert_eq!(fs::read(mount.path("EPJ/script.pdf")).unwrap(), b"script");
}
