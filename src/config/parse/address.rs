//! The address of a source in the forms in which people have it: a URL in place of several keys, and a host with its port. It knows
//! no type of source.

use std::collections::BTreeMap;

use toml::Value;

use crate::config::url;
use crate::source::Kind;

/// Spells out `url` and the port of a host as the keys that the type has for them. Returns the key that was spelled out.
///
/// # Errors
/// The key, and what is wrong with its value; never the value, which may hold a password.
pub(super) fn spell_out(
    kind: &dyn Kind,
    values: &mut BTreeMap<String, Value>,
) -> Result<Option<&'static str>, (&'static str, String)> {
    if kind.urls().is_none() {
        return Ok(None);
    }
    if let Some(address) = values.get("url").and_then(Value::as_str)
        && let Some(told) = url::settings(kind, address)
    {
        let told = told.map_err(|why| ("url", why))?;
        values.remove("url");
        let (mut values_of_url, login) = (told.values, ["username", "domain", "password"]);
        if login.iter().any(|key| values.contains_key(*key)) {
            // Without a user, a URL of a share means a guest.
            values_of_url.remove("guest");
        }
        if let Some(twice) = values_of_url.keys().find(|key| values.contains_key(*key)) {
            return Err(("url", format!("`url` says `{twice}` already; leave one of the two out")));
        }
        values.extend(values_of_url);
        return Ok(Some("url"));
    }
    for key in ["host", "hostname"] {
        let Some((host, port)) = values.get(key).and_then(Value::as_str).and_then(with_port) else { continue };
        let port = port.map_err(|port| {
            (key, format!("`{key}` ends with the port `{}`; a port is a number from 1 to 65535", port.escape_debug()))
        })?;
        if values.contains_key("port") {
            return Err((key, format!("`{key}` ends with a port, and there is `port`; leave one of the two out")));
        }
        let host = host.to_owned();
        values.insert(key.to_owned(), host.into());
        values.insert("port".to_owned(), i64::from(port).into());
        return Ok(Some(key));
    }
    Ok(None)
}

/// Host and port of `host:port` or `[address]:port`, or what stands in place of the port. An IPv6 address alone has more than one colon.
fn with_port(text: &str) -> Option<(&str, Result<u16, &str>)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or(port);
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address,
        None if host.contains([':', '/', '@']) => return None,
        None => host,
    };
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::kind;

    fn spelled(type_name: &str, text: &str) -> Result<String, String> {
        let mut values: BTreeMap<String, Value> = text.parse::<toml::Table>().expect("TOML").into_iter().collect();
        let kind = kind(type_name).expect("it is known");
        spell_out(kind, &mut values).map_err(|(key, why)| format!("{key}: {why}"))?;
        Ok(values.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_url_stands_for_the_keys_of_its_type() {
        for (type_name, text, keys) in [
            (
                "sftp",
                "url = 'sftp://anna@h:2222/srv'\nkey = '~/k'",
                r#"host="h" key="~/k" port=2222 root="/srv" username="anna""#,
            ),
            ("ftp", "url = 'ftps://h/pub'", r#"host="h" root="/pub" tls=true"#),
            ("smb", "url = 'smb://h/s'", r#"guest=true hostname="h" share="s""#),
            ("smb", "url = 'smb://h/s'\nusername = 'anna'", r#"hostname="h" share="s" username="anna""#),
            ("smb", "url = 'smb://anna@h/s'", r#"hostname="h" share="s" username="anna""#),
            ("s3", "url = 's3://b/p?region=r'", r#"bucket="b" region="r" root="/p""#),
            ("webdav", "url = 'https://anna@h/dav'", r#"endpoint="https://h" root="/dav" username="anna""#),
            ("moodle", "url = 'moodle://h'", r#"url="https://h/""#),
            ("http", "url = 'https://h/pub/'", r#"url="https://h/pub/""#),
            ("moodle", "url = 'https://h'", r#"url="https://h""#),
            ("plugin", "url = 'sftp://h'\nhost = 'h:1'", r#"host="h:1" url="sftp://h""#),
        ] {
            assert_eq!(spelled(type_name, text).as_deref(), Ok(keys), "{type_name}: {text}");
        }
    }

    #[test]
    fn a_url_of_another_type_or_with_a_password_says_what_to_write() {
        for (type_name, text, words) in [
            ("sftp", "url = 'https://h'", "sftp://user@host/path"),
            ("sftp", "url = 'sftp://anna:hunter2@h'", "password = { "),
            ("ftp", "url = 'ftp://h'\nhost = 'h'", "`url` says `host` already"),
            ("smb", "url = 'smb://h'", "names no share"),
        ] {
            let why = spelled(type_name, text).expect_err(text);
            assert!(why.starts_with("url: ") && why.contains(words) && !why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn a_host_may_end_with_its_port() {
        for (text, keys) in [
            ("host = 'h:2222'", r#"host="h" port=2222"#),
            ("host = '[::1]:2222'", r#"host="::1" port=2222"#),
            ("hostname = 'h:445'", r#"hostname="h" port=445"#),
            ("host = '::1'", r#"host="::1""#),
            ("host = 'a@h:22'", r#"host="a@h:22""#),
        ] {
            assert_eq!(spelled("sftp", text).as_deref(), Ok(keys), "{text}");
        }
        let why = spelled("sftp", "host = 'h:1'\nport = 2").expect_err("twice");
        assert!(why.starts_with("host: ") && why.contains("leave one"), "{why}");
        for (text, port) in [("host = 'h:99999'", "`99999`"), ("host = 'h:'", "``"), ("host = '[::1]:0'", "`0`")] {
            let why = spelled("sftp", text).expect_err(text);
            assert!(why.contains(port) && why.contains("from 1 to 65535"), "{why}");
        }
    }
}
