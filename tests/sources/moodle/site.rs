//! The test's site does what the recorded one did.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use crate::kit::moodle::{Condition, Moodle, TOKEN, header};

/// What does not depend on when one asks.
const HEADERS: [&str; 8] = [
    "content-type",
    "content-length",
    "content-disposition",
    "etag",
    "accept-ranges",
    "last-modified",
    "content-range",
    "cache-control",
];

#[tokio::test]
async fn files_come_as_they_were_recorded() {
    let site = Moodle::start();
    let cases: Value = serde_json::from_str(include_str!("../../fixtures/moodle/pluginfile.json")).unwrap();
    let mut compared = 0;
    for case in cases.as_array().unwrap() {
        let name = case["case"].as_str().unwrap();
        // Several ranges are never asked for, and the address below `pluginfile.php` is not this server's.
        if matches!(name, "big two ranges" | "error: session route") {
            continue;
        }
        match name {
            "error: service without downloads" | "error: token bound to another IP" => {
                site.store().refuses = Some("token bound to another IP".into());
            }
            "error: not enrolled" => site.store().hide(1, true),
            _ => {}
        }
        let (response, body) = replay(&site, case).await;
        site.store().refuses = None;
        site.store().hide(1, false);
        assert_eq!(u64::from(response.status.as_u16()), case["status"], "{name}");
        // Bytes that are no text were not recorded: those here are others.
        let is_text = case["body"].as_str().is_some_and(|text| !text.contains('\u{fffd}') && !text.starts_with('('));
        let is_ours = !name.starts_with("big") && is_text && name != "alias file";
        let is_made = response.headers.get("etag").is_none();
        for (key, recorded) in recorded_headers(case) {
            if (key == "etag" && !is_ours) || (key == "last-modified" && is_made) {
                continue;
            }
            let values: Vec<_> = response.headers.get_all(&key).iter().map(|value| value.as_bytes().to_vec()).collect();
            assert!(values.contains(&recorded.clone().into_bytes()), "{name}: {key}: {recorded}");
            compared += 1;
        }
        if name.starts_with("error") {
            let recorded = serde_json::from_str::<Value>(case["body"].as_str().unwrap()).ok();
            assert_eq!(serde_json::from_slice(&body).ok(), recorded, "{name}");
        } else if is_ours {
            assert_eq!(String::from_utf8_lossy(&body), case["body"].as_str().unwrap(), "{name}");
        } else if !name.contains("HEAD") {
            assert_eq!(body.len() as u64, case["body_bytes"], "{name}");
        }
    }
    assert!(compared > 150, "{compared}");
}

fn recorded_headers(case: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let headers = case["headers"].as_array().unwrap().iter();
    let pairs = headers.map(|pair| (text(&pair[0]).to_lowercase(), text(&pair[1])));
    // An error of the real site has several values of one header, of which the server here has the first.
    let errors = case["case"].as_str().unwrap().starts_with("error");
    pairs
        .filter(|(key, value)| HEADERS.contains(&key.as_str()) && !(errors && value.starts_with("post-check")))
        .collect()
}

/// Asks as it was asked when the case was recorded.
async fn replay(site: &Moodle, case: &Value) -> (http::response::Parts, Vec<u8>) {
    let name = case["case"].as_str().unwrap();
    let (method, path) = case["request"].as_str().unwrap().split_once(' ').unwrap();
    let path = path.split('?').next().unwrap();
    let query = match name {
        "error: no token" | "token by POST" => String::new(),
        "error: bad token" | "error: bad token, HEAD" => "?token=00000000000000000000000000000000".into(),
        "error: token in wstoken" => format!("?wstoken={TOKEN}"),
        "path as ?file=" => {
            format!("?file=%2F23%2Fmod_resource%2Fcontent%2F0%2Fsyllabus.pdf&amp;forcedownload=1&token={TOKEN}")
        }
        _ => format!("?forcedownload=1&token={TOKEN}"),
    };
    let mut request = reqwest_client()
        .request(Method::from_bytes(method.as_bytes()).unwrap(), format!("{}{path}{query}", site.url()));
    for (key, value) in case["request_headers"].as_object().unwrap() {
        request = request.header(key, value.as_str().unwrap());
    }
    if name == "token by POST" {
        request = request.header("content-type", "application/x-www-form-urlencoded").body(format!("token={TOKEN}"));
    }
    let response: http::Response<reqwest::Body> = request.send().await.unwrap().into();
    let (head, body) = response.into_parts();
    (head, http_body_util::BodyExt::collect(body).await.unwrap().to_bytes().to_vec())
}

fn reqwest_client() -> reqwest::Client {
    // An error says that there is a provider already.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap()
}

#[tokio::test]
async fn a_web_server_that_sends_the_files_does_so_as_it_was_recorded() {
    let site = Moodle::start();
    site.store().accelerated = true;
    let cases: Value = serde_json::from_str(include_str!("../../fixtures/moodle/pluginfile_xaccel.json")).unwrap();
    for case in cases.as_array().unwrap() {
        let mut case = case.clone();
        if case["request_headers"]["If-Range"] == "other" {
            case["request_headers"]["If-Range"] = "\"other\"".into();
        }
        let (response, body) = replay(&site, &case).await;
        assert_eq!(u64::from(response.status.as_u16()), case["status"], "{case}");
        for name in ["etag", "last-modified", "content-range", "content-disposition"] {
            let recorded = recorded_headers(&case).into_iter().find(|(key, _)| key == name).map(|(_, value)| value);
            assert_eq!(header(&response.headers, name), recorded.as_deref(), "{case}");
        }
        if case["status"] != 416 {
            assert_eq!(String::from_utf8_lossy(&body), case["body"].as_str().unwrap());
        }
    }
}

