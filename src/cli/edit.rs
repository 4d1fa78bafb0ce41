//! `Edited`: the text of a configuration file with a source added or removed; everything else, comments included, stays as it is. It asks
//! no source.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use toml_edit::{Document, DocumentMut, Item, Key, Table};

use super::Failure;
use super::runtime::on_runtime;
use crate::config::{self, Config, Diagnostics};
use crate::error::{Error, ErrorKind, Result};
use crate::mount;

/// The beginning of a file that is not there yet.
const NEW: &str = "mountpoint = \"~/kitovu\"\n";

/// The byte order mark, which some editors write and the parser of TOML does not count.
const BOM: char = '\u{feff}';

/// A configuration file that is being changed.
pub(super) struct Edited {
    file: PathBuf,
    /// What was in the file; `None` if it was not there.
    before: Option<String>,
    /// What is to be in the file.
    text: String,
    /// The names of the sources, those that the configuration cannot use included.
    names: Vec<String>,
}

impl Edited {
    /// Reads the file; one that is not there begins with a mount point.
    ///
    /// # Errors
    /// It cannot be read, or is no TOML.
    pub(super) fn read(file: &Path) -> Result<Self, Failure> {
        let failed = || Error::new("read", ErrorKind::Other).on(file.display());
        let before = text_of(file).map_err(|e| failed().caused_by(e))?;
        let text = before.clone().unwrap_or_else(|| NEW.to_owned());
        let Ok(document) = Document::parse(text.trim_start_matches(BOM)) else {
            // The parser's own message quotes the line, which may hold a secret.
            Config::examine_text(&text, file, true)?.1.or(())?;
            return Err(failed().because("this is not TOML").into());
        };
        let names = names_in(&document);
        Ok(Self { file: file.to_owned(), before, names, text })
    }

    /// The names of the sources.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Adds the table of a source at the end.
    ///
    /// # Errors
    /// The sources of the file are written in a way to which no table can be added.
    pub(super) fn add(&mut self, name: &str, table: Table) -> Result<()> {
        let mut sources = Table::new();
        sources.set_implicit(true);
        sources.insert(name, Item::Table(table));
        let mut added = DocumentMut::new();
        added.insert("sources", Item::Table(sources));
        let line_end = if self.text.contains("\r\n") { "\r\n" } else { "\n" };
        let mut text = self.text.clone();
        if !text.is_empty() {
            text.push_str(&line_end.repeat(if text.ends_with('\n') { 1 } else { 2 }));
        }
        text.push_str(&added.to_string().replace('\n', line_end));
        if Document::parse(text.trim_start_matches(BOM)).is_err() {
            let why = "`sources` is one value there, to which nothing can be added; write a table [sources.NAME] for each of them";
            return Err(Error::new("add", ErrorKind::Other).on(self.file.display()).because(why));
        }
        self.text = text;
        self.names.push(name.to_owned());
        Ok(())
    }

    /// Removes what there is of a source, with the comments that belong to it. Returns the number of sources that are left.
    ///
    /// # Errors
    /// It shares a line with something else.
    pub(super) fn remove(&mut self, name: &str) -> Result<usize> {
        let lines: Vec<&str> = self.text.split_inclusive('\n').collect();
        let owned = lines_of(&self.text, name);
        let gone = with_comments(&lines, &owned);
        let left = lines.into_iter().zip(gone).filter(|(_, gone)| !gone).map(|(line, _)| line);
        self.text = left.collect();
        self.names.retain(|other| other != name);
        let document = Document::parse(self.text.trim_start_matches(BOM));
        if document.map_or(true, |document| names_in(&document) != self.names) {
            let why = "it shares a line with something else; take it out with an editor";
            return Err(Error::new("remove", ErrorKind::Other).on(self.file.display()).because(why));
        }
        Ok(self.names.len())
    }

    /// The meaning of the changed text, which a mount is to take.
    ///
    /// # Errors
    /// Everything that is wrong with it, and with the settings of its sources.
    pub(super) fn examine_all(&self) -> Result<Config, Failure> {
        let (config, problems) = Config::examine_text(&self.text, &self.file, true)?;
        on_runtime(async { Ok(mount::examine(&config, problems).await?) })?;
        Ok(config)
    }

