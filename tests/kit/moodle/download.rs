//! `webservice/pluginfile.php`: files, as the recorded site sent them.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::store::{Condition, Store, key};
use super::{Answer, field, header, recorded};
use crate::files::hex;

const CACHED: &str = "private, max-age=21600, no-transform";
const NOT_CACHED: &str = "private, must-revalidate, pre-check=0, post-check=0, max-age=0, no-transform";

impl Store {
    /// Answers a request for the file at a decoded path.
    pub(super) fn download(
        &self,
        path: &str,
        method: &Method,
        headers: &HeaderMap,
        fields: &[(String, String)],
    ) -> Answer {
        let is_head = method == Method::HEAD;
        if self.condition != Condition::Normal
            && let Some(answer) = recorded(self, "webservice/pluginfile.php")
        {
            return answer;
        }
        let refuse = |code, words| refusal(StatusCode::OK, code, words, is_head);
        match field(fields, "token") {
            None => return refuse("missingparam", "A required parameter (token) was missing"),
            Some(token) if token != self.token => return refuse("invalidtoken", "Invalid token - token not found"),
            Some(_) => {}
        }
        if self.refuses.is_some() || self.no_downloads {
            return refuse("accessexception", "Access control exception");
        }
        if path.is_empty() {
            return refuse("invalidargorconf", "No valid arguments supplied or incorrect server configuration");
        }
        let key = key(path);
        let context = key.split('/').next().and_then(|context| context.parse().ok()).unwrap_or(0);
        // The context of a course is of no activity.
        let of_course = json!({ "id": 0 });
        let is_of_course = key.split('/').nth(1) == Some("course");
        let Some(module) = self.module_of(context).or(is_of_course.then_some(&of_course)) else {
            return refuse("invalidrecord", "Can't find data record in database table context.");
        };
        if self.hidden.contains(&module["id"].as_u64().unwrap()) || module["uservisible"] == false {
            return refuse("requireloginerror", "Course or activity not accessible.");
        }
        if let Some(to) = self.elsewhere.get(&key) {
            return Response::builder().status(303).header("location", to).body(Full::default()).unwrap();
        }
        if key.ends_with("/mod_imscp/content/imsmanifest.xml") {
            // Listed, and refused to those who learn (`mod_imscp.json`).
            let words = "Sorry, the requested file could not be found";
            return refusal(StatusCode::NOT_FOUND, "filenotfound", words, is_head);
        }
        let listed = self.listed(&key);
        if let (Some(page), Some(listed)) = (self.pages.get(&key), listed) {
            return generated(page, listed, is_head);
        }
        let (Some(listed), Some(bytes)) = (listed, self.bytes(&key)) else {
            let words = "Sorry, the requested file could not be found";
            return refusal(StatusCode::NOT_FOUND, "filenotfound", words, is_head);
        };
        if listed["filesize"] == 0 && listed["mimetype"].is_null() {
            return generated(&format!("<p>{key}</p>"), listed, is_head);
        }
        let mut file = Sent { listed, bytes, is_head, stored: 0 };
        file.stored = self.stored.get(&file.bytes).copied().unwrap_or(file.modified());
        let etag = file.etag();
        if self.damaged.contains(&key) {
            file.bytes[0] ^= 1;
        }
        let known = header(headers, "if-none-match").map(|tag| tag.trim_matches('"'));
        let since = header(headers, "if-modified-since").filter(|_| known.is_none());
        if known == Some(etag.trim_matches('"')) || since.is_some_and(|since| date(since) >= file.modified()) {
            let response = Response::builder().status(304).header("content-disposition", file.disposition());
            let response = response.header("cache-control", CACHED).header("etag", etag);
            return response.header("last-modified", http_date(file.modified())).body(Full::default()).unwrap();
        }
        let ranges = header(headers, "range");
        if self.accelerated {
            file.by_the_web_server(ranges, header(headers, "if-range"))
        } else {
            file.by_the_site(&etag, ranges)
        }
    }
}

/// A stored file on its way.
struct Sent<'a> {
    listed: &'a Value,
    bytes: Vec<u8>,
    is_head: bool,
    /// When the bytes came to the storage.
    stored: i64,
}

