//! `Google`: tokens for Google's buckets by "application default credentials": what `gcloud auth application-default login` leaves, the
//! key of a service account, or the machine's metadata service. It knows no bucket.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::grant::{Grant, error, form};
use super::{direct, variable};
use crate::error::{ErrorKind, Result};
use crate::path::expand_home;
use crate::revealed::{Revealed, conceal};
use crate::source::settings::Reader;
use crate::sources::reluctant::Reluctant;

/// The right that is asked for.
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_only";
/// Where tokens are given, unless the file says otherwise.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// The variable that names the file.
pub(in crate::sources) const FILE_VARIABLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
/// How long a statement about oneself is good, in seconds: the longest that Google takes.
const STATEMENT_SECONDS: u64 = 3600;
/// How long a machine's metadata service may take; where there is none, nobody answers.
const METADATA_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the login is.
#[derive(Debug, Clone)]
pub(in crate::sources) struct Google {
    /// The file that the configuration names; none where Google's tools look.
    file: Option<PathBuf>,
    no_metadata: bool,
    /// Look only once the store has refused a request without a token.
    is_reluctant: bool,
}

/// A file of credentials, as far as its kind is known.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Credentials {
    AuthorizedUser {
        client_id: String,
        client_secret: String,
        refresh_token: String,
        token_uri: Option<String>,
    },
    ServiceAccount {
        client_email: String,
        private_key_id: Option<String>,
        private_key: String,
        token_uri: Option<String>,
    },
}

impl Google {
    /// Reads `credential_path`, `disable_config_load` and `disable_vm_metadata`; none where nothing says that there is a login.
    pub(in crate::sources) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let path = reader.string("credential_path");
        let is_told_to_load = reader.boolean("disable_config_load") == Some(false);
        let if_refused = Reluctant::read(reader);
        let no_metadata = reader.boolean("disable_vm_metadata").unwrap_or_default();
        let file = path.map(|path| expand_home(&path));
        if file.as_ref().is_some_and(|file| !file.is_absolute()) {
            reader.problem(Some("credential_path"), "`credential_path` must be absolute or begin with ~/");
        }
        let loads = is_told_to_load || file.is_some();
        (loads || if_refused).then_some(Self { file, no_metadata, is_reluctant: !loads })
    }

    /// Whether requests carry no token before one without it was refused.
    pub(in crate::sources) fn is_reluctant(&self) -> bool {
        self.is_reluctant
    }

    /// Asks for a token. The file is read each time, so that a new login counts at once.
    pub(super) async fn grant(&self, client: &reqwest::Client) -> Result<Grant> {
        let google = self.clone();
        let read = tokio::task::spawn_blocking(move || google.credentials()).await;
        let credentials = read.map_err(|lost| error(ErrorKind::Other, "the login was not read").caused_by(lost))??;
        let (to, form) = match credentials {
            None => return self.of_machine().await,
            Some(Credentials::AuthorizedUser { client_id, client_secret, refresh_token, token_uri }) => {
                let form = form([
                    ("grant_type", "refresh_token"),
                    ("client_id", &client_id),
                    ("client_secret", &client_secret),
                    ("refresh_token", &refresh_token),
                ]);
                (token_uri, form)
            }
            Some(Credentials::ServiceAccount { client_email, private_key_id, private_key, token_uri }) => {
                let to = token_uri.as_deref().unwrap_or(TOKEN_URI);
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                let header = json!({"alg": "RS256", "typ": "JWT", "kid": private_key_id});
                let claims =
                    json!({"iss": client_email, "scope": SCOPE, "aud": to, "iat": now, "exp": now + STATEMENT_SECONDS});
                let statement = signed(&header, &claims, &private_key)?;
                let grant_type = "urn:ietf:params:oauth:grant-type:jwt-bearer";
                (token_uri, form([("grant_type", grant_type), ("assertion", &statement)]))
            }
        };
        let request = client.post(to.as_deref().unwrap_or(TOKEN_URI));
        let request = request.header("Content-Type", "application/x-www-form-urlencoded").body(form);
        let advice = "is the login still good? For a user: gcloud auth application-default login";
        Grant::ask(request, "Google", advice).await
    }

    /// What the file says; none if there is no file, and nobody has named one.
    fn credentials(&self) -> Result<Option<Credentials>> {
        let named = self.file.clone().or_else(|| variable(FILE_VARIABLE).map(PathBuf::from));
        let Some(path) = named.clone().or_else(usual_file) else { return Ok(None) };
        match std::fs::read(&path) {
            Ok(text) => parse(&path, &text).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && named.is_none() => Ok(None),
            Err(e) => Err(error(ErrorKind::InvalidConfig, format!("cannot read {}", path.display())).caused_by(e)),
        }
    }

    /// The token of the machine's own service account.
    async fn of_machine(&self) -> Result<Grant> {
        let none = "there is no login for Google here: gcloud auth application-default login makes one";
        if self.no_metadata {
            return Err(error(ErrorKind::Unauthenticated, none));
        }
        let host = variable("GCE_METADATA_HOST").unwrap_or_else(|| "metadata.google.internal".to_owned());
        let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token?scopes={SCOPE}");
        let request = direct()?.get(url).header("Metadata-Flavor", "Google").timeout(METADATA_TIMEOUT);
        let asked = Grant::ask(request, "the metadata service", "has this machine a service account?").await;
        asked.map_err(|e| match e.kind() {
            ErrorKind::Unreachable => error(ErrorKind::Unauthenticated, none).caused_by(e),
            _ => e,
        })
    }
}

