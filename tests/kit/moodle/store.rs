//! `Store`: what the recorded site holds: courses, listings and files. It answers no request.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Asked, RECORDED, TOKEN, kinds};

/// A state of the site or of the account, as it was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// All is well.
    Normal,
    /// The account has not agreed to the site's policy.
    Policy,
    /// The account must change its password.
    Password,
    /// The account is suspended.
    Suspended,
    /// Maintenance, as administrators declare it.
    Maintenance,
    /// Maintenance, as a file declares it.
    Closed,
    /// No web services.
    Off,
    /// No web services but those that are not REST.
    RestOff,
}

impl Condition {
    /// Its name in the recorded answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Policy => "site policy not agreed",
            Self::Password => "password change forced",
            Self::Suspended => "user suspended",
            Self::Maintenance => "maintenance mode",
            Self::Closed => "CLI maintenance (climaintenance.html)",
            Self::Off => "web services disabled",
            Self::RestOff => "REST protocol disabled",
        }
    }
}

/// What the site holds.
#[derive(Debug)]
pub struct Store {
    /// What was asked, in order.
    pub asked: Vec<Asked>,
    /// How site and account are.
    pub condition: Condition,
    /// The name of a recorded error that every call gets.
    pub refuses: Option<String>,
    /// The token that is right.
    pub token: String,
    /// The account's courses.
    pub courses: Vec<Value>,
    /// What the site says of itself.
    pub info: Value,
    /// Whether the web server sends the files (X-Accel-Redirect).
    pub accelerated: bool,
    /// Whether the token's service allows no downloads.
    pub no_downloads: bool,
    /// Whether fileurls hold the path as a query.
    pub no_slash_arguments: bool,
    /// Bytes that a damaged file has instead, of the same number.
    pub damaged: BTreeSet<String>,
    /// Where files of other sites are: key and address.
    pub elsewhere: BTreeMap<String, String>,
    /// Whether functions that take several courses tell nothing of any.
    pub is_shut_out: bool,
    /// What other functions than that of the contents tell of activities.
    pub(super) activities: Vec<Value>,
    /// What is in forums.
    pub forums: kinds::Forums,
    /// What is told of the account's submissions, by assignment.
    pub submissions: BTreeMap<u64, Value>,
    /// What is told of a glossary's entries.
    pub glossary: Value,
    /// The most entries that are told at once.
    pub entries_at_once: u64,
    /// A request for a file waits until so many of them are there at once, or have been; for ten seconds at most.
    pub together: usize,
    /// The most requests for files that were there at once, and those that are.
    pub most_at_once: usize,
    pub(super) at_once: usize,
    pub(super) states: Value,
    pub(super) errors: Value,
    pub(super) sections: BTreeMap<u64, Value>,
    pub(super) hidden: BTreeSet<u64>,
    pub(super) bytes: BTreeMap<String, Vec<u8>>,
    pub(super) pages: BTreeMap<String, String>,
    /// When bytes came to the site's storage, in seconds since 1970.
    pub(super) stored: BTreeMap<Vec<u8>, i64>,
    /// Seconds since 1970.
    pub(super) clock: i64,
}

pub(super) fn read(text: &str) -> Value {
    serde_json::from_str(text).expect("the recorded answers are JSON")
}

/// A file's place without the revision, which the site ignores: `23/mod_resource/content/a.pdf`.
pub(super) fn key(path: &str) -> String {
    let mut components: Vec<_> = path.trim_start_matches('/').split('/').collect();
    if components.len() > 4 && components[2] == "content" && components[3].parse::<u32>().is_ok() {
        components.remove(3);
    }
    components.join("/")
}

/// The key of a file as it is listed.
pub(super) fn key_of(content: &Value) -> Option<String> {
    let url = url::Url::parse(&content["fileurl"].as_str()?.replace("&amp;", "&")).ok()?;
    let path = match url.query_pairs().find(|(name, _)| name == "file") {
        Some((_, file)) => file.into_owned(),
        None => {
            let path = url.path().strip_prefix("/webservice/pluginfile.php")?;
            percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned()
        }
    };
    Some(key(&path))
}

