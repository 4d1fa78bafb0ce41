//! Activities whose files are not among the contents of their course, as functions of their own tell them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::RECORDED;
use super::store::{Store, key_of, modules, read};

/// The host in the answers that were recorded later.
const RECORDED_LATER: &str = "https://moodle.example.edu";
/// The course of those answers.
pub const KINDS: u64 = 46;

/// Functions, the activities that they are about, and where these are in an answer.
const FUNCTIONS: [(&str, &str, &str); 6] = [
    ("mod_assign_get_assignments", "assign", "assignments"),
    ("mod_lesson_get_lessons_by_courses", "lesson", "lessons"),
    ("mod_scorm_get_scorms_by_courses", "scorm", "scorms"),
    ("mod_h5pactivity_get_h5pactivities_by_courses", "h5pactivity", "h5pactivities"),
    ("mod_glossary_get_glossaries_by_courses", "glossary", "glossaries"),
    ("mod_label_get_labels_by_courses", "label", "labels"),
];

/// The functions that tell what is in forums and glossaries, and what was handed in.
const APART: [&str; 5] = [
    "mod_forum_get_forums_by_courses",
    "mod_forum_get_forum_discussions",
    "mod_forum_get_discussion_posts",
    "mod_glossary_get_entries_by_letter",
    "mod_assign_get_submission_status",
];

/// The forums of the course, discussions by forum, and posts by discussion, as they were recorded.
#[derive(Debug)]
pub struct Forums {
    forums: Vec<Value>,
    /// What is told of a forum's discussions.
    pub discussions: BTreeMap<u64, Value>,
    /// What is told of a discussion's posts.
    pub posts: BTreeMap<u64, Value>,
    /// Whether the site does not know that pictures can be asked for.
    pub is_old: bool,
}

impl Forums {
    pub(super) fn recorded() -> Self {
        let cases = |text: &str| read(&text.replace(RECORDED_LATER, RECORDED)).as_array().unwrap().clone();
        // The first case of each number is the whole answer.
        let by = |cases: Vec<Value>, number: &str, is_whole: fn(&Value) -> bool| {
            let cases = cases.into_iter().filter(|case| is_whole(&case["answer"]));
            let number = |case: &Value| case["request"][number].as_str().unwrap().parse().unwrap();
            cases
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .map(|case| (number(&case), case["answer"].clone()))
                .collect::<BTreeMap<u64, _>>()
        };
        let discussions = cases(include_str!("../../fixtures/moodle/mod_forum_get_forum_discussions.json"));
        let posts = cases(include_str!("../../fixtures/moodle/mod_forum_get_discussion_posts.json"));
        let forums = cases(include_str!("../../fixtures/moodle/mod_forum_get_forums_by_courses.json"));
        Self {
            forums: forums[0]["answer"].as_array().unwrap().clone(),
            discussions: by(discussions, "forumid", |answer| answer["discussions"].is_array()),
            posts: by(posts, "discussionid", |answer| answer["posts"].is_array()),
            is_old: false,
        }
    }

    /// Leaves out the discussions whose posts were not recorded.
    pub fn keep_recorded(&mut self) {
        for answer in self.discussions.values_mut() {
            let listed = answer["discussions"].as_array_mut().unwrap();
            listed.retain(|it| self.posts.contains_key(&it["discussion"].as_u64().unwrap()));
        }
    }

    /// The files of all posts, as other functions list them.
    pub(super) fn files(&self) -> Value {
        let posts = self.posts.values().flat_map(|answer| answer["posts"].as_array().unwrap());
        let files = posts.flat_map(|post| ["attachments", "messageinlinefiles"].map(|list| post[list].as_array()));
        let listed = |file: &Value| {
            let url = file["url"].as_str().unwrap().replace("/pluginfile.php", "/webservice/pluginfile.php");
            let (name, mut file) = (file["filename"].as_str().unwrap(), file.clone());
            file["mimetype"] = if name.ends_with(".txt") { "text/plain" } else { "document/unknown" }.into();
            file["fileurl"] = url.into();
            file
        };
        files.flatten().flatten().map(listed).collect()
    }

    /// The activities of the course, as its contents list them.
    fn modules(&self) -> impl Iterator<Item = Value> {
        self.forums.iter().map(|forum| {
            json!({
                "id": forum["cmid"], "name": forum["name"], "instance": forum["id"], "uservisible": true,
                "modname": "forum", "contextid": forum["id"].as_u64().unwrap() + 510,
            })
        })
    }
}

