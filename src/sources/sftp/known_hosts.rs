//! `KnownHosts`: which keys a server may show, from files as OpenSSH writes them (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).
//! It writes nothing: who a server is, people decide.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use russh::keys::{Algorithm, HashAlg, PublicKey};

use crate::error::{Error, ErrorKind, Result};

const SSH_PORT: u16 = 22;

/// The lines of the files that are about one server.
#[derive(Debug)]
pub(super) struct KnownHosts {
    host: String,
    port: u16,
    /// The file to which a user would add the server.
    file: PathBuf,
    lines: Vec<Line>,
}

/// A line about the server.
#[derive(Debug)]
struct Line {
    file: PathBuf,
    /// From 1.
    number: usize,
    key: PublicKey,
    revoked: bool,
    /// It names the host and not the port, which is another than 22: good for a yes, not for a no.
    without_port: bool,
}

impl KnownHosts {
    /// Reads what `files` say about a server; a file that is not there says nothing. The first is named in advice.
    ///
    /// # Errors
    /// `InvalidConfig`: a file is there and cannot be read.
    pub(super) fn read(files: &[PathBuf], host: &str, port: u16) -> Result<Self> {
        let host = host.to_ascii_lowercase();
        let mut lines = Vec::new();
        for file in files {
            match std::fs::read(file) {
                Ok(bytes) => lines.extend(lines_about(file, &bytes, &host, port)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => {
                    let why = format!("cannot read {}", file.display());
                    return Err(Error::new("connect", ErrorKind::InvalidConfig).because(why).caused_by(e));
                }
            }
        }
        Ok(Self { host, port, file: files.first().cloned().unwrap_or_default(), lines })
    }

    /// The types of key that are known of this server: it is asked for these first.
    pub(super) fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        self.lines.iter().filter(|line| !line.revoked).map(|line| line.key.algorithm())
    }

    /// Accepts a key that is known to be the server's.
    ///
    /// # Errors
    /// The key is not known. The error says what the user has to do before this server can be trusted.
    pub(super) fn check(&self, shown: &PublicKey) -> Result<()> {
        let same = |line: &&Line| line.key.key_data() == shown.key_data();
        if let Some(line) = self.lines.iter().filter(|line| line.revoked).find(same) {
            return Err(self.refusal(format!("{} is revoked in {}", self.describe(shown), line.place())));
        }
        if self.lines.iter().any(|line| same(&line)) {
            return Ok(());
        }
        Err(self.refusal(match self.lines.iter().find(|line| !line.revoked && !line.without_port) {
            Some(line) => self.changed(shown, line),
            None => self.unknown(shown),
        }))
    }

    fn refusal(&self, why: String) -> Error {
        // Unreachable, so that the next attempt after the user mended the file succeeds.
        Error::new("connect", ErrorKind::Unreachable).because(why)
    }

    fn describe(&self, key: &PublicKey) -> String {
        format!("the host key of {} ({} {})", self.place(), key.algorithm(), key.fingerprint(HashAlg::Sha256))
    }

    fn unknown(&self, shown: &PublicKey) -> String {
        let keyscan_type = match shown.algorithm() {
            Algorithm::Ed25519 => "ed25519",
            Algorithm::Ecdsa { .. } => "ecdsa",
            Algorithm::Rsa { .. } => "rsa",
            _ => "rsa,ecdsa,ed25519",
        };
        let port = if self.port == SSH_PORT { String::new() } else { format!("-p {} ", self.port) };
        let dir = self.file.parent().filter(|dir| !dir.is_dir());
        let make_dir = dir.map(|dir| format!("mkdir -p -m 700 {} && ", quoted(dir))).unwrap_or_default();
        format!(
            "{} is not known; ask the server's owner whether it is right, then run: {make_dir}ssh-keyscan {port}-t {keyscan_type} {} >> {}",
            self.describe(shown),
            self.host,
            quoted(&self.file),
        )
    }

