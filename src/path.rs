//! `RemotePath`: where something is at a source, in bytes, as the source itself writes it. It knows nothing of local names.

use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

/// A path inside one source, in the source's own bytes, handed back to it verbatim.
///
/// The empty path is the source's root. Between components stands one `/`; there is no leading or trailing one.
/// A component is never empty, `.` or `..` and holds no NUL: [`RemotePath::child`] refuses those, so that code that has a
/// `RemotePath` need not look again.
///
/// ```
/// use kitovufs::path::{BadName, RemotePath};
///
/// # fn main() -> Result<(), BadName> {
/// let notes = RemotePath::parse(b"courses/maths")?.child("Notes äöü.txt".as_bytes())?;
/// assert_eq!(notes.to_string(), "/courses/maths/Notes äöü.txt");
/// assert_eq!(RemotePath::root().child(b"../../etc/passwd"), Err(BadName::Dots));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemotePath(Arc<[u8]>);

/// A name that a source gave and that must never be followed, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadName {
    /// No bytes at all.
    Empty,
    /// `.` or `..`, alone or as a component.
    Dots,
    /// Starts with `/`: names a place outside the listed directory.
    Absolute,
    /// Holds a NUL byte.
    Nul,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the name is empty",
            Self::Dots => "the name has a component `.` or `..`",
            Self::Absolute => "the name is absolute",
            Self::Nul => "the name holds a NUL byte",
        })
    }
}

impl RemotePath {
    /// The source's root.
    pub fn root() -> Self {
        Self(Arc::from([].as_slice()))
    }

    /// The path of `name` inside this directory.
    ///
    /// `name` may itself hold `/` (a source without real directories); each component is checked.
    pub fn child(&self, name: &[u8]) -> Result<Self, BadName> {
        check_name(name)?;
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        if !self.is_root() {
            bytes.extend_from_slice(&self.0);
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Ok(Self(bytes.into()))
    }

    /// Parses a whole path; `""` and `"/"` are the root, one leading and one trailing `/` are dropped.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadName> {
        let bytes = bytes.strip_prefix(b"/").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"/").unwrap_or(bytes);
        if bytes.is_empty() {
            return Ok(Self::root());
        }
        Self::root().child(bytes)
    }

    /// Restores a path that was stored from [`RemotePath::as_bytes`].
    pub(crate) fn from_stored(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// Whether this is the source's root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory that holds this, component by component; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// The bytes, without leading or trailing `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        self.0.rsplit(|&b| b == b'/').next().unwrap_or_default()
    }

    /// The text, where the bytes are UTF-8. Protocols of text (S3, WebDAV) cannot name others.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The components, in order.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|c| !c.is_empty())
    }
}

fn check_name(name: &[u8]) -> Result<(), BadName> {
    if name.is_empty() {
        return Err(BadName::Empty);
    }
    if name.contains(&0) {
        return Err(BadName::Nul);
    }
    if name[0] == b'/' {
        return Err(BadName::Absolute);
    }
    for component in name.split(|&b| b == b'/') {
        match component {
            b"" => return Err(BadName::Empty),
            b"." | b".." => return Err(BadName::Dots),
            _ => {}
        }
    }
    Ok(())
}

/// Shows the bytes for people: `/`-rooted, with everything that is not printable UTF-8 escaped.
impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", Printable(&self.0))
    }
}

impl fmt::Debug for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A path as programs read it in JSON: text, or a list of bytes where it is no text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Exact {
    /// UTF-8.
    Text(String),
    /// Anything else.
    Bytes(Vec<u8>),
}

impl Exact {
    /// As it is written.
    pub(crate) fn of(path: &[u8]) -> Self {
        match std::str::from_utf8(path) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes(path.to_owned()),
        }
    }

    /// The path.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// Bytes for a log line or a message: what could steer a terminal, and bytes that are not UTF-8, appear as pictures.
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            write_with_pictures(f, chunk.valid(), |_| false)?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// A text of several lines for a terminal: the same but for the ends of its lines.
pub(crate) struct PrintableLines<'a>(pub(crate) &'a str);

impl fmt::Display for PrintableLines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_pictures(f, self.0, |c| c == '\n')
    }
}

fn write_with_pictures(f: &mut fmt::Formatter<'_>, text: &str, is_kept: impl Fn(char) -> bool) -> fmt::Result {
    for c in text.chars() {
        match picture(c) {
            Some(picture) if !is_kept(c) => f.write_str(&picture)?,
            _ => f.write_char(c)?,
        }
    }
    Ok(())
}

/// The replacement of a character that moves the cursor, turns the direction of writing or hides: its Unicode picture, or its
/// number where it has none. `None` for all others.
pub(crate) fn picture(c: char) -> Option<String> {
    Some(match c {
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32)?.into(),
        '\x7f' => '\u{2421}'.into(),
        // Controls of ISO 6429; marks, embeddings, overrides and isolates of direction; ends of lines and paragraphs; what has no width.
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'
        | '\u{200e}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' => c.escape_unicode().to_string(),
        _ => return None,
    })
}

/// Replaces a leading `~/` by the home directory.
pub(crate) fn expand_home(path: &str) -> PathBuf {
    let rest = if path == "~" { Some("") } else { path.strip_prefix("~/") };
    match (rest, etcetera::home_dir()) {
        (Some(""), Ok(home)) => home,
        (Some(rest), Ok(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let root = RemotePath::root();
        for (name, why) in [
            (b"".as_slice(), BadName::Empty),
            (b".", BadName::Dots),
            (b"..", BadName::Dots),
            (b"a/../b", BadName::Dots),
            (b"/etc/passwd", BadName::Absolute),
            (b"a\0b", BadName::Nul),
            (b"a//b", BadName::Empty),
        ] {
            assert_eq!(root.child(name), Err(why), "{}", Printable(name));
        }
    }

    #[test]
    fn children_join_with_one_slash() {
        let dir = RemotePath::root().child(b"a").expect("a plain name");
        let file = dir.child(b"..b\xff").expect("dots inside a name are a plain name");
        assert_eq!(file.as_bytes(), b"a/..b\xff");
        assert_eq!(file.name(), b"..b\xff");
        assert_eq!(file.to_string(), "/a/..b\\xff");
    }

    #[test]
    fn a_path_that_is_no_text_survives_the_way() {
        for path in [b"a/b".as_slice(), b"", b"\xff\xfe", "ü".as_bytes()] {
            let written = serde_json::to_string(&Exact::of(path)).expect("it can be written");
            assert_eq!(serde_json::from_str::<Exact>(&written).expect("it can be read").bytes(), path, "{written}");
        }
    }

    #[test]
    fn nothing_that_is_shown_steers_a_terminal() {
        let text = "\x1b[2Jäü\u{9b}1m\r\n\u{202e}gpj.exe\u{200b}\x7f";
        let shown = Printable(text.as_bytes()).to_string();
        assert_eq!(shown, "␛[2Jäü\\u{9b}1m␍␊\\u{202e}gpj.exe\\u{200b}␡");
        assert_eq!(PrintableLines("a\x07\n").to_string(), "a␇\n");
        let steers = |c: &char| c.is_control() || c.escape_debug().len() > 1 && "\u{202a}\u{2066}\u{61c}".contains(*c);
        assert!((0..=0x10_ffff).filter_map(char::from_u32).filter(steers).all(|c| picture(c).is_some()));
    }
}
