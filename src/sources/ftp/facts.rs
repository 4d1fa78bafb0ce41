//! Reading what an FTP server says of files: the facts of MLSD and MLST (RFC 3659), or the lines of LIST. It asks nothing.

use std::io::BufRead as _;

use super::list::{Line, line};
use super::wire::text_of;
use crate::source::LeftOut;
use crate::source::packed::Reader;
use crate::sources::arriving::Arriving;
use crate::sources::heap::{Heap, Pack};
use crate::sources::stamp::{Stamp, ftp_time};

/// The longest part of the server's own words that an error repeats, in characters.
const MAX_SHOWN_BYTES: usize = 100;

/// One name in a listing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: Vec<u8>,
    pub(super) directory: bool,
    /// Of a symbolic link: its text, which is empty if the server does not tell it.
    pub(super) link: Option<Vec<u8>>,
    /// Identifies the file's version, where the listing tells it.
    pub(super) stamp: Option<Stamp>,
}

/// The names of a listing, and what it leaves out.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) items: Heap<Item>,
    pub(super) left_out: LeftOut,
    /// Whether only names are known, and not which are directories.
    pub(super) are_names: bool,
}

impl Pack for Item {
    fn pack(&self, out: &mut Vec<u8>) {
        self.name.pack(out);
        self.directory.pack(out);
        self.link.pack(out);
        self.stamp.pack(out);
    }

    fn unpack(packed: &mut Reader<'_>) -> Self {
        let (name, directory) = (Pack::unpack(packed), Pack::unpack(packed));
        Self { name, directory, link: Pack::unpack(packed), stamp: Pack::unpack(packed) }
    }
}

/// The kind of file that a line of facts is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    /// The listed directory, or the one above it.
    Itself,
    /// A symbolic link, with its text; empty if the server does not tell that.
    Link(Vec<u8>),
    /// A device, or whatever else.
    Other,
}

/// The facts of one file, and its name: `type=file;size=7;modify=20240101120000; name`. None if the line is of another form: it has no
/// facts, or they tell neither a type nor a size. A fact that cannot be read, such as a size of -1, is not known.
pub(super) fn facts(line: &[u8]) -> Option<(Kind, Stamp, &[u8])> {
    // A blank ends the facts, but some servers write blanks into them.
    let end = line.windows(2).position(|pair| pair == b"; ").map(|semicolon| semicolon + 1);
    let blank = end.or_else(|| line.iter().position(|&byte| byte == b' '))?;
    let (facts, name) = (String::from_utf8_lossy(&line[..blank]), &line[blank + 1..]);
    let (mut kind, mut size, mut modified, mut unique) = (None, None, None, None);
    for (key, value) in facts.split_terminator(';').filter_map(|fact| fact.split_once('=')) {
        match key.to_ascii_lowercase().as_str() {
            "type" => {
                kind = Some(match value.to_ascii_lowercase().as_str() {
                    "file" => Kind::File,
                    "dir" => Kind::Directory,
                    "cdir" | "pdir" => Kind::Itself,
                    other => link(other, value).map_or(Kind::Other, Kind::Link),
                });
            }
            "size" => size = value.parse().ok(),
            "modify" => modified = ftp_time(value),
            // Tells a file from one that was put in its place. Not what is in it, so it vouches for nothing.
            "unique" => unique = Some(format!("W/\"{value}\"")),
            _ => {}
        }
    }
    let kind = kind.or(size.map(|_| Kind::File))?;
    // Some servers write the whole path, which a name cannot be.
    let name = if name.starts_with(b"/") { name.rsplit(|&byte| byte == b'/').next()? } else { name };
    Some((kind, Stamp::new(unique.as_deref(), size, modified), name))
}

/// The text of a link, if a type is of one: `OS.unix=slink:/text`, `OS.unix=symlink`. `lower` is the same in lower case.
fn link(lower: &str, kind: &str) -> Option<Vec<u8>> {
    let text = match lower.strip_prefix("os.unix=")? {
        "slink" | "symlink" => "",
        other => other.strip_prefix("slink:").map(|text| &kind[kind.len() - text.len()..])?,
    };
    // What is not UTF-8 could not be decoded.
    Some(if text.contains('\u{fffd}') { Vec::new() } else { text.as_bytes().to_vec() })
}