/// Where `gcloud auth application-default login` writes.
fn usual_file() -> Option<PathBuf> {
    let dir = variable("CLOUDSDK_CONFIG")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&variable("HOME")?).join(".config/gcloud")));
    Some(dir?.join("application_default_credentials.json"))
}

/// The error never quotes the file.
fn parse(path: &Path, text: &[u8]) -> Result<Credentials> {
    let shown = path.display();
    let wrong = |why: String| error(ErrorKind::InvalidConfig, format!("{shown}: {why}"));
    let value: Value = serde_json::from_slice(text).map_err(|_| wrong("it is no JSON".into()))?;
    let kind = value["type"].as_str().unwrap_or_default().to_owned();
    if !["authorized_user", "service_account"].contains(&kind.as_str()) {
        let instead = "token = { command = \"gcloud auth application-default print-access-token\" }";
        return Err(wrong(format!(
            "logins of the type {:?} are not known here; use {instead}",
            kind.get(..40).unwrap_or(&kind)
        )));
    }
    let credentials =
        serde_json::from_value(value).map_err(|_| wrong(format!("something of a login ({kind}) is missing")))?;
    let secrets = match &credentials {
        Credentials::AuthorizedUser { client_secret, refresh_token, .. } => [client_secret, refresh_token],
        Credentials::ServiceAccount { private_key, .. } => [private_key, private_key],
    };
    secrets.into_iter().for_each(|secret| conceal(&Revealed::new(secret)));
    Ok(credentials)
}

/// A statement that is signed with a key in PEM (RFC 7515).
fn signed(header: &Value, claims: &Value, key: &str) -> Result<String> {
    let unusable = || error(ErrorKind::InvalidConfig, "the private key of the service account cannot be used");
    let der = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).map_err(|_| unusable())?;
    let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| unusable())?;
    let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
    let text = format!("{header}.{claims}");
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).map_err(|_| unusable())?;
    Ok(format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    #[test]
    fn a_statement_is_signed_by_the_key_of_the_account() {
        let made =
            Command::new("openssl").args(["genpkey", "-algorithm", "RSA", "-quiet"]).output().expect("openssl runs");
        let pem = String::from_utf8(made.stdout).expect("PEM is text");
        let statement = signed(&json!({"alg": "RS256"}), &json!({"iss": "a"}), &pem).expect("it is a key");
        let (text, signature) = statement.rsplit_once('.').expect("three parts");
        assert_eq!(text, "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJhIn0");
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).expect("it is PEM");
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).expect("it is a key");
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public().as_ref());
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).expect("it is Base64");
        public.verify(text.as_bytes(), &signature).expect("it is signed");
        assert!(signed(&json!({}), &json!({}), "no key").is_err());
    }

    #[test]
    fn a_file_that_is_no_known_login_says_what_to_do() {
        let why = |text: &str| parse(Path::new("/f"), text.as_bytes()).map(drop).expect_err("it is none").to_string();
        assert!(why("hunter2").contains("no JSON") && !why("hunter2").contains("hunter2"));
        assert!(why("{\"type\": \"external_account\"}").contains("print-access-token"));
        assert!(why("{\"type\": \"authorized_user\", \"client_id\": \"hunter2\"}").contains("missing"));
        let user = r#"{"type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c", "account": ""}"#;
        assert!(parse(Path::new("/f"), user.as_bytes()).is_ok());
    }
}
