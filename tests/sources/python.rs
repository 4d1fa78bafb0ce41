//! A Python plugin as a source, by the suite that every source passes.

use std::fs;
use std::path::Path;

use kitovufs::source::conformance;
use serde_json::json;

use crate::kit::home::text;
use crate::real::Directory;
use crate::source;

/// The plugin that is like kitovu's own for SMB, but that it keeps a table of paths as kitovu's for Moodle does, so that the host can
/// find out what is gone.
const PLUGIN: &str = "
import share

class Plugin(share.SharePlugin):
    def create_remote_digest(self, path):
        if not self._local(path).is_file():
            raise KeyError(path)
        return super().create_remote_digest(path)
    def retrieve_file(self, path, fileobj):
        if not self._local(path).is_file():
            raise KeyError(path)
        return super().retrieve_file(path, fileobj)
";

#[tokio::test(flavor = "multi_thread")]
async fn a_python_plugin_keeps_the_contract() {
    let (root, scratch) = (kit::reaper::reachable(), crate::kit::reaper::reachable());
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/python");
    fs::copy(fixtures.join("share.py"), root.path().join("share.py")).unwrap();
    fs::write(root.path().join("tabled.py"), PLUGIN).unwrap();
    let served = root.path().join("remote");
    fs::create_dir(&served).unwrap();
    let table = format!(
        "type = \"python\"\nplugin = \"tabled:Plugin\"\npath = {}\ndirectory = {served:?}\n",
        json!([text(root.path())])
    );
    let source = source(&table).await;
    // Directories are what lies in them.
    let directory = Directory { directories: false, ..Directory::new(&served) };
    let report = conformance::run(&*source, &directory, scratch.path()).await;
    assert!(report.passed(), "{report}");
    source.disconnect().await;
}
