//! `Moodle`: a Moodle site for tests, made from answers that a real one gave (`tests/fixtures/moodle`): its web service, its login and its
//! files, with what it does differently from other web servers. Changes are made as a teacher would make them.

mod changes;
mod download;
mod kinds;
mod store;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use store::{Condition, Store};

/// The host in the recorded answers.
const RECORDED: &str = "http://moodle.example";
/// The token of the one student.
pub const TOKEN: &str = "5f1d0c3e9ab24876bd09e1f2a3c4d5e6";
/// The name of the one student.
pub const USER: &str = "student1";
/// And the password.
pub const PASSWORD: &str = "kit-password-M7x";

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Method, path and query.
    pub line: String,
    /// All headers, one a line.
    pub headers: String,
    /// What was asked for, in short: `core_course_get_contents 2`, `file 23/mod_resource/content/a.pdf bytes=0-9`, `login`.
    pub what: String,
}

/// A site that runs for as long as this lives.
#[derive(Debug)]
pub struct Moodle {
    address: SocketAddr,
    store: Arc<Mutex<Store>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

type Answer = Response<Full<Bytes>>;

impl Moodle {
    /// The recorded site.
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let mut site = Self { address, store: Arc::default(), stop: None, thread: None };
        site.answer(listener);
        site
    }

    /// Brings a stopped site up again, where it was.
    pub fn start_again(&mut self) {
        self.answer(std::net::TcpListener::bind(self.address).unwrap());
    }

    fn answer(&mut self, listener: std::net::TcpListener) {
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (address, site) = (self.address, self.store.clone());
        // A thread of its own: a test may have a runtime that waits for it, or none.
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                tokio::select! {
                    () = serve(TcpListener::from_std(listener).unwrap(), address, site) => {}
                    _ = stopped => {}
                }
            });
        });
        (self.stop, self.thread) = (Some(stop), Some(thread));
    }

    /// Takes the site down; who asks is refused.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }

    /// The site's address.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The site's port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The table of a source that shows this site, in TOML.
    pub fn table(&self) -> String {
        format!("type = \"moodle\"\nurl = \"{}\"\ntoken = \"{TOKEN}\"\n", self.url())
    }

    /// What the site holds, to be looked at and changed.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap()
    }

    /// The activities of a course, as they are listed.
    pub fn listed(&self, course: u64) -> Vec<Value> {
        let contents = self.store().contents(course, None).expect("such a course");
        contents.as_array().unwrap().iter().flat_map(store::modules).cloned().collect()
    }

    /// What was asked since this was last called, in short.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.store().asked).into_iter().map(|asked| asked.what).collect()
    }
}

impl Drop for Moodle {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stop();
        }
    }
}

async fn serve(listener: TcpListener, address: SocketAddr, store: Arc<Mutex<Store>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let store = store.clone();
        let service = service_fn(move |request| answer(request, address, store.clone()));
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // Who hangs up has seen enough.
            let _ = connection.await;
        });
    }
}

async fn answer(
    request: http::Request<Incoming>,
    address: SocketAddr,
    store: Arc<Mutex<Store>>,
) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let is_file = head.uri.path().starts_with("/webservice/pluginfile.php");
    if is_file {
        beside_others(&store).await;
    }
    let answer = answered(&mut store.lock().unwrap(), &head, &body);
    store.lock().unwrap().at_once -= usize::from(is_file);
    Ok(rewritten(answer, &format!("http://{address}")).await)
}

