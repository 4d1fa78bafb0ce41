//! The account: how it logs in, what a site says that refuses it, and where its token goes.

use std::io::Write;
use std::sync::{Arc, Mutex};

use futures::TryStreamExt as _;
use kitovufs::error::ErrorKind;
use kitovufs::path::RemotePath;
use serde_json::Value;

use super::{entry, files, known, list, whole};
use crate::kit::moodle::{Condition, Moodle, PASSWORD, TOKEN, USER};
use crate::{configured, remote, source};

fn with_password(site: &Moodle, password: &str) -> String {
    format!("type = \"moodle\"\nurl = \"{}/\"\nusername = \"{USER}\"\npassword = \"{password}\"\n", site.url())
}

#[tokio::test]
async fn a_password_is_exchanged_for_a_token_once() {
    let site = Moodle::start();
    let source = source(&with_password(&site, PASSWORD)).await;
    assert_eq!(site.requests(), ["login", "core_webservice_get_site_info"]);
    assert_eq!(list(source.as_ref(), "").await.unwrap().len(), 6);
    source.disconnect().await;
    // The token has expired: connecting gets a new one.
    site.store().token = "00000000000000000000000000000001".into();
    source.connect().await.unwrap();
    assert_eq!(list(source.as_ref(), "").await.unwrap().len(), 6);
}

#[tokio::test]
async fn a_revoked_token_is_replaced_at_once_and_once_for_all_requests_that_it_fails() {
    let site = Moodle::start();
    let source: Arc<dyn kitovufs::source::Source> = source(&with_password(&site, PASSWORD)).await.into();
    let listed = entry(source.as_ref(), "course-2/section-1", "course-2/module-1/syllabus.pdf").await;
    let version = known(source.as_ref(), &listed).await;
    let revoke = |token: &str| {
        site.requests();
        site.store().token = token.into();
    };
    revoke("00000000000000000000000000000001");
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let source = source.clone();
            tokio::spawn(async move { list(source.as_ref(), "").await.map(|courses| courses.len()) })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap().unwrap(), 6);
    }
    let logins = || site.requests().iter().filter(|asked| *asked == "login").count();
    assert_eq!(logins(), 1);
    // A download is refused in another form.
    revoke("00000000000000000000000000000002");
    let (result, bytes) = whole(source.as_ref(), &listed.path, &version).await;
    result.unwrap();
    assert_eq!((bytes.len(), logins()), (130, 1));
    // A site that gives the same token again, and refuses it, is not asked for it with every request.
    site.store().refuses = Some("bad token".into());
    for _ in 0..3 {
        let error = list(source.as_ref(), "").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    }
    assert_eq!(logins(), 1);
}