    /// The meaning of the changed text.
    ///
    /// # Errors
    /// What is wrong with it that was not before.
    pub(super) fn examine(&self) -> Result<Config, Diagnostics> {
        let (config, mut problems) = Config::examine_text(&self.text, &self.file, true)?;
        let before = Config::examine_text(self.before.as_deref().unwrap_or(NEW), &self.file, true)?.1;
        problems.0.retain(|problem| before.0.iter().all(|before| before.message != problem.message));
        problems.or(config)
    }

    /// Puts the changed text into the file, which is never there in part, with the permissions and the owner that it had; a new one only
    /// its owner can read.
    ///
    /// # Errors
    /// It cannot be written, or somebody else has changed it meanwhile.
    pub(super) fn write(&self) -> Result<()> {
        let failed = || Error::new("write", ErrorKind::Other).on(self.file.display());
        let caused = |e: io::Error| failed().caused_by(e);
        let file = led_to(&self.file).map_err(caused)?;
        let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(dir).map_err(caused)?;
        // Until it is closed, no other process of this program writes here.
        let alone = File::open(dir).map_err(caused)?;
        flock(&alone, FlockOperation::LockExclusive).map_err(|e| caused(e.into()))?;
        if text_of(&file).map_err(caused)? != self.before {
            return Err(failed().because("it was changed meanwhile, and is left as it is; run this command again"));
        }
        let mut new = tempfile::NamedTempFile::new_in(dir).map_err(caused)?;
        if let Ok(before) = fs::metadata(&file) {
            new.as_file().set_permissions(before.permissions()).map_err(caused)?;
            let is = new.as_file().metadata().map_err(caused)?;
            if (is.uid(), is.gid()) != (before.uid(), before.gid()) {
                fchown(new.as_file(), Some(before.uid()), Some(before.gid())).map_err(caused)?;
            }
        }
        new.write_all(self.text.as_bytes()).map_err(caused)?;
        new.as_file().sync_all().map_err(caused)?;
        new.persist(&file).map_err(|e| caused(e.error))?;
        Ok(())
    }
}

/// The names of the sources.
fn names_in(document: &Document<&str>) -> Vec<String> {
    let sources = document.get("sources").and_then(Item::as_table_like);
    sources.map(|sources| sources.iter().map(|(name, _)| name.to_owned()).collect()).unwrap_or_default()
}

/// What is in a file; `None` if it is not there.
fn text_of(file: &Path) -> io::Result<Option<String>> {
    let bytes = match config::read(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?.0,
    };
    let text = String::from_utf8(bytes);
    text.map(Some).map_err(|_| io::Error::other("this is not UTF-8 text; save the file as UTF-8"))
}