/// Waits until as many requests for files are there as are to be answered together.
async fn beside_others(store: &Mutex<Store>) {
    {
        let mut store = store.lock().unwrap();
        store.at_once += 1;
        store.most_at_once = store.most_at_once.max(store.at_once);
    }
    let began = Instant::now();
    let are_missing = || {
        let store = store.lock().unwrap();
        store.most_at_once < store.together
    };
    while are_missing() && began.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn answered(store: &mut Store, head: &http::request::Parts, body: &[u8]) -> Answer {
    let mut fields = pairs(head.uri.query().unwrap_or_default().as_bytes());
    if head.method == "POST" {
        fields.extend(pairs(body));
    }
    let path = head.uri.path().to_owned();
    let (what, answer) = match path.as_str() {
        "/webservice/rest/server.php" => (called(&fields), rest(store, &fields)),
        "/login/token.php" => ("login".to_owned(), login(store, &fields)),
        _ => match path.strip_prefix("/webservice/pluginfile.php") {
            Some(file) => {
                let file = match field(&fields, "file") {
                    Some(file) => file.to_owned(),
                    None => percent_encoding::percent_decode_str(file).decode_utf8_lossy().into_owned(),
                };
                let range =
                    head.headers.get("range").map_or(String::new(), |range| format!(" {}", range.to_str().unwrap()));
                (
                    format!("file {}{range}", store::key(&file)),
                    store.download(&file, &head.method, &head.headers, &fields),
                )
            }
            None => ("else".to_owned(), json(StatusCode::NOT_FOUND, &Value::Null)),
        },
    };
    let headers = head.headers.iter().map(|(name, value)| format!("{name}: {value:?}\n")).collect();
    store.asked.push(Asked { line: format!("{} {}", head.method, head.uri), headers, what });
    answer
}

/// The recorded host becomes this one.
async fn rewritten(answer: Answer, url: &str) -> Answer {
    let is_json =
        answer.headers().get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !is_json || answer.headers().contains_key("content-disposition") {
        return answer;
    }
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap().replace(RECORDED, url);
    Response::from_parts(head, Full::new(text.into()))
}

fn pairs(text: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(text).into_owned().collect()
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

/// A REST call in short.
fn called(fields: &[(String, String)]) -> String {
    let mut what = field(fields, "wsfunction").unwrap_or_default().to_owned();
    for name in [
        "courseid",
        "courseids[0]",
        "forumid",
        "discussionid",
        "assignid",
        "id",
        "userid",
        "options[0][name]",
        "options[0][value]",
    ] {
        if let Some(value) = field(fields, name) {
            what += &format!(" {value}");
        }
    }
    what
}

fn json(status: StatusCode, body: &Value) -> Answer {
    let response = Response::builder().status(status).header("content-type", "application/json");
    response.body(Full::new(body.to_string().into())).unwrap()
}

/// What was recorded of a route while the site was in some condition; none where it then did as always.
fn recorded(store: &Store, route: &str) -> Option<Answer> {
    let answer = &store.states[store.condition.name()][route];
    let body = match &answer["body"] {
        Value::String(usual) if usual.starts_with('(') => return None,
        Value::String(list) if list == "list of 0" => "[]".to_owned(),
        Value::String(list) if list.starts_with("list of") => return None,
        Value::String(text) => text.clone(),
        Value::Null => return None,
        body => body.to_string(),
    };
    let status = u16::try_from(answer["status"].as_u64()?).unwrap();
    let mut response = Response::builder().status(status).header("content-type", answer["content-type"].as_str()?);
    if let Some(wait) = answer["retry-after"].as_str() {
        response = response.header("retry-after", wait);
    }
    Some(response.body(Full::new(body.into())).unwrap())
}

fn login(store: &Store, fields: &[(String, String)]) -> Answer {
    if let Some(answer) = recorded(store, "login/token.php").filter(|_| store.condition != Condition::Normal) {
        return answer;
    }
    let get = |name| field(fields, name);
    let error = match (get("username"), get("password"), get("service")) {
        (None, ..) | (_, None, _) | (.., None) => "login/token.php parameter missing",
        (.., Some(service)) if service != "moodle_mobile_app" => "login/token.php unknown service",
        (Some(USER), Some(PASSWORD), _) => "login/token.php ok",
        _ => "login/token.php bad password",
    };
    let mut body = store.errors[error]["body"].clone();
    if body["token"].is_string() {
        body["token"] = store.token.clone().into();
    }
    json(StatusCode::OK, &body)
}

fn rest(store: &Store, fields: &[(String, String)]) -> Answer {
    let error = |name: &str| json(StatusCode::OK, &store.errors[name]["body"]);
    let function = field(fields, "wsfunction").unwrap_or_default();
    let course = field(fields, "courseid");
    let route = if function == "core_course_get_contents" && course == Some("1") {
        "core_course_get_contents 1"
    } else {
        function
    };
    if store.condition != Condition::Normal
        && let Some(answer) = recorded(store, route)
    {
        return answer;
    }
    if let Some(name) = &store.refuses {
        return error(name);
    }
    if field(fields, "wstoken") != Some(&store.token) {
        return error("bad token");
    }
    if field(fields, "moodlewsrestformat") != Some("json") {
        return error("no wsfunction");
    }
    match function {
        "core_webservice_get_site_info" => json(StatusCode::OK, &store.info),
        "core_enrol_get_users_courses" => match field(fields, "userid") {
            Some("3") => json(StatusCode::OK, &Value::Array(store.courses.clone())),
            Some(_) => error("courses of userid 0"),
            None => error("missing parameter"),
        },
        "core_course_get_contents" => {
            let Some(course) = course.and_then(|course| course.parse::<u64>().ok()) else {
                return error("missing parameter");
            };
            let only = match (field(fields, "options[0][name]"), field(fields, "options[0][value]")) {
                (None, None) => None,
                (Some("cmid"), Some(id)) => id.parse::<u64>().ok(),
                _ => return error("unknown option"),
            };
            if course == 1 {
                return json(StatusCode::OK, &Value::Array(Vec::new()));
            }
            match (store.contents(course, only), store.is_enrolled(course)) {
                (None, _) => error("course does not exist"),
                (Some(_), false) => error("course not enrolled"),
                (Some(contents), true) => json(StatusCode::OK, &contents),
            }
        }
        "mod_resource_get_resources_by_courses" => match course_of(fields) {
            Some(course) => json(StatusCode::OK, &store.resources(course)),
            None => error("missing parameter"),
        },
        "mod_forum_get_forums_by_courses" => match course_of(fields) {
            Some(course) => json(StatusCode::OK, &store.forums(course)),
            None => error("missing parameter"),
        },
        "mod_forum_get_forum_discussions" => {
            match number(fields, "forumid").map(|id| store.forums.discussions.get(&id)) {
                Some(Some(discussions)) => json(StatusCode::OK, discussions),
                _ => error("course does not exist"),
            }
        }
        "mod_assign_get_submission_status" => match number(fields, "assignid").map(|id| store.submissions.get(&id)) {
            Some(Some(status)) => json(StatusCode::OK, status),
            _ => error("course does not exist"),
        },
        "mod_glossary_get_entries_by_letter" => match (field(fields, "letter"), number(fields, "from")) {
            (Some("ALL"), Some(from)) => {
                json(StatusCode::OK, &store.entries(from, number(fields, "limit").unwrap_or(20)))
            }
            _ => error("missing parameter"),
        },
        "mod_forum_get_discussion_posts"
            if store.forums.is_old && field(fields, "includeinlineattachments").is_some() =>
        {
            error("unknown parameter")
        }
        "mod_forum_get_discussion_posts" => match number(fields, "discussionid") {
            Some(id) => json(StatusCode::OK, &store.posts(id, field(fields, "includeinlineattachments") == Some("1"))),
            None => error("missing parameter"),
        },
        function => match course_of(fields).and_then(|course| store.by_courses(function, course)) {
            Some(told) => json(StatusCode::OK, &told),
            None => error("unknown function"),
        },
    }
}

/// The course that a function is asked about which takes several.
fn course_of(fields: &[(String, String)]) -> Option<u64> {
    number(fields, "courseids[0]")
}

fn number(fields: &[(String, String)], name: &str) -> Option<u64> {
    field(fields, name)?.parse().ok()
}

/// Headers of an answer that make a test readable.
pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}
