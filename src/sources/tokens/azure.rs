//! `Azure`: tokens of Entra ID for Azure Storage: of an application, of a workload's or a machine's identity, or of the Azure CLI.
//! It knows no container.

use std::time::Duration;

use percent_encoding::utf8_percent_encode;
use reqwest::RequestBuilder;

use super::grant::{Grant, error, form};
use super::{direct, secret_variable, variable, written};
use crate::error::{Error, ErrorKind, Result};
use crate::revealed::{Revealed, conceal};
use crate::secret::Secret;
use crate::source::settings::Reader;
use crate::sources::http::COMPONENT;
use crate::sources::reluctant::Reluctant;

/// What the tokens are for.
const RESOURCE: &str = "https://storage.azure.com/";
/// The same, in the words of the second version of Entra's protocol.
const SCOPE: &str = "https://storage.azure.com/.default";
const AUTHORITY: &str = "https://login.microsoftonline.com";
const METADATA: &str = "http://169.254.169.254";
/// How long a machine's metadata service may take; where there is none, nobody answers.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);
/// Asks the Azure CLI, which knows who has logged in by `az login`.
const CLI: &str = "az account get-access-token --resource https://storage.azure.com/ --query accessToken --output tsv";
/// The variables that hold secrets.
pub(in crate::sources) const SECRET_VARIABLES: [&str; 2] = ["AZURE_CLIENT_SECRET", "IDENTITY_HEADER"];

/// Where the login is.
#[derive(Debug, Clone)]
pub(in crate::sources) struct Azure {
    tenant: Option<String>,
    client: Option<String>,
    secret: Option<Secret>,
    /// Look where Microsoft's tools do.
    loads: bool,
    /// Look only once the store has refused a request without a token.
    is_reluctant: bool,
}