#[tokio::test]
async fn a_token_that_was_copied_is_not_replaced() {
    let site = Moodle::start();
    let source = source(&site.table()).await;
    site.store().token = "another".into();
    let error = list(source.as_ref(), "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(site.requests(), ["core_webservice_get_site_info", "core_enrol_get_users_courses 3"]);
}

/// What connecting, listing the courses, listing one and reading a file come to, each with its words.
async fn refusals(site: &Moodle, table: &str, before: impl Fn(&Moodle)) -> Vec<Option<(ErrorKind, String)>> {
    let source = configured(table).await.unwrap();
    let told = |result: kitovufs::error::Result<()>| result.err().map(|error| (error.kind(), error.to_string()));
    source.connect().await.unwrap();
    let listed = entry(source.as_ref(), "course-2/section-1", "course-2/module-1/syllabus.pdf").await;
    let version = known(source.as_ref(), &listed).await;
    assert_eq!(list(source.as_ref(), "").await.unwrap().len(), 6);
    list(source.as_ref(), "course-2").await.unwrap();
    before(site);
    let (root, course) = (list(source.as_ref(), "").await.map(drop), list(source.as_ref(), "course-2").await.map(drop));
    let (file, bytes) = whole(source.as_ref(), &listed.path, &version).await;
    assert!(file.is_ok() || bytes.is_empty());
    let digest = source.create_remote_digest(&listed.path).await.map(drop);
    source.disconnect().await;
    let again = source.connect().await;
    vec![told(again), told(root), told(course), told(digest), told(file)]
}

/// Each kind of failure has the kind and a word of advice; none stands for what goes on working.
fn assert_told(seen: &[Option<(ErrorKind, String)>], expected: [Option<(ErrorKind, &str)>; 5], what: &str) {
    for ((seen, expected), name) in seen.iter().zip(expected).zip(["connect", "courses", "course", "digest", "file"]) {
        assert_eq!(seen.as_ref().map(|seen| seen.0), expected.map(|expected| expected.0), "{what}, {name}: {seen:?}");
        if let (Some((_, seen)), Some((_, words))) = (seen, expected) {
            assert!(seen.contains(words) && !seen.contains('<'), "{what}, {name}: {seen}");
        }
    }
}

#[tokio::test]
async fn every_condition_of_the_site_is_an_error_with_advice_and_never_an_empty_folder() {
    use ErrorKind::{Unauthenticated, Unreachable};
    let policy = Some((Unauthenticated, "policy that you have not agreed to yet: log in to the site in a browser"));
    let password = Some((Unauthenticated, "change your password first: log in to the site in a browser"));
    let suspended = Some((Unauthenticated, "suspended"));
    let closed = Some((Unreachable, "closed for maintenance"));
    let off = Some((Unreachable, "its administrators can switch them on"));
    for (condition, expected) in [
        (Condition::Normal, [None; 5]),
        (Condition::Policy, [None, policy, policy, policy, policy]),
        (Condition::Password, [None, password, password, password, password]),
        (Condition::Suspended, [suspended; 5]),
        (Condition::Maintenance, [closed; 5]),
        (Condition::Closed, [closed; 5]),
        // Whether the file may be had is asked of a service that is not there.
        (Condition::Off, [off; 5]),
        (Condition::RestOff, [off, off, off, off, None]),
    ] {
        let site = Moodle::start();
        let seen = refusals(&site, &site.table(), |site| site.store().condition = condition).await;
        assert_told(&seen, expected, condition.name());
    }
}

#[tokio::test]
async fn a_service_without_downloads_shows_files_that_cannot_be_read() {
    let site = Moodle::start();
    site.store().no_downloads = true;
    site.store().info["downloadfiles"] = 0.into();
    let source = source(&site.table()).await;
    let listed = entry(source.as_ref(), "course-2/section-1", "course-2/module-1/syllabus.pdf").await;
    let version = known(source.as_ref(), &listed).await;
    let (result, bytes) = whole(source.as_ref(), &listed.path, &version).await;
    let error = result.unwrap_err();
    assert_eq!((error.kind(), bytes.len()), (ErrorKind::PermissionDenied, 0));
    assert!(error.to_string().contains("refuses downloads"), "{error}");
}

#[tokio::test]
async fn a_closed_site_is_asked_again_after_a_minute_although_it_says_five() {
    let site = Moodle::start();
    let source = source(&site.table()).await;
    site.store().condition = Condition::Closed;
    let error = list(source.as_ref(), "").await.unwrap_err();
    assert_eq!(error.wait(), Some(std::time::Duration::from_secs(60)));
}

#[tokio::test]
async fn logging_in_fails_with_advice() {
    let site = Moodle::start();
    let connected = async |site: &Moodle, password: &str| {
        let error = configured(&with_password(site, password)).await.unwrap().connect().await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(password), "{shown}");
        (error.kind(), error.to_string())
    };
    let (kind, words) = connected(&site, "hunter2").await;
    assert_eq!(kind, ErrorKind::Unauthenticated);
    assert!(words.contains("`username` and `password`") && words.contains("`token`"), "{words}");
    for (condition, expected, advice) in [
        (Condition::Suspended, ErrorKind::Unauthenticated, "does not accept"),
        (Condition::Maintenance, ErrorKind::Unreachable, "maintenance"),
        (Condition::Closed, ErrorKind::Unreachable, "maintenance"),
        (Condition::Off, ErrorKind::Unreachable, "administrators"),
    ] {
        site.store().condition = condition;
        let (kind, words) = connected(&site, PASSWORD).await;
        assert_eq!(kind, expected, "{words}");
        assert!(words.contains(advice), "{words}");
    }
}

