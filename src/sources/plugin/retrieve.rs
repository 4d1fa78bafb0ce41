//! A retrieval: the plugin fills a staging file, the host hands on what is in it. It decides about no version but by asking.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tokio::time::timeout;

use super::calls::Event;
use super::failure::Failure;
use super::session::{Session, understood_or_nothing};
use super::staging::{Extent, Staged, check_place, too_much};
use super::wire::{Filled, Text};
use crate::error::{Error, ErrorKind, Result};
use crate::source::waits::note_progress;
use crate::source::{Retrieval, Sink};

/// How often the length of the file is asked for.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Bytes that are handed on at once.
pub const CHUNK: u64 = 1 << 20;

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

    /// Hands on what the file has beyond what was delivered. With `is_last`, the room of these bytes is given back.
    async fn catch_up(&mut self, staged: &Arc<Staged>, is_last: bool) -> Result<()> {
        loop {
            let at = self.delivered;
            let read = move |staged: &Staged| {
                let mut chunk = Vec::new();
                let mut file = staged.file().as_file();
                file.seek(SeekFrom::Start(at))?;
                file.take(CHUNK).read_to_end(&mut chunk)?;
                if is_last {
                    // The copy needs room for the same bytes next.
                    staged.give_back(at, chunk.len() as u64);
                }
                std::io::Result::Ok(chunk)
            };
            let failed = || Error::new("read a staging file", ErrorKind::Cache);
            let chunk = staged.on_disk(read).await?.map_err(|e| failed().caused_by(e))?;
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

/// Lets a plugin retrieve, and delivers. The path must have been told, and its digest asked for.
///
/// # Errors
/// What the plugin says; `Changed` if what it wrote is not, or may not be, the wanted version.
pub async fn retrieve(
    session: &Session,
    request: &Retrieval<'_>,
    written: &Text,
    staged: Arc<Staged>,
    delivery: &mut Delivery<'_>,
) -> Result<Filled, Failure> {
    let filled = fill(session, request, written, &staged, delivery).await;
    staged.close().await;
    filled
}

async fn fill(
    session: &Session,
    request: &Retrieval<'_>,
    written: &Text,
    staged: &Arc<Staged>,
    delivery: &mut Delivery<'_>,
) -> Result<Filled, Failure> {
    let changed = |why: &str| Error::new("retrieve_file", ErrorKind::Changed).because(why);
    let abilities = &session.hello.capabilities;
    let place = Text::of(std::os::unix::ffi::OsStrExt::as_bytes(staged.file().path().as_os_str()));
    let mut params = json!({"path": written, "digest": request.digest.as_str(), "file": place});
    if !request.is_whole() {
        params["offset"] = request.range.start.into();
        params["length"] = (request.range.end - request.range.start).into();
    }
    let mut call = session.connection.call("retrieve_file", params).await?;
    let mut seen = Extent::default();
    let filled: Filled = loop {
        // Whatever the plugin says: only bytes are progress.
        let event = match timeout(POLL_INTERVAL, call.next()).await {
            Ok(event) => Some(event?),
            Err(_) => None,
        };
        let now = staged.on_disk(Staged::extent).await?;
        if now.length > seen.length || now.taken > seen.taken {
            seen = Extent { length: now.length.max(seen.length), taken: now.taken.max(seen.taken) };
            if let Err(error) = staged.on_disk(move |staged| staged.account(now)).await? {
                // It may go on writing, also to a file that has no name any more.
                session.connection.kill("it wrote more than there is room for");
                staged.on_disk(Staged::empty).await?;
                return Err(error.into());
            }
            note_progress();
            if abilities.can_be_followed() {
                delivery.catch_up(staged, false).await?;
            }
        }
        match event {
            Some(Event::End(result)) => break understood_or_nothing(result?)?,
            Some(Event::Broken(why)) => return Err(Failure::Broken(why)),
            Some(Event::Entries(_) | Event::Progress) | None => {}
        }
    };
    let found = staged.on_disk(|staged| check_place(staged.file()).map(|()| staged.extent().length)).await?;
    let there = found.map_err(|e| Failure::Broken(e.to_string()))?;
    if let Some(wanted) = delivery.wanted.filter(|wanted| there < *wanted) {
        let short = format!("{there} of {wanted} bytes");
        // A whole file of another size is another version.
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
        let now = session.digest(request.path, written).await?;
        if now.digest != request.digest.as_str() {
            return Err(changed("it changed meanwhile").into());
        }
    }
    delivery.catch_up(staged, true).await?;
    Ok(filled)
}
