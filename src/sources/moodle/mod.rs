//! `Moodle`: the courses of an account at a Moodle site, as a source. It only asks, through the web service of the mobile app.

mod answer;
mod answered;
mod attached;
mod courses;
mod document;
mod filters;
mod forum;
mod glossary;
mod html;
mod keyring;
mod ledger;
mod linked;
mod login;
mod numbering;
mod outline;
mod refusal;
mod retrieval;
mod session;
mod show;
mod site;
mod stream;
mod submission;
mod title;
mod tree;
mod url;
mod written;

use ::url::Url;
use async_trait::async_trait;

use self::answer::SiteInfo;
use self::courses::{Account, Courses};
use self::ledger::{Ledger, Tag};
use self::login::Login;
use self::numbering::Numbering;
use self::retrieval::{Connected, Request};
use self::session::Session;
use self::show::Show;
use self::site::Site;
use self::stream::Streams;
use self::title::shown;
use self::tree::Place;
use super::authorities::Authorities;
use super::current::Current;
use super::http::redirect::Named;
use super::http::{CLIENT_BUFFER_BYTES, read_endpoint, warn_if_clear};
use super::purpose::Purpose;
use crate::content::Algorithm;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::revealed::Revealed;
use crate::source::keyring::Table;
use crate::source::kind::TokenIssuer;
use crate::source::url::Urls;
use crate::source::{
    Capabilities, Entry, EntryStream, Kind, LeftOut, LocalCopy, Problem, RemoteDigest, Retrieval, Retrieved, Settings,
    Sink, Source,
};

/// The name of the folder for a course whose name the site writes so; empty for none.
pub(crate) fn course_name(fullname: &str) -> String {
    shown(fullname, "")
}

/// The functions that the token's service must have.
const FUNCTIONS: [&str; 2] = ["core_enrol_get_users_courses", "core_course_get_contents"];

/// A Moodle site as a source: `type = "moodle"`.
///
/// Keys: `url` (required), and `token`, or `username` with `password`; `show`; `number_sections`; `redirect_hosts`; `ca_file`. Courses are folders, with sections, activities and files in them.
pub struct Moodle {
    config: Config,
    connected: Current<Connected>,
    courses: Courses,
    ledger: Ledger,
    streams: Streams,
}

#[derive(Debug)]
struct Config {
    url: Url,
    login: Login,
    named: Named,
    authorities: Authorities,
}

impl std::fmt::Debug for Moodle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moodle").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The type `moodle`.
pub struct MoodleKind;

#[async_trait]
impl Kind for MoodleKind {
    fn type_name(&self) -> &'static str {
        "moodle"
    }

    fn keyring_user(&self, key: &str, table: Table<'_>) -> Result<String, String> {
        keyring::user(key, table)
    }

    fn token_issuer(&self) -> Option<&dyn TokenIssuer> {
        Some(self)
    }

    fn urls(&self) -> Option<&'static Urls> {
        Some(&url::URLS)
    }

    fn connects_early(&self, settings: &Settings) -> bool {
        !settings.may_ask()
    }

    #[cfg(feature = "shared")]
    fn lasting_secret(&self, settings: &Settings) -> Option<&'static str> {
        settings.first_of(&["token"])
    }

    async fn configure(&self, settings: &Settings) -> Result<Box<dyn Source>, Vec<Problem>> {
        Ok(Box::new(Moodle::read(settings)?))
    }
}

#[async_trait]
impl TokenIssuer for MoodleKind {
    async fn token(&self, settings: &Settings) -> Result<Result<Revealed>, Vec<Problem>> {
        Ok(Moodle::read(settings)?.token().await)
    }
}

impl Moodle {
    /// A source of these settings.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    fn read(settings: &Settings) -> Result<Self, Vec<Problem>> {
        let mut reader = settings.reader();
        let written = reader.required_string("url", "https://moodle.example.edu");
        let login = Login::read(settings, &mut reader);
        let named = Named::read(&mut reader);
        let authorities = Authorities::read(&mut reader);
        let show = Show::read(&mut reader);
        let numbering = Numbering::read(&mut reader);
        let url = read_endpoint(&mut reader, "url", &written);
        let config = url.zip(login).map(|(url, login)| {
            warn_if_clear(settings, &url, true);
            Config { named: named.with(&url), url, login, authorities }
        });
        Ok(Self {
            config: reader.finish_with(config)?,
            connected: Current::default(),
            courses: Courses::new(settings.fresh_for, show, numbering),
            ledger: Ledger::default(),
            streams: Streams::default(),
        })
    }

    /// The token with which a configured source connects: who has a password gets it from the site.
    ///
    /// # Errors
    /// `Unauthenticated` if the site does not accept the password.
    async fn token(&self) -> Result<Revealed> {
        let root = RemotePath::root();
        let purpose = Purpose { op: "log in", path: &root };
        let site = self.site()?;
        self.config.login.token(purpose, &site).await
    }

    fn site(&self) -> Result<Site> {
        Site::new(&self.config.url, self.config.named.clone(), self.config.authorities.clone())
    }

    fn request<'a>(&'a self, purpose: Purpose<'a>) -> Result<Request<'a>> {
        Ok(Request { moodle: self, connected: self.connected.get(purpose)?, purpose })
    }

    /// The entries of a directory of a course.
    async fn list(&self, request: &Request<'_>, place: Place) -> Result<(Vec<Entry>, LeftOut)> {
        let (dir, Connected { session, who }) = (request.purpose.path, &*request.connected);
        let tree = self.courses.tree(session, who, request.purpose, place).await?;
        let Some(entries) = tree.directory(dir) else {
            let is_file = tree.file(dir).is_some();
            let kind = if is_file { ErrorKind::NotADirectory } else { ErrorKind::NotFound };
            return Err(request.purpose.error(kind));
        };
        let mut entries = entries.to_vec();
        for entry in &mut entries {
            if entry.digest.as_ref().is_some_and(|listed| self.ledger.trusted(&entry.path, listed).is_none()) {
                (entry.digest, entry.size) = (None, None);
            }
        }
        Ok((entries, tree.left_out(dir)))
    }
}

