//! `Credentials`: which key signs the requests to a bucket. It knows no request but those that fetch such a key.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqsign_aws_v4::{
    AssumeRoleCredentialProvider, Credential, DefaultCredentialProvider, RequestSigner, StaticCredentialProvider,
};
use reqsign_core::{
    CommandExecute, CommandOutput, Context, HttpSend, OsEnv, ProvideCredential, ProvideCredentialChain, Signer,
};
use reqsign_file_read_tokio::TokioFileRead;
use url::{Host, Url};

use crate::error::{Error, ErrorKind, Result};
use crate::revealed::Revealed;
use crate::secret::Secret;
use crate::source::settings::{Reader, Settings};
use crate::sources::http::transport::{Transport, collect};
use crate::sources::purpose::Purpose;
use crate::sources::reluctant::Reluctant;
use crate::sources::tokens::direct;

/// The most bytes of an answer that may hold a key.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// How long a service of this machine may take; where there is none, nobody answers.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

const KEY_ID: &str = "access_key_id";
const KEY: &str = "secret_access_key";

/// The origin of the key, as the configuration says.
#[derive(Debug, Default)]
pub(in crate::sources) struct Credentials {
    key: Option<(Secret, Secret)>,
    session_token: Option<Secret>,
    /// Look where Amazon's tools do: environment, files, the machine's metadata service.
    load: bool,
    /// Do that only once the store has refused a request without a key.
    is_reluctant: bool,
    profile: Option<String>,
    no_metadata: bool,
    role: Option<String>,
    external_id: Option<String>,
}

impl Credentials {
    pub(super) fn read(settings: &Settings, reader: &mut Reader<'_>) -> Self {
        let key = key(settings, reader);
        let session_token = reader.secret("session_token");
        let disable_load = reader.boolean("disable_config_load").unwrap_or(true);
        let profile = reader.string("profile");
        let no_metadata = reader.boolean("disable_ec2_metadata").unwrap_or_default();
        let (role, external_id) = (reader.string("role_arn"), reader.string("external_id"));
        // Both names say the same; without a key it is what happens anyway.
        let skip = [reader.boolean("skip_signature"), reader.boolean("allow_anonymous")].contains(&Some(true));
        let has_key = [KEY_ID, KEY].iter().any(|name| settings.values.contains_key(*name));
        if skip && (has_key || !disable_load) {
            reader.problem(Some("skip_signature"), "requests cannot be anonymous and have credentials");
        }
        let is_told_to_load = !disable_load || profile.is_some();
        let is_reluctant = Reluctant::read(reader) && !has_key && !skip && !is_told_to_load;
        let load = is_told_to_load || is_reluctant;
        if role.is_some() && !has_key && !load {
            reader.problem(Some("role_arn"), "a role needs a key that may take it: set disable_config_load = false");
        }
        Self { key, session_token, load, is_reluctant, profile, no_metadata, role, external_id }
    }

    /// The key alone, for stores that have nothing else of Amazon's.
    pub(in crate::sources) fn read_key(settings: &Settings, reader: &mut Reader<'_>) -> Self {
        Self { key: key(settings, reader), ..Self::default() }
    }

    /// Whether requests carry no key before one without it was refused.
    pub(super) fn is_reluctant(&self) -> bool {
        self.is_reluctant
    }

    /// Whether a key is written down.
    pub(in crate::sources) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Whether another key may be had in place of one that is refused.
    pub(super) fn may_change(&self) -> bool {
        self.load || self.role.is_some()
    }

    /// The region that the environment names, where it may be asked.
    pub(super) fn region(&self) -> Option<String> {
        let names = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().filter(|_| self.load);
        names.filter_map(|name| std::env::var(name).ok()).find(|region| !region.is_empty())
    }

    /// Whether requests carry something that must not travel in the clear; a signature may.
    pub(super) fn has_token(&self) -> bool {
        self.session_token.is_some()
    }

    /// The signer of requests; none where they are anonymous. Runs the commands that know secrets.
    pub(super) async fn signer(&self, region: &str, transport: &Arc<Transport>) -> Result<Option<Signer<Credential>>> {
        if self.key.is_none() && !self.load {
            return Ok(None);
        }
        let context = Context::new().with_file_read(TokioFileRead).with_env(OsEnv).with_command_execute(Run);
        let context = context.with_http_send(Fetch(Arc::clone(transport)));
        let mut provider = ProvideCredentialChain::new();
        if let Some((id, key)) = self.key.clone() {
            let token = self.session_token.clone();
            let revealed = tokio::task::spawn_blocking(move || {
                Ok::<_, Error>((id.reveal()?, key.reveal()?, token.map(|token| token.reveal()).transpose()?))
            });
            let lost = |lost| Error::new("connect", ErrorKind::Other).caused_by(lost);
            let (id, key, token) = revealed.await.map_err(lost)??;
            let mut fixed = StaticCredentialProvider::new(id.expose(), key.expose());
            if let Some(token) = token {
                fixed = fixed.with_session_token(token.expose());
            }
            provider = provider.push(Unshown(fixed));
        }
        if self.load {
            let mut default = DefaultCredentialProvider::builder();
            if let Some(profile) = &self.profile {
                default = default.with_profile(profile);
            }
            if self.no_metadata {
                default = default.no_imds();
            }
            provider = provider.push(Unshown(default.build()));
        }
        if let Some(role) = &self.role {
            let sts = Signer::new(context.clone(), provider, RequestSigner::new("sts", region));
            let mut assumed = AssumeRoleCredentialProvider::new(role.clone(), sts)
                .with_region(region.to_owned())
                .with_regional_sts_endpoint();
            if let Some(id) = &self.external_id {
                assumed = assumed.with_external_id(id.clone());
            }
            provider = ProvideCredentialChain::new().push(Unshown(assumed));
        }
        Ok(Some(Signer::new(context, provider, RequestSigner::new("s3", region))))
    }
}