impl Sent<'_> {
    fn modified(&self) -> i64 {
        self.listed["timemodified"].as_i64().unwrap()
    }

    fn name(&self) -> &str {
        self.listed["filename"].as_str().unwrap()
    }

    fn etag(&self) -> String {
        let hash = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &self.bytes);
        format!("\"{}\"", hex(hash.as_ref()))
    }

    fn disposition(&self) -> Vec<u8> {
        let kind = if self.mimetype() == "image/svg+xml" { "attachment" } else { "inline" };
        format!("{kind}; filename=\"{}\"", self.name()).into_bytes()
    }

    fn mimetype(&self) -> &str {
        self.listed["mimetype"].as_str().unwrap()
    }

    fn content_type(&self) -> &str {
        match self.mimetype() {
            "text/plain" => "text/plain; charset=utf-8",
            "text/html" => "text/html;charset=UTF-8",
            "document/unknown" => "application/octet-stream",
            other => other,
        }
    }

    /// Moodle itself: no parts of text, `If-Range` is not looked at, and a range beyond the end is the whole.
    fn by_the_site(self, etag: &str, ranges: Option<&str>) -> Answer {
        let is_text = self.mimetype() == "text/plain";
        let is_alias = self.listed["isexternalfile"] == true;
        let range = ranges.filter(|_| !is_text).and_then(|text| self.range(text));
        let mut response = Response::builder()
            .header("access-control-allow-headers", "range")
            .header("cache-control", if is_alias { NOT_CACHED } else { CACHED })
            .header("etag", etag)
            .header("accept-ranges", if is_text { "none" } else { "bytes" })
            .header("last-modified", http_date(self.modified()));
        if let Some(range) = &range {
            response = response.status(206).header("content-range", self.content_range(range));
        }
        self.finish(response, range)
    }

    /// A web server to which Moodle leaves the sending (nginx): by the book, with tags of its own.
    fn by_the_web_server(self, ranges: Option<&str>, if_range: Option<&str>) -> Answer {
        let etag = format!("\"{:x}-{:x}\"", self.stored, self.bytes.len());
        let ranges = ranges.filter(|_| if_range.is_none_or(|tag| tag == etag));
        let range = ranges.and_then(|text| self.range(text));
        let mut response = Response::builder().header("last-modified", http_date(self.stored));
        response = response.header("cache-control", CACHED).header("accept-ranges", "none").header("etag", &etag);
        match (&range, ranges) {
            (Some(range), _) => response = response.status(206).header("content-range", self.content_range(range)),
            (None, Some(_)) => {
                let response = Response::builder().status(416).header("content-disposition", self.disposition());
                let total = format!("bytes */{}", self.bytes.len());
                return response.header("content-range", total).body(Full::new("<html></html>".into())).unwrap();
            }
            (None, None) => response = response.header("accept-ranges", "bytes"),
        }
        self.finish(response, range)
    }

    fn content_range(&self, range: &Range<usize>) -> String {
        format!("bytes {}-{}/{}", range.start, range.end - 1, self.bytes.len())
    }

    fn finish(mut self, response: http::response::Builder, range: Option<Range<usize>>) -> Answer {
        let range = range.unwrap_or(0..self.bytes.len());
        let bytes = Bytes::from(std::mem::take(&mut self.bytes)).slice(range);
        let response = response.header("content-type", self.content_type()).header("content-length", bytes.len());
        let response = response.header("content-disposition", self.disposition());
        response.body(Full::new(if self.is_head { Bytes::new() } else { bytes })).unwrap()
    }

    /// The bytes that a single range asks for; none if there are none.
    fn range(&self, text: &str) -> Option<Range<usize>> {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        let size = self.bytes.len();
        let range = match (first, last) {
            ("", suffix) => size.saturating_sub(suffix.parse().ok()?)..size,
            (first, "") => first.parse().ok()?..size,
            (first, last) => first.parse().ok()?..size.min(last.parse::<usize>().ok()? + 1),
        };
        (range.start < range.end).then_some(range)
    }
}

/// HTML that is made when it is asked for.
fn generated(html: &str, listed: &Value, is_head: bool) -> Answer {
    let is_stored = listed["filesize"] != 0;
    let kind = if is_stored { "inline" } else { "attachment" };
    let body = if is_head { String::new() } else { html.to_owned() };
    Response::builder()
        .header("content-type", "text/html;charset=UTF-8")
        .header("content-length", html.len())
        .header("content-disposition", format!("{kind}; filename=\"{}\"", listed["filename"].as_str().unwrap()))
        .header("cache-control", if is_stored { CACHED } else { NOT_CACHED })
        .header("last-modified", http_date(now()))
        .header("accept-ranges", "none")
        .body(Full::new(body.into()))
        .unwrap()
}

/// An error, which comes with the status of success, but for one. The real site sends it in chunks, without a length.
fn refusal(status: StatusCode, code: &str, words: &str, is_head: bool) -> Answer {
    let body = json!({
        "error": words, "errorcode": code, "stacktrace": null, "debuginfo": null, "reproductionlink": null
    });
    Response::builder()
        .status(status)
        .header("content-type", "application/json; charset=utf-8")
        .header("cache-control", "no-store, no-cache, must-revalidate")
        .header("last-modified", http_date(now()))
        .header("accept-ranges", "none")
        .body(Full::new(if is_head { Bytes::new() } else { body.to_string().into() }))
        .unwrap()
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn http_date(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap();
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).unwrap()
}

fn date(text: &str) -> i64 {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).unwrap().as_second()
}
