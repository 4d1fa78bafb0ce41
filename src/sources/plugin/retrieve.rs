//! A retrieval: the plugin fills a staging file, the host hands on what is in it. It decides about no version but by asking.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::time::timeout;

use super::dialogue::News;
use super::failure::Failure;
use super::life::{Life, understood_or_nothing};
use super::staging::check_place;
use super::wire::{Filled, Text};
use crate::error::{Error, ErrorKind, Result};
use crate::source::deadline::note_progress;
use crate::source::{Retrieval, Sink};

/// How often to look whether the file has grown.
const LOOK: Duration = Duration::from_millis(100);

/// Bytes that are handed on at once.
pub const CHUNK: u64 = 1 << 20;

/// Bytes that stay free on the disk, whatever a plugin writes.
const FREE: u64 = 64 << 20;

/// Hands the bytes of a staging file on, each once, also over several attempts of the plugin.
pub struct Delivery<'a> {
    out: &'a mut dyn Sink,
    /// Bytes that the sink has.
    delivered: u64,
    /// Bytes that are wanted, where that is known.
    wanted: Option<u64>,
}

impl<'a> Delivery<'a> {
    /// Begins with nothing delivered.
    pub fn new(request: &Retrieval<'_>, out: &'a mut dyn Sink) -> Self {
        let wanted = request.size.map(|_| request.range.end - request.range.start);
        Self { out, delivered: 0, wanted }
    }

    /// Hands on what the file has beyond what was delivered.
    async fn catch_up(&mut self, file: &Arc<NamedTempFile>) -> Result<()> {
        loop {
            let (reading, at) = (Arc::clone(file), self.delivered);
            let read = move || {
                let mut chunk = Vec::new();
                let mut file = reading.as_file();
                file.seek(SeekFrom::Start(at))?;
                file.take(CHUNK).read_to_end(&mut chunk)?;
                std::io::Result::Ok(chunk)
            };
            let failed = || Error::new("read a staging file", ErrorKind::Cache);
            let chunk = tokio::task::spawn_blocking(read).await.map_err(|lost| failed().caused_by(lost))?;
            let chunk = chunk.map_err(|e| failed().caused_by(e))?;
            if chunk.is_empty() {
                return Ok(());
            }
            self.delivered += chunk.len() as u64;
            if self.wanted.is_some_and(|wanted| self.delivered > wanted) {
                return Err(too_much());
            }
            self.out.write(Bytes::from(chunk)).await?;
        }
    }
}

/// Fails once a plugin has written more than was asked for, or nearly all that the disk holds.
fn limit(file: &NamedTempFile, length: u64, wanted: Option<u64>) -> Result<()> {
    if wanted.is_some_and(|wanted| length > wanted) {
        return Err(too_much());
    }
    match rustix::fs::fstatvfs(file.as_file()) {
        Ok(disk) if disk.f_bavail.saturating_mul(disk.f_frsize) < FREE => {
            let why = format!("there is no room for the file: the disk is full after {length} bytes");
            Err(Error::new("retrieve_file", ErrorKind::Cache).because(why))
        }
        _ => Ok(()),
    }
}

fn too_much() -> Error {
    Error::new("retrieve_file", ErrorKind::Protocol).because("the plugin wrote more bytes than were asked for")
}

/// Lets a plugin retrieve, and delivers. The path must have been told, and its digest asked for.
///
/// # Errors
/// What the plugin says; `Changed` if what it wrote is not, or may not be, the wanted version.
pub async fn retrieve(
    life: &Life,
    request: &Retrieval<'_>,
    written: &Text,
    file: NamedTempFile,
    delivery: &mut Delivery<'_>,
) -> Result<Filled, Failure> {
    let changed = |why: &str| Error::new("retrieve_file", ErrorKind::Changed).because(why);
    let abilities = &life.hello.capabilities;
    let place = Text::of(std::os::unix::ffi::OsStrExt::as_bytes(file.path().as_os_str()));
    let mut params = json!({"path": written, "digest": request.digest.as_str(), "file": place});
    if !request.is_whole() {
        params["offset"] = request.range.start.into();
        params["length"] = (request.range.end - request.range.start).into();
    }
    let file = Arc::new(file);
    let length = || file.as_file().metadata().map(|metadata| metadata.len()).unwrap_or_default();
    let mut call = life.dialogue.begin("retrieve_file", params).await?;
    let mut seen = 0;
    let filled: Filled = loop {
        // Whatever the plugin says: only bytes are progress.
        let news = timeout(LOOK, call.next()).await;
        let now = length();
        if now > seen {
            seen = now;
            limit(&file, seen, delivery.wanted)?;
            note_progress();
            if abilities.can_be_followed() {
                delivery.catch_up(&file).await?;
            }
        }
        match news {
            Ok(news) => match news? {
                News::End(result) => break understood_or_nothing(result?)?,
                News::Broken(why) => return Err(Failure::Broken(why)),
                News::Entries(_) | News::Progress => {}
            },
            Err(_) => {}
        }
    };
    check_place(&file).map_err(|e| Failure::Broken(e.to_string()))?;
    let there = length();
    if let Some(wanted) = delivery.wanted.filter(|wanted| there < *wanted) {
        let short = format!("{there} of {wanted} bytes");
        // Somebody else's size is somebody else's version.
        return Err(if request.is_whole() {
            changed(&format!("the file has {short}")).into()
        } else {
            Failure::Broken(short)
        });
    }
    if !request.allows_size(filled.size) || (request.is_whole() && filled.size.is_some_and(|size| size != there)) {
        return Err(changed("the file has another size by now").into());
    }
    if !abilities.conditional {
        let now = life.digest(request.path, written).await?;
        if now.digest != request.digest.as_str() {
            return Err(changed("it changed meanwhile").into());
        }
    }
    delivery.catch_up(&file).await?;
    Ok(filled)
}