/// Every activity that was recorded.
pub(super) fn recorded() -> Vec<Value> {
    let later = [
        include_str!("../../fixtures/moodle/mod_glossary.json"),
        include_str!("../../fixtures/moodle/contents_pictures.json"),
        include_str!("../../fixtures/moodle/mod_assign_get_assignments_attachments.json"),
        include_str!("../../fixtures/moodle/mod_lesson.json"),
        include_str!("../../fixtures/moodle/mod_scorm_h5pactivity.json"),
    ];
    let mut all = Vec::new();
    for text in [
        include_str!("../../fixtures/moodle/mod_assign_get_assignments.json"),
        include_str!("../../fixtures/moodle/mod_label_get_labels_by_courses.json"),
    ] {
        all.extend(activities(&read(text)));
    }
    for text in later {
        let cases = read(&text.replace(RECORDED_LATER, RECORDED));
        all.extend(cases.as_array().unwrap().iter().flat_map(|case| activities(&case["answer"])));
    }
    all.push(submissions().into_values().collect());
    all.push(json!({ "files of entries": glossary_entries(), "files of texts": files_of_texts() }));
    for activity in &mut all {
        if let Some(url) = activity["packageurl"].as_str() {
            activity["listed by the test site"] = json!({
                "filename": activity["reference"], "filesize": activity["packagesize"], "fileurl": url,
                "timemodified": 1_795_869_579, "mimetype": "application/zip", "isexternalfile": false,
            });
        }
    }
    all
}

/// What is told of the account's submissions, by assignment, as it was recorded first.
pub(super) fn submissions() -> BTreeMap<u64, Value> {
    let text = include_str!("../../fixtures/moodle/mod_assign_get_submission_status.json");
    let text = text
        .replace(RECORDED_LATER, RECORDED)
        .replace("\"(cut, as above)\"", "[]")
        .replace("\"(cut: all empty)\"", "[]");
    let cases = read(&text).as_array().unwrap().clone().into_iter().rev();
    let id = |case: &Value| case["request"]["assignid"].as_str().unwrap().parse().unwrap();
    let is_whole = |case: &Value| case["request"]["userid"].is_null() && case["answer"]["warnings"].is_array();
    cases.filter(is_whole).map(|case| (id(&case), case["answer"].clone())).collect()
}

/// A glossary's entries as they were recorded: all that the student sees.
pub(super) fn glossary_entries() -> Value {
    read(&include_str!("../../fixtures/moodle/mod_glossary.json").replace(RECORDED_LATER, RECORDED))[1]["answer"]
        .clone()
}

/// The sections of the course with texts and pictures.
fn described() -> Value {
    let text = include_str!("../../fixtures/moodle/contents_pictures.json").replace(RECORDED_LATER, RECORDED);
    read(&text)[0]["answer"].clone()
}

/// Pictures that no function lists. The other one of the section is broken.
fn files_of_texts() -> Value {
    let file = |place: &str| {
        json!({
            "fileurl": format!("{RECORDED}/webservice/pluginfile.php/{place}"), "filename": place.rsplit('/').next(),
            "filesize": 75, "timemodified": 1_795_869_578, "mimetype": "image/png", "isexternalfile": false,
        })
    };
    json!([file("505/course/section/424/plan.png"), file("508/mod_folder/intro/desc.png")])
}

/// The activities of one answer, those with all of their keys.
fn activities(answer: &Value) -> Vec<Value> {
    let lists = FUNCTIONS.iter().filter_map(|(_, _, list)| match answer["courses"][0][list].as_array() {
        Some(found) => Some(found),
        None => answer[list].as_array(),
    });
    lists.flatten().filter(|activity| id(activity).is_some()).cloned().collect()
}

fn id(activity: &Value) -> Option<u64> {
    activity["cmid"].as_u64().or(activity["coursemodule"].as_u64())
}

/// The files that are told anywhere in a value.
pub(super) fn files(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(values) => values.iter().flat_map(files).collect(),
        Value::Object(fields) if fields.contains_key("fileurl") => vec![value],
        Value::Object(fields) => fields.values().flat_map(files).collect(),
        _ => Vec::new(),
    }
}

