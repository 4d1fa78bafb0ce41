//! `Show`: the setting that says of which kinds of activities files are shown whose list the site gives apart from the course.

use crate::source::settings::Reader;

/// Lists the discussions of a forum.
pub(super) const DISCUSSIONS: &str = "mod_forum_get_forum_discussions";
/// Lists the posts of a discussion.
pub(super) const POSTS: &str = "mod_forum_get_discussion_posts";

/// Tells what was handed in for an assignment. It begins a submission where there is none, and notes that feedback was seen.
pub(super) const SUBMISSION: &str = "mod_assign_get_submission_status";

/// The word for what is shown only if the setting names it, because of that.
const SUBMISSIONS: &str = "submissions";

/// The word for what stands on the page of a course besides its activities.
const DESCRIPTIONS: &str = "descriptions";

/// Lists the entries of a glossary.
pub(super) const ENTRIES: &str = "mod_glossary_get_entries_by_letter";

/// A kind of activity whose files a function of its own lists, for a whole course at once. All these functions only read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// In the setting.
    pub(super) word: &'static str,
    /// As courses call the activity.
    pub(super) modname: &'static str,
    pub(super) function: &'static str,
    /// What else is called for its files.
    pub(super) further: &'static [&'static str],
}

/// All that is shown without the setting.
static KINDS: [Kind; 7] = [
    Kind { word: "assignments", modname: "assign", function: "mod_assign_get_assignments", further: &[] },
    Kind { word: "lessons", modname: "lesson", function: "mod_lesson_get_lessons_by_courses", further: &[] },
    Kind { word: "scorm", modname: "scorm", function: "mod_scorm_get_scorms_by_courses", further: &[] },
    Kind {
        word: "h5p",
        modname: "h5pactivity",
        function: "mod_h5pactivity_get_h5pactivities_by_courses",
        further: &[],
    },
    Kind {
        word: "forums",
        modname: "forum",
        function: "mod_forum_get_forums_by_courses",
        further: &[DISCUSSIONS, POSTS],
    },
    Kind {
        word: "glossaries",
        modname: "glossary",
        function: "mod_glossary_get_glossaries_by_courses",
        further: &[ENTRIES],
    },
    Kind { word: DESCRIPTIONS, modname: "label", function: "mod_label_get_labels_by_courses", further: &[] },
];

impl Kind {
    /// The functions that the token's service must have.
    pub(super) fn functions(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.function).chain(self.further.iter().copied())
    }
}

/// What is shown.
#[derive(Debug, Clone)]
pub(super) struct Show {
    kinds: Vec<&'static Kind>,
    submissions: bool,
}

impl Default for Show {
    fn default() -> Self {
        Self { kinds: KINDS.iter().collect(), submissions: false }
    }
}

impl Show {
    /// What the setting says; all kinds without it.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let Some(words) = reader.strings("show") else { return Self::default() };
        let known: Vec<_> = KINDS.iter().map(|kind| kind.word).chain([SUBMISSIONS]).collect();
        for word in words.iter().filter(|word| !known.contains(&word.as_str())) {
            let known = known.join(", ");
            reader.problem(Some("show"), format!("`show`: there is no {word:?}; known are: {known}"));
        }
        let has = |wanted| words.iter().any(|word| word == wanted);
        Self { kinds: KINDS.iter().filter(|kind| has(kind.word)).collect(), submissions: has(SUBMISSIONS) }
    }

    /// Whether descriptions of sections, and what activities show on the page of their course, are shown.
    pub(super) fn descriptions(&self) -> bool {
        self.kinds().any(|kind| kind.word == DESCRIPTIONS)
    }

    /// Whether what was handed in for assignments is shown, although the site notes that it was asked for.
    pub(super) fn submissions(&self) -> bool {
        self.submissions
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = &'static Kind> {
        self.kinds.iter().copied()
    }
}
