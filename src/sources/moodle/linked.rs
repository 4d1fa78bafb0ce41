//! `Linked`: the stored files that texts show or lead to, where no function of the site lists them. It knows no directory.

use std::collections::HashSet;

use parking_lot::Mutex;

use super::answer::{Content, Section};
use super::answered::Answered;
use super::html::links;
use super::session::Session;
use crate::error::ErrorKind;
use crate::sources::purpose::Purpose;

/// The most files about which one answer makes the site be asked. Those beyond count as being there.
const MAX_ASKED: usize = 32;

/// Which of these files the site was seen to have. (Courses that were copied between sites often have pictures that are broken.)
#[derive(Debug, Default)]
pub(super) struct Linked(Mutex<HashSet<String>>);

impl Linked {
    /// Adds the files of descriptions to what is told of these already: one small request for each that was not seen yet. One that the
    /// site refuses is left out, and the text keeps its link. None makes the listing fail: if the site does not answer, it counts as there.
    pub(super) async fn ask(&self, session: &Session, purpose: Purpose<'_>, sections: &mut [Section]) {
        let mut left = MAX_ASKED;
        for Section { summary, pictures, modules, .. } in sections {
            self.add(session, purpose, summary.as_deref(), pictures, &mut left).await;
            for module in modules {
                self.add(session, purpose, module.description.as_deref(), &mut module.pictures, &mut left).await;
            }
        }
    }

    async fn add(
        &self,
        session: &Session,
        purpose: Purpose<'_>,
        text: Option<&str>,
        files: &mut Vec<Content>,
        left: &mut usize,
    ) {
        let site = session.site();
        let mut told: HashSet<_> = files.iter().filter_map(|file| site.stored(file.fileurl.as_deref()?)).collect();
        for address in links(text.unwrap_or_default()) {
            let Some(path) = site.stored(&address) else { continue };
            let Some(file) = file(&path, address) else { continue };
            if told.contains(&path) || !self.is_there(session, purpose, &path, &file, left).await {
                continue;
            }
            told.insert(path);
            files.push(file);
        }
    }

    async fn is_there(
        &self,
        session: &Session,
        purpose: Purpose<'_>,
        path: &str,
        file: &Content,
        left: &mut usize,
    ) -> bool {
        let Some(url) = file.fileurl.as_deref().and_then(|url| session.site().file_url(url)) else { return false };
        if *left == 0 || self.0.lock().contains(path) {
            return true;
        }
        *left -= 1;
        match Answered::ask(purpose, session, &url, false, Some(&(0..1))).await {
            Ok(_) => {}
            // An empty file has no first byte.
            Err(error) if error.kind() == ErrorKind::Changed => {}
            Err(error) => return error.kind().is_outage() || error.kind().is_temporary(),
        }
        self.0.lock().insert(path.to_owned());
        true
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
