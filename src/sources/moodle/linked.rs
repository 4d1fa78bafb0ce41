//! `Linked`: the stored files that texts show or lead to, where no function of the site lists them. It knows no directory.

use std::collections::HashSet;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use url::Url;

use super::answer::{Content, Section};
use super::answered::Answered;
use super::html::links;
use super::session::Session;
use super::site::Site;
use crate::error::ErrorKind;
use crate::source::turns::Spare;
use crate::source::waits::note_progress;
use crate::sources::purpose::Purpose;

/// The most files about which one answer makes the site be asked. Those beyond count as being there.
const MAX_ASKED: usize = 32;

/// Which of these files the site was seen to have. (Courses that were copied between sites often have pictures that are broken.)
#[derive(Debug, Default)]
pub(super) struct Linked(Mutex<HashSet<String>>);

impl Linked {
    /// Adds the files of descriptions to what is told of these already: one small request for each that was not seen yet, as many side by
    /// side as the source has places. One that the site refuses is left out, and the text keeps its link. None makes the listing fail: if
    /// the site does not answer, it counts as there.
    pub(super) async fn ask(&self, session: &Session, purpose: Purpose<'_>, sections: &mut [Section]) {
        let mut found = Vec::new();
        for Section { summary, pictures, modules, .. } in &mut *sections {
            found.push(files(session.site(), summary.as_deref(), pictures));
            for module in modules {
                found.push(files(session.site(), module.description.as_deref(), &module.pictures));
            }
        }
        let refused = self.refused(session, purpose, found.iter().flatten()).await;
        let mut found = found.into_iter();
        let mut add = |files: &mut Vec<Content>| {
            let found = found.next().unwrap_or_default();
            files.extend(found.into_iter().filter(|(path, _)| !refused.contains(path)).map(|(_, file)| file));
        };
        for section in sections {
            add(&mut section.pictures);
            section.modules.iter_mut().for_each(|module| add(&mut module.pictures));
        }
    }

    /// Those of these files that the site refuses.
    async fn refused(
        &self,
        session: &Session,
        purpose: Purpose<'_>,
        files: impl Iterator<Item = &(String, Content)>,
    ) -> HashSet<String> {
        let mut refused = HashSet::new();
        let mut unseen = Vec::new();
        let mut met = HashSet::new();
        for (path, file) in files {
            match file.fileurl.as_deref().and_then(|url| session.site().file_url(url)) {
                None => drop(refused.insert(path.clone())),
                Some(url) if met.insert(path) && !self.0.lock().contains(path) => unseen.push((path, url)),
                Some(_) => {}
            }
        }
        unseen.truncate(MAX_ASKED);
        let (mut unseen, mut asked) = (unseen.into_iter(), FuturesUnordered::new());
        loop {
            // The listing has one place already, and waits.
            while let Some(place) = if asked.is_empty() { Some(None) } else { Spare::take().map(Some) }
                && let Some((path, url)) = unseen.next()
            {
                asked.push(async move {
                    let is_there = is_there(session, purpose, &url).await;
                    drop(place);
                    (path, is_there)
                });
            }
            match asked.next().await {
                Some((path, Some(true))) => drop(self.0.lock().insert(path.clone())),
                Some((path, Some(false))) => drop(refused.insert(path.clone())),
                Some((_, None)) => {}
                None => return refused,
            }
        }
    }
}

/// The files to which this text leads, and that are not told already, by their paths at the site.
fn files(site: &Site, text: Option<&str>, told: &[Content]) -> Vec<(String, Content)> {
    let mut told: HashSet<_> = told.iter().filter_map(|file| site.stored(file.fileurl.as_deref()?)).collect();
    let found = links(text.unwrap_or_default()).into_iter().filter_map(|address| {
        let path = site.stored(&address)?;
        let file = file(&path, address)?;
        told.insert(path.clone()).then_some((path, file))
    });
    found.collect()
}

/// Whether the site has the file at this address; none if it does not say.
async fn is_there(session: &Session, purpose: Purpose<'_>, url: &Url) -> Option<bool> {
    let asked = Answered::ask(purpose, session, url, false, Some(&(0..1))).await;
    note_progress();
    match asked {
        Ok(_) => Some(true),
        // An empty file has no first byte.
        Err(error) if error.kind() == ErrorKind::Changed => Some(true),
        Err(error) if error.kind().is_outage() || error.kind().is_temporary() => None,
        Err(_) => Some(false),
    }
}

/// The file at this path of the site, if it belongs to the text of a section or an activity, and not to a file of its own.
fn file(path: &str, address: String) -> Option<Content> {
    let components: Vec<_> = path.split('/').collect();
    let (dirs, name) = match components[..] {
        ["", _, "course", "section", _, ref dirs @ .., name] => (dirs, name),
        ["", _, module, "intro", ref dirs @ .., name] if module.starts_with("mod_") => (dirs, name),
        _ => return None,
    };
    Some(Content {
        kind: Some("file".into()),
        filename: Some(name.to_owned()),
        filepath: Some(format!("/{}", dirs.join("/"))),
        fileurl: Some(address),
        ..Content::default()
    })
}
