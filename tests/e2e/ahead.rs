//! Files ahead of a reader, over a far line: each byte once, little in vain. Times are printed, and not asserted.

use std::fs;
use std::time::{Duration, Instant};

use crate::kit::files::{collated_names, natural_names};
use crate::kit::mount::{Mount, bytes_retrieved, number, requests};
use crate::kit::proxy::{Link, Proxy};
use crate::kit::wait::{eventually, settled};
use crate::remote::Remote;

/// A mount of files of 4 KiB with these names, at the end of a line of 10 ms.
fn far(remote: &Remote, names: &[String]) -> (Mount, Proxy) {
    names.iter().for_each(|name| remote.put(name, vec![7; 4096]));
    let (table, line) = remote.table_over("far", Proxy::to);
    line.set(Link { delay: Duration::from_millis(5), ..Link::default() });
    (Mount::of(&format!("{table}fresh_for = \"1h\"\n")), line)
}

/// So many names in a row, each after `before`.
fn numbered(before: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{before}{number:05}")).collect()
}

#[test]
fn many_small_files_come_ahead_over_webdav() {
    many_small_files_come_ahead(&Remote::apache());
}

#[test]
fn many_small_files_come_ahead_over_s3() {
    many_small_files_come_ahead(&Remote::s3());
}

#[test]
fn many_small_files_come_ahead_over_sftp() {
    many_small_files_come_ahead(&Remote::sftp());
}

fn many_small_files_come_ahead(remote: &Remote) {
    let (mount, _line) = far(remote, &numbered("", 2_000));
    assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), 2_000);
    let copies = mount.home().dir().join("copies");
    fs::create_dir(&copies).unwrap();
    let begun = Instant::now();
    mount.sh(&format!("cp far/000* far/001* far/002* far/003* far/004* {}", copies.display()));
    println!("500 files of 4 KiB: {:?}", begun.elapsed());
    let status = mount.status();
    let retrieved = requests(&status, "far").2;
    assert!((500..=600).contains(&retrieved), "{retrieved} requests for 500 files");
    assert!(bytes_retrieved(&status, "far") <= 600 * 4096, "{status:#}");
    assert!(fs::read_dir(&copies).unwrap().all(|copy| fs::read(copy.unwrap().path()).unwrap() == vec![7; 4096]));
}

#[test]
fn copying_a_folder_brings_its_files_ahead() {
    let remote = Remote::apache();
    let (mount, _line) = far(&remote, &numbered("folder/", 500));
    let begun = Instant::now();
    // It opens files by inode number.
    mount.sh(&format!("cp -r far/folder {}", mount.home().dir().join("copies").display()));
    println!("cp -r of 500 files of 4 KiB: {:?}", begun.elapsed());
    let status = mount.status();
    assert!(number(&status, "/sources/far/files_ahead_used") >= 400, "{status:#}");
    assert_eq!(requests(&status, "far").2, 500);
}

#[test]
fn files_that_a_file_manager_shows_in_a_row_come_ahead() {
    in_this_order_files_come_ahead(&Remote::apache(), &natural_names(300));
}

#[test]
fn files_that_a_shell_expands_in_a_language_come_ahead() {
    in_this_order_files_come_ahead(&Remote::apache(), &collated_names(300));
}

fn in_this_order_files_come_ahead(remote: &Remote, names: &[String]) {
    assert!(!names.is_sorted(), "it is another order than that by name");
    let (mount, _line) = far(remote, names);
    assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), names.len());
    let begun = Instant::now();
    mount.sh(&format!("cd far; cat '{}' > /dev/null", names.join("' '")));
    println!("{} files of 4 KiB: {:?}", names.len(), begun.elapsed());
    eventually("none was in vain", || {
        let status = mount.status();
        number(&status, "/sources/far/files_ahead") == number(&status, "/sources/far/files_ahead_used")
    });
    let status = mount.status();
    assert!(number(&status, "/sources/far/files_ahead_used") >= 200, "{status:#}");
    assert_eq!(requests(&status, "far").2, names.len() as u64);
}

#[test]
fn files_in_no_order_bring_next_to_nothing_else() {
    let remote = Remote::webdav();
    let name = |number: usize| format!("{}{number}.jpg", ["IMG", "img"][number % 2]);
    (0..1000).for_each(|number| remote.put(&name(number), vec![7; 4096]));
    let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")));
    assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), 1000);
    for at in 0..60 {
        assert_eq!(fs::read(mount.path("far").join(name(at * 377 % 1000))).unwrap(), vec![7; 4096]);
    }
    // Three that happen to follow each other by inode number, which depends on where the server is, would bring eight.
    let retrieved = settled("retrievals", Duration::from_millis(300), || requests(&mount.status(), "far").2);
    assert!((60..=68).contains(&retrieved), "{retrieved} requests for 60 files");
}

#[test]
fn the_first_files_of_many_folders_bring_a_bounded_rest() {
    const SIZE: usize = 400_000;
    let remote = Remote::webdav();
    for folder in 0..40 {
        (0..12).for_each(|number| remote.put(&format!("{folder:02}/{number:02}"), vec![7; SIZE]));
    }
    let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")));
    for folder in 0..40 {
        let folder = mount.path(format!("far/{folder:02}"));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 12);
        (0..3).for_each(|number| assert_eq!(fs::read(folder.join(format!("{number:02}"))).unwrap().len(), SIZE));
    }
    let retrieved = settled("bytes", Duration::from_millis(300), || bytes_retrieved(&mount.status(), "far"));
    // 16 MiB may be ahead in all folders, and 8 MiB are forgotten in a minute. Without a bound there would be 128 MB.
    let in_vain = retrieved - 40 * 3 * SIZE as u64;
    assert!((1 << 20..40 << 20).contains(&in_vain), "{in_vain} bytes in vain");
}

#[test]
fn with_read_ahead_off_nothing_comes_that_nobody_reads() {
    let remote = Remote::webdav();
    (0..100).for_each(|number| remote.put(&format!("{number:05}"), vec![7; 4096]));
    let mount = Mount::of(&format!("{}fresh_for = \"1h\"\nread_ahead = false\n", remote.table("far")));
    assert_eq!(fs::read_dir(mount.path("far")).unwrap().count(), 100);
    (0..20).for_each(|number| assert_eq!(fs::read(mount.path(format!("far/{number:05}"))).unwrap(), vec![7; 4096]));
    assert_eq!(requests(&mount.status(), "far").2, 20);
}

#[test]
fn looking_at_a_folder_brings_no_bytes() {
    let remote = Remote::webdav();
    (0..100).for_each(|number| remote.put(&format!("{number:05}"), vec![7; 4096]));
    let mount = Mount::of(&format!("{}fresh_for = \"1h\"\n", remote.table("far")));
    mount.sh("ls -l far; stat far/*; find far -type f");
    assert_eq!(bytes_retrieved(&mount.status(), "far"), 0);
}
