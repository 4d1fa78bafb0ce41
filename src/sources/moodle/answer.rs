//! The answers of a Moodle site, as far as they matter here. Fields that releases or modules leave out are optional.

use serde::Deserialize;

use crate::sources::loose::loose;

/// `core_webservice_get_site_info`.
#[derive(Debug, Deserialize)]
pub(super) struct SiteInfo {
    pub(super) userid: u64,
    /// The address that the site gives itself.
    pub(super) siteurl: String,
    /// The course that is the site's home.
    pub(super) siteid: Option<u64>,
    /// 0 where the token's service allows no downloads.
    pub(super) downloadfiles: Option<i64>,
    #[serde(default)]
    pub(super) functions: Vec<Function>,
}

/// A function of the token's service.
#[derive(Debug, Deserialize)]
pub(super) struct Function {
    pub(super) name: String,
}

/// One of `core_enrol_get_users_courses`.
#[derive(Debug, Deserialize)]
pub(super) struct Course {
    #[serde(default, deserialize_with = "loose")]
    pub(super) id: Option<u64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) fullname: Option<String>,
}

/// One of `core_course_get_contents`.
#[derive(Debug, Deserialize)]
pub(super) struct Section {
    /// Stays when the section moves; -1 for what is in no section that the user sees.
    #[serde(default, deserialize_with = "loose")]
    pub(super) id: Option<i64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) name: Option<String>,
    /// The position in the course.
    #[serde(default, deserialize_with = "loose")]
    pub(super) section: Option<i64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) uservisible: Option<bool>,
    /// `mod_subsection` for one that is shown where the module with the instance `itemid` stands.
    #[serde(default, deserialize_with = "loose")]
    pub(super) component: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) itemid: Option<u64>,
    #[serde(default)]
    pub(super) modules: Vec<Module>,
    /// HTML.
    #[serde(default, deserialize_with = "loose")]
    pub(super) summary: Option<String>,
    /// Files of the summary; the site lists none.
    #[serde(skip)]
    pub(super) pictures: Vec<Content>,
}

/// An activity.
#[derive(Debug, Deserialize)]
pub(super) struct Module {
    /// Stays when the activity is renamed or moves.
    #[serde(default, deserialize_with = "loose")]
    pub(super) id: Option<u64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) name: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) modname: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) instance: Option<u64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) uservisible: Option<bool>,
    pub(super) contents: Option<Vec<Content>>,
    /// HTML that is shown on the page of the course: all of a label.
    #[serde(default, deserialize_with = "loose")]
    pub(super) description: Option<String>,
    /// The description as a function of the activity's kind tells it.
    #[serde(skip)]
    pub(super) intro: Option<String>,
    /// Files of the description.
    #[serde(skip)]
    pub(super) pictures: Vec<Content>,
}

impl Section {
    /// Leaves out what stands on the page of the course besides activities.
    pub(super) fn forget_descriptions(&mut self) {
        self.summary = None;
        self.modules.iter_mut().for_each(|module| module.description = None);
    }
}

impl Module {
    /// Whether its description shows files of the site, or leads to some.
    pub(super) fn shows_files(&self) -> bool {
        self.description.as_deref().is_some_and(|html| html.contains("/pluginfile.php"))
    }
}

/// A file of an activity, or something else that it exports.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Content {
    #[serde(rename = "type", default, deserialize_with = "loose")]
    pub(super) kind: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) filename: Option<String>,
    /// Begins and ends with `/`.
    #[serde(default, deserialize_with = "loose")]
    pub(super) filepath: Option<String>,
    /// Bytes; 0 for what is generated when it is asked for.
    #[serde(default, deserialize_with = "loose")]
    pub(super) filesize: Option<u64>,
    /// `url` of a file of a post.
    #[serde(default, alias = "url", deserialize_with = "loose")]
    pub(super) fileurl: Option<String>,
    /// Seconds since 1970.
    #[serde(default, deserialize_with = "loose")]
    pub(super) timemodified: Option<i64>,
    /// Missing for what is generated.
    #[serde(default, deserialize_with = "loose")]
    pub(super) mimetype: Option<String>,
    /// An alias: its `timemodified` does not move when the file that it stands for changes.
    #[serde(default, deserialize_with = "loose")]
    pub(super) isexternalfile: Option<bool>,
    /// A chapter's title, or a book's table of contents.
    #[serde(default, deserialize_with = "loose")]
    pub(super) content: Option<String>,
}

impl Content {
    /// The kind of what stands for discussions of a forum, entries of a glossary and what was handed in, which are asked for when those are looked at.
    pub(super) const APART: &str = "apart";

    pub(super) fn apart() -> Self {
        Self { kind: Some(Self::APART.into()), ..Self::default() }
    }

    pub(super) fn is_file(&self) -> bool {
        self.kind.as_deref() == Some("file")
    }

    /// HTML that the site makes of a page or a chapter when it is asked for.
    pub(super) fn is_generated(&self) -> bool {
        self.is_file() && self.filesize.unwrap_or(0) == 0 && self.mimetype.is_none()
    }
}

