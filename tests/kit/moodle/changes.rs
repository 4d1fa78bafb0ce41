//! What a teacher does at the site, with what the listings then showed (`changes.json`).

use serde_json::{Value, json};

use super::RECORDED;
use super::store::{Store, key, key_of, modules};

impl Store {
    fn module(&mut self, id: u64) -> &mut Value {
        let sections = self.sections.values_mut().flat_map(|sections| sections.as_array_mut().unwrap());
        let mut modules = sections.flat_map(|section| section["modules"].as_array_mut().unwrap());
        modules.find(|module| module["id"] == id).expect("such an activity")
    }

    fn now(&mut self) -> i64 {
        self.clock += 10;
        self.clock
    }

    /// Every edit of an activity raises the revision, which is in all its addresses.
    fn revise(&mut self, id: u64) {
        fn parts(url: &str) -> Option<(&str, u32, &str)> {
            let (before, after) = url.split_once("/content/")?;
            let (revision, rest) = after.split_once('/')?;
            Some((before, revision.parse().ok()?, rest))
        }
        let contents = self.module(id)["contents"].as_array_mut().unwrap();
        let urls = contents.iter().filter_map(|content| content["fileurl"].as_str());
        let revision = urls.filter_map(parts).map(|(_, revision, _)| revision).max().unwrap_or(0) + 1;
        for content in contents {
            if let Some((before, _, rest)) = content["fileurl"].as_str().and_then(parts) {
                content["fileurl"] = format!("{before}/content/{revision}/{rest}").into();
            }
        }
    }

    /// Uploads a file into an activity, or one in place of it; `path` begins with `/`. The time is a new one.
    pub fn put(&mut self, id: u64, path: &str, bytes: &[u8]) {
        let time = self.now();
        self.put_at(id, path, bytes, time);
    }

    /// The same at a time of one's choice, in seconds since 1970.
    pub fn put_at(&mut self, id: u64, path: &str, bytes: &[u8], time: i64) {
        let (dir, name) = path.rsplit_once('/').expect("a path begins with a slash");
        let filepath = format!("{dir}/");
        let module = self.module(id);
        let (context, modname) =
            (module["contextid"].as_u64().unwrap(), module["modname"].as_str().unwrap().to_owned());
        let encoded = percent_encoding::utf8_percent_encode(path, PATH).to_string();
        let place = format!("{context}/mod_{modname}/content/0{path}");
        let contents = module["contents"].as_array_mut().unwrap();
        let mimetype = match name.rsplit_once('.') {
            Some((_, "txt")) => "text/plain",
            Some((_, "pdf")) => "application/pdf",
            Some((_, "html")) => "text/html",
            _ => "application/octet-stream",
        };
        contents.retain(|content| content["filepath"] != filepath || content["filename"] != name);
        contents.push(json!({
            "type": "file", "filename": name, "filepath": filepath, "filesize": bytes.len(),
            "fileurl": format!("{RECORDED}/webservice/pluginfile.php/{context}/mod_{modname}/content/0{encoded}?forcedownload=1"),
            "timecreated": time, "timemodified": time, "sortorder": 0, "mimetype": mimetype, "isexternalfile": false,
            "userid": 2, "author": null, "license": null,
        }));
        self.stored.entry(bytes.to_vec()).or_insert(time);
        self.bytes.insert(key(&place), bytes.to_vec());
        self.revise(id);
    }

    /// Writes the description of an activity that is shown on the page of its course.
    pub fn describe(&mut self, id: u64, html: &str) {
        self.module(id)["description"] = html.into();
    }

    /// Writes the summary of all sections of a course.
    pub fn summarize(&mut self, course: u64, html: &str) {
        for section in self.sections.get_mut(&course).unwrap().as_array_mut().unwrap() {
            section["summary"] = html.into();
        }
    }

    /// Renames files that functions tell of activities, in texts too.
    pub fn rename_in_answers(&mut self, from: &str, to: &str) {
        let text = serde_json::to_string(&self.activities).unwrap();
        self.activities = serde_json::from_str(&text.replace(from, to)).unwrap();
    }

    /// Deletes a file of an activity.
    pub fn remove(&mut self, id: u64, path: &str) {
        let (dir, name) = path.rsplit_once('/').expect("a path begins with a slash");
        let contents = self.module(id)["contents"].as_array_mut().unwrap();
        let before = contents.len();
        contents.retain(|content| content["filepath"] != format!("{dir}/") || content["filename"] != name);
        assert_eq!(contents.len() + 1, before, "such a file");
        self.revise(id);
    }

    /// Renames an activity, which for a page counts as an edit.
    pub fn rename(&mut self, id: u64, name: &str) {
        let time = self.now();
        let module = self.module(id);
        module["name"] = name.into();
        if module["modname"] == "page" {
            for content in module["contents"].as_array_mut().unwrap() {
                if content["filesize"] == 0 {
                    content["timemodified"] = time.into();
                }
            }
        }
        self.revise(id);
    }

    /// Hides an activity from students, or shows it again.
    pub fn hide(&mut self, id: u64, is_hidden: bool) {
        if is_hidden {
            self.hidden.insert(id)
        } else {
            self.hidden.remove(&id)
        };
    }

    /// Deletes an activity.
    pub fn delete(&mut self, id: u64) {
        self.take(id);
    }

    fn take(&mut self, id: u64) -> (u64, Value) {
        for (course, sections) in &mut self.sections {
            for section in sections.as_array_mut().unwrap() {
                let at = modules(section).position(|module| module["id"] == id);
                if let Some(at) = at {
                    return (*course, section["modules"].as_array_mut().unwrap().remove(at));
                }
            }
        }
        panic!("no activity {id}");
    }

    /// Moves an activity to another section of its course.
    pub fn move_to(&mut self, id: u64, section: u64) {
        let (course, module) = self.take(id);
        let sections = self.sections.get_mut(&course).unwrap().as_array_mut().unwrap();
        let section = sections.iter_mut().find(|listed| listed["id"] == section).expect("such a section");
        section["modules"].as_array_mut().unwrap().push(module);
    }

    /// Edits a page: its time moves.
    pub fn edit_page(&mut self, id: u64, html: &str) {
        let time = self.now();
        let content = &mut self.module(id)["contents"].as_array_mut().unwrap();
        let page = content.iter_mut().find(|content| content["filesize"] == 0).expect("a page");
        page["timemodified"] = time.into();
        let key = key_of(page).unwrap();
        self.pages.insert(key, html.to_owned());
    }

    /// Makes something else of a page, or of a stored file, that nobody has edited, as the site's filters do.
    pub fn filter(&mut self, key: &str, html: &str) {
        self.pages.insert(key.to_owned(), html.to_owned());
    }

    /// Sets an activity with one stored file to pass it through the site's filters, which make this of it.
    pub fn filter_files(&mut self, id: u64, html: &str) {
        let key = key_of(&self.module(id)["contents"][0]).unwrap();
        self.filter(&key, html);
        self.revise(id);
    }

    /// Changes the file for which an alias stands: its size follows, its time does not.
    pub fn change_alias(&mut self, id: u64, bytes: &[u8]) {
        let content = &mut self.module(id)["contents"][0];
        assert_eq!(content["isexternalfile"], true);
        content["filesize"] = bytes.len().into();
        let key = key_of(content).unwrap();
        let time = self.now();
        self.stored.entry(bytes.to_vec()).or_insert(time);
        self.bytes.insert(key, bytes.to_vec());
    }
}

/// What the site encodes in a path.
const PATH: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
