//! Google's buckets as a source. They speak S3, with credentials of their own, so that what asks them is [`S3`].

mod url;

use async_trait::async_trait;

use super::authorities::Authorities;
use super::http::early::Confirming;
use super::http::warn_if_clear;
use super::read_root;
use super::reluctant::Reluctant;
use super::s3::credentials::Credentials;
use super::s3::{BucketConfig, S3, place};
use super::tokens::google::Google;
use super::tokens::{Origin, Tokens};
use crate::source::url::Urls;
use crate::source::{Kind, Problem, Settings, Source};
use crate::sources::keys;

/// The endpoint of Google's buckets, unless the configuration says otherwise.
const ENDPOINT: &str = "https://storage.googleapis.com";
/// The region of all of them, in the words of S3.
const REGION: &str = "auto";

/// The type `gcs`.
///
/// Keys: `bucket` (required), `endpoint`, `root`, and for credentials `credential_path`, or `disable_config_load = false` for what
/// Google's tools use, with `disable_vm_metadata`; `token`; or a key of Google's interoperability with S3 (HMAC): `access_key_id`,
/// `secret_access_key`; `ca_file`.
pub struct GcsKind;

#[async_trait]
impl Kind for GcsKind {
    fn type_name(&self) -> &'static str {
        "gcs"
    }

    fn urls(&self) -> Option<&'static Urls> {
        Some(&url::URLS)
    }

    #[cfg(feature = "shared")]
    fn lasting_secret(&self, settings: &Settings) -> Option<&'static str> {
        settings.first_of(&["secret_access_key"])
    }

    async fn configure(&self, settings: &Settings) -> Result<Box<dyn Source>, Vec<Problem>> {
        let mut reader = settings.reader();
        let bucket = reader.required_string("bucket", "my-bucket");
        let written = reader.string("endpoint").unwrap_or_else(|| ENDPOINT.to_owned());
        let root = read_root(&mut reader);
        let token = reader.secret("token");
        let google = Google::read(&mut reader);
        let credentials = Credentials::read_key(settings, &mut reader);
        let is_written = token.is_some() || credentials.has_key();
        let google = google.filter(|google| !(google.is_reluctant() && is_written));
        let reluctant = Reluctant::new(google.as_ref().is_some_and(Google::is_reluctant));
        let authorities = Authorities::read(&mut reader);
        if token.is_some() && credentials.has_key() {
            reader.problem(Some("token"), "`token` and `access_key_id` exclude each other");
        }
        if google.is_some() && is_written {
            let key = if token.is_some() { "token" } else { "access_key_id" };
            reader.problem(Some(key), format!("`{key}` excludes `credential_path` and disable_config_load = false"));
        }
        let origin = token.map(Origin::Secret).or_else(|| google.map(Origin::Google));
        let place = place::bucket_url(&mut reader, &bucket, Some(written), REGION, false);
        let config = place.map(|place| {
            warn_if_clear(settings, &place, origin.is_some());
            BucketConfig {
                url: place.as_str().trim_end_matches('/').to_owned(),
                prefix: keys::prefix_of(&root),
                region: REGION.to_owned(),
                request_payer: false,
                unpacks: true,
                confirming: Confirming::default(),
                credentials,
                tokens: origin.map(Tokens::new),
                authorities,
                reluctant,
            }
        });
        Ok(Box::new(S3::new(reader.finish_with(config)?)))
    }
}
