//! `Show`: the setting that says of which kinds of activities files are shown whose list the site gives apart from the course.

use crate::source::settings::Reader;

/// Lists the discussions of a forum.
pub(super) const DISCUSSIONS: &str = "mod_forum_get_forum_discussions";
/// Lists the posts of a discussion.
pub(super) const POSTS: &str = "mod_forum_get_discussion_posts";

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

/// `mod_assign_get_submission_status` must never be here: it begins a submission, and notes that feedback was seen.
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

/// The kinds that are shown.
#[derive(Debug, Clone)]
pub(super) struct Show(Vec<&'static Kind>);

impl Default for Show {
    fn default() -> Self {
        Self(KINDS.iter().collect())
    }
}

impl Show {
    /// What the setting says; all kinds without it.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let Some(words) = reader.strings("show") else { return Self::default() };
        for word in words.iter().filter(|word| !KINDS.iter().any(|kind| kind.word == **word)) {
            let known = KINDS.each_ref().map(|kind| kind.word).join(", ");
            reader.problem(Some("show"), format!("`show`: there is no {word:?}; known are: {known}"));
        }
        Self(KINDS.iter().filter(|kind| words.iter().any(|word| word == kind.word)).collect())
    }

    /// Whether descriptions of sections, and what activities show on the page of their course, are shown.
    pub(super) fn descriptions(&self) -> bool {
        self.0.iter().any(|kind| kind.word == DESCRIPTIONS)
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = &'static Kind> {
        self.0.iter().copied()
    }
}
