//! `Edited`: the text of a configuration file with a source added or removed; everything else, comments included, stays as it is. It asks
//! no source.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use toml_edit::{DocumentMut, Item, Table};

use super::Failure;
use crate::config::{Config, Diagnostics};
use crate::error::{Error, ErrorKind, Result};

/// The beginning of a file that is not there yet.
const NEW: &str = "mountpoint = \"~/kitovu\"\n";

/// A configuration file that is being changed.
pub(super) struct Edited {
    file: PathBuf,
    /// What was in the file; `None` if it was not there.
    before: Option<String>,
    document: DocumentMut,
}

impl Edited {
    /// Reads the file; one that is not there begins with a mount point.
    ///
    /// # Errors
    /// It cannot be read, or is no TOML.
    pub(super) fn read(file: &Path) -> Result<Self, Failure> {
        let failed = || Error::new("read", ErrorKind::Other).on(file.display());
        let before = text_of(file).map_err(|e| failed().caused_by(e))?;
        let text = before.as_deref().unwrap_or(NEW);
        // The parser's own message quotes the line, which may hold a secret.
        let document = text
            .parse()
            .map_err(|_| failed().because("this is not TOML; `kitovufs check` says where, and what to do"))?;
        Ok(Self { file: file.to_owned(), before, document })
    }

    /// Whether there is a source of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.document.get("sources").and_then(Item::as_table_like).is_some_and(|sources| sources.contains_key(name))
    }

    /// Adds the table of a source at the end.
    pub(super) fn add(&mut self, name: &str, table: Table) {
        let sources = self.document.entry("sources").or_insert_with(|| {
            let mut sources = Table::new();
            sources.set_implicit(true);
            Item::Table(sources)
        });
        if let Some(sources) = sources.as_table_like_mut() {
            sources.insert(name, Item::Table(table));
        }
    }

    /// Removes the table of a source, with the comment above it. Returns the number of sources that are left.
    pub(super) fn remove(&mut self, name: &str) -> usize {
        let Some(sources) = self.document.get_mut("sources").and_then(Item::as_table_like_mut) else { return 0 };
        sources.remove(name);
        sources.len()
    }

    /// The meaning of the changed text, and what is wrong with it.
    pub(super) fn examine(&self) -> Result<(Config, Diagnostics), Diagnostics> {
        Config::examine_text(&self.document.to_string(), &self.file, true)
    }

    /// Puts the changed text into the file, which is never there in part, with the permissions and the owner that it had; a new one only
    /// its owner can read.
    ///
    /// # Errors
    /// It cannot be written, or somebody else has changed it meanwhile.
    pub(super) fn write(&self) -> Result<()> {
        let failed = || Error::new("write", ErrorKind::Other).on(self.file.display());
        let caused = |e: io::Error| failed().caused_by(e);
        // Through a link, so that it stays one.
        let file = fs::canonicalize(&self.file).unwrap_or_else(|_| self.file.clone());
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
        new.write_all(self.document.to_string().as_bytes()).map_err(caused)?;
        new.as_file().sync_all().map_err(caused)?;
        new.persist(&file).map_err(|e| caused(e.error))?;
        Ok(())
    }
}

/// What is in a file; `None` if it is not there.
fn text_of(file: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        text => text.map(Some),
    }
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

    #[test]
    fn what_is_there_stays_as_it_is() {
        let (_dir, mut edited) = edited(TEXT);
        edited.add("c", table("type = \"local\"\npath = \"/srv\"\n"));
        assert!(edited.has("c") && edited.has("a") && !edited.has("d"));
        edited.write().expect("written");
        let text = fs::read_to_string(&edited.file).expect("it is there");
        assert_eq!(text, format!("{TEXT}\n[sources.c]\ntype = \"local\"\npath = \"/srv\"\n"));
        assert_eq!(edited.examine().expect("read").0.sources.len(), 3);
    }

    #[test]
    fn what_others_wrote_meanwhile_stays() {
        let (_dir, mut edited) = edited(TEXT);
        edited.add("c", table("type = \"local\"\npath = \"/srv\"\n"));
        fs::write(&edited.file, "# theirs\n").expect("written");
        assert!(edited.write().expect_err("it is another").to_string().contains("changed meanwhile"));
        assert_eq!(fs::read_to_string(&edited.file).expect("it is there"), "# theirs\n");
        fs::remove_file(&edited.file).expect("removed");
        assert!(edited.write().is_err() && !edited.file.exists());
    }

    #[test]
    fn a_source_goes_with_the_comment_above_it() {
        let (_dir, mut edited) = edited(TEXT);
        assert_eq!(edited.remove("a"), 1);
        let text = edited.document.to_string();
        assert!(text.starts_with("# mine\nmountpoint   = \"/m\" # here\n\n# second\n[sources.b]\n"), "{text}");
        assert_eq!(edited.remove("b"), 0);
    }

    #[test]
    fn a_file_that_is_not_there_begins_with_a_mountpoint() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("new/config.toml");
        let mut edited = Edited::read(&file).expect("it begins");
        edited.add("docs", table("type = \"local\"\npath = \"/\"\n"));
        edited.write().expect("written");
        let text = fs::read_to_string(&file).expect("it is there");
        assert_eq!(text, "mountpoint = \"~/kitovu\"\n\n[sources.docs]\ntype = \"local\"\npath = \"/\"\n");
    }
}