/// `mod_resource_get_resources_by_courses`.
#[derive(Debug, Deserialize)]
pub(super) struct Resources {
    pub(super) resources: Vec<Resource>,
}

/// A resource, beside its contents.
#[derive(Debug, Deserialize)]
pub(super) struct Resource {
    /// The activity's number.
    #[serde(default, deserialize_with = "loose")]
    pub(super) coursemodule: Option<u64>,
    /// 0 where its files come as they are kept.
    #[serde(default, deserialize_with = "loose")]
    pub(super) filterfiles: Option<i64>,
}

/// The answer of a function that tells what the activities of one kind have: `mod_assign_get_assignments` and the like.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Activities {
    /// Forums.
    Bare(Vec<Activity>),
    Assignments {
        courses: Vec<Assignments>,
    },
    Others {
        #[serde(alias = "scorms", alias = "lessons", alias = "h5pactivities", alias = "labels", alias = "glossaries")]
        activities: Vec<Activity>,
    },
}

/// The assignments of a course.
#[derive(Debug, Deserialize)]
pub(super) struct Assignments {
    #[serde(default)]
    assignments: Vec<Activity>,
}

/// What one activity has, with what is of its kind; the rest is missing.
#[derive(Debug, Deserialize)]
pub(super) struct Activity {
    #[serde(default, alias = "cmid", deserialize_with = "loose")]
    coursemodule: Option<u64>,
    /// HTML.
    #[serde(default, deserialize_with = "loose")]
    intro: Option<String>,
    /// Pictures of `intro`.
    #[serde(default)]
    introfiles: Vec<Content>,
    /// Of an assignment; missing while its description is hidden.
    #[serde(default)]
    introattachments: Vec<Content>,
    /// Of a lesson.
    #[serde(default)]
    mediafiles: Vec<Content>,
    /// Of an H5P activity.
    #[serde(default)]
    package: Vec<Content>,
    /// Of a forum: those that the account sees.
    #[serde(default, deserialize_with = "loose")]
    numdiscussions: Option<u64>,
    /// Of a SCORM package, as are the next two; missing while it is not open.
    #[serde(default, deserialize_with = "loose")]
    packageurl: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    packagesize: Option<u64>,
    /// The package's name.
    #[serde(default, deserialize_with = "loose")]
    reference: Option<String>,
    /// Whether the site refuses the package all the same.
    #[serde(default, deserialize_with = "loose")]
    protectpackagedownloads: Option<bool>,
}

impl Activities {
    /// What was told, by the number of the activity in its course.
    pub(super) fn all(self) -> impl Iterator<Item = (u64, Activity)> {
        let all = match self {
            Self::Bare(activities) | Self::Others { activities } => activities,
            Self::Assignments { courses } => courses.into_iter().flat_map(|course| course.assignments).collect(),
        };
        all.into_iter().filter_map(|activity| Some((activity.coursemodule?, activity)))
    }
}

impl Activity {
    /// Puts what it has where the contents of a course would have it; the discussions of a forum and the entries of a glossary are [`Content::APART`].
    pub(super) fn put_into(mut self, module: &mut Module) {
        module.pictures = std::mem::take(&mut self.introfiles);
        let modname = module.modname.as_deref();
        // The others have it on the page of their course, or not at all.
        if !matches!(modname, Some("label" | "forum" | "glossary")) {
            module.intro = self.intro.take();
        }
        let has_entries = modname == Some("glossary") || self.numdiscussions.is_some_and(|count| count > 0);
        let apart = has_entries.then(Content::apart);
        module.contents.get_or_insert_default().extend(self.files().into_iter().chain(apart));
    }

    fn files(self) -> Vec<Content> {
        let is_protected = self.protectpackagedownloads == Some(true);
        let scorm = self.packageurl.zip(self.reference).filter(|_| !is_protected).map(|(url, name)| Content {
            filename: Some(name),
            filepath: Some("/".into()),
            filesize: self.packagesize,
            fileurl: Some(url),
            mimetype: Some("application/zip".into()),
            ..Content::default()
        });
        let told = [self.introattachments, self.mediafiles, self.package].into_iter().flatten().chain(scorm);
        told.map(|file| Content { kind: Some("file".into()), ..file }).collect()
    }
}

/// `mod_forum_get_forum_discussions`.
#[derive(Debug, Deserialize)]
pub(super) struct Discussions {
    pub(super) discussions: Vec<Discussion>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Discussion {
    /// Its number; `id` is that of its first post.
    #[serde(default, deserialize_with = "loose")]
    pub(super) discussion: Option<u64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) name: Option<String>,
}

/// `mod_forum_get_discussion_posts`.
#[derive(Debug, Deserialize)]
pub(super) struct Posts {
    pub(super) posts: Vec<Post>,
}