impl Store {
    /// Adds the course with all kinds of activities that were recorded, and to the token's service what tells them.
    pub fn add_kinds(&mut self) {
        let context = |activity: &Value| {
            let key = files(activity).into_iter().find_map(key_of)?;
            key.split('/').next()?.parse::<u64>().ok()
        };
        let modname = |activity: &Value| {
            let is_of = |(_, _, list): &&(&str, &str, &str)| match *list {
                "assignments" => !activity["cmid"].is_null(),
                "lessons" => !activity["usepassword"].is_null(),
                "scorms" => activity["coursemodule"] == 457 || activity["coursemodule"] == 458,
                "h5pactivities" => activity["browsemodes"].is_null(),
                _ => true,
            };
            FUNCTIONS.iter().find(is_of).unwrap().1
        };
        let described = described()[1].clone();
        let is_label = |activity: &Value| modules(&described).any(|it| it["id"] == activity["coursemodule"]);
        let of_course = self.activities.iter().filter(|it| it["course"] == KINDS && !is_label(it));
        let all: Vec<_> = of_course
            .map(|activity| {
                json!({
                    "id": id(activity), "name": activity["name"], "instance": activity["id"], "uservisible": true,
                    "modname": modname(activity), "contextid": context(activity).unwrap_or(id(activity).unwrap() + 63),
                })
            })
            .collect();
        let all: Vec<_> = all.into_iter().chain(self.forums.modules()).collect();
        self.activities.push(json!({ "files of posts": self.forums.files() }));
        let section = json!({ "id": 460, "name": "General", "section": 0, "uservisible": true, "modules": all });
        self.sections.insert(KINDS, json!([section, described]));
        self.courses.push(json!({ "id": KINDS, "fullname": "More kinds" }));
        let functions = self.info["functions"].as_array_mut().unwrap();
        let names = FUNCTIONS[1..].iter().map(|(function, ..)| *function).chain(APART);
        functions.extend(names.map(|function| json!({ "name": function })));
    }

    /// The forums of a course: a bare list, which is empty without access.
    pub(super) fn forums(&self, course: u64) -> Value {
        let is_told = |forum: &&Value| forum["course"] == course && self.is_enrolled(course) && !self.is_shut_out;
        self.forums.forums.iter().filter(is_told).cloned().collect()
    }

    /// Entries of a glossary, as many as the site sends at once.
    pub(super) fn entries(&self, from: u64, limit: u64) -> Value {
        let mut answer = self.glossary.clone();
        let entries = answer["entries"].as_array().unwrap().iter();
        answer["entries"] =
            entries.skip(from as usize).take(limit.min(self.entries_at_once) as usize).cloned().collect();
        answer
    }

    /// The posts of a discussion. Of one that is not there a site says this, which has no code.
    pub(super) fn posts(&self, discussion: u64, with_pictures: bool) -> Value {
        let mut answer = self.forums.posts.get(&discussion).cloned().unwrap_or_else(
            || json!({ "exception": "Error", "message": "Call to a member function get_forum_id() on null" }),
        );
        for post in answer["posts"].as_array_mut().into_iter().flatten().filter(|_| !with_pictures) {
            post["messageinlinefiles"] = json!([]);
        }
        answer
    }

    /// What a function tells of the activities of a course; none if it is no such function. Without access, the list is empty.
    pub(super) fn by_courses(&self, function: &str, course: u64) -> Option<Value> {
        let (_, modname, list) = FUNCTIONS.iter().find(|(name, ..)| *name == function)?;
        let contents = self.contents(course, None).filter(|_| self.is_enrolled(course) && !self.is_shut_out);
        let contents = contents.unwrap_or_else(|| json!([]));
        let of_kind = contents.as_array().unwrap().iter().flat_map(modules).filter(|it| it["modname"] == *modname);
        let told = of_kind.map(|module| {
            let told = self.activities.iter().find(|activity| id(activity) == module["id"].as_u64());
            told.cloned().unwrap_or_else(|| json!({ "cmid": module["id"] }))
        });
        let told: Vec<_> = told.collect();
        Some(match *list {
            "assignments" => json!({ "courses": [{ "id": course, "assignments": told }], "warnings": [] }),
            list => json!({ list: told, "warnings": [] }),
        })
    }
}
