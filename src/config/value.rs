//! The meaning of a single value of the file: a size, a duration, a path, a name. It knows neither the tables nor their lines.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use globset::{Glob, GlobSet, GlobSetBuilder};
use toml::Spanned;
use toml::de::{DeInteger, DeValue};

use crate::freshness::Offline;
use crate::fs::UnknownSize;
use crate::name::NAME_MAX;
use crate::path::expand_home;
use crate::source::settings::article;

/// SQLite and TOML both count in signed 64 bits.
const MAX_SIZE: u64 = i64::MAX as u64;

/// Far more than anybody needs, and far less than what a clock of 64 bits overflows at: 100 years.
const MAX_DURATION: Duration = Duration::from_secs(100 * 31_557_600);

/// Bytes of a text that a message repeats.
const MAX_SHOWN_BYTES: usize = 60;

pub(super) fn wrong_type(key: &str, wanted: &str, found: &DeValue<'_>) -> String {
    format!("`{key}` must be {wanted}, not {}", article(found.type_str()))
}

/// The number, or none if it does not fit 64 bits.
pub(super) fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// Bytes: a string with a unit, or a plain number.
pub(super) fn size(key: &str, value: &DeValue<'_>) -> Result<u64, String> {
    const EXAMPLE: &str = "write for example \"20GiB\", or a number of bytes";
    let size = match value {
        DeValue::Integer(number) => integer(number).and_then(|number| u64::try_from(number).ok()),
        DeValue::String(text) => text.trim().parse::<ByteSize>().ok().map(|size| size.as_u64()),
        other => return Err(format!("{}; {EXAMPLE}", wrong_type(key, "a size", other))),
    };
    match size {
        Some(size) if size <= MAX_SIZE => Ok(size),
        Some(_) => Err(format!("`{key}` is more than any disk holds; {EXAMPLE}")),
        None => Err(format!("`{key}` is no size: {}; {EXAMPLE}", shown(value))),
    }
}

/// A number of things, at least one and at most a thousand.
pub(super) fn count(key: &str, value: &DeValue<'_>) -> Result<usize, String> {
    let DeValue::Integer(number) = value else { return Err(wrong_type(key, "a whole number", value)) };
    match integer(number).and_then(|number| usize::try_from(number).ok()) {
        Some(count @ 1..=1000) => Ok(count),
        _ => Err(format!("`{key}` must be 1 to 1000, not {}", number.as_str())),
    }
}

/// Permission bits: a string of octal digits as `chmod` takes them, or an octal number.
pub(super) fn mode(key: &str, value: &DeValue<'_>) -> Result<u16, String> {
    const EXAMPLE: &str = "write for example \"0644\"";
    let digits = match value {
        DeValue::String(text) => text.trim(),
        DeValue::Integer(number) if number.radix() == 8 => number.as_str(),
        DeValue::Integer(number) => {
            return Err(format!("`{key}` must be octal; write \"{0}\" or 0o{0}", number.as_str()));
        }
        other => return Err(format!("{}; {EXAMPLE}", wrong_type(key, "permissions", other))),
    };
    match u16::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 && !digits.starts_with('+') => Ok(mode),
        _ => Err(format!("`{key}` must be \"0000\" to \"0777\", not {}; {EXAMPLE}", shown(value))),
    }
}

/// The number of a user or a group.
pub(super) fn id(key: &str, value: &DeValue<'_>) -> Result<u32, String> {
    let command = if key == "gid" { "id -g" } else { "id -u" };
    let DeValue::Integer(number) = value else {
        return Err(format!("{}; `{command} NAME` tells it", wrong_type(key, "a number", value)));
    };
    // The last number means that there is none.
    let id = integer(number).and_then(|number| u32::try_from(number).ok()).filter(|&id| id != u32::MAX);
    id.ok_or_else(|| format!("`{key}` must be 0 to 4294967294, not {}", number.as_str()))
}

/// A duration with its unit.
pub(super) fn duration(key: &str, value: &DeValue<'_>) -> Result<Duration, String> {
    const EXAMPLE: &str = "write for example \"30s\" or \"5m\"";
    let DeValue::String(text) = value else {
        return Err(format!("{}; {EXAMPLE}", wrong_type(key, "a duration with its unit", value)));
    };
    match humantime::parse_duration(text.trim()) {
        Ok(duration) if duration <= MAX_DURATION => Ok(duration),
        Ok(_) => Err(format!("`{key}` is more than 100 years; {EXAMPLE}")),
        Err(_) => Err(format!("`{key}` is no duration: {}; {EXAMPLE}", shown(value))),
    }
}

