//! `Challenge`: a way to log in that a server offers in `WWW-Authenticate` (RFC 9110, 11.6.1). It answers none.

use std::iter;

use http::header::{HeaderMap, WWW_AUTHENTICATE};

/// A scheme and what the server says for it. Values are the server's bytes, since realms are not always ASCII.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Challenge {
    scheme: String,
    parameters: Vec<(String, Vec<u8>)>,
}

impl Challenge {
    /// All challenges of an answer, in the server's order.
    pub(super) fn all(headers: &HeaderMap) -> Vec<Self> {
        headers.get_all(WWW_AUTHENTICATE).iter().flat_map(|value| Self::parse(value.as_bytes())).collect()
    }

    /// The challenges of one header. What is no challenge is passed over.
    fn parse(mut text: &[u8]) -> Vec<Self> {
        let mut challenges: Vec<Self> = Vec::new();
        while let Some(name) = word(&mut text) {
            let after = text.trim_ascii_start();
            let value = after.strip_prefix(b"=");
            match (value, challenges.last_mut()) {
                (Some(value), Some(challenge)) => {
                    text = value.trim_ascii_start();
                    challenge.parameters.push((name.to_ascii_lowercase(), quoted_or_plain(&mut text)));
                }
                _ => challenges.push(Self { scheme: name, parameters: Vec::new() }),
            }
        }
        challenges
    }

    /// Its parameters alone, for headers that have nothing else: `Authentication-Info`.
    pub(super) fn of_parameters(text: &[u8]) -> Self {
        let with_scheme = [b"none ", text].concat();
        Self::parse(&with_scheme).into_iter().next().unwrap_or_default()
    }

    pub(super) fn scheme(&self) -> &str {
        &self.scheme
    }

    pub(super) fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// The value of a parameter, by its name in small letters.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        let parameter = self.parameters.iter().find(|(other, _)| other == name);
        parameter.map(|(_, value)| value.as_slice())
    }

    /// Whether a parameter is this word.
    pub(super) fn says(&self, name: &str, word: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case(word.as_bytes()))
    }
}

/// The next word: a scheme as it is written, or the name of a parameter.
fn word(text: &mut &[u8]) -> Option<String> {
    let start = text.iter().position(|byte| is_of_word(*byte))?;
    let length = text[start..].iter().take_while(|byte| is_of_word(**byte)).count();
    let (word, rest) = text[start..].split_at(length);
    *text = rest;
    Some(String::from_utf8_lossy(word).into_owned())
}

/// A value in quotation marks, in which a backslash stands before what is meant as it is, or one without.
fn quoted_or_plain(text: &mut &[u8]) -> Vec<u8> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let length = text.iter().take_while(|byte| !matches!(byte, b',' | b' ' | b'\t')).count();
        let (value, rest) = text.split_at(length);
        *text = rest;
        return value.to_vec();
    };
    let mut bytes = quoted.iter().copied();
    let value = iter::from_fn(|| match bytes.next()? {
        b'"' => None,
        b'\\' => bytes.next(),
        byte => Some(byte),
    });
    let value = value.collect();
    *text = &quoted[quoted.len() - bytes.len()..];
    value
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::{Corpus, Input};

    fn schemes(text: &str) -> Vec<String> {
        Challenge::parse(text.as_bytes()).into_iter().map(|challenge| challenge.scheme).collect()
    }

    #[test]
    fn challenges_stand_in_one_header_or_in_several() {
        let one = "Negotiate, NTLM, Digest realm=\"a, b=\\\"c\\\"\", nonce = \"n==\" ,qop=\"auth,auth-int\", stale=TRUE, Basic realm=x";
        assert_eq!(schemes(one), ["Negotiate", "NTLM", "Digest", "Basic"]);
        let digest = &Challenge::parse(one.as_bytes())[2];
        assert_eq!(digest.get("realm"), Some(&b"a, b=\"c\""[..]));
        assert_eq!(digest.get("nonce"), Some(&b"n=="[..]));
        assert!(digest.is("DIGEST") && digest.says("stale", "true") && !digest.says("algorithm", "MD5"));

        let mut headers = HeaderMap::new();
        for value in [&b"Basic realm=\"Gesch\xfctzt\""[..], b"Digest realm=\"Gesch\xc3\xbctzt\", nonce=1"] {
            headers.append(WWW_AUTHENTICATE, http::HeaderValue::from_bytes(value).expect("a value"));
        }
        let both = Challenge::all(&headers);
        assert_eq!(both.len(), 2);
        assert_eq!(both[0].get("realm"), Some(&b"Gesch\xfctzt"[..]));
        assert_eq!(both[1].get("nonce"), Some(&b"1"[..]));
        let info = Challenge::of_parameters(b"nextnonce=\"next\", rspauth=\"00\"");
        assert_eq!(info.get("nextnonce"), Some(&b"next"[..]));
    }

    #[test]
    fn what_is_no_challenge_costs_no_other() {
        assert_eq!(schemes(""), Vec::<String>::new());
        assert_eq!(schemes(" , ,Basic"), ["Basic"]);
        assert_eq!(schemes("Negotiate oRQwEg==, Basic realm=\"open").last().map(String::as_str), Some("Basic"));
    }

    #[test]
    fn fuzz_challenges() {
        let corpus = Corpus::of("challenge");
        bolero::check!().with_type::<Input>().for_each(|input| drop(Challenge::parse(&corpus.bytes(input))));
    }
}