/// A key's name and itself, where both can be had. The name is no secret, so it may be written plainly anywhere.
fn key(settings: &Settings, reader: &mut Reader<'_>) -> Option<(Secret, Secret)> {
    let id = match settings.values.get(KEY_ID) {
        Some(toml::Value::String(_)) => reader.string(KEY_ID).map(|id| Secret::Plain(Revealed::new(id))),
        _ => reader.secret(KEY_ID),
    };
    let key = reader.secret(KEY);
    if settings.values.contains_key(KEY_ID) != settings.values.contains_key(KEY) {
        reader.problem(None, format!("`{KEY_ID}` and `{KEY}` belong together; one is missing"));
    }
    id.zip(key)
}

/// No key could be had, or it does not sign.
pub(super) fn failure(purpose: Purpose<'_>, error: &reqsign_core::Error) -> Error {
    let kind = if error.is_retryable() { ErrorKind::Unreachable } else { ErrorKind::Unauthenticated };
    // Its own text may quote what it was given.
    let advice = "aws configure, or aws sso login, makes some where they are looked for";
    purpose.error(kind).because(format!("no usable credentials for the bucket ({:?}): {advice}", error.kind()))
}

/// A provider of keys that its crate's log lines do not show: the `Debug` of some holds the key.
struct Unshown<P>(P);

impl<P> std::fmt::Debug for Unshown<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

impl<P: ProvideCredential> ProvideCredential for Unshown<P> {
    type Credential = P::Credential;

    async fn provide_credential(&self, context: &Context) -> reqsign_core::Result<Option<P::Credential>> {
        self.0.provide_credential(context).await
    }
}

/// Runs the programs that know keys (`credential_process` of a profile).
#[derive(Debug)]
struct Run;

impl CommandExecute for Run {
    async fn command_execute(&self, program: &str, args: &[&str]) -> reqsign_core::Result<CommandOutput> {
        let failed = |e| reqsign_core::Error::unexpected("the program that knows the key does not run").with_source(e);
        let mut command = tokio::process::Command::new(program);
        let command = command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        let Output { status, stdout, stderr } = command.output().await.map_err(failed)?;
        Ok(CommandOutput { status: status.code().unwrap_or(-1), stdout, stderr })
    }
}

/// Our client, for those who fetch keys.
#[derive(Debug)]
struct Fetch(Arc<Transport>);

impl HttpSend for Fetch {
    async fn http_send(&self, request: http::Request<Bytes>) -> reqsign_core::Result<http::Response<Bytes>> {
        let unreachable = |e: reqwest::Error| {
            reqsign_core::Error::unexpected("no answer").with_source(e.without_url()).set_retryable(true)
        };
        let mut request = reqwest::Request::try_from(request).map_err(unreachable)?;
        let client = if is_of_this_machine(request.url()) {
            *request.timeout_mut() = Some(METADATA_TIMEOUT);
            direct().map_err(|e| reqsign_core::Error::unexpected("no HTTP client").with_source(e))?
        } else {
            self.0.client().clone()
        };
        let response = client.execute(request).await.map_err(unreachable)?;
        let mut answer = http::Response::builder().status(response.status());
        if let Some(headers) = answer.headers_mut() {
            headers.clone_from(response.headers());
        }
        let body = collect(response, MAX_ANSWER_BYTES, || ()).await.map_err(|e| match e {
            Some(e) => unreachable(e),
            None => reqsign_core::Error::unexpected("the answer is too long"),
        })?;
        answer.body(body.into()).map_err(|e| reqsign_core::Error::unexpected("a malformed answer").with_source(e))
    }
}

/// Whether an address is that of a service of this machine, such as 169.254.169.254: a proxy would tell what its own machine may do.
fn is_of_this_machine(url: &Url) -> bool {
    matches!(url.host(), Some(Host::Ipv4(address)) if address.is_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_this_machine_is_known_by_its_address() {
        let is_of_this_machine = |url: &str| is_of_this_machine(&Url::parse(url).expect("a URL"));
        assert!(is_of_this_machine("http://169.254.169.254/latest/api/token"));
        assert!(is_of_this_machine("http://169.254.170.2/v2/credentials"));
        assert!(!is_of_this_machine("https://sts.eu-central-1.amazonaws.com/"));
        assert!(!is_of_this_machine("http://169.254.169.254.example/"));
    }

    #[test]
    fn a_provider_does_not_show_its_key() {
        let fixed = StaticCredentialProvider::new("AKIDEXAMPLE", "hunter2");
        let shown = format!("{:?}", Unshown(fixed));
        assert_eq!(shown, "[secret]");
    }
}
