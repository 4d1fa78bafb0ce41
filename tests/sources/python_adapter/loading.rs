//! How a plugin is found, and what is said if it is not.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::dialogue::Dialogue;
use super::{BASE, class, plugin};

/// What `configure` answers: the key and the message.
fn refusal(mut plugin: Dialogue) -> (String, String) {
    assert_eq!(plugin.ask("hello", json!({"protocol": 1})).result["protocol"], 1);
    let answer = plugin.ask("configure", json!({"info": {}}));
    assert_eq!(answer.kind(), "invalid_config", "{answer:?}");
    (answer.error["data"]["key"].as_str().unwrap().to_owned(), answer.message().to_owned())
}

#[test]
fn whatever_is_wrong_with_the_class_is_told() {
    for (module, name, told) in [
        (BASE, "example:Plugin", "there is no Plugin in example (classes there: Base)"),
        (BASE, "nothing:Plugin", "there is no module nothing for "),
        (BASE, "nothing.at.all:Plugin", "there is no module nothing for "),
        (BASE, "example.sub:Plugin", "there is no module example.sub for "),
        (BASE, "example:", "'example:' names no class"),
        (BASE, "example:utils", "example:utils is no class"),
        ("import not_there\n", "example:Plugin", "example needs the module not_there, which is not installed for "),
        ("def f(:\n", "example:Plugin", "example.py, line 1: this is no Python 3."),
        ("1/0\n", "example:Plugin", "example: cannot be imported: ZeroDivisionError: "),
        ("raise SystemExit(3)\n", "example:Plugin", "example: cannot be imported: SystemExit: 3"),
        ("class Plugin: pass\n", "example:Plugin", "lacks what the contract asks for: configure, connect, "),
        (
            "from kitovu.sync import syncplugin\nclass Plugin(syncplugin.AbstractSyncPlugin):\n  def connect(self): pass\n",
            "example:Plugin",
            "example:Plugin lacks what the contract asks for: configure, disconnect, ",
        ),
        (
            &class("    def __init__(self): raise utils.UsageError('not here')"),
            "example:Plugin",
            "cannot be made: UsageError: not here",
        ),
        ("from kitovu.utils import no_such_thing\n", "example:Plugin", "cannot import name 'no_such_thing'"),
        (
            "from kitovu import utils\nutils.no_such_thing\n",
            "example:Plugin",
            "kitovufs provides no kitovu.utils.no_such_thing: install kitovu itself",
        ),
    ] {
        let (key, message) = refusal(Dialogue::with(module, |adapter| adapter.plugin = name.into()));
        assert_eq!(key, "plugin", "{name}: {message}");
        assert!(message.contains(told), "{name}: {message}");
    }
}

#[test]
fn a_path_that_is_no_directory_is_told() {
    let (key, message) = refusal(Dialogue::with(BASE, |adapter| adapter.path = vec!["/nonexistent".into()]));
    assert_eq!((key.as_str(), message.as_str()), ("path", "there is no directory /nonexistent"));
}

/// What pip leaves of an installed distribution, as far as entry points go.
fn install(dir: &Path, distribution: &str, entry_points: &str) {
    let info = dir.join(format!("{distribution}-1.0.dist-info"));
    fs::create_dir(&info).unwrap();
    fs::write(info.join("METADATA"), format!("Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")).unwrap();
    fs::write(info.join("entry_points.txt"), format!("[kitovu.sync.plugin]\n{entry_points}\n")).unwrap();
}

fn installed(name: &str, entry_points: &[(&str, &str)]) -> Dialogue {
    Dialogue::with(&class(""), |adapter| {
        adapter.plugin = name.into();
        for (distribution, points) in entry_points {
            install(&adapter.path[0], distribution, points);
        }
    })
}

#[test]
fn an_entry_point_is_a_name_for_a_class() {
    let points = [("one", "notes = example:Plugin\nold = example:Base [extra]"), ("two", "notes = example:Plugin")];
    for name in ["notes", "old"] {
        let mut plugin = installed(name, &points);
        assert_eq!(plugin.ask("hello", json!({"protocol": 1})).result["name"], name);
        plugin.begin(json!({}));
    }
}

#[test]
fn an_entry_point_that_is_not_there_names_those_that_are() {
    let points = [("one", "notes = example:Plugin\ncards = example:Base")];
    let (_, message) = refusal(installed("nots", &points));
    assert!(message.contains("no plugin called nots") && message.contains("(installed: cards, notes)"), "{message}");
    let two = [("one", "notes = example:Plugin"), ("two", "notes = example:Base")];
    let (_, message) = refusal(installed("notes", &two));
    assert!(message.ends_with("write one of: example:Base, example:Plugin"), "{message}");
}

#[test]
fn who_mistypes_a_plugin_of_kitovu_itself_is_told_its_name() {
    let plugin = Dialogue::with(&class(""), |adapter| {
        adapter.plugin = "smbb".into();
        let package = adapter.path[0].join("kitovu/sync/plugin");
        fs::create_dir_all(&package).unwrap();
        fs::write(package.join("smb.py"), "").unwrap();
    });
    let (_, message) = refusal(plugin);
    assert!(message.contains("no plugin called smbb") && message.contains("(installed: smb)"), "{message}");
}

#[test]
fn the_current_directory_is_no_place_for_plugins() {
    let (_, message) = refusal(Dialogue::with(BASE, |adapter| adapter.path.clear()));
    assert!(message.contains("there is no module example"), "{message}");
}

#[test]
fn kitovu_itself_is_used_where_it_can_be() {
    let own = "
class AbstractSyncPlugin:
    whose = 'its own'
";
    let module = format!("{BASE}\nclass Plugin(Base):\n    def create_remote_digest(self, path): return self.whose\n");
    let with_kitovu = |utils: &str| {
        let dialogue = Dialogue::with(&module, |adapter| {
            let package = &adapter.path[0].join("kitovu");
            fs::create_dir_all(package.join("sync")).unwrap();
            fs::write(package.join("__init__.py"), "").unwrap();
            fs::write(package.join("sync/__init__.py"), "").unwrap();
            fs::write(package.join("utils.py"), utils).unwrap();
            fs::write(package.join("sync/syncplugin.py"), format!("from kitovu import utils\n{own}")).unwrap();
        });
        let mut dialogue = dialogue;
        dialogue.begin(json!({}));
        assert_eq!(dialogue.ask("create_remote_digest", json!({"path": "/a.txt"})).result["digest"], "its own");
        dialogue.logged()
    };
    let log = with_kitovu("class PluginOperationError(Exception): pass\n");
    assert_eq!(log, "");
    // Where what it needs is missing, it is told, and only that module is replaced.
    let log = with_kitovu("import not_there\n");
    assert!(
        log.contains("warn kitovufs: kitovu's own kitovu.utils cannot be used here (No module named 'not_there')"),
        "{log}"
    );
}

#[test]
fn the_plugin_object_is_made_without_arguments_by_whatever_is_named() {
    let mut made =
        Dialogue::with(&format!("{BASE}\nclass Box:\n    @staticmethod\n    def make(): return Base()\n"), |adapter| {
            adapter.plugin = "example:Box.make".into();
        });
    made.begin(json!({}));
    drop(plugin(""));
}