#[async_trait]
impl Source for Moodle {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // Listings tell all versions but those of aliases, and of HTML that the site may filter.
            digest_from_listing: false,
            ranges: true,
            content_digest: false,
            proven_whole: false,
            unconfirmed: false,
            verbatim_names: false,
            names_alone: false,
            buffer: CLIENT_BUFFER_BYTES,
            // Each request occupies a process of the site, which has few.
            concurrency: 4,
        }
    }

    async fn connect(&self) -> Result<()> {
        let root = RemotePath::root();
        let purpose = Purpose { op: "connect", path: &root };
        let site = self.site()?;
        let session = Session::begin(purpose, site, self.config.login.clone()).await?;
        let info: SiteInfo = session.call(purpose, "core_webservice_get_site_info", &[]).await?;
        if !Url::parse(&info.siteurl).is_ok_and(|url| url.as_str().trim_end_matches('/') == session.site().base()) {
            // Files are at that address, and the token goes to no other than the one that was configured.
            let why = format!("the site gives itself another address: write url = {:?}", info.siteurl);
            return Err(purpose.error(ErrorKind::InvalidConfig).because(why));
        }
        let session = session.with_functions(info.functions.into_iter().map(|function| function.name).collect());
        if let Some(missing) = FUNCTIONS.into_iter().find(|name| !session.has(name)) {
            let why = format!("the token's service lacks the function {missing}; that of the mobile app has it");
            return Err(purpose.error(ErrorKind::Unsupported).because(why));
        }
        if info.downloadfiles == Some(0) {
            tracing::warn!(
                "{}: the token's service allows no downloads: files are listed and cannot be read",
                session.site().base()
            );
        }
        let who = Account { user: info.userid, home: info.siteid.unwrap_or(1) };
        self.connected.set(Connected { session, who });
        Ok(())
    }

    async fn disconnect(&self) {
        self.connected.take();
        self.streams.clear();
    }

    async fn list_path<'a>(&'a self, dir: &'a RemotePath) -> Result<EntryStream<'a>> {
        let request = self.request(Purpose { op: "list_path", path: dir })?;
        let (entries, left_out) = match Place::of(dir) {
            Some(place) => self.list(&request, place).await?,
            None if dir.is_root() => {
                let Connected { session, who } = &*request.connected;
                self.courses.list(session, who, request.purpose).await?
            }
            None => return Err(request.purpose.error(ErrorKind::NotFound)),
        };
        Ok(EntryStream::noting(futures::stream::iter(entries.into_iter().map(Ok)), left_out))
    }

    async fn create_remote_digest(&self, file: &RemotePath) -> Result<RemoteDigest> {
        let request = self.request(Purpose { op: "create_remote_digest", path: file })?;
        let current = request.current().await?;
        match current.digest.as_ref().and_then(|listed| self.ledger.trusted(file, listed)) {
            Some(digest) => Ok(RemoteDigest { digest: digest.clone(), size: current.size, modified: current.modified }),
            None => request.examine(&current).await,
        }
    }

    async fn create_local_digest(&self, copy: &LocalCopy<'_>) -> Result<Digest> {
        let same = super::same_size(copy).await?;
        let seen = match Tag::of(copy.retrieved_as) {
            Tag::Other(_) => self.ledger.tag(copy.path, copy.retrieved_as),
            sha1 => Some(sha1),
        };
        let Some(Tag::Sha1(expected)) = seen.filter(|_| same == *copy.retrieved_as) else { return Ok(same) };
        let file = copy.file.to_owned();
        let found = tokio::task::spawn_blocking(move || Algorithm::Sha1.hash_file(&file)).await;
        let failed = |e: std::io::Error| Error::new("create_local_digest", ErrorKind::Cache).on(copy.path).caused_by(e);
        let found = found.unwrap_or_else(|lost| Err(std::io::Error::other(lost))).map_err(failed)?;
        if found == expected {
            return Ok(same);
        }
        Ok(Digest::damage(format_args!("{found} instead of {expected}")))
    }

    async fn retrieve_file(&self, retrieval: &Retrieval<'_>, out: &mut dyn Sink) -> Result<Retrieved> {
        let request = self.request(Purpose { op: "retrieve_file", path: retrieval.path })?;
        if !retrieval.is_whole() {
            // Parts are of one version only if a change between them would show.
            super::stamp::settle(retrieval.digest).await;
        }
        request.retrieve(retrieval, out).await?;
        Ok(Retrieved::default())
    }
}
