//! The Python adapter by itself: what plugins for kitovu may rely on, and what they may do, over the protocol.

mod dialogue;
mod failures;
mod loading;
mod process;

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use serde_json::json;

use crate::kit::home::text;
use dialogue::Dialogue;

/// What every test's plugin begins with: a whole plugin over a table of files, of which a test replaces what it is about.
const BASE: &str = r#"
import pathlib
from kitovu import utils
from kitovu.sync import syncplugin

class Base(syncplugin.AbstractSyncPlugin):
    FILES = {"/a.txt": b"alpha", "/dir/b.txt": b"beta"}
    def configure(self, info): self.info = info
    def connect(self): pass
    def disconnect(self): print("disconnected")
    def list_path(self, path): return [pathlib.PurePath(name) for name in self.FILES]
    def create_remote_digest(self, path): return "{}-1700000000".format(len(self.FILES[str(path)]))
    def create_local_digest(self, path): return "{}-{}".format(path.stat().st_size, int(path.stat().st_mtime))
    def retrieve_file(self, path, fileobj):
        fileobj.write(self.FILES[str(path)])
        return 1700000000
"#;

/// A plugin that differs from [`BASE`] by these methods.
fn plugin(methods: &str) -> Dialogue {
    Dialogue::of(&class(methods))
}

fn class(methods: &str) -> String {
    format!("{BASE}\nclass Plugin(Base):\n    pass\n{methods}")
}

#[test]
fn a_plugin_is_read_from_end_to_end() {
    let mut plugin = plugin("");
    plugin.begin(json!({}));
    assert_eq!(plugin.ask("list_path", json!({"path": "/"})).paths(), ["/a.txt", "/dir/b.txt"]);
    let path = "/dir/b.txt";
    assert_eq!(plugin.ask("create_remote_digest", json!({"path": path})).result, json!({"digest": "4-1700000000"}));
    let file = plugin.staging();
    let answer = plugin.ask("retrieve_file", json!({"path": path, "digest": "4-1700000000", "file": text(&file)}));
    assert_eq!(answer.result, json!({"modified": "1700000000.000000000"}));
    assert_eq!(fs::read(&file).unwrap(), b"beta");
    let answer = plugin.ask("create_local_digest", json!({"path": path, "file": text(&file), "digest": "x"}));
    assert_eq!(answer.result, json!({"digest": "4-1700000000"}));
    assert_eq!(plugin.ask("disconnect", json!({})).error, json!(null));
    assert_eq!(plugin.end(), "disconnected\n");
}

#[test]
fn a_table_that_only_a_listing_fills_is_there_after_one() {
    let mut plugin = plugin(
        "
    table = {}
    def list_path(self, path):
        for name in self.FILES:
            yield pathlib.PurePath(name)
        self.table = {pathlib.PurePath(name): data for name, data in self.FILES.items()}
    def create_remote_digest(self, path): return str(len(self.table[path]))
",
    );
    plugin.begin(json!({}));
    assert_eq!(plugin.ask("create_remote_digest", json!({"path": "/a.txt"})).kind(), "unknown_path");
    let listed = plugin.ask("list_path", json!({"path": "/"}));
    assert_eq!(listed.entries[0], json!({"path": "/a.txt"}), "and nothing but the path");
    assert_eq!(plugin.ask("create_remote_digest", json!({"path": "/a.txt"})).result, json!({"digest": "5"}));
}

#[test]
fn a_path_comes_back_as_the_very_object_that_was_told() {
    let mut plugin = plugin(
        "
    told = [pathlib.PureWindowsPath('dir', 'c.txt'), pathlib.PurePosixPath('x', '../y'), pathlib.PurePath('/abs/ü\\udcff'), 'text']
    def list_path(self, path): return self.told
    def create_remote_digest(self, path): return str([own is path for own in self.told].index(True) + 1)
",
    );
    plugin.begin(json!({}));
    let listed = plugin.ask("list_path", json!({"path": "/"}));
    let paths: Vec<_> = listed.entries.iter().map(|entry| entry["path"].clone()).collect();
    assert_eq!(paths, [json!("dir\\c.txt"), json!("x/../y"), json!({"base64": "L2Ficy/DvP8="}), json!("text")]);
    for (number, path) in (1..).zip(paths) {
        assert_eq!(plugin.ask("create_remote_digest", json!({"path": path})).result["digest"], number.to_string());
    }
    // After a restart the host knows no more of how it was told than that it is below the root.
    assert_eq!(plugin.ask("create_remote_digest", json!({"path": "/text"})).result["digest"], "4");
}