/// Reads the answer to MLSD.
pub(super) fn machine_listing(body: &mut Arriving) -> Result<Listed, String> {
    listed(body, |line, left_out| match facts(line) {
        Some((Kind::File, stamp, name)) => Some(Item { stamp: Some(stamp), ..item(name) }),
        Some((Kind::Directory, _, name)) => Some(Item { directory: true, ..item(name) }),
        Some((Kind::Link(target), _, name)) => Some(Item { link: Some(target), ..item(name) }),
        Some((Kind::Itself, ..)) => None,
        Some((Kind::Other, _, name)) => hidden(name, left_out),
        None => unreadable(line, "the line has no facts", left_out),
    })
}

/// Reads the answer to LIST, made for people: its sizes and times are not taken.
pub(super) fn human_listing(body: &mut Arriving) -> Result<Listed, String> {
    listed(body, |text, left_out| match line(text) {
        Some(Line::Entry { name, directory }) => Some(Item { directory, ..item(name) }),
        Some(Line::Link { name, target }) => {
            Some(Item { link: Some(target.unwrap_or_default().to_vec()), ..item(name) })
        }
        Some(Line::Special(name)) => hidden(name, left_out),
        Some(Line::Nothing) => None,
        None => unreadable(text, "the line has no known form", left_out),
    })
}

/// Reads the answer to NLST: names, or paths that end in them.
pub(super) fn names(body: &mut Arriving) -> Result<Listed, String> {
    let listed = listed(body, |path, _| {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        (!matches!(name, b"" | b"." | b"..")).then(|| item(name))
    })?;
    Ok(Listed { are_names: true, ..listed })
}

/// A file of which only the name is known.
fn item(name: &[u8]) -> Item {
    Item { name: name.to_vec(), directory: false, link: None, stamp: None }
}

/// Notes that something has no bytes to retrieve.
fn hidden(name: &[u8], left_out: &LeftOut) -> Option<Item> {
    tracing::debug!("{} is neither file nor directory and is left out", start_of(name));
    left_out.hide();
    None
}

fn unreadable(line: &[u8], why: &str, left_out: &LeftOut) -> Option<Item> {
    left_out.add_unreadable(line, why);
    None
}

/// Reads a listing line by line.
fn listed(body: &mut Arriving, item: impl Fn(&[u8], &LeftOut) -> Option<Item>) -> Result<Listed, String> {
    let meter = body.meter();
    let Listed { mut items, left_out, are_names } = Listed::default();
    let mut line = Vec::new();
    while body.read_until(b'\n', &mut line).map_err(|e| e.to_string())? > 0 {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if !text.is_empty()
            && let Some(item) = item(text, &left_out)
        {
            // A command is one line: nothing can be asked about such a name.
            if item.name.contains(&b'\r') {
                unreadable(text, "a name with a carriage return", &left_out);
            } else {
                items.push(&item)?;
            }
        }
        line.clear();
        meter.next();
    }
    Ok(Listed { items, left_out, are_names })
}

