//! Reading a line of LIST, which servers make for people: each has a form of its own. Sizes and times are found in it, and not taken.

/// The meaning of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A file or a directory.
    Entry {
        /// Its name, blanks and all.
        name: &'a [u8],
        directory: bool,
    },
    /// A symbolic link, with its text if the server tells that.
    Link { name: &'a [u8], target: Option<&'a [u8]> },
    /// A device, a socket or a pipe: it has no bytes to retrieve.
    Special(&'a [u8]),
    /// The line is about no file: a sum, or nothing.
    Nothing,
}

/// The meaning of a line; `None` if it has no form that is known.
///
/// ```text
/// -rw-r--r--+   1 anna domain users        2 Nov 23 06:54 name      ls; columns may be missing or hold blanks, the date has many forms
/// d---------    ? ?        ?               ?            ? name      ls of what it may not look at
/// - [R----F--] supervisor            2       Jan 16 18:53 name      NetWare
/// 11-23-2023  06:54AM                    2 name                     DOS
/// 11-23-23  16:54       <DIR>          name
/// ```
pub(super) fn line(line: &[u8]) -> Option<Line<'_>> {
    if is_sum(line) { Some(Line::Nothing) } else { unix(line).or_else(|| dos(line)) }
}

/// Whether this is the line before those of `ls -l`: `total 12`, in the server's language.
fn is_sum(line: &[u8]) -> bool {
    let words: Vec<_> = words(line).map(|word| word.text).collect();
    let is_word = |text: &[u8]| text.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b':' || *byte >= 0x80);
    match words[..] {
        [] => true,
        [first, amount] => is_word(first) && amount[0].is_ascii_digit(),
        _ => false,
    }
}

/// A word of a line, and where in the line it ends.
#[derive(Debug, Clone, Copy)]
struct Word<'a> {
    text: &'a [u8],
    end: usize,
}

fn words(line: &[u8]) -> impl Iterator<Item = Word<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + line[at..].iter().position(|byte| *byte != b' ')?;
        let end = line[start..].iter().position(|byte| *byte == b' ').map_or(line.len(), |length| start + length);
        at = end;
        Some(Word { text: &line[start..end], end })
    })
}

/// A line as `ls -l` writes it.
fn unix(line: &[u8]) -> Option<Line<'_>> {
    let (kind, columns) = permissions(line)?;
    let words: Vec<_> = words(columns).collect();
    let end = (1..words.len()).find_map(|at| after_date(&words[at - 1..])).or_else(|| after_unknown(&words))?;
    // One blank ends the date; others belong to the name.
    let name = columns.get(end + 1..).filter(|name| !name.is_empty())?;
    match kind {
        b'-' | b'd' if matches!(name, b"." | b"..") => Some(Line::Nothing),
        b'-' | b'd' => Some(Line::Entry { name, directory: kind == b'd' }),
        b'l' => link(name),
        _ => Some(Line::Special(name)),
    }
}

/// A link's name and text, `name -> text`. With more than one arrow nobody knows where the name ends.
fn link(told: &[u8]) -> Option<Line<'_>> {
    const ARROW: &[u8] = b" -> ";
    let mut arrows = told.windows(ARROW.len()).enumerate().filter(|(_, part)| *part == ARROW).map(|(at, _)| at);
    match (arrows.next(), arrows.next()) {
        (None, _) => Some(Line::Link { name: told, target: None }),
        (Some(at), None) => Some(Line::Link { name: &told[..at], target: Some(&told[at + ARROW.len()..]) }),
        _ => None,
    }
}

/// The kind of file that the permissions begin with, and what follows them.
fn permissions(line: &[u8]) -> Option<(u8, &[u8])> {
    let (&kind, rest) = line.split_first()?;
    if !b"-dlbcpsDC".contains(&kind) {
        return None;
    }
    if let Some(netware) = rest.strip_prefix(b" [") {
        let end = netware.iter().position(|byte| *byte == b']')?;
        return Some((kind, &netware[end + 1..]));
    }
    let (bits, rest) = rest.split_at_checked(9)?;
    let is_known = |bit: &u8| b"-rwxsStTlL?".contains(bit);
    // An ACL, a label of SELinux, or extended attributes; and the next column, if nothing parts it.
    let rest = rest.strip_prefix(b"+").or(rest.strip_prefix(b".")).or(rest.strip_prefix(b"@")).unwrap_or(rest);
    bits.iter().all(is_known).then_some((kind, rest))
}