#[tokio::test]
async fn every_recorded_error_has_a_kind() {
    let errors: Value = serde_json::from_str(include_str!("../../fixtures/moodle/errors_rest.json")).unwrap();
    let mut told = Vec::new();
    for (name, recorded) in errors.as_object().unwrap() {
        let Some(code) = recorded["body"]["errorcode"].as_str() else { continue };
        let site = Moodle::start();
        let source = source(&site.table()).await;
        site.store().refuses = Some(name.clone());
        let error = list(source.as_ref(), "").await.unwrap_err();
        told.push((code.to_owned(), error.kind()));
        assert!(!error.to_string().contains('<'), "{error}");
    }
    told.sort_by(|one, other| one.0.cmp(&other.0));
    told.dedup();
    use ErrorKind::{Other, PermissionDenied, Unauthenticated, Unreachable};
    let expected = [
        ("accessexception", Unauthenticated),
        ("errorcoursecontextnotvalid", PermissionDenied),
        ("errorinvalidparam", Other),
        ("invalidlogin", Unauthenticated),
        ("invalidparameter", Other),
        ("invalidrecord", Other),
        ("invalidtoken", Unauthenticated),
        ("missingparam", Other),
        ("servicenotavailable", Unreachable),
    ];
    assert_eq!(told, expected.map(|(code, kind)| (code.to_owned(), kind)));
}

#[tokio::test]
async fn fewer_courses_are_believed_only_if_the_site_lets_the_account_in() {
    let site = Moodle::start();
    let source = source(&site.table()).await;
    assert_eq!(list(source.as_ref(), "").await.unwrap().len(), 6);
    site.requests();
    let courses = std::mem::take(&mut site.store().courses);
    let list_of = "core_enrol_get_users_courses 3";
    assert_eq!(list(source.as_ref(), "").await.unwrap(), [], "the last course is over");
    assert_eq!(site.requests(), [list_of, "core_course_get_contents 1"]);
    site.store().courses = courses;
    assert_eq!(list(source.as_ref(), "").await.unwrap().len(), 6);
    assert_eq!(site.requests(), [list_of]);
    let gone = site.store().courses.pop().unwrap();
    assert_eq!(list(source.as_ref(), "").await.unwrap().len(), 5);
    assert_eq!(site.requests(), [list_of, "core_course_get_contents 1"]);
    let error = list(source.as_ref(), &format!("course-{}", gone["id"])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_site_of_another_address_or_without_the_functions_is_told_at_once() {
    let site = Moodle::start();
    site.store().info["siteurl"] = "https://other.example/moodle".into();
    let error = configured(&site.table()).await.unwrap().connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("url = \"https://other.example/moodle\""), "{error}");
    let site = Moodle::start();
    site.store().info["functions"] = serde_json::json!([{ "name": "core_enrol_get_users_courses" }]);
    let error = configured(&site.table()).await.unwrap().connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("core_course_get_contents"), "{error}");
}

