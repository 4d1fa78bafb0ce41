//! Files of which the server tells no size, seen by programs that need one.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use tempfile::TempDir;

use crate::kit::files::{noise, random, set_modified};
use crate::kit::mount::{Mount, bytes_retrieved, requests};
use crate::kit::reaper;
use crate::kit::web::Web;

/// A site of which nginx tells no lengths, old enough that its times tell its versions apart.
fn site() -> TempDir {
    let dir = reaper::reachable();
    let mut random = random();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, content) in
        [("page.html", b"<p>ready</p>\n".to_vec()), ("large.bin", noise(3_000_000, &mut random)), ("empty", Vec::new())]
    {
        put(&dir.path().join(name), &content, 1_600_000_000);
    }
    dir
}

fn put(path: &Path, content: &[u8], seconds: u64) {
    fs::write(path, content).unwrap();
    set_modified(path, std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds));
}

fn mounted(server: &Web, fresh_for: &str, more: &str) -> Mount {
    Mount::of(&format!("[sources.web]\n{}\nfresh_for = \"{fresh_for}\"\n{more}", server.table("")))
}

#[test]
fn programs_see_right_sizes_and_bytes_and_each_file_is_retrieved_once() {
    let dir = site();
    let server = Web::nginx_without_lengths(dir.path());
    let mut mount = mounted(&server, "1h", "");
    for _ in 0..2 {
        for name in ["page.html", "large.bin", "empty"] {
            let (there, here) = (dir.path().join(name), mount.path("web").join(name));
            assert_eq!(fs::metadata(&here).unwrap().size(), fs::metadata(&there).unwrap().size(), "{name}");
        }
        mount.sh("rm -rf ../unpacked && mkdir ../unpacked && tar -cf - -C web . | tar -xf - -C ../unpacked");
        mount.sh(&format!("diff -r ../unpacked {}", dir.path().display()));
        let status = mount.status();
        let (_, _, retrievals) = requests(&status, "web");
        // nginx tells at least that the empty file is empty.
        assert_eq!((retrievals, bytes_retrieved(&status, "web")), (2, 3_000_013));
    }
    mount.unmount();
    mount.remount();
    assert_eq!(fs::metadata(mount.path("web/large.bin")).unwrap().size(), 3_000_000);
    mount.sh(&format!("cmp web/large.bin {}/large.bin", dir.path().display()));
    assert_eq!(requests(&mount.status(), "web").2, 0, "the copies tell their sizes");
}

#[test]
fn a_deferred_size_is_right_from_the_first_open_on() {
    let dir = site();
    let server = Web::nginx_without_lengths(dir.path());
    let mount = mounted(&server, "1h", "unknown_size = \"defer\"");
    let page = mount.path("web/page.html");
    assert_eq!(fs::metadata(&page).unwrap().size(), 0);
    assert_eq!(requests(&mount.status(), "web").2, 0, "looking costs no retrieval");
    assert_eq!(fs::read(&page).unwrap(), b"<p>ready</p>\n");
    assert_eq!(fs::metadata(&page).unwrap().size(), 13);
    mount.sh(&format!("cat web/large.bin | cmp - {}/large.bin", dir.path().display()));
    let map =
        "import mmap; f = open('web/page.html', 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); print(m[:])";
    assert_eq!(mount.sh(&format!("python3 -c \"{map}\"")).trim(), "b'<p>ready</p>\\n'");
}

#[test]
fn a_changed_page_has_its_new_size() {
    let dir = site();
    let server = Web::nginx_without_lengths(dir.path());
    let mount = mounted(&server, "300ms", "");
    let page = mount.path("web/page.html");
    assert_eq!(fs::metadata(&page).unwrap().size(), 13);
    put(&dir.path().join("page.html"), b"<p>ready, and longer</p>\n", 1_600_000_100);
    crate::kit::wait::eventually("the new page", || fs::metadata(&page).unwrap().size() == 25);
    assert_eq!(fs::read(&page).unwrap(), b"<p>ready, and longer</p>\n");
}

#[test]
fn a_file_may_end_with_what_a_filter_looks_for() {
    let dir = site();
    let ends = ["<", "<!", "<!-", "<!--", "<!--#", "<!--# include file=\"page.html\" -->", "t", "text that no"];
    for (number, end) in ends.iter().enumerate() {
        put(&dir.path().join(number.to_string()), format!("content {end}").as_bytes(), 1_600_000_000);
    }
    let server = Web::nginx_without_lengths(dir.path());
    let mount = mounted(&server, "1h", "");
    for (number, end) in ends.iter().enumerate() {
        assert_eq!(fs::read_to_string(mount.path(format!("web/{number}"))).unwrap(), format!("content {end}"));
    }
}
