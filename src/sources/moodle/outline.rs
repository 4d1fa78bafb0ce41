//! `outline`: one course as a tree, made of what the site lists. It asks nothing and gives names as they are.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::answer::{Content, Module, Section};
use super::document::Text;
use super::filters::Filters;
use super::html::{decoded, escaped, is_blank};
use super::numbering::Numbering;
use super::site::Site;
use super::title::shown;
use super::tree::{Body, File, HTML, LINK, Tree, directory};
use super::written::Written;
use crate::digest::{Digest, hex};
use crate::path::RemotePath;
use crate::source::{Entry, LeftOut};
use crate::sources::stamp;

/// The name of the document that is made of descriptions, and of the directory that holds it with its pictures.
const DESCRIPTION: &str = "Description";

/// The tree of the sections that were listed.
pub(super) fn outline(course: &RemotePath, sections: &[Section], listed: &Listed<'_>) -> Tree {
    let mut builder = Builder { tree: Tree::default(), course, sections, listed };
    let is_shown_inside = |section: &Section| {
        let mut modules = sections.iter().flat_map(|section| &section.modules);
        modules.any(|module| is_subsection(module, section))
    };
    let top: Vec<_> = sections.iter().filter(|section| !is_shown_inside(section)).collect();
    let titled = top.iter().map(|section| (section.section, title(section))).collect();
    let names = listed.numbering.apply(titled);
    let named = top.into_iter().zip(&names);
    let entries = named.filter_map(|(section, name)| builder.section(section, course, name)).collect();
    *builder.tree.entries(course) = entries;
    builder.tree
}

/// The name of a section without a number before it.
fn title(section: &Section) -> String {
    let unnamed = section.section.map_or_else(|| "Other".to_owned(), |number| format!("Section {number}"));
    shown(section.name.as_deref().unwrap_or_default(), &unnamed)
}

fn is_subsection(module: &Module, section: &Section) -> bool {
    module.modname.as_deref() == Some("subsection")
        && section.component.as_deref() == Some("mod_subsection")
        && section.itemid.is_some()
        && section.itemid == module.instance
}

/// The activities of a section that the user may see.
fn visible(section: &Section) -> impl Iterator<Item = &Module> {
    section.modules.iter().filter(|module| module.uservisible != Some(false))
}

/// The entries of a section. Files that have one name among them carry that of their activity before it.
fn told_apart(entries: Vec<(&Module, Entry)>) -> Vec<Entry> {
    let mut counts = HashMap::<Vec<u8>, usize>::new();
    entries.iter().for_each(|(_, entry)| *counts.entry(entry.name.clone()).or_default() += 1);
    let named = |(module, mut entry): (&Module, Entry)| {
        let is_file = module.modname.as_deref() == Some("resource") && !entry.is_directory();
        if is_file && counts[&entry.name] > 1 {
            let activity = shown(module.name.as_deref().unwrap_or_default(), "File");
            entry.name = [activity.as_bytes(), b" - ", &entry.name].concat();
        }
        entry
    };
    entries.into_iter().map(named).collect()
}

/// Whether a file is listed to those who learn, and sent only to those who teach: the table of contents of a package.
fn is_withheld(modname: &str, content: &Content) -> bool {
    modname == "imscp"
        && content.filename.as_deref() == Some("imsmanifest.xml")
        && content.filepath.as_deref() == Some("/")
}

/// What is known of a listing beside its sections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listed<'a> {
    pub(super) site: &'a Site,
    pub(super) filters: &'a Filters,
    pub(super) numbering: Numbering,
    /// The time by the site's clock.
    pub(super) observed: i64,
}

/// A text with its files.
fn text(id: u64, head: String, html: &str, area: &'static str, files: &[Content]) -> Text {
    Text { id, head, html: html.to_owned(), files: files.iter().map(|file| (area, file.clone())).collect() }
}