#[tokio::test]
async fn changes_are_listed_as_they_were_recorded() {
    let site = Moodle::start();
    let steps: Value = serde_json::from_str(include_str!("../../fixtures/moodle/changes.json")).unwrap();
    let recorded = |name: &str| {
        let step = steps.as_array().unwrap().iter().find(|step| step["step"] == name).unwrap();
        shape(&step["modules"][0]["contents"])
    };
    let listed = |id: u64| {
        let modules = site.listed(2);
        shape(&modules.iter().find(|module| module["id"] == id).unwrap()["contents"])
    };
    assert_eq!(listed(1), recorded("resource: start"));
    site.store().put(1, "/syllabus.pdf", &[b'x'; 22]);
    assert_eq!(listed(1), recorded("resource: file replaced under the same name"));
    site.store().rename(1, "Syllabus (new)");
    assert_eq!(listed(1)[0].2, "2/syllabus.pdf", "a new name of the activity is a revision too");
    site.store().put(17, "/sub/new.txt", b"hello");
    assert_eq!(listed(17), recorded("folder: file added"));
    site.store().put(17, "/a.txt", b"v2");
    assert_eq!(listed(17), recorded("folder: file overwritten"));
    site.store().put(17, "/a.txt", b"v2");
    assert_eq!(listed(17), recorded("folder: overwritten with equal content"));
    site.store().remove(17, "/b.pdf");
    assert_eq!(listed(17), recorded("folder: file deleted"));
    site.store().hide(17, true);
    assert!(site.listed(2).iter().all(|module| module["id"] != 17));
}

#[tokio::test]
async fn addresses_that_are_queries_are_listed_as_they_were_recorded() {
    let site = Moodle::start();
    site.store().no_slash_arguments = true;
    let recorded: Value = serde_json::from_str(include_str!("../../fixtures/moodle/slasharguments_off.json")).unwrap();
    let listed = site.listed(2);
    let book = listed.iter().find(|module| module["name"] == "Book").unwrap();
    let urls = |module: &Value| -> Vec<Value> {
        module["contents"].as_array().unwrap().iter().map(|content| content["fileurl"].clone()).collect()
    };
    assert_eq!(urls(book), urls(&recorded[1]));
    let syllabus = listed[0]["contents"][0]["fileurl"].as_str().unwrap();
    let expected = recorded[0]["contents"][0]["fileurl"].as_str().unwrap();
    assert_eq!(syllabus.replace("%2F0%2Fsyllabus", "%2F3%2Fsyllabus2"), expected);
}

/// Name, path and size, and the revision with what follows it.
fn shape(contents: &Value) -> Vec<(String, u64, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let revised = |url: &str| url.split_once("/content/").unwrap().1.split('?').next().unwrap().to_owned();
    let contents = contents.as_array().unwrap().iter();
    let shape = |content: &Value| {
        let name = text(&content["filepath"]) + &text(&content["filename"]);
        (name, content["filesize"].as_u64().unwrap(), revised(content["fileurl"].as_str().unwrap()))
    };
    contents.map(shape).collect()
}

#[tokio::test]
async fn every_route_answers_in_every_condition_as_it_was_recorded() {
    let site = Moodle::start();
    let states: Value = serde_json::from_str(include_str!("../../fixtures/moodle/states.json")).unwrap();
    let all = [
        Condition::Normal,
        Condition::Policy,
        Condition::Password,
        Condition::Suspended,
        Condition::Maintenance,
        Condition::Closed,
        Condition::Off,
        Condition::RestOff,
    ];
    assert_eq!(states.as_object().unwrap().len(), all.len());
    for condition in all {
        site.store().condition = condition;
        for (route, recorded) in states[condition.name()].as_object().unwrap() {
            let (path, form) = match route.as_str() {
                "webservice/pluginfile.php" => (
                    "webservice/pluginfile.php/24/mod_resource/content/0/notes.txt".to_owned(),
                    format!("token={TOKEN}"),
                ),
                "login/token.php" => {
                    (route.clone(), "username=student1&password=kit-password-M7x&service=moodle_mobile_app".to_owned())
                }
                function => {
                    let (function, course) = function.split_once(' ').unwrap_or((function, "2"));
                    let form = format!(
                        "wstoken={TOKEN}&wsfunction={function}&moodlewsrestformat=json&courseid={course}&userid=3"
                    );
                    ("webservice/rest/server.php".to_owned(), form)
                }
            };
            let request = reqwest_client().post(format!("{}/{path}", site.url())).body(form);
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            let response = request.send().await.unwrap();
            assert_eq!(u64::from(response.status().as_u16()), recorded["status"], "{condition:?} {route}");
            assert_eq!(
                header(response.headers(), "retry-after"),
                recorded["retry-after"].as_str(),
                "{condition:?} {route}"
            );
            let body = response
                .text()
                .await
                .unwrap()
                .replace(&site.url(), "http://moodle.example")
                .replace(TOKEN, "TOKEN_STUDENT");
            match (&recorded["body"], serde_json::from_str::<Value>(&body)) {
                (Value::String(text), Ok(Value::Array(list))) => {
                    assert_eq!(*text, format!("list of {}", list.len()), "{condition:?} {route}");
                }
                (Value::String(usual), _) if usual.starts_with('(') => {}
                (Value::String(text), _) => assert_eq!(*text, body, "{condition:?} {route}"),
                (recorded, body) => assert_eq!(*recorded, body.unwrap(), "{condition:?} {route}"),
            }
        }
    }
}
