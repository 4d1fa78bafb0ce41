//! Programs that people use read from a mount as from any folder.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::kit::files::{noise, random, tree};
use crate::kit::home::text;
use crate::kit::mount::Mount;
use crate::remote::Remote;

/// Runs a script in the origin, to make there what programs are to read.
fn prepare(remote: &Remote, script: &str) {
    let output = Command::new("sh").args(["-euc", script]).current_dir(remote.dir()).output().unwrap();
    assert!(output.status.success(), "`{script}`: {}", String::from_utf8_lossy(&output.stderr));
}

/// Mounts the origin as `near`.
fn mounted(remote: &Remote) -> Mount {
    Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("near")))
}

#[test]
fn sqlite3_queries_a_database() {
    let remote = Remote::webdav();
    prepare(
        &remote,
        "sqlite3 a.db 'CREATE TABLE t (n, text); WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 50000)
         INSERT INTO t SELECT n, hex(randomblob(20)) FROM c; CREATE INDEX i ON t (text);'",
    );
    let answer =
        mounted(&remote).sh("sqlite3 -readonly near/a.db 'PRAGMA integrity_check; SELECT count(*), sum(n) FROM t;'");
    assert_eq!(answer, "ok\n50000|1250025000\n");
}

#[test]
fn python3_maps_a_file_into_memory() {
    let remote = Remote::webdav();
    let bytes = noise(5_000_000, &mut random());
    remote.put("file", &bytes);
    let script = "import mmap, hashlib
with open('near/file', 'rb') as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
    m[4_999_999], m[0], m[2_500_000]
    print(len(m), hashlib.sha256(m).hexdigest())";
    let answer = mounted(&remote).sh(&format!("python3 -c \"{script}\""));
    let expected = Command::new("sha256sum").arg(remote.dir().join("file")).output().unwrap().stdout;
    assert_eq!(answer.trim(), format!("5000000 {}", &String::from_utf8(expected).unwrap()[..64]));
}

#[test]
fn unzip_tests_an_archive() {
    let remote = Remote::webdav();
    tree(&remote.dir().join("tree"), 100);
    prepare(&remote, "zip -qr a.zip tree");
    assert!(mounted(&remote).sh("unzip -t near/a.zip").contains("No errors detected"));
}

#[test]
fn a_program_runs_from_the_mount() {
    let remote = Remote::local();
    prepare(
        &remote,
        "cp \"$(command -v cat)\" program; printf '#!/bin/sh\\necho \"script $1\"\\n' > script; chmod +x script",
    );
    remote.put("file", "bytes");
    let mount = mounted(&remote);
    assert_eq!(mount.sh("near/program near/file"), "bytes");
    assert_eq!(mount.sh("near/script runs"), "script runs\n");
}

#[test]
fn git_reads_a_repository() {
    let remote = Remote::local();
    prepare(
        &remote,
        "git init -q repo; cd repo
         git config user.name Anna; git config user.email anna@example.edu; git config gc.auto 0
         for n in 1 2 3; do echo $n > file; git add file; git commit -qm \"commit $n\"; done
         git repack -adq; echo 4 > file; git commit -qam 'commit 4'",
    );
    let mount = mounted(&remote);
    let log = mount.sh("git -c safe.directory='*' -C near/repo log --format=%s");
    assert_eq!(log, "commit 4\ncommit 3\ncommit 2\ncommit 1\n");
    assert_eq!(mount.sh("git -c safe.directory='*' -C near/repo status --porcelain"), "");
    mount.sh("git -c safe.directory='*' -C near/repo fsck --full");
    mount.sh("git -c safe.directory='*' clone -q near/repo ../cloned");
}

#[test]
fn grep_and_tar_read_a_tree() {
    let remote = Remote::webdav();
    tree(&remote.dir().join("tree"), 200);
    remote.put("tree/needle here", "hay\nneedle-in-a-haystack\nhay\n");
    let mount = mounted(&remote);
    assert_eq!(mount.sh("grep -ra needle-in-a near"), "near/tree/needle here:needle-in-a-haystack\n");

    let out: PathBuf = mount.home().dir().join("out-of-tar");
    fs::create_dir(&out).unwrap();
    mount.sh(&format!("tar c -C near . | tar x -C {}", text(&out)));
    // Not as root: what a read-only folder gives has read-only modes, and root would not notice if those were wrong.
    mount.sh(&format!("chmod -R u+w {0}; diff -r {0} {1}", text(&out), text(remote.dir())));
    mount.sh(&format!("rm -rf {0}; cp -r near {0}; chmod -R u+w {0}; diff -r {0} {1}", text(&out), text(remote.dir())));
}