impl Azure {
    /// Reads `tenant_id`, `client_id`, `client_secret` and `disable_config_load`; none where nothing says that there is a login.
    pub(in crate::sources) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (tenant, client) = (reader.string("tenant_id"), reader.string("client_id"));
        let secret = reader.secret("client_secret");
        let is_told_to_load = reader.boolean("disable_config_load") == Some(false);
        let is_reluctant = Reluctant::read(reader) && !is_told_to_load && secret.is_none();
        let loads = is_told_to_load || is_reluctant;
        if secret.is_some() && (tenant.is_none() || client.is_none()) {
            reader.problem(Some("client_secret"), "`client_secret` needs `tenant_id` and `client_id`");
        } else if secret.is_none() && !loads && (tenant.is_some() || client.is_some()) {
            let key = if client.is_some() { "client_id" } else { "tenant_id" };
            reader.problem(Some(key), format!("`{key}` needs `client_secret`, or disable_config_load = false"));
        }
        (loads || secret.is_some()).then_some(Self { tenant, client, secret, loads, is_reluctant })
    }

    /// Whether requests carry no token before one without it was refused.
    pub(in crate::sources) fn is_reluctant(&self) -> bool {
        self.is_reluctant
    }

    /// Asks for a token, of the first origin that there is, in the order of Microsoft's tools.
    pub(super) async fn grant(&self, client: &reqwest::Client) -> Result<Grant> {
        if let Some(request) = self.of_application(client).await? {
            return Grant::ask(
                request,
                "Entra ID",
                "are `tenant_id`, `client_id` and the secret right, and is that still good?",
            )
            .await;
        }
        let (machine, who) = self.of_machine(&direct()?);
        let advice = "has this machine an identity, and is it `client_id`?";
        let refused = match Grant::ask(machine, who, advice).await {
            Err(e) if e.kind() == ErrorKind::Unreachable => e,
            granted => return granted,
        };
        match written(Secret::Command(CLI.to_owned())).await {
            Ok(grant) => Ok(grant),
            Err(cli) => {
                tracing::debug!("{refused}; {cli}");
                let why = "there is no login for Azure here: az login makes one (no identity of this machine answers, and `az` gives no token)";
                Err(error(ErrorKind::Unauthenticated, why))
            }
        }
    }

    /// The request of an application that has a secret, or a workload that has a token of its own cluster.
    async fn of_application(&self, client: &reqwest::Client) -> Result<Option<RequestBuilder>> {
        let loaded = |name: &str| self.loads.then(|| variable(name)).flatten();
        let tenant = self.tenant.clone().or_else(|| loaded("AZURE_TENANT_ID"));
        let id = self.client.clone().or_else(|| loaded("AZURE_CLIENT_ID"));
        let (Some(tenant), Some(id)) = (tenant, id) else { return Ok(None) };
        let (secret, file) = (self.secret.clone(), loaded("AZURE_FEDERATED_TOKEN_FILE"));
        let loads = self.loads;
        let proof = tokio::task::spawn_blocking(move || proof(secret, loads, file)).await;
        let proof = proof.map_err(|lost| error(ErrorKind::Other, "the login was not read").caused_by(lost))??;
        let Some((name, proof)) = proof else { return Ok(None) };
        let mut parts = vec![
            ("client_id", id.as_str()),
            ("grant_type", "client_credentials"),
            ("scope", SCOPE),
            (name, proof.expose()),
        ];
        if name == "client_assertion" {
            parts.push(("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"));
        }
        let authority = loaded("AZURE_AUTHORITY_HOST").unwrap_or_else(|| AUTHORITY.to_owned());
        let tenant = utf8_percent_encode(&tenant, COMPONENT);
        let request = client.post(format!("{}/{tenant}/oauth2/v2.0/token", authority.trim_end_matches('/')));
        Ok(Some(request.header("Content-Type", "application/x-www-form-urlencoded").body(form(parts))))
    }

    /// The request for the token of this machine's identity, and who is asked: what runs applications (App Service, Container Apps), or
    /// the metadata service of a virtual machine.
    fn of_machine(&self, client: &reqwest::Client) -> (RequestBuilder, &'static str) {
        let id = self.client.clone().or_else(|| variable("AZURE_CLIENT_ID"));
        let query = |version| {
            let id = id.as_deref().map(|id| ("client_id", id));
            form([("api-version", version), ("resource", RESOURCE)].into_iter().chain(id))
        };
        if let (Some(endpoint), Some(key)) = (variable("IDENTITY_ENDPOINT"), secret_variable("IDENTITY_HEADER")) {
            let request = client.get(format!("{endpoint}?{}", query("2019-08-01")));
            return (request.header("X-IDENTITY-HEADER", key.expose()), "the identity of this application");
        }
        let host = variable("AZURE_POD_IDENTITY_AUTHORITY_HOST").unwrap_or_else(|| METADATA.to_owned());
        let url = format!("{}/metadata/identity/oauth2/token?{}", host.trim_end_matches('/'), query("2018-02-01"));
        (client.get(url).header("Metadata", "true").timeout(METADATA_TIMEOUT), "the metadata service")
    }
}

/// What proves who asks, and the name under which it is sent.
fn proof(secret: Option<Secret>, loads: bool, file: Option<String>) -> Result<Option<(&'static str, Revealed)>, Error> {
    if let Some(secret) = secret {
        return Ok(Some(("client_secret", secret.reveal()?)));
    }
    if let Some(secret) = loads.then(|| secret_variable("AZURE_CLIENT_SECRET")).flatten() {
        return Ok(Some(("client_secret", secret)));
    }
    let Some(file) = file else { return Ok(None) };
    let text = std::fs::read_to_string(&file);
    let text = text.map_err(|e| error(ErrorKind::InvalidConfig, format!("cannot read {file}")).caused_by(e))?;
    let token = Revealed::new(text.trim());
    conceal(&token);
    Ok(Some(("client_assertion", token)))
}