/// The beginning of a line, as much as a message repeats.
fn start_of(line: &[u8]) -> String {
    text_of(&line[..line.len().min(MAX_SHOWN_BYTES)]).escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Corpus, Input};
    use crate::source::{EntryStream, Omitted};
    use crate::sources::arriving::read;

    #[test]
    fn machine_listings_keep_names_and_say_versions() {
        let body = b"Type=cdir;Modify=20240101120000; /\r\ntype=file;size=7;modify=19941106084937.5;UNIX.mode=0644;unique=8a; a; b \r\n\
            type=dir;modify=20240101120000;  \xff\r\ntype=OS.unix=slink:/x/Y; link\r\ntype=OS.unix=symlink;size=1; untold\r\n\
            type=OS.unix=slink:\xff; odd\r\ntype=OS.unix=chr-1/3; null\r\n";
        let items: Vec<_> = read(body, machine_listing).expect("it is a listing").items.into_iter().collect();
        let links: Vec<_> = items.iter().map(|item| item.link.as_deref()).collect();
        assert_eq!(links, [None, None, Some(b"/x/Y".as_slice()), Some(b""), Some(b"")]);
        assert_eq!((items[0].name.as_slice(), items[1].name.as_slice()), (b"a; b ".as_slice(), b" \xff".as_slice()));
        assert_eq!(items[0].stamp, Some(Stamp::new(Some("W/\"8a\""), Some(7), Some(784_111_777))));
        assert!(items[1].directory && !items[0].directory);
    }

    /// The number of names that are read, and what the log tells of the others.
    fn outcome(listed: Result<Listed, String>) -> (usize, Omitted) {
        let Listed { items, left_out, .. } = listed.expect("it is a listing");
        (items.iter().count(), EntryStream::noting(futures::stream::empty(), left_out).omitted())
    }

    #[test]
    fn names_are_the_ends_of_what_nlst_tells() {
        let told = b"a b\r\n./c\r\n/dir/d\r\n.\r\ndir/..\r\ne\n";
        let listed = read(told, names).expect("it is a listing");
        let names: Vec<_> = listed.items.into_iter().map(|item| item.name).collect();
        assert_eq!(names, [b"a b".as_slice(), b"c", b"d", b"e"]);
        assert!(listed.are_names && !read(told, human_listing).expect("it is a listing").are_names);
    }

    #[test]
    fn a_line_that_cannot_be_read_makes_a_listing_incomplete_and_costs_no_other_name() {
        let of_a_mac = "type=file;size=3; Icon\r";
        for odd in ["plain", "size=x; b", "total 3", "ls: cannot access 'b': No such file or directory", of_a_mac] {
            let (names, omitted) =
                outcome(read(format!("{odd}\r\ntype=file;size=3; a\r\n").as_bytes(), machine_listing));
            assert!(names == 1 && omitted.is_incomplete() && omitted.count() == 1, "{odd}: {omitted:?}");
        }
        for odd in ["plain", "ls: cannot access 'b': No such file or directory", "-rw-r--r-- 1 0 0 7"] {
            let body = format!("{odd}\r\n-rw-r--r-- 1 0 0 7 Nov 23 06:54 a\r\n");
            let (names, omitted) = outcome(read(body.as_bytes(), human_listing));
            assert!(names == 1 && omitted.is_incomplete() && omitted.count() == 1, "{odd}: {omitted:?}");
        }
    }

    #[test]
    fn what_is_no_entry_leaves_a_listing_complete() {
        let machine = "type=cdir; .\r\ntype=OS.unix=blk-8/0; disk\r\ntype=file;size=3; a\r\n";
        let human = "total 3\r\n\r\nsrwxr-xr-x 1 0 0 0 Nov 23 06:54 sock\r\n-rw-r--r-- 1 0 0 7 Nov 23 06:54 a\r\n";
        for listed in [read(machine.as_bytes(), machine_listing), read(human.as_bytes(), human_listing)] {
            let (names, omitted) = outcome(listed);
            assert!(names == 1 && !omitted.is_incomplete() && omitted.count() == 1, "{omitted:?}");
        }
    }

    #[test]
    fn a_fact_that_cannot_be_read_costs_no_file() {
        for (line, kind, size, name) in [
            ("type=file;size=-1; a", Kind::File, None, "a"),
            ("type=file;size=; a", Kind::File, None, "a"),
            ("type=file;perm;size=3; a", Kind::File, Some(3), "a"),
            ("TYPE=FILE;SIZE=3; a", Kind::File, Some(3), "a"),
            ("size=3;modify=20240101120000; a", Kind::File, Some(3), "a"),
            ("type=file;unix.owner=domain users;size=3; a b; c", Kind::File, Some(3), "a b; c"),
            ("type=dir;size=4096 d e", Kind::Directory, Some(4096), "d e"),
            ("type=file;size=3; /pub/dir/a", Kind::File, Some(3), "a"),
            ("type=cdir;size=3; /pub/dir", Kind::Itself, Some(3), "dir"),
        ] {
            let (told, stamp, its_name) = facts(line.as_bytes()).expect(line);
            assert_eq!((told, stamp.size, its_name), (kind, size, name.as_bytes()), "{line}");
        }
    }

    #[test]
    fn human_listings_tell_names_and_kinds() {
        let body = b"total 3\r\n-rw-r--r--    1 1000     1000            7 Nov 23 06:54 a b\r\ndrwxr-xr-x    2 ftp ftp 4096 Jan 01  2020 d\xfc\r\n\
            lrwxrwxrwx    1 0 0 1 Nov 23 06:54 l -> a b\r\n";
        let items = read(body, human_listing).expect("it is a listing").items;
        assert_eq!(
            items.iter().map(|item| (item.name, item.directory)).collect::<Vec<_>>(),
            [(b"a b".to_vec(), false), (b"d\xfc".to_vec(), true), (b"l".to_vec(), false)]
        );
    }

    #[test]
    fn fuzz_ftp_listing() {
        let corpus = Corpus::of("ftp");
        bolero::check!().with_type::<Input>().for_each(|input| {
            let bytes = corpus.bytes(input);
            let _ = (read(&bytes, machine_listing), read(&bytes, human_listing), facts(&bytes).is_some());
        });
    }
}