    fn changed(&self, shown: &PublicKey, line: &Line) -> String {
        format!(
            "{} is not the one in {}: somebody may be listening, or the server is new; if its owner says that this is right, \
             run: ssh-keygen -R '{}' -f {}, and add the new key",
            self.describe(shown),
            line.place(),
            self.place(),
            quoted(&line.file),
        )
    }

    /// The server as the files write it.
    fn place(&self) -> String {
        if self.port == SSH_PORT { self.host.clone() } else { format!("[{}]:{}", self.host, self.port) }
    }
}

impl Line {
    fn place(&self) -> String {
        format!("{} line {}", self.file.display(), self.number)
    }
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

fn lines_about(file: &Path, bytes: &[u8], host: &str, port: u16) -> Vec<Line> {
    let text = String::from_utf8_lossy(bytes);
    let with_port = format!("[{host}]:{port}");
    let mut lines = Vec::new();
    for (index, text) in text.lines().enumerate() {
        let mut words = text.split_ascii_whitespace().peekable();
        let marker = words.next_if(|word| word.starts_with('@'));
        let (Some(hosts), Some(algorithm), Some(key)) = (words.next(), words.next(), words.next()) else { continue };
        // Authorities sign certificates, which are not asked for.
        if hosts.starts_with('#') || !matches!(marker, None | Some("@revoked")) {
            continue;
        }
        let without_port = port != SSH_PORT && !names(hosts, &with_port);
        if (port == SSH_PORT || without_port) && !names(hosts, host) {
            continue;
        }
        match PublicKey::from_openssh(&format!("{algorithm} {key}")) {
            Ok(key) => lines.push(Line {
                file: file.to_owned(),
                number: index + 1,
                key,
                revoked: marker.is_some(),
                without_port,
            }),
            Err(e) => tracing::debug!("{} line {}: {e}", file.display(), index + 1),
        }
    }
    lines
}

/// Whether a list of patterns, or a hashed name, names this host.
fn names(patterns: &str, host: &str) -> bool {
    if let Some(hashed) = patterns.strip_prefix("|1|") {
        return is_hash_of(hashed, host);
    }
    let mut named = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if matches(pattern.as_bytes(), host.as_bytes()) => return false,
            Some(_) => {}
            None => named |= matches(pattern.as_bytes(), host.as_bytes()),
        }
    }
    named
}

/// `salt|hash` in Base64: the HMAC-SHA1 of the name, keyed with the salt.
fn is_hash_of(hashed: &str, host: &str) -> bool {
    let decoded = |text: &str| BASE64_STANDARD.decode(text).ok();
    let Some((Some(salt), Some(hash))) = hashed.split_once('|').map(|(salt, hash)| (decoded(salt), decoded(hash)))
    else {
        return false;
    };
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt);
    ring::hmac::verify(&key, host.as_bytes(), &hash).is_ok()
}

