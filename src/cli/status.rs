//! `status`: asks a mount what it is doing, and shows it. It asks through the mount itself, by an extended attribute of its root.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use crate::error::{Error, ErrorKind, Result};
use crate::fuse::STATUS_XATTR;
use crate::mount::point;
use crate::status::Status;

/// The largest value of an extended attribute (`XATTR_SIZE_MAX`).
const XATTR_MAX: usize = 65_536;

/// What the status command prints, for one mount or, without `mountpoint`, for all of this user's.
///
/// # Errors
/// There is no such mount, or its process does not answer.
pub fn show(mountpoint: Option<&Path>, json: bool) -> Result<String> {
    let mountpoints = match mountpoint {
        Some(path) => vec![path.to_owned()],
        None => ours()?,
    };
    let mut out = String::new();
    for mountpoint in mountpoints {
        if json {
            let value: serde_json::Value =
                serde_json::from_slice(&read_json(&mountpoint)?).map_err(|e| odd(&mountpoint, e))?;
            writeln!(out, "{value:#}").expect("writing to a string cannot fail");
        } else {
            describe(&read(&mountpoint)?, &mut out);
        }
    }
    Ok(out)
}

fn ours() -> Result<Vec<PathBuf>> {
    let ours: Vec<_> =
        point::mounted().into_iter().filter(point::Mounted::is_ours).map(|mounted| mounted.path).collect();
    if ours.is_empty() {
        return Err(Error::new("status", ErrorKind::Other).because("nothing is mounted; `kitovufs mount` does"));
    }
    Ok(ours)
}

/// The status of the mount at `mountpoint`.
pub fn read(mountpoint: &Path) -> Result<Status> {
    serde_json::from_slice(&read_json(mountpoint)?).map_err(|e| odd(mountpoint, e))
}

fn odd(mountpoint: &Path, e: serde_json::Error) -> Error {
    Error::new("status", ErrorKind::Protocol)
        .on(mountpoint.display())
        .because("the mount is served by another version of kitovufs")
        .caused_by(e)
}

fn read_json(mountpoint: &Path) -> Result<Vec<u8>> {
    let failed = || Error::new("status", ErrorKind::Other).on(mountpoint.display());
    let mut buffer = vec![0; XATTR_MAX];
    match rustix::fs::getxattr(mountpoint, STATUS_XATTR, &mut buffer[..]) {
        Ok(length) => {
            buffer.truncate(length);
            Ok(buffer)
        }
        Err(rustix::io::Errno::NOTCONN) => Err(failed().because(format!(
            "the process that served this mount is gone; kitovufs unmount {} takes it away, mounting again heals it",
            mountpoint.display()
        ))),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => {
            Err(failed().because("no kitovufs mount (its root is what must be named)"))
        }
        Err(e) => Err(failed().caused_by(std::io::Error::from(e))),
    }
}

fn describe(status: &Status, out: &mut String) {
    let Status { version, mountpoint, pid, passthrough, sources, cache } = status;
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!("{}  (kitovufs {version}, process {pid}, passthrough {passthrough})", mountpoint.display()));
    for (name, source) in sources {
        let requests = &source.requests;
        line(format!("  {name}  {} {} since {}", source.source_type, source.state, source.since));
        line(format!(
            "    {} listings, {} digests, {} retrievals, {} retrieved, {} errors",
            requests.list_path,
            requests.create_remote_digest,
            requests.retrieve_file,
            ByteSize::b(source.bytes_retrieved),
            source.errors
        ));
        if let Some(error) = source.last_error.as_ref().filter(|_| source.state != "ok") {
            line(format!("    {error}"));
        }
    }
    line(format!(
        "  cache  {} of {} in {} copies, {} hits, {} misses, {} evicted, {} quarantined",
        ByteSize::b(cache.bytes),
        ByteSize::b(cache.max_bytes),
        cache.copies,
        cache.hits,
        cache.misses,
        cache.evicted,
        cache.quarantined
    ));
    line(format!("         {}", cache.dir.display()));
}