#[test]
fn a_path_that_was_never_told_is_an_unknown_one() {
    let mut plugin = plugin(
        "
    def create_remote_digest(self, path):
        if path.name != 'a.txt':
            raise utils.PluginOperationError('there is no ' + str(path))
        raise utils.PluginOperationError('not today')
",
    );
    plugin.begin(json!({}));
    plugin.ask("list_path", json!({"path": "/"}));
    for (path, kind, told) in [
        ("/a.txt", "failed", "not today"),
        ("/nothing", "unknown_path", "there is no /nothing"),
        ("/../etc/passwd", "unknown_path", "leads out of the source"),
        ("/a\0", "unknown_path", "leads out of the source"),
    ] {
        let answer = plugin.ask("create_remote_digest", json!({"path": path}));
        assert_eq!(answer.kind(), kind, "{answer:?}");
        assert!(answer.message().contains(told), "{answer:?}");
    }
}

#[test]
fn names_that_cannot_be_written_are_left_out_and_logged_in_one_line() {
    let mut plugin = plugin(
        "    FILES = {'/\\ud800': b'', '/fine': b'', '/' + 70000 * 'x': b'', **{f'/{n}\\ud800': b'' for n in range(1000)}}",
    );
    plugin.begin(json!({}));
    assert_eq!(plugin.ask("list_path", json!({"path": "/"})).paths(), ["/fine"]);
    let log = plugin.logged();
    assert!(log.contains("'/\\ud800' (it cannot be written in bytes)"), "{log}");
    assert!(log.contains("paths left out: 1002: ") && log.contains("(its length is 70001 characters)"), "{log}");
    assert_eq!(log.matches("left out").count(), 1, "{log}");
}

#[test]
fn a_long_listing_comes_in_lines_that_the_protocol_allows() {
    let mut plugin = plugin("    FILES = {'/d/' + 200 * 'ü' + str(n): b'' for n in range(5000)}");
    plugin.begin(json!({}));
    let listed = plugin.ask("list_path", json!({"path": "/"}));
    assert_eq!(listed.entries.len(), 5000);
    assert!(listed.batches > 1);
}

#[test]
fn entries_are_told_while_the_plugin_still_lists() {
    let mut plugin = plugin(
        "
    def list_path(self, path):
        yield pathlib.PurePath('/a.txt')
        import os, time
        while not os.path.exists(self.info['go on']): time.sleep(0.05); yield pathlib.PurePath('/a.txt')
",
    );
    let go_on = plugin.dir().join("go on");
    plugin.begin(json!({"go on": text(&go_on)}));
    let id = plugin.send("list_path", json!({"path": "/"}));
    plugin.await_entries(id);
    fs::write(&go_on, "").unwrap();
    assert!(plugin.answer(id).error.is_null());
}

#[test]
fn a_listing_that_fails_half_way_is_an_error() {
    let mut plugin = plugin(
        "
    def list_path(self, path):
        yield pathlib.PurePath('/a.txt')
        yield pathlib.PurePath('/dir/b.txt')
        if self.info: raise utils.PluginOperationError('the line broke')
",
    );
    plugin.begin(json!({"fail": true}));
    for _ in 0..2 {
        let listed = plugin.ask("list_path", json!({"path": "/"}));
        assert_eq!((listed.kind(), listed.message()), ("failed", "the line broke"));
    }
}

