//! `Filters`: which stored text a site passes through its filters, so that it sends other bytes than it lists. It knows no directory.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;

use super::answer::{Content, Module, Resources, Section};
use super::session::Session;
use crate::error::Result;
use crate::sources::purpose::Purpose;

/// Tells of each resource of a course whether it is filtered, which the course's contents do not tell.
const FUNCTION: &str = "mod_resource_get_resources_by_courses";

/// What the site has told. A file is known by its address: every edit of its activity, also of this setting, gives it another one.
#[derive(Debug, Default)]
pub(super) struct Filters(Mutex<HashMap<String, bool>>);

impl Filters {
    /// Asks about text of which nothing was told yet: one request for all of a course, and none if there is no such text.
    ///
    /// # Errors
    /// The site cannot be asked. A refusal is none: the text then counts as filtered.
    pub(super) async fn ask(
        &self,
        session: &Session,
        purpose: Purpose<'_>,
        course: u64,
        sections: &[Section],
    ) -> Result<()> {
        let modules = sections.iter().flat_map(|section| &section.modules);
        let texts = modules.flat_map(|module| texts(module).map(move |url| (module.id, url)));
        let unknown: Vec<_> = {
            let told = self.0.lock();
            texts.filter(|(_, url)| !told.contains_key(*url)).collect()
        };
        if unknown.is_empty() || !session.has(FUNCTION) {
            return Ok(());
        }
        let course = course.to_string();
        let (asked, _) = session.try_call::<Resources>(purpose, FUNCTION, &[("courseids[0]", &course)]).await?;
        let Ok(Resources { resources }) = asked else { return Ok(()) };
        let plain: HashSet<_> =
            resources.iter().filter(|it| it.filterfiles == Some(0)).map(|it| it.coursemodule).collect();
        let told = unknown.into_iter().map(|(id, url)| (url.to_owned(), !plain.contains(&id)));
        self.0.lock().extend(told);
        Ok(())
    }

    /// Whether the site may send something else than it keeps.
    pub(super) fn may_change(&self, module: &Module, content: &Content) -> bool {
        let url = content.fileurl.as_deref().filter(|_| is_text(content) && is_resource(module));
        url.is_some_and(|url| self.0.lock().get(url).copied().unwrap_or(true))
    }
}

/// The addresses of an activity's files that can be filtered.
fn texts(module: &Module) -> impl Iterator<Item = &str> {
    let contents = module.contents.iter().flatten().filter(|content| is_resource(module) && is_text(content));
    contents.filter_map(|content| content.fileurl.as_deref())
}

/// Only resources have the setting.
fn is_resource(module: &Module) -> bool {
    module.modname.as_deref() == Some("resource")
}

fn is_text(content: &Content) -> bool {
    matches!(content.mimetype.as_deref(), Some("text/html" | "application/xhtml+xml" | "text/plain"))
}