/// A post; one that was deleted has another text.
#[derive(Debug, Deserialize)]
pub(super) struct Post {
    pub(super) id: u64,
    #[serde(default, deserialize_with = "loose")]
    pub(super) parentid: Option<u64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) subject: Option<String>,
    /// HTML.
    #[serde(default, deserialize_with = "loose")]
    pub(super) message: Option<String>,
    pub(super) author: Option<Author>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) timecreated: Option<i64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) timemodified: Option<i64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) isprivatereply: Option<bool>,
    #[serde(default)]
    pub(super) attachments: Vec<Content>,
    /// Pictures of the text.
    #[serde(default)]
    pub(super) messageinlinefiles: Vec<Content>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Author {
    #[serde(default, deserialize_with = "loose")]
    pub(super) fullname: Option<String>,
}

/// `mod_glossary_get_entries_by_letter`.
#[derive(Debug, Deserialize)]
pub(super) struct Entries {
    /// How many there are in all.
    pub(super) count: u64,
    pub(super) entries: Vec<GlossaryEntry>,
}

#[derive(Debug, Deserialize)]
pub(super) struct GlossaryEntry {
    pub(super) id: u64,
    #[serde(default, deserialize_with = "loose")]
    pub(super) concept: Option<String>,
    /// HTML.
    #[serde(default, deserialize_with = "loose")]
    pub(super) definition: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) timemodified: Option<i64>,
    #[serde(default)]
    pub(super) attachments: Vec<Content>,
    /// Pictures of the definition.
    #[serde(default)]
    pub(super) definitioninlinefiles: Vec<Content>,
}

/// `mod_assign_get_submission_status`.
#[derive(Debug, Deserialize)]
pub(super) struct SubmissionStatus {
    /// Missing for those who hand nothing in.
    pub(super) lastattempt: Option<LastAttempt>,
    /// On the last attempt, once it is graded.
    pub(super) feedback: Option<Feedback>,
    #[serde(default)]
    pub(super) previousattempts: Vec<PreviousAttempt>,
}

#[derive(Debug, Deserialize)]
pub(super) struct LastAttempt {
    pub(super) submission: Option<HandedIn>,
    pub(super) teamsubmission: Option<HandedIn>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PreviousAttempt {
    /// From 0.
    pub(super) attemptnumber: u64,
    pub(super) submission: Option<HandedIn>,
    pub(super) grade: Option<Grade>,
    #[serde(default)]
    pub(super) feedbackplugins: Vec<Plugin>,
}

/// One attempt.
#[derive(Debug, Deserialize)]
pub(super) struct HandedIn {
    /// From 0.
    pub(super) attemptnumber: u64,
    #[serde(default, deserialize_with = "loose")]
    pub(super) timemodified: Option<i64>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) status: Option<String>,
    #[serde(default)]
    pub(super) plugins: Vec<Plugin>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Feedback {
    /// HTML.
    #[serde(default, deserialize_with = "loose")]
    pub(super) gradefordisplay: Option<String>,
    #[serde(default, deserialize_with = "loose")]
    pub(super) gradeddate: Option<i64>,
    #[serde(default)]
    pub(super) plugins: Vec<Plugin>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Grade {
    /// HTML.
    #[serde(default, deserialize_with = "loose")]
    pub(super) gradefordisplay: Option<String>,
}

/// A part of a submission, or of feedback: files, a text.
#[derive(Debug, Deserialize)]
pub(super) struct Plugin {
    #[serde(rename = "type", default, deserialize_with = "loose")]
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) fileareas: Vec<FileArea>,
    #[serde(default)]
    pub(super) editorfields: Vec<EditorField>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FileArea {
    #[serde(default, deserialize_with = "loose")]
    pub(super) area: Option<String>,
    #[serde(default)]
    pub(super) files: Vec<Content>,
}

#[derive(Debug, Deserialize)]
pub(super) struct EditorField {
    /// HTML.
    #[serde(default, deserialize_with = "loose")]
    pub(super) text: Option<String>,
}

impl SubmissionStatus {
    /// When something was handed in or graded last, in seconds since 1970.
    pub(super) fn modified(&self) -> Option<i64> {
        let last = self.lastattempt.iter().flat_map(|last| [&last.submission, &last.teamsubmission]).flatten();
        last.filter_map(|it| it.timemodified).max().max(self.feedback.as_ref().and_then(|it| it.gradeddate))
    }
}

/// A refusal, which comes with the status 200. `exception` is left alone: it is a class that releases rename.
#[derive(Debug, Deserialize)]
pub(super) struct Refused {
    pub(super) errorcode: String,
    /// May be translated and hold HTML.
    #[serde(default)]
    pub(super) message: String,
}

impl Refused {
    /// Whether another token may be accepted. The second code stands for the first use after a token has expired, and for much else.
    pub(super) fn is_of_token(&self) -> bool {
        matches!(self.errorcode.as_str(), "invalidtoken" | "accessexception")
    }
}

/// The answer of `login/token.php`. It must not be shown, so it has no `Debug`.
#[derive(Deserialize)]
pub(super) struct Token {
    pub(super) token: String,
}
