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
}

/// A file of an activity, or something else that it exports.
#[derive(Debug, Deserialize)]
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
    #[serde(default, deserialize_with = "loose")]
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