impl Default for Store {
    fn default() -> Self {
        let mut sections = BTreeMap::new();
        sections.insert(2, read(include_str!("../../fixtures/moodle/contents_an.json")));
        sections.insert(3, read(include_str!("../../fixtures/moodle/contents_weeks.json")));
        sections.insert(9, read(include_str!("../../fixtures/moodle/contents_singleactivity.json")));
        for id in [4, 7] {
            let name = json!([{ "id": 100 + id, "name": "General", "section": 0, "uservisible": true, "modules": [] }]);
            sections.insert(id, name);
        }
        sections.insert(8, many_modules());
        let mut courses = read(include_str!("../../fixtures/moodle/users_courses.json"));
        let mut store = Self {
            asked: Vec::new(),
            condition: Condition::Normal,
            refuses: None,
            token: TOKEN.to_owned(),
            courses: courses.as_array_mut().map(std::mem::take).unwrap(),
            info: read(include_str!("../../fixtures/moodle/site_info.json")),
            accelerated: false,
            no_downloads: false,
            no_slash_arguments: false,
            damaged: BTreeSet::new(),
            elsewhere: BTreeMap::new(),
            is_shut_out: false,
            activities: kinds::recorded(),
            forums: kinds::Forums::recorded(),
            submissions: kinds::submissions(),
            glossary: kinds::glossary_entries(),
            together: 1,
            most_at_once: 0,
            at_once: 0,
            entries_at_once: 1000,
            states: read(include_str!("../../fixtures/moodle/states.json")),
            errors: read(include_str!("../../fixtures/moodle/errors_rest.json")),
            sections,
            hidden: BTreeSet::new(),
            bytes: BTreeMap::new(),
            pages: BTreeMap::new(),
            stored: BTreeMap::new(),
            clock: 1_795_385_800,
        };
        store.take_bodies();
        store
    }
}

/// A course with 200 files in five sections.
fn many_modules() -> Value {
    let module = |id: u64| {
        let file = format!(
            "{RECORDED}/webservice/pluginfile.php/{}/mod_resource/content/0/file{id}.txt?forcedownload=1",
            id + 1000
        );
        json!({
            "id": id, "name": format!("File {id}"), "modname": "resource", "instance": id, "contextid": id + 1000,
            "uservisible": true,
            "contents": [{
                "type": "file", "filename": format!("file{id}.txt"), "filepath": "/", "filesize": 20, "fileurl": file,
                "timecreated": 1_795_385_612, "timemodified": 1_795_385_612, "sortorder": 1, "mimetype": "text/plain",
                "isexternalfile": false,
            }],
        })
    };
    let section = |number: u64| {
        let modules: Vec<_> = (0..40).map(|index| module(1000 + number * 40 + index)).collect();
        json!({ "id": 200 + number, "name": format!("Topic {number}"), "section": number, "uservisible": true, "modules": modules })
    };
    Value::Array((0..5).map(section).collect())
}

impl Store {
    /// The bodies that were recorded, where they are text.
    fn take_bodies(&mut self) {
        let cases = read(include_str!("../../fixtures/moodle/pluginfile.json"));
        for case in cases.as_array().unwrap() {
            let (request, body) = (case["request"].as_str().unwrap(), case["body"].as_str().unwrap());
            let is_whole =
                case["status"] == 200 && case["body_bytes"] == body.len() as u64 && !body.contains('\u{fffd}');
            let Some(path) = request.strip_prefix("GET /webservice/pluginfile.php/").filter(|_| is_whole) else {
                continue;
            };
            let name = case["case"].as_str().unwrap();
            if name.starts_with("error") {
                continue;
            }
            let path = path.split('?').next().unwrap();
            let key = key(&percent_encoding::percent_decode_str(path).decode_utf8_lossy());
            if matches!(name, "page index.html" | "book chapter" | "html resource with filters on") {
                self.pages.insert(key, body.to_owned());
            } else {
                self.bytes.insert(key, body.as_bytes().to_vec());
            }
        }
    }

    /// Whether a course is one of the account's.
    pub(super) fn is_enrolled(&self, course: u64) -> bool {
        self.courses.iter().any(|listed| listed["id"] == course)
    }

