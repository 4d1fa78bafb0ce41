//! `attach`: the files of activities that are not among the contents of their course are put there. It knows no directory.

use std::collections::HashMap;

use super::answer::{Activities, Content, Module, Section};
use super::session::Session;
use super::show::{Kind, SUBMISSION, Show};
use crate::error::Result;
use crate::sources::purpose::Purpose;

/// Asks for these files, one request for each kind of activity that the sections have and that is shown.
///
/// # Errors
/// The site cannot be asked. A refusal is none: then it is not known what the activities have, as it is of each that the answer is
/// without. (To an account that is blocked, or that may not see an activity, sites answer with a shorter list.)
pub(super) async fn attach(
    session: &Session,
    purpose: Purpose<'_>,
    course: u64,
    show: &Show,
    sections: &mut [Section],
) -> Result<()> {
    let course = course.to_string();
    if show.submissions() && session.has(SUBMISSION) {
        let modules = sections.iter_mut().flat_map(|section| &mut section.modules);
        let assignments = modules.filter(|module| module.modname.as_deref() == Some("assign"));
        let visible = assignments.filter(|module| module.uservisible != Some(false));
        visible.for_each(|module| module.contents.get_or_insert_default().push(Content::apart()));
    }
    for kind in show.kinds().filter(|kind| kind.functions().all(|name| session.has(name))) {
        let mut modules = modules(sections, kind).peekable();
        if modules.peek().is_none() {
            continue;
        }
        let (asked, _) = session.try_call::<Activities>(purpose, kind.function, &[("courseids[0]", &course)]).await?;
        let mut told: HashMap<_, _> = asked.into_iter().flat_map(Activities::all).collect();
        for module in modules {
            match module.id.and_then(|id| told.remove(&id)) {
                Some(activity) => activity.put_into(module),
                None => module.contents.get_or_insert_default().push(unknown(module.name.as_deref())),
            }
        }
    }
    Ok(())
}

/// The activities of this kind into which the account may look, and of which its function tells something.
fn modules<'a>(sections: &'a mut [Section], kind: &Kind) -> impl Iterator<Item = &'a mut Module> {
    let modules = sections.iter_mut().flat_map(|section| &mut section.modules);
    modules.filter(|module| {
        let is_of_kind = module.modname.as_deref() == Some(kind.modname);
        is_of_kind && module.uservisible != Some(false) && (kind.modname != "label" || module.shows_files())
    })
}

/// Stands for files of which nothing is known.
fn unknown(name: Option<&str>) -> Content {
    Content { filename: name.map(str::to_owned), ..Content::default() }
}