#[test]
fn times_are_set_as_kitovu_sets_them_and_told_exactly() {
    let mut plugin = plugin("    def retrieve_file(self, path, fileobj): return self.info['time']");
    for (time, told) in [
        (json!(1_700_000_000), Some("1700000000.000000000")),
        (json!(1_700_000_000.25), Some("1700000000.250000000")),
        (json!(1_526_549_613.932_781_2), None),
        (json!(-1.5), Some("-1.500000000")),
        (json!(0), Some("0.000000000")),
    ] {
        plugin.begin(json!({"time": time}));
        let file = plugin.staging();
        let answer = plugin.ask("retrieve_file", json!({"path": "/a.txt", "file": text(&file)}));
        let metadata = fs::metadata(&file).unwrap();
        let nanoseconds = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        let modified = answer.result["modified"].as_str().unwrap();
        assert_eq!(modified.replace('.', "").parse::<i128>().unwrap(), nanoseconds, "{modified}");
        if let Some(told) = told {
            assert_eq!(modified, told);
        }
    }
    plugin.begin(json!({"time": null}));
    let file = plugin.staging();
    let answer = plugin.ask("retrieve_file", json!({"path": "/a.txt", "file": text(&file)}));
    assert_eq!(answer.result, json!({}), "no time is no time");
    for wrong in [json!("yesterday"), json!([1]), json!(1e300)] {
        plugin.begin(json!({"time": wrong}));
        let file = plugin.staging();
        let answer = plugin.ask("retrieve_file", json!({"path": "/a.txt", "file": text(&file)}));
        assert_eq!(answer.kind(), "failed");
        assert!(answer.message().starts_with("retrieve_file returned "), "{}", answer.message());
    }
}

#[test]
fn a_local_file_is_a_path_with_its_suffix() {
    let mut plugin = plugin(
        "
    def create_local_digest(self, path):
        assert isinstance(path, pathlib.Path) and path.is_absolute()
        return path.suffix + str(path.lstat().st_size)
",
    );
    plugin.begin(json!({}));
    let file = plugin.dir().join("page.html");
    fs::write(&file, "four").unwrap();
    let answer = plugin.ask("create_local_digest", json!({"path": "c/page.html", "file": text(&file)}));
    assert_eq!(answer.result, json!({"digest": ".html4"}));
}

#[test]
fn what_a_plugin_writes_to_is_an_ordinary_file() {
    let mut plugin = plugin(
        "
    def retrieve_file(self, path, fileobj):
        import io, os, shutil
        assert isinstance(fileobj, io.BufferedWriter) and fileobj.mode == 'wb' and os.path.isfile(fileobj.name)
        os.write(fileobj.fileno(), b'one ')
        shutil.copyfileobj(io.BytesIO(b'two '), fileobj)
        fileobj.writelines([b'three ', b'x'])
        fileobj.seek(-1, io.SEEK_CUR)
        fileobj.truncate()
        fileobj.close()
",
    );
    plugin.begin(json!({}));
    let file = plugin.staging();
    let answer = plugin.ask("retrieve_file", json!({"path": "/a.txt", "file": text(&file)}));
    assert_eq!(answer.error, json!(null));
    assert_eq!(fs::read(&file).unwrap(), b"one two three ");
}

#[test]
fn name_and_schema_are_told_where_a_plugin_has_them() {
    let plain = plugin("").ask("hello", json!({"protocol": 1})).result;
    assert_eq!(plain["name"], "example:Plugin");
    assert_eq!(plain["protocol"], 1);
    assert!(plain.get("schema").is_none());
    let schema = r#"{"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]}"#;
    let rich = plugin(&format!("    NAME = 'rich'\n    def connection_schema(self): return {schema}\n"));
    let rich = { rich }.ask("hello", json!({"protocol": 1})).result;
    assert_eq!(rich["name"], "rich");
    assert_eq!(rich["schema"], serde_json::from_str::<serde_json::Value>(schema).unwrap());
    for wrong in ["None", "'text'", "{'a': {1, 2}}", "1/0", "self.nothing"] {
        let mut wrong = plugin(&format!("    def connection_schema(self): return {wrong}\n"));
        assert!(wrong.ask("hello", json!({"protocol": 1})).result.get("schema").is_none());
        wrong.begin(json!({}));
    }
}