/// The file that a path leads to by links, which need not be there: a link that leads nowhere yet stays one.
pub(super) fn led_to(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    loop {
        match fs::canonicalize(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            led => return led,
        }
        // A circle of links is another error.
        let Ok(target) = fs::read_link(&path) else { return Ok(path) };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
}

/// The lines on which anything of a source stands, counted from 0.
fn lines_of(text: &str, name: &str) -> BTreeSet<usize> {
    let mark = text.len() - text.trim_start_matches(BOM).len();
    let mut lines = BTreeSet::new();
    if let Ok(document) = Document::parse(&text[mark..])
        && let Some(sources) = document.get("sources").and_then(Item::as_table_like)
        && let Some((key, item)) = sources.get_key_value(name)
    {
        let line = |at: usize| text[..at + mark].matches('\n').count();
        places(key, item, &mut |place| lines.extend(line(place.start)..=line(place.end)));
    }
    lines
}

/// Calls `note` with every place where a part of `item` stands.
fn places(key: &Key, item: &Item, note: &mut dyn FnMut(Range<usize>)) {
    let (of_key, of_item) = (key.span(), item.span());
    match item {
        Item::Table(table) => {
            of_key.into_iter().for_each(&mut *note);
            places_in(table, note);
        }
        Item::ArrayOfTables(tables) => tables.iter().for_each(|table| {
            table.span().map(|span| span.start..span.start).into_iter().for_each(&mut *note);
            places_in(table, note);
        }),
        Item::Value(_) => {
            of_key.zip(of_item).map(|(key, value)| key.start..value.end).into_iter().for_each(note);
        }
        Item::None => {}
    }
}

fn places_in(table: &Table, note: &mut dyn FnMut(Range<usize>)) {
    table.iter().filter_map(|(key, _)| table.get_key_value(key)).for_each(|(key, item)| places(key, item, note));
}

/// Which lines go with the owned ones: comments between them, right above and right below them, unless those stand right above something
/// else, and the blank lines after them.
fn with_comments(lines: &[&str], owned: &BTreeSet<usize>) -> Vec<bool> {
    let is_blank = |line: usize| lines[line].trim().is_empty();
    let is_comment = |line: usize| lines[line].trim_start().starts_with('#');
    let first = |from: usize, wanted: &dyn Fn(usize) -> bool| {
        (from..lines.len()).find(|&line| wanted(line)).unwrap_or(lines.len())
    };
    let mut gone: Vec<bool> = (0..lines.len()).map(|line| owned.contains(&line)).collect();
    for line in (1..lines.len()).rev() {
        gone[line - 1] |= gone[line] && is_comment(line - 1);
    }
    for &last in owned {
        let next = first(last + 1, &|line| !is_blank(line) && !is_comment(line));
        let comments = first(last + 1, &|line| !is_comment(line));
        let end = if owned.contains(&next) {
            next
        } else if comments == next && next < lines.len() {
            last + 1
        } else {
            first(comments, &|line| !is_blank(line))
        };
        gone[last + 1..end].fill(true);
    }
    // At the end of the file, the blank line is the one before.
    if gone.last() == Some(&true)
        && let Some(before) = gone.iter().rposition(|gone| !gone).filter(|&line| is_blank(line))
    {
        gone[before] = true;
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# mine\nmountpoint   = \"/m\" # here\n\n# first\n[sources.a]\ntype='local'\npath = \"/\" # all\n\n# second\n\
                        [sources.b]\ntype = \"local\"\npath = \"/usr\"\n";

    fn edited(text: &str) -> (tempfile::TempDir, Edited) {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("config.toml");
        fs::write(&file, text).expect("written");
        let edited = Edited::read(&file).expect("it is TOML");
        (dir, edited)
    }

    fn table(text: &str) -> Table {
        text.parse::<DocumentMut>().expect("TOML").as_table().clone()
    }

    /// The text after a source was added.
    fn added(text: &str) -> String {
        let (_dir, mut edited) = edited(text);
        edited.add("c", table("type = \"local\"\npath = \"/srv\"\n")).expect("it can be added");
        edited.write().expect("written");
        fs::read_to_string(&edited.file).expect("it is there")
    }

    fn removed(text: &str, name: &str) -> String {
        let (_dir, mut edited) = edited(text);
        edited.remove(name).expect("it can be removed");
        edited.text
    }

    #[test]
    fn a_source_that_shares_a_line_with_another_is_not_removed() {
        for text in [
            "sources = { a = { type = \"local\", path = \"/\" }, b = { type = \"local\", path = \"/usr\" } }\n",
            "sources = {\n  a = { type = \"local\", path = \"/\" }, b = { type = \"local\", path = \"/usr\" },\n}\n",
            "sources = { # all\n  a = { type = \"local\", path = \"/\" } }\n",
        ] {
            let (_dir, mut edited) = edited(text);
            let why = edited.remove("a").expect_err(text).to_string();
            assert!(why.contains("shares a line"), "{why}");
        }
    }

    #[test]
    fn what_is_there_stays_as_it_is() {
        let table = "[sources.c]\ntype = \"local\"\npath = \"/srv\"\n";
        let crlf = |text: &str| text.replace('\n', "\r\n");
        for before in
            [TEXT, &TEXT.replace("[sources.a]", "[ sources . \"a\" ]"), &format!("{BOM}{TEXT}"), "[sources]\n"]
        {
            assert_eq!(added(before), format!("{before}\n{table}"));
            assert_eq!(removed(&added(before), "c"), before);
            assert_eq!(added(&crlf(before)), crlf(&format!("{before}\n{table}")));
            assert_eq!(removed(&added(&crlf(before)), "c"), crlf(before));
        }
        assert_eq!(added(TEXT.trim_end()), format!("{TEXT}\n{table}"), "the last line has no end");
    }

    #[test]
    fn sources_in_one_value_are_left_as_they_are() {
        let (_dir, mut edited) = edited("sources = { a = { type = \"local\", path = \"/\" } }\n");
        let why = edited.add("c", table("type = \"local\"\n")).expect_err("a value has an end").to_string();
        assert!(why.contains("[sources.NAME]"), "{why}");
    }

    #[test]
    fn what_others_wrote_meanwhile_stays() {
        let (_dir, mut edited) = edited(TEXT);
        edited.add("c", table("type = \"local\"\npath = \"/srv\"\n")).expect("it can be added");
        fs::write(&edited.file, "# theirs\n").expect("written");
        assert!(edited.write().expect_err("it is another").to_string().contains("changed meanwhile"));
        assert_eq!(fs::read_to_string(&edited.file).expect("it is there"), "# theirs\n");
        fs::remove_file(&edited.file).expect("removed");
        assert!(edited.write().is_err() && !edited.file.exists());
    }

    #[test]
    fn a_source_goes_with_the_comments_that_belong_to_it() {
        let (_dir, mut edited) = edited(TEXT);
        assert_eq!(edited.remove("a").expect("it can be removed"), 1);
        assert_eq!(
            edited.text,
            "# mine\nmountpoint   = \"/m\" # here\n\n# second\n[sources.b]\ntype = \"local\"\npath = \"/usr\"\n"
        );
        assert_eq!(edited.remove("b").expect("it can be removed"), 0);
        assert_eq!(edited.text, "# mine\nmountpoint   = \"/m\" # here\n");
    }

    #[test]
    fn a_source_is_removed_in_whatever_form_it_stands() {
        let other = "[sources.b]\ntype = 'local'\n";
        for (text, left) in [
            (
                format!("# about all\n\n# a's\n[sources.a]\nx = 1\n# y = 2\n\n# about b\n\n{other}"),
                format!("# about all\n\n# about b\n\n{other}"),
            ),
            (format!("[sources.a]\nx = \"\"\"\n# no comment\n\"\"\"\n# b's\n{other}"), format!("# b's\n{other}")),
            (format!("[sources.a]\nx = 1\n\n# deeper\n[sources.a.more]\ny = 1\n{other}"), other.to_owned()),
            (
                format!("{other}\n[sources.a]\nx = 1\n[[sources.a.more]]\ny = 1\n[[sources.a.more]]\nz = 1\n"),
                other.to_owned(),
            ),
            ("[sources]\na.x = 1\nb.x = 1\na.y = [\n  1, # one\n]\n".to_owned(), "[sources]\nb.x = 1\n".to_owned()),
            ("[sources]\n# a's\na = { x = 1 }\nb = { x = 1 }\n".to_owned(), "[sources]\nb = { x = 1 }\n".to_owned()),
            ("sources.b.x = 1\nsources.a.x = 1\n".to_owned(), "sources.b.x = 1\n".to_owned()),
        ] {
            assert_eq!(removed(&text, "a"), left, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_already_is_in_nobodys_way() {
        let (_dir, mut edited) = edited(&format!("{TEXT}\n[sources.odd]\ntype = \"bogus\"\n"));
        assert_eq!(edited.names().collect::<Vec<_>>(), ["a", "b", "odd"]);
        edited.remove("a").expect("it can be removed");
        edited.add("c", table("type = \"local\"\npath = \"/srv\"\n")).expect("it can be added");
        edited.examine().expect("nothing new is wrong");
        edited.add("d", table("type = \"bogus\"\n")).expect("it can be added");
        assert_eq!(edited.examine().expect_err("it is wrong").0.len(), 1);
        assert_eq!(edited.remove("odd").expect("it can be removed"), 3);
    }

    #[test]
    fn a_file_that_is_no_toml_is_told_with_the_line() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("config.toml");
        fs::write(&file, "mountpoint = \"/m\"\npassword hunter2\n").expect("written");
        let Err(Failure::Config(problems)) = Edited::read(&file) else { panic!("it is no TOML") };
        let told = problems.to_string();
        assert!(told.contains("config.toml:2: ") && !told.contains("hunter2"), "{told}");
    }

    #[test]
    fn a_file_that_is_not_there_begins_with_a_mountpoint() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("new/config.toml");
        let mut edited = Edited::read(&file).expect("it begins");
        edited.add("docs", table("type = \"local\"\npath = \"/\"\n")).expect("it can be added");
        edited.write().expect("written");
        let text = fs::read_to_string(&file).expect("it is there");
        assert_eq!(text, "mountpoint = \"~/kitovu\"\n\n[sources.docs]\ntype = \"local\"\npath = \"/\"\n");
    }
}