/// Yes or no.
pub(super) fn flag(key: &str, value: &DeValue<'_>) -> Result<bool, String> {
    match value {
        DeValue::Boolean(flag) => Ok(*flag),
        other => Err(wrong_type(key, "true or false", other)),
    }
}

/// A name that is not empty.
pub(super) fn word(key: &str, value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) if !text.is_empty() => Ok(text.to_string()),
        DeValue::String(_) => Err(format!("`{key}` is empty; write for example \"lab\"")),
        other => Err(wrong_type(key, "a string", other)),
    }
}

/// The use of known answers while the source cannot be reached.
pub(super) fn offline(key: &str, value: &DeValue<'_>) -> Result<Offline, String> {
    match value {
        DeValue::String(text) if text == "serve" => Ok(Offline::Serve),
        DeValue::String(text) if text == "fail" => Ok(Offline::Fail),
        _ => Err(format!(
            "`{key}` must be \"serve\" (show what is cached while the source is unreachable) or \"fail\", not {}",
            shown(value)
        )),
    }
}

/// The way to learn sizes that the source does not tell.
pub(super) fn unknown_size(key: &str, value: &DeValue<'_>) -> Result<UnknownSize, String> {
    match value {
        DeValue::String(text) if text == "retrieve" => Ok(UnknownSize::Retrieve),
        DeValue::String(text) if text == "defer" => Ok(UnknownSize::Defer),
        _ => Err(format!(
            "`{key}` must be \"retrieve\" (a file of unknown size is retrieved to show its size) or \"defer\" (it shows 0 until it is \
             opened), not {}",
            shown(value)
        )),
    }
}

/// A path: `~/` is the home, and a relative one starts at `base`, the directory of the file.
pub(super) fn path(key: &str, value: &DeValue<'_>, base: &Path) -> Result<PathBuf, String> {
    let DeValue::String(text) = value else {
        return Err(wrong_type(key, "a path in quotes", value));
    };
    if text.is_empty() || text.contains('\0') {
        return Err(format!("`{key}` is no path: {}", shown(value)));
    }
    let path = expand_home(text);
    if text.starts_with('~') && path == Path::new(&**text) {
        return Err(format!("`{key}`: only `~/` is replaced by a directory, your home; write the whole path instead"));
    }
    Ok(base.join(path))
}

/// Whether a source's name can be a folder.
pub(super) fn folder_name(name: &str) -> Result<(), String> {
    let renamed = |wrong| format!("the name of a source is the name of its folder, and this one {wrong}; rename it");
    file_name(name).map_err(renamed)
}

/// Whether Linux can show this name, and people can read it. The error completes "this one …".
fn file_name(name: &str) -> Result<(), String> {
    Err(if name.is_empty() {
        "is empty".to_owned()
    } else if name == "." || name == ".." {
        format!("`{name}` means a directory that is always there")
    } else if name.contains('/') {
        format!("`{}` contains `/`", name.escape_debug())
    } else if name.chars().any(char::is_control) {
        format!("`{}` contains a control character", name.escape_debug())
    } else if name.len() > NAME_MAX {
        format!("has {} bytes, more than {NAME_MAX}", name.len())
    } else {
        return Ok(());
    })
}

/// The names of a path below some folder, `/` between them; none for the folder itself. Nothing may lead out of it.
pub(super) fn names(key: &str, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let DeValue::String(text) = value else { return Err(wrong_type(key, "a path in quotes", value)) };
    let names: Vec<String> = text.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    match names.iter().find_map(|name| file_name(name).err()) {
        Some(wrong) => Err(format!("`{key}` is a path of which every name leads further down, and one {wrong}")),
        None => Ok(names),
    }
}

