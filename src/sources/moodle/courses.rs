//! `Courses`: the courses of an account and what is in them, each asked for once for all its directories. It retrieves no file.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use super::answer::{Course, Section};
use super::attached::attach;
use super::filters::Filters;
use super::forum;
use super::glossary;
use super::linked::Linked;
use super::numbering::Numbering;
use super::outline::{Listed, outline};
use super::refusal::{Route, blocked};
use super::session::Session;
use super::show::Show;
use super::submission;
use super::title::shown;
use super::tree::{Apart, Place, Tree, course_path, directory};
use crate::error::{ErrorKind, Result};
use crate::path::RemotePath;
use crate::source::{Entry, LeftOut};
use crate::sources::purpose::Purpose;

/// The longest that an answer about a course may tell directories that were not asked for yet.
///
/// One answer holds the whole course, and each of its directories is listed by itself and then counts for `fresh_for`. A directory
/// that was told from an answer and is asked for again is therefore never told from the same one: the request is for something newer,
/// and the newer answer then tells all the others once too. So a walk through a course is one request, the walk after `fresh_for` is
/// one more, and no change is missed by it. Only a directory that was not asked for yet may be told from an answer that is a
/// little older: by no more than this, and by no more than `fresh_for`.
const SHARED_FOR: Duration = Duration::from_secs(5);

/// The latest answers about an account's courses.
#[derive(Debug, Default)]
pub(super) struct Courses {
    /// For how long an answer is shared.
    shared_for: Duration,
    /// The courses of the last list; none before there was one.
    listed: Mutex<HashSet<u64>>,
    /// Whether a course of that list could not be read.
    is_incomplete: AtomicBool,
    answers: Mutex<HashMap<u64, Arc<Shared>>>,
    filters: Filters,
    linked: Linked,
    show: Show,
    numbering: Numbering,
}

/// The last answer about one course.
#[derive(Debug, Default)]
struct Shared {
    /// The latest answer, however old.
    tree: Mutex<Option<Arc<Tree>>>,
    /// Held while the course is asked about: who comes meanwhile gets that answer.
    turn: tokio::sync::Mutex<Option<Told>>,
}

/// When the last answer was asked for, and which directories were told from it.
#[derive(Debug)]
struct Told {
    asked: Instant,
    directories: HashSet<RemotePath>,
}

impl Courses {
    /// Nothing is known yet; what is heard counts for `fresh_for`.
    pub(super) fn new(fresh_for: Duration, show: Show, numbering: Numbering) -> Self {
        Self { shared_for: SHARED_FOR.min(fresh_for), show, numbering, ..Self::default() }
    }

    /// The folders of an account's courses.
    ///
    /// # Errors
    /// Never fewer courses than before unless the site lets the account in: to one that must agree to a policy or change its
    /// password first, a site lists no courses at all, and no error.
    pub(super) async fn list(
        &self,
        session: &Session,
        who: &Account,
        purpose: Purpose<'_>,
    ) -> Result<(Vec<Entry>, LeftOut)> {
        let (courses, left_out) = (who.courses(session, purpose).await?, LeftOut::default());
        for odd in courses.iter().filter(|course| course.id.is_none()) {
            let name = odd.fullname.as_deref().unwrap_or("?");
            left_out.add_unreadable(name.as_bytes(), "the course has no number");
        }
        self.is_incomplete.store(left_out.is_incomplete(), Ordering::Relaxed);
        let now: HashSet<u64> = courses.iter().filter_map(|course| course.id).collect();
        let fewer = !self.listed.lock().is_subset(&now);
        if now.is_empty() || fewer {
            who.check(session, purpose).await?;
        }
        self.answers.lock().retain(|id, _| now.contains(id));
        *self.listed.lock() = now;
        let folder = |course: &Course| {
            let id = course.id?;
            Some(directory(
                shown(course.fullname.as_deref().unwrap_or_default(), &format!("Course {id}")),
                course_path(id)?,
            ))
        };
        Ok((courses.iter().filter_map(folder).collect(), left_out))
    }

    /// A tree of the course: one that has the directory that is asked for, or else one that was asked for now.
    pub(super) async fn tree(
        &self,
        session: &Session,
        who: &Account,
        purpose: Purpose<'_>,
        place: Place,
    ) -> Result<Arc<Tree>> {
        if place.apart.is_some() {
            return self.contents(session, who, purpose, place).await.map(Arc::new);
        }
        let shared = self.answers.lock().entry(place.course).or_default().clone();
        let mut turn = shared.turn.lock().await;
        if let Some(told) = turn.as_mut()
            && told.asked.elapsed() < self.shared_for
            && let Some(tree) = shared.tree.lock().clone()
            && tree.directory(purpose.path).is_some()
            && told.directories.insert(purpose.path.clone())
        {
            return Ok(tree);
        }
        let asked = Instant::now();
        let tree = Arc::new(self.contents(session, who, purpose, Place { module: None, ..place }).await?);
        *shared.tree.lock() = Some(tree.clone());
        *turn = Some(Told { asked, directories: HashSet::from([purpose.path.clone()]) });
        Ok(tree)
    }