/// Whether this stands for what is asked for when the activity is looked at.
fn is_apart(content: &Content) -> bool {
    content.kind.as_deref() == Some(Content::APART)
}

struct Builder<'a> {
    tree: Tree,
    course: &'a RemotePath,
    sections: &'a [Section],
    listed: &'a Listed<'a>,
}

impl<'a> Builder<'a> {
    /// The path of what the site numbers so.
    fn path(&self, place: &str) -> Option<RemotePath> {
        self.course.child(place.as_bytes()).ok()
    }

    fn left_out(&mut self, dir: &RemotePath) -> &LeftOut {
        self.tree.note(dir)
    }

    /// The path of a name in `dir`; a name that must not be followed is left out.
    fn child(&mut self, dir: &RemotePath, name: &str) -> Option<RemotePath> {
        self.left_out(dir).child(dir, name.as_bytes())
    }

    /// The entry of a section in the directory `parent`, whatever is in it; none for one that the user may not see.
    fn section(&mut self, section: &Section, parent: &RemotePath, name: &str) -> Option<Entry> {
        if section.uservisible == Some(false) {
            return None;
        }
        let Some(id) = section.id else {
            self.left_out(parent).add_unreadable(name.as_bytes(), "the section has no number");
            return None;
        };
        let path = self.path(&format!("section-{id}"))?;
        // Each stands in one place, so that none is inside itself.
        if self.tree.directory(&path).is_some() {
            return None;
        }
        self.directory(&path);
        let shown = visible(section).filter_map(|module| Some((module, self.module(module, &path)?)));
        let entries = told_apart(shown.collect());
        self.directory(&path).extend(entries);
        self.describe(section, id, &path);
        self.unless_empty(name, path)
    }

    /// Puts what stands on the page of the course besides activities into the directory of the section: a document, or a directory
    /// with the document and its pictures.
    fn describe(&mut self, section: &Section, id: i64, dir: &RemotePath) {
        let summary = section.summary.iter().map(|html| text(0, String::new(), html, "summary", &section.pictures));
        let shown = visible(section).filter(|module| module.intro.is_none()).filter_map(|module| {
            let head = match module.modname.as_deref() {
                Some("label") => String::new(),
                _ => format!("<h2>{}</h2>\n", escaped(&decoded(module.name.as_deref().unwrap_or_default()))),
            };
            Some(text(module.id?, head, module.description.as_deref()?, "intro", &module.pictures))
        });
        let Some(written) = self.written(summary.chain(shown)) else { return };
        let Some(base) = self.path(&format!("about-{id}")) else { return };
        let place = if written.is_alone() { dir } else { &base };
        let left_out = self.left_out(place).clone();
        let entries = written.add_to(&mut self.tree, &base, &left_out, [].iter());
        self.directory(place).extend(entries);
        if !written.is_alone() {
            self.directory(dir).push(directory(DESCRIPTION, base));
        }
    }

