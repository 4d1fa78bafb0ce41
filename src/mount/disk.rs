//! The disk of the cache: whether a cache directory can be used, and has room. It leaves nothing there.

use std::path::Path;

use bytesize::ByteSize;
use rustix::fs::statvfs;

use crate::cachedir::CacheDir;
use crate::config::CacheConfig;
use crate::error::{Error, ErrorKind, Result};

/// Whether the cache directory can be written to, or made.
///
/// # Errors
/// What is in the way.
pub fn check(config: &CacheConfig) -> Result<()> {
    let failed = |place: &Path| Error::new("open cache", ErrorKind::Cache).on(place.display());
    if config.dir.symlink_metadata().is_ok() {
        CacheDir::claim(&config.dir)?;
        let tried = tempfile::tempfile_in(&config.dir).map(drop);
        return tried.map_err(|e| failed(&config.dir).because("nothing can be written there").caused_by(e));
    }
    let Some(above) = existing(&config.dir) else { return Ok(()) };
    // Permissions alone do not tell: nobody can make anything in /proc.
    tempfile::tempdir_in(above).map(drop).map_err(|e| {
        let why = format!("it is not there, and you cannot make it in {}; set cache.dir", above.display());
        failed(&config.dir).because(why).caused_by(e)
    })
}

/// Says if the disk has no room for copies, and what to do.
pub fn shortage(config: &CacheConfig) -> Option<String> {
    let disk = statvfs(existing(&config.dir)?).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    shortage_of(config, bytes(disk.f_blocks), bytes(disk.f_bavail))
}

fn shortage_of(config: &CacheConfig, size: u64, free: u64) -> Option<String> {
    let CacheConfig { dir, min_free, .. } = config;
    let (dir, min_free_shown) = (dir.display(), ByteSize::b(*min_free));
    if size < *min_free {
        let size = ByteSize::b(size);
        return Some(format!(
            "cache: the disk of {dir} has {size} in all, less than the {min_free_shown} that must stay free: nothing is kept; set \
             cache.min_free lower, or cache.dir to another disk"
        ));
    }
    (free < *min_free).then(|| {
        let free = ByteSize::b(free);
        format!(
            "cache: the disk of {dir} has {free} free, less than the {min_free_shown} that must stay free: copies are removed, and \
             no more are kept; make room, set cache.min_free lower, or cache.dir to another disk"
        )
    })
}

/// The nearest directory above, or the path itself, that is there.
fn existing(path: &Path) -> Option<&Path> {
    path.ancestors().find(|place| place.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_told_with_what_to_do() {
        let config = CacheConfig { dir: "/c".into(), max_size: 20 << 30, min_free: 2 << 30 };
        assert_eq!(shortage_of(&config, 10 << 30, 2 << 30), None);
        let full = shortage_of(&config, 10 << 30, 1 << 30).expect("too little is free");
        assert!(full.contains("1.0 GiB free") && full.contains("min_free lower"), "{full}");
        let small = shortage_of(&config, 1 << 30, 1 << 30).expect("the disk is too small");
        assert!(small.contains("1.0 GiB in all") && small.contains("nothing is kept"), "{small}");
    }

    #[test]
    fn a_cache_directory_that_cannot_be_made_is_refused() {
        let dir = kit::reaper::temporary();
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("written");
        let config = |dir| CacheConfig { dir, max_size: 1 << 20, min_free: 0 };
        assert!(check(&config(file.clone())).expect_err("a file").to_string().contains("it is no directory"));
        let new = dir.path().join("a/b");
        check(&config(new.clone())).expect("it can be made");
        assert_eq!(std::fs::read_dir(dir.path()).expect("it is there").count(), 1, "nothing is made");
        assert!(check(&config("/proc/kitovufs".into())).expect_err("nobody can").to_string().contains("in /proc"));
    }
}