/// `*` stands for any bytes, `?` for one; upper and lower case are the same. Takes time proportional to both lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from, mut star) = (0, 0, None);
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted.eq_ignore_ascii_case(&text[from]) => {
                at += 1;
                from += 1;
            }
            _ => {
                // The latest star takes one byte more.
                let Some((star_at, star_from)) = star else { return false };
                star = Some((star_at, star_from + 1));
                at = star_at + 1;
                from = star_from + 1;
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Corpus, Input};

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).expect("a key")
    }

    fn check(lines: &str, host: &str, port: u16, shown: &str) -> Result<(), String> {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("known_hosts");
        std::fs::write(&file, lines).expect("a file");
        let known = KnownHosts::read(std::slice::from_ref(&file), host, port).expect("the file can be read");
        known.check(&key(shown)).map_err(|e| e.to_string().replace(&file.display().to_string(), "FILE"))
    }

    #[test]
    fn a_known_key_is_accepted_however_its_host_is_written() {
        for (hosts, host, port) in [
            ("h.example", "H.Example", 22),
            ("other,h.example,::1", "::1", 22),
            ("[h.example]:2222", "h.example", 2222),
            ("*.example", "h.example", 22),
            ("[*.exam?le]:22*", "h.example", 2222),
            ("h.example", "h.example", 2222),
        ] {
            assert_eq!(check(&format!("# a comment\n\n{hosts}\t{A} comment\n"), host, port, A), Ok(()), "{hosts}");
        }
    }

    #[test]
    fn hashed_names_are_recognised() {
        // HMAC-SHA1 of "[h.example]:2222" and of "h.example" with the salt "saltsaltsaltsaltsalt".
        for (name, port) in [("[h.example]:2222", 2222), ("h.example", 22)] {
            let salt = b"saltsaltsaltsaltsalt";
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
            let hash = BASE64_STANDARD.encode(ring::hmac::sign(&key, name.as_bytes()));
            let line = format!("|1|{}|{hash} {A}\n", BASE64_STANDARD.encode(salt));
            assert_eq!(check(&line, "h.example", port, A), Ok(()));
            assert!(check(&line, "i.example", port, A).is_err());
        }
    }

    #[test]
    fn an_unknown_host_is_refused_with_what_to_do() {
        for hosts in [
            "i.example",
            "*,![h.example]:2222,!h.example",
            "[h.example]:2223",
            "@cert-authority h.example",
            "#h.example",
            "",
        ] {
            let refused = check(&format!("{hosts} {A}\n"), "h.example", 2222, A).expect_err(hosts);
            assert!(refused.contains("SHA256:T7SvZ2cslqpPj6nKzitCBHHlpVF3r3MvLwmFL0fk0IE"), "{refused}");
            assert!(refused.ends_with("run: ssh-keyscan -p 2222 -t ed25519 h.example >> 'FILE'"), "{refused}");
        }
        assert!(check("", "h", 22, A).expect_err("unknown").ends_with("run: ssh-keyscan -t ed25519 h >> 'FILE'"));
    }

    #[test]
    fn a_changed_or_revoked_key_is_refused_with_file_and_line() {
        let refused = check(&format!("#\nx {A}\n[h]:2222 {A}\n"), "h", 2222, B).expect_err("changed");
        assert!(refused.contains("FILE line 3"), "{refused}");
        assert!(refused.contains("ssh-keygen -R '[h]:2222' -f 'FILE'"), "{refused}");
        let refused = check(&format!("h {A}\n@revoked * {A}\n"), "h", 22, A).expect_err("revoked");
        assert!(refused.contains("revoked in FILE line 2"), "{refused}");
        assert!(check(&format!("h {A}\n"), "h", 2222, B).expect_err("unknown").contains("is not known"));
    }

    #[test]
    fn two_known_keys_are_both_right() {
        let lines = format!("h {A}\nh {B}\n");
        assert_eq!((check(&lines, "h", 22, A), check(&lines, "h", 22, B)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_missing_file_knows_nobody() {
        let known = KnownHosts::read(&["/nonexistent/known_hosts".into()], "h", 22).expect("nothing to read");
        let refused = known.check(&key(A)).expect_err("unknown").to_string();
        // The command works on an account that has no directory for it.
        assert!(refused.contains("run: mkdir -p -m 700 '/nonexistent' && ssh-keyscan"), "{refused}");
    }

    /// Lines about one key, however damaged, never make another key known.
    #[test]
    fn fuzz_known_hosts() {
        let corpus = Corpus::of("known_hosts");
        let other = key(B);
        bolero::check!().with_type::<Input>().for_each(|input| {
            let lines = lines_about(Path::new("FILE"), &corpus.bytes(input), "h.example", 2222);
            let known = KnownHosts { host: "h.example".into(), port: 2222, file: "FILE".into(), lines };
            let _ = known.algorithms().count();
            assert!(known.check(&other).is_err());
        });
    }
}