    /// The document of these texts, unless they show nothing.
    fn written(&self, texts: impl Iterator<Item = Text>) -> Option<Written<'a>> {
        let texts: Vec<_> = texts.filter(|text| !is_blank(&text.html)).collect();
        let (site, observed) = (self.listed.site, self.listed.observed);
        let is_any = !texts.is_empty();
        is_any.then(|| Written { site, observed, title: DESCRIPTION.to_owned(), modified: None, texts })
    }

    /// The entry of a directory, unless nothing is in it.
    fn unless_empty(&mut self, name: impl Into<Vec<u8>>, path: RemotePath) -> Option<Entry> {
        let is_empty = self.directory(&path).is_empty() && !self.left_out(&path).is_incomplete();
        (!is_empty).then(|| directory(name, path))
    }

    /// The entry of an activity in the directory `section`; none for one without files.
    fn module(&mut self, module: &Module, section: &RemotePath) -> Option<Entry> {
        let (Some(id), Some(modname)) = (module.id, module.modname.as_deref()) else {
            let name = module.name.as_deref().unwrap_or("?");
            self.left_out(section).add_unreadable(name.as_bytes(), "the activity has no number or no type");
            return None;
        };
        let name = shown(module.name.as_deref().unwrap_or_default(), &format!("Activity {id}"));
        if modname == "subsection" {
            let inner = self.sections.iter().find(|section| is_subsection(module, section))?;
            return self.section(inner, section, &name);
        }
        let path = self.path(&format!("module-{id}"))?;
        let contents = module.contents.as_deref()?;
        for odd in contents.iter().filter(|content| content.kind.is_none()) {
            // An activity with one file is shown as that file.
            for dir in [section, &path] {
                let name = odd.filename.as_deref().unwrap_or("?");
                self.left_out(dir).add_unreadable(name.as_bytes(), "the site does not say what it is");
            }
        }
        let has_more = contents.iter().any(is_apart);
        let is_sent = |content: &&Content| content.is_file() && !is_withheld(modname, content);
        let files: Vec<_> = contents.iter().filter(is_sent).collect();
        let (generated, stored): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| file.is_generated());
        match (modname, generated.as_slice(), stored.as_slice()) {
            ("url", ..) => return self.link(id, contents, &name),
            ("forum" | "glossary", ..) => {
                if !has_more {
                    return None;
                }
                let Some(instance) = module.instance else {
                    self.left_out(section).add_unreadable(name.as_bytes(), "the activity has no number of its kind");
                    return None;
                };
                return Some(directory(name, self.path(&format!("{modname}-{instance}"))?));
            }
            ("page", [page], _) => {
                let html = self.generated(page, &name, self.path(&format!("page-{id}"))?, "")?;
                if stored.is_empty() {
                    return Some(html);
                }
                // Beside its pictures, so that they are found.
                self.put(module, &stored, &path, "/");
                self.directory(&path).push(html);
            }
            ("book", ..) => self.book(module, contents, &generated, stored, &path),
            ("resource", _, [file]) => {
                return self.stored(module, file, path.child(file.filename.as_deref()?.as_bytes()).ok()?);
            }
            ("folder", ..) | (_, _, [_, ..]) => self.put(module, &stored, &path, "/"),
            _ if module.intro.is_some() || has_more => {}
            _ => return None,
        }
        self.introduce(module, id, &path);
        if let Some(instance) = module.instance.filter(|_| has_more) {
            let submission = self.path(&format!("submission-{instance}"))?;
            self.directory(&path).push(directory("Submission", submission));
        }
        if modname == "folder" {
            // A folder at the site as well: files are expected there.
            self.directory(&path);
            return Some(directory(name, path));
        }
        self.unless_empty(name, path)
    }

    /// Puts the description of an activity, which its kind tells, into its directory.
    fn introduce(&mut self, module: &Module, id: u64, dir: &RemotePath) {
        let text = module.intro.iter().map(|html| text(id, String::new(), html, "intro", &module.pictures));
        let (Some(written), Some(base)) = (self.written(text), self.path(&format!("intro-{id}"))) else { return };
        let (left_out, others) = (self.left_out(dir).clone(), self.directory(dir).clone());
        let entries = written.add_to(&mut self.tree, &base, &left_out, others.iter());
        self.directory(dir).extend(entries);
    }

    fn directory(&mut self, path: &RemotePath) -> &mut Vec<Entry> {
        self.tree.entries(path)
    }

    fn link(&mut self, id: u64, contents: &[Content], name: &str) -> Option<Entry> {
        let content = contents.iter().find(|content| content.kind.as_deref() == Some("url"))?;
        // A line break would begin another line of the file.
        let url: String = content.fileurl.as_ref()?.chars().filter(|c| !c.is_control()).collect();
        let text = format!("[InternetShortcut]\r\nURL={url}\r\n");
        let file = File {
            size: Some(text.len() as u64),
            modified: content.timemodified.and_then(stamp::time),
            digest: Some(Digest::new(format!("{LINK}{url}"))),
            body: Body::Made(text),
        };
        let path = self.path(&format!("link-{id}"))?;
        Some(self.tree.add_file(format!("{name}.url"), path, file))
    }

    /// Puts the chapters of a book into its directory, numbered so that they stand in their order.
    fn book(
        &mut self,
        module: &Module,
        contents: &[Content],
        chapters: &[&Content],
        stored: Vec<&Content>,
        path: &RemotePath,
    ) {
        // A chapter shows its number and the titles of those above it, which are in the table of contents.
        let table: String = contents.iter().filter_map(|content| content.content.as_deref()).collect();
        let table = format!(";table={}", hex(&Sha256::digest(table)[..8]));
        let digits = chapters.len().to_string().len();
        let mut rest = stored;
        for (index, chapter) in chapters.iter().enumerate() {
            let inside = chapter.filepath.as_deref().unwrap_or_default();
            let id = inside.trim_matches('/');
            let title = shown(chapter.content.as_deref().unwrap_or_default(), "Chapter");
            let title = format!("{:0digits$} {title}", index + 1);
            let (Some(book), Some(beside)) =
                (module.id.and_then(|id| self.path(&format!("book-{id}"))), self.child(path, id))
            else {
                continue;
            };
            let own = self.child(&book, id);
            let Some(html) = own.and_then(|own| self.generated(chapter, &title, own, &table)) else {
                continue;
            };
            let (attached, others) = rest
                .into_iter()
                .partition(|file: &&Content| file.filepath.as_deref().is_some_and(|path| path.starts_with(inside)));
            rest = others;
            if Vec::is_empty(&attached) {
                self.directory(path).push(html);
                continue;
            }
            self.directory(path).push(directory(title, beside.clone()));
            self.put(module, &attached, &beside, inside);
            self.directory(&beside).push(html);
        }
        self.put(module, &rest, path, "/");
    }

    /// Puts files into `base`, each into the directory that its path tells beyond `prefix`.
    fn put(&mut self, module: &Module, files: &[&Content], base: &RemotePath, prefix: &str) {
        for file in files {
            let below = file.filepath.as_deref().unwrap_or_default();
            let below = below.strip_prefix(prefix).unwrap_or(below);
            let mut at = Some(base.clone());
            for name in below.split('/').filter(|name| !name.is_empty()) {
                at = at.and_then(|parent| {
                    let path = self.child(&parent, name)?;
                    if self.tree.directory(&path).is_none() {
                        self.directory(&parent).push(directory(name, path.clone()));
                        self.directory(&path);
                    }
                    Some(path)
                });
            }
            let Some((at, name)) = at.zip(file.filename.as_deref()) else { continue };
            if let Some(path) = self.child(&at, name)
                && self.tree.file(&path).is_none()
                && let Some(entry) = self.stored(module, file, path)
            {
                self.directory(&at).push(entry);
            }
        }
    }

    /// A file that the site keeps.
    fn stored(&mut self, module: &Module, content: &Content, path: RemotePath) -> Option<Entry> {
        let is_html = matches!(content.mimetype.as_deref(), Some("text/html" | "application/xhtml+xml"));
        let is_filtered = self.listed.filters.may_change(module, content);
        let file = File::kept(self.body(content, is_html)?, content, is_filtered, self.listed.observed);
        Some(self.tree.add_file(content.filename.clone()?, path, file))
    }

    /// The HTML that the site makes of a page or a chapter. It has no size before it is made; `table` is the rest that goes into it.
    fn generated(&mut self, content: &Content, name: &str, path: RemotePath, table: &str) -> Option<Entry> {
        let modified = content.timemodified?;
        let text = format!("{HTML}{modified}{table}");
        let settled = stamp::is_settled(modified, self.listed.observed);
        let file = File {
            body: self.body(content, true)?,
            size: None,
            modified: content.timemodified.and_then(stamp::time),
            digest: Some(if settled { Digest::new(text) } else { stamp::unsettled(text) }),
        };
        Some(self.tree.add_file(format!("{name}.html"), path, file))
    }

    fn body(&mut self, content: &Content, is_html: bool) -> Option<Body> {
        let fileurl = content.fileurl.as_deref().unwrap_or_default();
        let url = self.listed.site.file_url(fileurl);
        if url.is_none() {
            let name = content.filename.as_deref().unwrap_or_default();
            self.left_out(self.course).refuse(name.as_bytes(), "it is kept elsewhere than at the site");
        }
        Some(Body::Site { url: url?, is_html })
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::super::tree::course_path;
    use super::*;
    use crate::fuzz::{Corpus, Input};
    use crate::path::Printable;
    use crate::sources::authorities::Authorities;
    use crate::sources::http::redirect::Named;

    #[test]
    fn a_record_that_cannot_be_read_makes_its_directory_incomplete_and_costs_no_other() {
        let file = r#"{"type": "file", "filename": "a", "fileurl": "https://site.example/moodle/webservice/pluginfile.php/1/a", "filesize": 1, "timemodified": 1, "mimetype": "x/y"}"#;
        let module = |id: u64, contents: &str| {
            format!(r#"{{"id": {id}, "name": "M{id}", "modname": "folder", "contents": [{contents}]}}"#)
        };
        let odd_file = file.replace(r#""type": "file""#, r#""type": []"#).replace(r#""a""#, r#""b""#);
        let (good, half) = (module(1, file), module(2, &format!("{odd_file}, {file}")));
        let odd = r#"{"id": "x", "name": "odd"}"#;
        let sections = format!(r#"[{{"id": 3, "name": "S", "modules": [{good}, {odd}, {half}]}}, {{"id": null}}]"#);
        let sections: Vec<Section> = serde_json::from_str(&sections).expect("they are read");
        let site = Site::new(
            &Url::parse("https://site.example/moodle").expect("a URL"),
            Named::default(),
            Authorities::default(),
        )
        .expect("a site");
        let course = course_path(2).expect("a path");
        let tree = outline(
            &course,
            &sections,
            &Listed { site: &site, filters: &Filters::default(), numbering: Numbering::default(), observed: 100 },
        );
        let seen = |place: &str| {
            let path = if place.is_empty() { course.clone() } else { course.child(place.as_bytes()).expect("a path") };
            (tree.directory(&path).map(<[Entry]>::len), tree.left_out(&path).is_incomplete())
        };
        assert!(tree.is_incomplete());
        assert_eq!(seen(""), (Some(1), true));
        assert_eq!(seen("section-3"), (Some(2), true));
        assert_eq!(seen("module-1"), (Some(1), false));
        assert_eq!(seen("module-2"), (Some(1), true));
    }

    /// Every directory and file is below the course, for any listing that a site may send.
    #[test]
    fn fuzz_moodle() {
        let corpus = Corpus::of("moodle");
        let site = Site::new(
            &Url::parse("https://site.example/moodle").expect("a URL"),
            Named::default(),
            Authorities::default(),
        )
        .expect("a site");
        let site = std::panic::AssertUnwindSafe(site);
        let course = course_path(2).expect("a path");
        bolero::check!().with_type::<Input>().for_each(|input| {
            let Ok(sections) = serde_json::from_slice::<Vec<Section>>(&corpus.bytes(input)) else { return };
            let tree = outline(
                &course,
                &sections,
                &Listed { site: &site, filters: &Filters::default(), numbering: Numbering::default(), observed: 0 },
            );
            for path in tree.paths() {
                assert!(path.as_bytes().starts_with(course.as_bytes()), "{}", Printable(path.as_bytes()));
            }
        });
    }
}
