//! `Authorities`: the certificates that a source trusts besides those that the system does. It opens no connection.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;

use crate::path::expand_home;
use crate::source::settings::Reader;

/// Certificates of authorities, or of servers that have signed their own.
#[derive(Debug, Clone, Default)]
pub(super) struct Authorities(Vec<CertificateDer<'static>>);

impl Authorities {
    /// Reads `ca_file`, a file with certificates in PEM; none if the key is not there.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const KEY: &str = "ca_file";
        let Some(written) = reader.string(KEY) else { return Self::default() };
        let path = expand_home(&written);
        if !path.is_absolute() {
            reader.problem(Some(KEY), format!("`{KEY}` must be absolute or begin with ~/, not {written:?}"));
            return Self::default();
        }
        let shown = path.display();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) => {
                reader.absence(KEY, format!("`{KEY}`: cannot read {shown}: {e}"));
                return Self::default();
            }
        };
        match CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>() {
            Ok(certificates) if !certificates.is_empty() => Self(certificates),
            Ok(_) => {
                let form = "it begins with -----BEGIN CERTIFICATE-----";
                reader.problem(Some(KEY), format!("`{KEY}`: there is no certificate in {shown}; {form}"));
                Self::default()
            }
            Err(e) => {
                reader.problem(Some(KEY), format!("`{KEY}`: {shown} cannot be read as certificates in PEM: {e}"));
                Self::default()
            }
        }
    }

    /// Whether only those are trusted that the system trusts.
    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// How TLS is spoken with a server that shows a certificate of these authorities, of the system's, or one that is among these itself.
    ///
    /// # Errors
    /// A certificate cannot be one of an authority.
    pub(super) fn client_config(&self) -> Result<ClientConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let by_authorities = Verifier::new_with_extra_roots(self.0.iter().cloned(), provider.clone())?;
        let verifier = Trusting { by_authorities, own: self.0.clone() };
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
    }
}

/// Verifies a server's certificate by authorities, or because it is one of our own.
#[derive(Debug)]
struct Trusting {
    by_authorities: Verifier,
    own: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.by_authorities.verify_server_cert(shown, others, name, stapled, now) {
            // Such as a self-signed one that says of itself that it is an authority's, as `openssl req -x509` makes them: webpki takes none of
            // those for a server's. Dates are looked at before that, the name is not.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_))) if self.own.contains(shown) => {
                verify_server_name(&ParsedCertificate::try_from(shown)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by_authorities.verify_tls12_signature(message, shown, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.by_authorities.verify_tls13_signature(message, shown, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_authorities.supported_verify_schemes()
    }
}

/// How to trust a certificate; for people.
pub(super) const TRUST: &str = "if it is the right one, name a file with it, or with its authority's, as ca_file (openssl s_client -showcerts shows them)";

/// What is wrong with a server's certificate, and what to do; for people.
pub(super) fn untrusted(why: &CertificateError) -> String {
    use CertificateError::{Expired, ExpiredContext, NotValidForNameContext, NotValidYet, NotValidYetContext};
    match why {
        NotValidForNameContext { expected, presented } => {
            let presented: Vec<_> = presented.iter().take(3).map(|name| name.escape_default().to_string()).collect();
            let expected = expected.to_str();
            format!("the server's certificate is for {}, and not for {expected}; check the host's name", presented.join(", "))
        }
        Expired | ExpiredContext { .. } => {
            "the server's certificate is not trusted: it has expired; its operator must renew it, unless this computer's clock is wrong".into()
        }
        NotValidYet | NotValidYetContext { .. } => {
            "the server's certificate is not trusted: it is not valid yet; is this computer's clock right?".into()
        }
        _ => format!("the server's certificate is not trusted: no authority known here has signed it; {TRUST}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Settings;

    /// The number of certificates that are read of a file with this text, or the problem with it.
    fn read(text: Option<&str>) -> Result<usize, (String, bool)> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("ca.pem");
        if let Some(text) = text {
            std::fs::write(&file, text).expect("a file");
        }
        let settings = Settings::of("s", toml::from_str(&format!("ca_file = {file:?}")).expect("a table"));
        let mut reader = settings.reader();
        let authorities = Authorities::read(&mut reader);
        match reader.finish() {
            Ok(()) => Ok(authorities.0.len()),
            Err(problems) => Err((problems[0].message.clone(), problems[0].may_pass)),
        }
    }

    #[test]
    fn a_file_has_certificates_or_a_problem() {
        let one = "-----BEGIN CERTIFICATE-----\nMAAB\n-----END CERTIFICATE-----\n";
        assert_eq!(read(Some(&format!("Of the lab:\n{one}{one}"))), Ok(2));
        let (missing, may_pass) = read(None).expect_err("it is not there");
        assert!(missing.contains("cannot read") && may_pass, "{missing}");
        let (empty, may_pass) = read(Some("a key")).expect_err("there is none in it");
        assert!(empty.contains("no certificate") && !may_pass, "{empty}");
        let (broken, may_pass) = read(Some("-----BEGIN CERTIFICATE-----\nMAAB\n")).expect_err("it is cut short");
        assert!(broken.contains("PEM") && !may_pass, "{broken}");
    }
}