/// The end of a size and the date after it, if the words begin with those.
fn after_date(words: &[Word<'_>]) -> Option<usize> {
    if !is_number(words[0].text) {
        return None;
    }
    let text = |at: usize| words.get(at).map(|word| word.text);
    let last = match (text(1)?, text(2)?, text(3)) {
        (date, time, zone) if is_iso_date(date) && is_time(time) => {
            if zone.is_some_and(is_zone) {
                3
            } else {
                2
            }
        }
        (month, day, Some(time)) if is_month(month) && is_day(day) && (is_time(time) || is_year(time)) => 3,
        (day, month, Some(time)) if is_month(month) && is_day(day) && (is_time(time) || is_year(time)) => 3,
        _ => return None,
    };
    Some(words[last].end)
}

/// The end of the columns of what `ls` may not look at: question marks.
fn after_unknown(words: &[Word<'_>]) -> Option<usize> {
    let unknown = words.iter().take_while(|word| word.text == b"?").count();
    (unknown >= 4).then(|| words[unknown - 1].end)
}

/// A line as DOS and IIS write it.
fn dos(line: &[u8]) -> Option<Line<'_>> {
    let words: Vec<_> = words(line).take(3).collect();
    let [date, time, size] = words[..] else { return None };
    let numbers: Vec<_> = date.text.split(|byte| matches!(byte, b'-' | b'/' | b'.')).collect();
    if numbers.len() != 3 || !numbers.iter().all(|number| is_number(number)) || !is_dos_time(time.text) {
        return None;
    }
    let rest = line.get(size.end + 1..)?;
    if is_number(size.text) {
        return Some(Line::Entry { name: rest, directory: false });
    }
    // The names of all but files stand in a column of their own.
    let name = rest.trim_ascii_start();
    match size.text {
        b"<DIR>" if matches!(name, b"." | b"..") => Some(Line::Nothing),
        b"<DIR>" => Some(Line::Entry { name, directory: true }),
        other => (other.starts_with(b"<") && other.ends_with(b">")).then_some(Line::Special(name)),
    }
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// `06:54` or `06:54:12`, with fractions of a second or without.
fn is_time(text: &[u8]) -> bool {
    let parts: Vec<_> = text.split(|byte| matches!(byte, b':' | b'.')).collect();
    text.contains(&b':') && (2..=4).contains(&parts.len()) && parts.iter().all(|part| is_number(part))
}

fn is_dos_time(text: &[u8]) -> bool {
    let half = |suffix: &[u8]| text.len() > 2 && text[text.len() - 2..].eq_ignore_ascii_case(suffix);
    is_time(if half(b"AM") || half(b"PM") { &text[..text.len() - 2] } else { text })
}

fn is_year(text: &[u8]) -> bool {
    text.len() == 4 && is_number(text)
}

/// `3`, `03` or `3.`.
fn is_day(text: &[u8]) -> bool {
    let number = text.strip_suffix(b".").or(text.strip_suffix(b",")).unwrap_or(text);
    (1..=2).contains(&number.len()) && is_number(number)
}

/// A word without digits, as short as a month's name is in any language: `Nov`, `août`, `juil.`.
fn is_month(text: &[u8]) -> bool {
    (2..=12).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'.' || *byte >= 0x80)
}

/// `2023-11-23`.
fn is_iso_date(text: &[u8]) -> bool {
    let parts: Vec<_> = text.split(|byte| *byte == b'-').collect();
    parts.len() == 3 && is_year(parts[0]) && parts[1..].iter().all(|part| part.len() == 2 && is_number(part))
}

/// `+0100`.
fn is_zone(text: &[u8]) -> bool {
    text.len() == 5 && b"+-".contains(&text[0]) && is_number(&text[1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Option<Line<'_>> {
        Some(Line::Entry { name: name.as_bytes(), directory: false })
    }

    fn directory(name: &str) -> Option<Line<'_>> {
        Some(Line::Entry { name: name.as_bytes(), directory: true })
    }

    #[test]
    fn files_are_read_in_every_form() {
        for (text, name) in [
            ("-rw-r--r--    1 1000     1000            2 Nov 23 06:54 a b", "a b"),
            ("-rw-r--r--    1 1000     1000            2 Nov 23 06:54  lead", " lead"),
            ("-rw-r--r--    1 1000     1000            2 Nov 23 06:54 trail ", "trail "),
            ("-rw-r--r--    1 1000     1000            2 Nov 23 06:54 a -> b", "a -> b"),
            ("-rw-r--r--    1 1000     1000            2 Nov 23  1999 year", "year"),
            ("-rw-r--r--    1 1000     1000            2 Feb 29 12:00 leap", "leap"),
            ("-rw-r--r--    1 1000     1000            2 Nov 23 06:54:12 seconds", "seconds"),
            ("-rw-r--r--    1 1000     1000            2 23. Okt 06:54 german", "german"),
            ("-rw-r--r--    1 1000     1000            2 Mai 03 06:54 months", "months"),
            ("-rw-r--r--    1 1000     1000            2 3 août 2019 french", "french"),
            ("-rw-r--r--    1 1000     1000            2 2023-11-23 06:54 iso", "iso"),
            ("-rw-r--r-- 1 0 0 2 2023-11-23 06:54:12.000000000 +0100 full", "full"),
            ("-rw-r--r--+   1 1000     1000            2 Nov 23 06:54 acl", "acl"),
            ("-rw-r--r--.   1 1000     1000            2 Nov 23 06:54 selinux", "selinux"),
            ("-rw-r--r--@   1 1000     1000            2 Nov 23 06:54 mac", "mac"),
            ("-rw-r--r--    1 anna     domain users        2 Nov 23 06:54 group", "group"),
            ("-rw-r--r--    1 anna            2 Nov 23 06:54 no group", "no group"),
            ("-rw-r--r--+   1 49              2 Jan 17  2014 no group either", "no group either"),
            ("-rw-r--r--    1 DOM\\anna DOM\\users            2 Nov 23 06:54 domain", "domain"),
            ("-rw-r--r--    1 user2 read-only               2 Feb 25  2012 hyphen", "hyphen"),
            ("-rw-r--r--    1 1000     1000     5368709120 Nov 23  2019 big", "big"),
            ("-rw-r--r--    1 1 1 2 Nov 23 06:54 7 Nov 23 06:54 date", "7 Nov 23 06:54 date"),
            ("- [R----F--] supervisor            2       Jan 16 18:53 netware", "netware"),
            ("11-23-23  06:54AM                    2 dos", "dos"),
            ("11-23-2023  06:54PM                    2  four digits", " four digits"),
            ("11-23-23  16:54                    2 24 hours", "24 hours"),
            ("23.11.2023  16:54                    2 german dos", "german dos"),
        ] {
            assert_eq!(line(text.as_bytes()), file(name), "{text}");
        }
    }

    #[test]
    fn directories_are_read_in_every_form() {
        for (text, name) in [
            ("drwxr-xr-x    2 0        0            4096 Nov 23 06:54 d", "d"),
            ("drwxr-xr-x12345 0        0            4096 Nov 23 06:54 links", "links"),
            ("drwxr-S--T    3 105207   501            18 Jul 04  2017 capitals", "capitals"),
            ("d---------    ? ?        ?               ?            ? locked", "locked"),
            ("d [R----F--] supervisor          512       Jan 16 18:53 netware", "netware"),
            ("11-23-23  06:54AM       <DIR>          dos dir", "dos dir"),
        ] {
            assert_eq!(line(text.as_bytes()), directory(name), "{text}");
        }
    }

    #[test]
    fn what_has_no_bytes_is_special() {
        for (text, name) in [
            ("crw-rw-rw-    1 0        0          1,   3 Nov 23 06:54 null", "null"),
            ("srwxr-xr-x    1 0        0               0 Nov 23 06:54 sock", "sock"),
            ("prw-r--r--    1 0        0               0 Nov 23 06:54 pipe", "pipe"),
            ("11-23-23  06:54AM      <JUNCTION>     Users [C:\\Users]", "Users [C:\\Users]"),
            ("11-23-23  06:54AM      <SYMLINKD>     Old [C:\\Old]", "Old [C:\\Old]"),
        ] {
            assert_eq!(line(text.as_bytes()), Some(Line::Special(name.as_bytes())), "{text}");
        }
    }

    #[test]
    fn a_link_has_a_name_and_a_text() {
        for (told, name, target) in [("l -> a b", "l", Some("a b")), ("l -> ../x", "l", Some("../x")), ("l", "l", None)]
        {
            let text = format!("lrwxrwxrwx    1 0 0 1 Nov 23 06:54 {told}");
            let target = target.map(str::as_bytes);
            assert_eq!(line(text.as_bytes()), Some(Line::Link { name: name.as_bytes(), target }), "{told}");
        }
        assert_eq!(line(b"lrwxrwxrwx    1 0 0 1 Nov 23 06:54 a -> b -> c"), None);
    }

    #[test]
    fn sums_and_the_directory_itself_are_nothing() {
        for text in ["total 12", "insgesamt 12", "total: 12", "合計 12", "", " ", "total 1.5K"] {
            assert_eq!(line(text.as_bytes()), Some(Line::Nothing), "{text:?}");
        }
        assert_eq!(line(b"drwxr-xr-x 2 0 0 4096 Nov 23 06:54 ."), Some(Line::Nothing));
        assert_eq!(line(b"11-23-23  06:54AM       <DIR>          .."), Some(Line::Nothing));
    }

    #[test]
    fn other_lines_are_not_understood() {
        for text in [
            "ls: cannot access 'gone.txt': No such file or directory",
            "what is this",
            "-rw-r--r--    1 1000     1000            2 Nov 23 06:54",
            "-rw-r--r--",
            "11-23-23  06:54AM       <DIR>",
            "d---------    ? ?",
        ] {
            assert_eq!(line(text.as_bytes()), None, "{text:?}");
        }
    }
}