/// Takes what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn secrets_are_in_no_address_no_header_no_log_and_no_debug() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    let _logging = tracing::subscriber::set_default(subscriber.finish());
    tracing::trace!("the log works");
    let site = Moodle::start();
    // A file that a listing places at another host, with the address of a real one.
    let elsewhere = site.url().replace("127.0.0.1", "localhost");
    let strange = include_str!("../../fixtures/moodle/contents_an.json").replacen(
        "http://moodle.example/webservice/pluginfile.php/23/",
        &format!("{elsewhere}/webservice/pluginfile.php/23/"),
        1,
    );
    site.store().replace_contents(2, &strange);
    for table in [site.table(), with_password(&site, PASSWORD)] {
        let source = source(&table).await;
        let mut shown = String::new();
        let all = files(source.as_ref(), &RemotePath::root()).await;
        assert!(all.iter().all(|file| !file.path.as_str().unwrap().ends_with("syllabus.pdf")), "left out");
        let course = remote("course-2");
        let mut listing = source.list_path(&course).await.unwrap();
        while listing.try_next().await.unwrap().is_some() {}
        let told = listing.omitted().told().expect("it is left out");
        assert!(told.contains("syllabus.pdf"), "{told}");
        shown += &told;
        for file in all.iter().filter(|file| file.size != Some(52_428_800)) {
            let version = known(source.as_ref(), file).await;
            shown += &format!("{file:?} {version:?}");
            whole(source.as_ref(), &file.path, &version).await.0.unwrap();
        }
        for condition in [Condition::Policy, Condition::Suspended, Condition::Closed, Condition::Off] {
            site.store().condition = condition;
            let error = list(source.as_ref(), "course-2").await.unwrap_err();
            shown += &format!("{error} {error:?}");
        }
        site.store().condition = Condition::Normal;
        site.store().refuses = Some("bad token".into());
        let error = source.create_remote_digest(&remote("course-2/module-2/notes.txt")).await.unwrap_err();
        shown += &format!("{error} {error:?}");
        site.store().refuses = None;
        assert!(!shown.contains(TOKEN) && !shown.contains(PASSWORD), "{shown}");
    }
    let asked = std::mem::take(&mut site.store().asked);
    assert!(asked.len() > 100, "{}", asked.len());
    for asked in asked {
        let all = format!("{}\n{}", asked.line, asked.headers);
        assert!(!all.contains(TOKEN) && !all.contains(PASSWORD) && asked.line.starts_with("POST "), "{all}");
        assert!(!asked.headers.contains("localhost"), "nothing is asked of another host: {all}");
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("the log works"), "{log}");
    assert!(!log.contains(TOKEN) && !log.contains(PASSWORD));
}

#[tokio::test]
async fn the_site_goes_nowhere_with_the_token() {
    let site = Moodle::start();
    let answer = format!("HTTP/1.1 303 X\r\nLocation: {}/\r\nContent-Length: 0\r\n\r\n", site.url());
    let url = crate::liar::liar(Box::leak(answer.into_boxed_str())).await;
    let source = configured(&format!("type = \"moodle\"\nurl = \"{url}\"\ntoken = \"{TOKEN}\"")).await.unwrap();
    let error = source.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol);
    assert!(error.to_string().contains(&format!("points to {}", site.url())), "{error}");
    assert_eq!(site.requests(), [""; 0]);
}

#[tokio::test]
async fn what_is_no_moodle_is_said_to_be_none() {
    for (answer, expected) in [
        ("HTTP/1.1 200 X\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>", ErrorKind::Protocol),
        ("HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n", ErrorKind::Unreachable),
        ("HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n[]", ErrorKind::Protocol),
    ] {
        let url = crate::liar::liar(answer).await;
        let source = configured(&format!("type = \"moodle\"\nurl = \"{url}\"\ntoken = \"{TOKEN}\"")).await.unwrap();
        let error = source.connect().await.unwrap_err();
        assert_eq!(error.kind(), expected, "{answer}");
        assert!(error.to_string().contains("is `url` right?"), "{error}");
    }
}

#[tokio::test]
async fn settings_are_checked() {
    for (table, key) in [
        ("token = \"t\"", None),
        ("url = \"ftp://x/\"\ntoken = \"t\"", Some("url")),
        ("url = \"https://a:b@x/\"\ntoken = \"t\"", Some("url")),
        ("url = \"https://x\"", None),
        ("url = \"https://x\"\ntoken = \"t\"\nusername = \"anna\"", Some("token")),
        ("url = \"https://x\"\nusername = \"anna\"", Some("username")),
        ("url = \"https://x\"\npassword = \"p\"", Some("password")),
        ("url = \"https://x\"\ntoken = { env = \"KITOVUFS_TEST_UNSET\" }", Some("token")),
        ("url = \"https://x\"\ntoken = \"t\"\ncourse = \"y\"", Some("course")),
    ] {
        let problems = configured(&format!("type = \"moodle\"\n{table}")).await.err().unwrap_or_default();
        assert_eq!(problems.iter().map(|problem| problem.key.as_deref()).collect::<Vec<_>>(), [key], "{table}");
    }
}
