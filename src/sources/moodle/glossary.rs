//! `tree`: a glossary as a document of its entries, and beside it their files. It only reads.

use super::answer::{Content, Entries, GlossaryEntry};
use super::document::Text;
use super::html::{decoded, escaped};
use super::refusal::Route;
use super::session::Session;
use super::show::ENTRIES;
use super::tree::Tree;
use super::written::Written;
use crate::error::{ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::LeftOut;
use crate::sources::purpose::Purpose;

/// How many entries one request asks for; sites send 20 without it.
const PAGE: &str = "1000";
/// The most entries that are read.
const MAX_ENTRIES: usize = 100_000;
/// The most bytes of their texts that are read.
const MAX_BYTES: usize = 32 << 20;

/// The tree of a glossary: the entries that the account sees. `course` is the path of the glossary's course.
pub(super) async fn tree(session: &Session, purpose: Purpose<'_>, course: &RemotePath, id: u64) -> Result<Tree> {
    let dir = course.child(format!("glossary-{id}").as_bytes()).map_err(|_| purpose.error(ErrorKind::NotFound))?;
    let (entries, observed) = entries(session, purpose, id).await?;
    let modified = entries.iter().filter_map(|entry| entry.timemodified).max();
    let texts = entries.iter().map(text).collect();
    let written = Written { site: session.site(), observed, title: "Glossary".to_owned(), modified, texts };
    let (mut tree, left_out) = (Tree::default(), LeftOut::default());
    let entries = written.add_to(&mut tree, &dir, &left_out, [].iter());
    tree.add_directory(dir, entries, left_out);
    Ok(tree)
}

/// All entries in an order that depends on nothing else, and when the first were told by the site's clock.
async fn entries(session: &Session, purpose: Purpose<'_>, id: u64) -> Result<(Vec<GlossaryEntry>, i64)> {
    let (id, mut all, mut bytes, mut first) = (id.to_string(), Vec::new(), 0, None);
    loop {
        let from = all.len().to_string();
        // Other orders are refused by some formats of glossaries.
        let parameters = [("id", id.as_str()), ("letter", "ALL"), ("from", &from), ("limit", PAGE)];
        let (asked, observed) = session.try_call(purpose, ENTRIES, &parameters).await?;
        let Entries { count, entries } = asked.map_err(|refused| Route::Rest.refusal(purpose, &refused))?;
        let observed = *first.get_or_insert(observed);
        let is_last = entries.is_empty();
        bytes += entries.iter().map(|entry| entry.definition.as_ref().map_or(0, String::len)).sum::<usize>();
        all.extend(entries);
        if all.len() as u64 >= count {
            all.sort_by(|a, b| (&a.concept, a.id).cmp(&(&b.concept, b.id)));
            return Ok((all, observed));
        }
        if bytes > MAX_BYTES {
            return Err(
                purpose.protocol(format!("the texts of the glossary's entries have more than {} MiB", MAX_BYTES >> 20))
            );
        }
        if is_last || all.len() > MAX_ENTRIES {
            return Err(purpose.protocol(format!("the site tells {} of {count} entries", all.len())));
        }
    }
}

fn text(entry: &GlossaryEntry) -> Text {
    let files = |area, files: &[Content]| files.iter().map(|file| (area, file.clone())).collect::<Vec<_>>();
    Text {
        id: entry.id,
        head: format!("<h2>{}</h2>\n", escaped(&decoded(entry.concept.as_deref().unwrap_or_default()))),
        html: entry.definition.clone().unwrap_or_default(),
        files: [files("entry", &entry.definitioninlinefiles), files("attachment", &entry.attachments)].concat(),
    }
}