    /// What is listed of a course, or of one activity in it.
    pub(super) fn contents(&self, course: u64, only: Option<u64>) -> Option<Value> {
        let mut sections = self.sections.get(&course)?.clone();
        for section in sections.as_array_mut().unwrap() {
            section["modules"].as_array_mut().unwrap().retain(|module| {
                let id = module["id"].as_u64().unwrap();
                !self.hidden.contains(&id) && only.is_none_or(|only| only == id)
            });
        }
        if self.no_slash_arguments {
            for content in sections.as_array_mut().unwrap().iter_mut().flat_map(contents_mut) {
                let Some(url) = content["fileurl"].as_str().and_then(|url| url.strip_prefix(RECORDED)) else {
                    continue;
                };
                let Some(path) = url.strip_prefix("/webservice/pluginfile.php") else { continue };
                let (path, query) = path.split_once('?').map_or((path, ""), |(path, _)| (path, "&amp;forcedownload=1"));
                let path = path.replace('/', "%2F");
                content["fileurl"] = format!("{RECORDED}/webservice/pluginfile.php?file={path}{query}").into();
            }
        }
        Some(sections)
    }

    /// What the resources of a course tell beside their contents. Without access, the list is empty.
    pub(super) fn resources(&self, course: u64) -> Value {
        let contents = self.contents(course, None).filter(|_| self.is_enrolled(course)).unwrap_or_else(|| json!([]));
        let modules = contents.as_array().unwrap().iter().flat_map(modules);
        let is_filtered = |module: &Value| {
            let contents = module["contents"].as_array().into_iter().flatten();
            contents.filter_map(key_of).any(|key| self.pages.contains_key(&key))
        };
        let resources = modules.filter(|module| module["modname"] == "resource").map(|module| {
            json!({ "id": module["instance"], "coursemodule": module["id"], "filterfiles": u8::from(is_filtered(module)) })
        });
        json!({ "resources": resources.collect::<Vec<_>>(), "warnings": [] })
    }

    /// The bytes of a stored file.
    pub fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        let size = self.listed(key)?["filesize"].as_u64()?;
        Some(self.bytes.get(key).cloned().unwrap_or_else(|| {
            // Different for every file, and the same each time.
            let seed = key.bytes().fold(7_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
            // Of a length that is no multiple of anything, so that bytes of another place show.
            let piece: Vec<_> =
                (0..4099_u64).map(|at| (at.wrapping_mul(seed | 1).wrapping_add(seed) >> 5) as u8).collect();
            let mut bytes = piece.repeat(size as usize / piece.len() + 1);
            bytes.truncate(size as usize);
            bytes
        }))
    }

    /// What the site sends for a key: a page that is made, or the bytes of a file.
    pub fn sent(&self, key: &str) -> Vec<u8> {
        let listed = self.listed(key).unwrap_or_else(|| panic!("{key} is listed"));
        match self.pages.get(key) {
            Some(page) => page.clone().into_bytes(),
            None if listed["mimetype"].is_null() => format!("<p>{key}</p>").into_bytes(),
            None => self.bytes(key).expect("a stored file"),
        }
    }

    /// Bytes came to the site's storage at this time, in seconds since 1970.
    pub fn store_since(&mut self, bytes: &[u8], time: i64) {
        self.stored.insert(bytes.to_vec(), time);
    }

    /// A file as it is listed, to whoever.
    pub(super) fn listed(&self, key: &str) -> Option<&Value> {
        let modules = self.sections.values().flat_map(|sections| sections.as_array().unwrap()).flat_map(modules);
        let contents = modules.filter_map(|module| module["contents"].as_array()).flatten();
        contents
            .chain(self.activities.iter().flat_map(kinds::files))
            .find(|content| key_of(content).as_deref() == Some(key))
    }

    /// The activity that a file's context is of.
    pub(super) fn module_of(&self, context: u64) -> Option<&Value> {
        let mut modules = self.sections.values().flat_map(|sections| sections.as_array().unwrap()).flat_map(modules);
        modules.find(|module| module["contextid"] == context)
    }

    /// Puts another recorded listing in place of a course's.
    pub fn replace_contents(&mut self, course: u64, recorded: &str) {
        self.sections.insert(course, read(recorded));
    }
}

pub(super) fn modules(section: &Value) -> impl Iterator<Item = &Value> {
    section["modules"].as_array().unwrap().iter()
}

pub(super) fn contents_mut(section: &mut Value) -> impl Iterator<Item = &mut Value> {
    let modules = section["modules"].as_array_mut().unwrap().iter_mut();
    modules.filter_map(|module| module.get_mut("contents")?.as_array_mut()).flatten()
}