/// Patterns of single names.
pub(super) fn globs(key: &str, value: &DeValue<'_>) -> Result<Vec<Glob>, String> {
    const EXAMPLE: &str = "write for example [\"Thumbs.db\", \"*.tmp\"]";
    let DeValue::Array(items) = value else {
        return Err(format!("{}; {EXAMPLE}", wrong_type(key, "a list of names", value)));
    };
    let glob = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
        DeValue::String(text) if text.contains('/') => {
            Err(format!("`{key}`: a single name is what matches, at any depth, and {text:?} contains `/`; {EXAMPLE}"))
        }
        DeValue::String(text) => {
            Glob::new(text).map_err(|why| format!("`{key}`: {text:?} is no pattern: {}", why.kind()))
        }
        other => Err(format!("`{key}` must hold names only, not {}; {EXAMPLE}", article(other.type_str()))),
    };
    items.iter().map(glob).collect()
}

/// What matches if one of these does.
pub(super) fn set_of(key: &str, globs: Vec<Glob>) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(glob);
    }
    set.build().map_err(|why| format!("`{key}` is more than can be matched: {why}"))
}

/// A value for a message. A quote that is never closed makes the rest of the file one value, secrets included: what is too long to be
/// meant is not shown.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.len() <= MAX_SHOWN_BYTES && !text.contains('\n') => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        other => article(other.type_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> DeValue<'_> {
        DeValue::String(text.into())
    }

    #[test]
    fn sizes_have_units_or_are_bytes() {
        let number = |text| DeValue::parse(text).expect("a number").into_inner();
        assert_eq!(size("s", &text("20GiB")), Ok(20 << 30));
        assert_eq!(size("s", &text("1.5 MB")), Ok(1_500_000));
        assert_eq!(size("s", &number("1_048_576")), Ok(1 << 20));
        assert_eq!(size("s", &number("0x100000")), Ok(1 << 20));
        for bad in
            [text("much"), text(""), text("20 parsecs"), text("-1GiB"), text("20EiB"), number("-1"), number("1.5")]
        {
            let message = size("s", &bad).expect_err("it is no size");
            assert!(message.starts_with("`s` ") && message.contains("\"20GiB\""), "{message}");
        }
    }

    #[test]
    fn modes_are_octal() {
        let number = |text| DeValue::parse(text).expect("a number").into_inner();
        for good in [text("0640"), text("640"), number("0o640")] {
            assert_eq!(mode("m", &good), Ok(0o640));
        }
        for bad in [text("u=rw"), text("0o640"), text("1777"), text("0689"), text("+640"), text(""), number("644")] {
            let message = mode("m", &bad).expect_err("it is no mode");
            assert!(message.starts_with("`m` ") && message.contains("44\""), "{message}");
        }
        assert_eq!(mode("m", &number("640")), Err("`m` must be octal; write \"640\" or 0o640".into()));
    }

    #[test]
    fn users_are_numbers() {
        let number = |text| DeValue::parse(text).expect("a number").into_inner();
        assert_eq!(id("uid", &number("1000")), Ok(1000));
        for bad in [number("-1"), number("4294967295"), text("anna")] {
            assert!(id("gid", &bad).is_err());
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("d", &text("1m 30s")), Ok(Duration::from_secs(90)));
        assert_eq!(duration("d", &text("100years")), Ok(MAX_DURATION));
        for bad in ["soon", "30", "", "101years"] {
            let message = duration("d", &text(bad)).expect_err("it is no duration");
            assert!(message.starts_with("`d` ") && message.contains("\"30s\""), "{message}");
        }
    }

    #[test]
    fn paths_start_at_the_home_or_at_the_file() {
        let base = Path::new("/etc/k");
        assert_eq!(path("p", &text("cache"), base), Ok("/etc/k/cache".into()));
        assert_eq!(path("p", &text("/var/cache"), base), Ok("/var/cache".into()));
        let home = etcetera::home_dir().expect("tests have a home");
        assert_eq!(path("p", &text("~/x"), base), Ok(home.join("x")));
        assert_eq!(path("p", &text("~"), base), Ok(home));
        assert!(path("p", &text("~anna/x"), base).is_err());
        assert!(path("p", &text(""), base).is_err());
    }

    #[test]
    fn names_that_cannot_be_folders_are_refused() {
        for bad in ["", ".", "..", "a/b", "a\nb", &"x".repeat(256)] {
            assert!(folder_name(bad).is_err(), "{bad:?}");
        }
        for good in ["scripts", "EPJ HS26", "…", ".hidden", &"x".repeat(255)] {
            assert_eq!(folder_name(good), Ok(()));
        }
    }
}