    /// Asks what is in a course, in one activity of it, or in what is told apart from it.
    ///
    /// # Errors
    /// `NotFound` only if the site lists the account's courses, and this is none of them.
    pub(super) async fn contents(
        &self,
        session: &Session,
        who: &Account,
        purpose: Purpose<'_>,
        place: Place,
    ) -> Result<Tree> {
        let Some(course) = course_path(place.course) else { return Err(purpose.error(ErrorKind::NotFound)) };
        match place.apart {
            Some(Apart::Forum(forum)) => return forum::tree(session, purpose, &course, forum).await,
            Some(Apart::Glossary(id)) => return glossary::tree(session, purpose, &course, id).await,
            Some(Apart::Submission(id)) => return submission::tree(session, purpose, &course, id).await,
            None => {}
        }
        let (mut sections, observed) = who.sections(session, purpose, place).await?;
        if place.module.is_some() || !self.show.descriptions() {
            sections.iter_mut().for_each(Section::forget_descriptions);
        }
        attach(session, purpose, place.course, &self.show, &mut sections).await?;
        self.linked.ask(session, purpose, &mut sections).await;
        self.filters.ask(session, purpose, place.course, &sections).await?;
        let (site, filters, numbering) = (session.site(), &self.filters, self.numbering);
        Ok(outline(&course, &sections, &Listed { site, filters, numbering, observed }))
    }

    /// Whether the last list of courses may lack one.
    pub(super) fn is_incomplete(&self) -> bool {
        self.is_incomplete.load(Ordering::Relaxed)
    }

    /// The latest answer about a course, however old.
    pub(super) fn known(&self, place: Place) -> Option<Arc<Tree>> {
        let shared = self.answers.lock().get(&place.course).cloned()?;
        shared.tree.lock().clone()
    }
}

/// Whose courses they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    pub(super) user: u64,
    /// The course that is the site's home.
    pub(super) home: u64,
}

impl Account {
    async fn courses(self, session: &Session, purpose: Purpose<'_>) -> Result<Vec<Course>> {
        let user = self.user.to_string();
        // Counting the users of every course takes the site long, and the number is not used.
        let parameters = [("userid", user.as_str()), ("returnusercount", "0")];
        session.call(purpose, "core_enrol_get_users_courses", &parameters).await
    }

    /// Fails if the site wants something of the account before it shows it anything.
    async fn check(self, session: &Session, purpose: Purpose<'_>) -> Result<()> {
        let home = self.home.to_string();
        let (asked, _) =
            session.try_call::<Vec<IgnoredAny>>(purpose, "core_course_get_contents", &[("courseid", &home)]).await?;
        match asked {
            Ok(_) => Ok(()),
            Err(refused) if refused.errorcode == "errorcoursecontextnotvalid" => Err(blocked(purpose, &refused)),
            Err(refused) => Err(Route::Rest.refusal(purpose, &refused)),
        }
    }

    /// The sections of a course, or those parts of them that one activity has, and when they were told by the site's clock.
    async fn sections(self, session: &Session, purpose: Purpose<'_>, place: Place) -> Result<(Vec<Section>, i64)> {
        let id = place.course.to_string();
        let module = place.module.map(|module| module.to_string());
        let mut parameters = vec![("courseid", id.as_str())];
        if let Some(module) = &module {
            parameters.extend([("options[0][name]", "cmid"), ("options[0][value]", module)]);
        }
        let (asked, observed) =
            session.try_call::<Vec<Section>>(purpose, "core_course_get_contents", &parameters).await?;
        let refused = match asked {
            Ok(sections) => return Ok((sections, observed)),
            Err(refused) => refused,
        };
        let error = Route::Rest.refusal(purpose, &refused);
        if !matches!(refused.errorcode.as_str(), "errorcoursecontextnotvalid" | "invalidrecord") {
            return Err(error);
        }
        // Whether the course has gone, or the account is blocked, or only this request was refused.
        self.check(session, purpose).await?;
        let courses = self.courses(session, purpose).await?;
        let may_be_there = courses.iter().any(|course| course.id.is_none_or(|id| id == place.course));
        Err(if may_be_there { error } else { purpose.error(ErrorKind::NotFound) })
    }
}
