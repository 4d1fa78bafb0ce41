//! Logins at clouds as people have them: services that give tokens and keys, and stores that take the right ones only.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::kit::home::{Home, text};
use crate::kit::listener::Listener;
use crate::kit::mount::Mount;
use crate::kit::servers::{S3, find};

/// A store with one file, and everything that gives logins for it, numbered: the first is `secret-1`.
struct Cloud {
    listener: Listener,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// What was asked of those who give logins: first line, headers in small letters, body.
    asked: Mutex<Vec<String>>,
    given: AtomicUsize,
    /// The number of the login that the store takes.
    good: AtomicUsize,
    /// Whether the store takes requests without a login too.
    is_open: AtomicBool,
    /// Whether it calls requests without a login bad ones.
    is_blunt: AtomicBool,
}

impl Cloud {
    /// One whose store takes the login with this number.
    fn taking(good: usize) -> Self {
        let shared = Arc::new(Shared { good: good.into(), ..Shared::default() });
        let serving = Arc::clone(&shared);
        let listener = Listener::new(Arc::default(), move |client| {
            let serving = Arc::clone(&serving);
            // Whoever goes away in the middle is no failure of the test.
            thread::spawn(move || serving.serve(&client));
        });
        Self { listener, shared }
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.listener.port())
    }

    fn url(&self) -> String {
        format!("http://{}", self.host())
    }

    fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }

    fn google(&self, more: &str) -> String {
        format!("[sources.c]\ntype = \"gcs\"\nendpoint = \"{}\"\nbucket = \"b\"\n{more}\n", self.url())
    }

    fn azure(&self, more: &str) -> String {
        let loading = "disable_config_load = false";
        format!("[sources.c]\ntype = \"azblob\"\nendpoint = \"{}\"\ncontainer = \"c\"\n{loading}\n{more}\n", self.url())
    }

    fn amazon(&self, more: &str) -> String {
        format!("[sources.c]\ntype = \"s3\"\nendpoint = \"{}\"\nbucket = \"b\"\n{more}\n", self.url())
    }
}

impl Shared {
    fn serve(&self, mut client: &TcpStream) -> Option<()> {
        let mut lines = BufReader::new(client.try_clone().ok()?);
        let (mut head, mut length) = (String::new(), 0);
        lines.read_line(&mut head).ok()?;
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).ok().filter(|length| *length > 0)?;
            let (name, value) = line.trim().split_once(": ").unwrap_or_default();
            if name.is_empty() {
                break;
            }
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().ok()?;
            }
            head += &format!("{}: {value}\n", name.to_lowercase());
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body).ok()?;
        let body = String::from_utf8_lossy(&body);
        let (status, headers, answer) = self.answer(&head, &body);
        let head_only = if head.starts_with("HEAD") { "" } else { answer.as_str() };
        let length = answer.len();
        let head = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
        client.write_all(format!("{head}{head_only}").as_bytes()).ok()
    }

    fn answer(&self, head: &str, body: &str) -> (u16, String, String) {
        let target = head.split(' ').nth(1).unwrap_or_default();
        // Who asks a proxy names the host too.
        let target = target.strip_prefix("http://").map_or(target, |rest| &rest[rest.find('/').unwrap()..]);
        let path = target.split('?').next().unwrap_or_default();
        if let Some(answer) = self.login(path) {
            self.asked.lock().unwrap().push(format!("{head}{body}"));
            return (200, String::new(), answer);
        }
        let good = format!("secret-{}", self.good.load(Ordering::Relaxed));
        let is_taken = self.is_open.load(Ordering::Relaxed) && !head.contains("authorization: ");
        if self.is_blunt.load(Ordering::Relaxed) && !head.contains("authorization: ") {
            return (400, String::new(), "<Error><Code>UnsupportedAlgorithm</Code></Error>".into());
        }
        if !is_taken
            && !head.contains(&format!("authorization: Bearer {good}\n"))
            && !head.contains(&format!("Credential={good}/"))
        {
            return (401, String::new(), "<Error><Code>InvalidToken</Code></Error>".into());
        }
        let entry = "<Last-Modified>Sun, 06 Nov 1994 08:49:37 GMT</Last-Modified><Etag>\"e\"</Etag><Content-Length>5</Content-Length>";
        match path {
            "/b/" => {
                let entry =
                    |name: &str| format!("<Contents><Key>{name}</Key><Size>5</Size><ETag>\"e\"</ETag></Contents>");
                let entries = entry("file") + &entry("z-locked") + &entry("z-busy");
                (200, String::new(), format!("<ListBucketResult>{entries}</ListBucketResult>"))
            }
            "/c" => {
                let blob = format!("<Blob><Name>file</Name><Properties>{entry}</Properties></Blob>");
                (200, String::new(), format!("<EnumerationResults><Blobs>{blob}</Blobs></EnumerationResults>"))
            }
            "/b/z-locked" => (423, String::new(), String::new()),
            "/b/z-busy" => (503, String::new(), "<Error><Code>ServiceUnavailable</Code></Error>".into()),
            _ => (200, "ETag: \"e\"\r\nx-ms-blob-type: BlockBlob\r\n".into(), "bytes".into()),
        }
    }

    /// What somebody who gives logins answers at this address.
    fn login(&self, path: &str) -> Option<String> {
        let secret = || format!("secret-{}", self.given.fetch_add(1, Ordering::Relaxed) + 1);
        let token = |left: Value| json!({"access_token": secret(), "expires_in": left, "token_type": "Bearer"});
        let key = || {
            let [id, key, until] = ["AccessKeyId", "SecretAccessKey", "Expiration"];
            json!({id: secret(), key: "hunter2", "Token": "hunter2", until: "2126-01-01T00:00:00Z", "Code": "Success"})
        };
        let answer = match path {
            "/token" | "/tenant/oauth2/v2.0/token" => token(3599.into()),
            "/computeMetadata/v1/instance/service-accounts/default/token" => token(3599.into()),
            "/msi/token" => json!({"access_token": secret(), "expires_on": "4102444800", "token_type": "Bearer"}),
            "/metadata/identity/oauth2/token" => token("86399".into()),
            "/latest/api/token" => return Some("imds-token".into()),
            "/latest/meta-data/iam/security-credentials/" => return Some("role".into()),
            "/latest/meta-data/iam/security-credentials/role" | "/ecs" => key(),
            "/sso" => json!({"roleCredentials": {
                "accessKeyId": secret(), "secretAccessKey": "hunter2", "sessionToken": "hunter2", "expiration": 4_102_444_800_000_u64
            }}),
            _ => return None,
        };
        Some(answer.to_string())
    }
}

/// What `check` says; whatever that is, it shows no secret.
fn checked(home: &Home) -> (bool, String) {
    let output = home.kitovufs(["check", "-c", &text(home.config())]);
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("hunter2") && !said.contains("secret-"), "{said}");
    (output.status.success() && said.contains("retrieved and verified /file"), said)
}

fn assert_works(home: &Home) {
    let home_says = checked(home);
    assert!(home_says.0, "{}", home_says.1);
}

/// Fails unless this was asked once, with all of these words.
fn assert_asked_once(cloud: &Cloud, words: &[&str]) {
    let asked = cloud.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    for word in words {
        assert!(asked[0].contains(word), "{word:?} is not in {asked:?}");
    }
}

fn user_of(cloud: &Cloud) -> Value {
    let token_uri = format!("{}/token", cloud.url());
    json!({"type": "authorized_user", "client_id": "id", "client_secret": "hunter2", "refresh_token": "hunter2", "token_uri": token_uri})
}

#[test]
fn the_login_of_gcloud_is_found_where_it_leaves_it() {
    let cloud = Cloud::taking(1);
    let home = Home::of(&cloud.google("disable_config_load = false"));
    fs::create_dir_all(home.dir().join(".config/gcloud")).unwrap();
    let file = home.dir().join(".config/gcloud/application_default_credentials.json");
    fs::write(file, user_of(&cloud).to_string()).unwrap();
    assert_works(&home);
    assert_asked_once(
        &cloud,
        &["POST /token ", "grant_type=refresh_token&client_id=id&client_secret=hunter2&refresh_token=hunter2"],
    );
}

#[test]
fn a_variable_names_the_key_of_a_service_account() {
    let cloud = Cloud::taking(1);
    let made =
        std::process::Command::new(find("openssl", None)).args(["genpkey", "-algorithm", "RSA", "-quiet"]).output();
    let key = String::from_utf8(made.unwrap().stdout).unwrap();
    let token_uri = format!("{}/token", cloud.url());
    let account = json!({"type": "service_account", "client_email": "a@b", "private_key": key, "private_key_id": "1", "token_uri": token_uri});
    let home = Home::of(&cloud.google("disable_config_load = false"));
    let file = home.dir().join("key.json");
    fs::write(&file, account.to_string()).unwrap();
    assert_works(&home.with_env("GOOGLE_APPLICATION_CREDENTIALS", &text(file)));
    assert_asked_once(&cloud, &["grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion="]);
    let (_, assertion) = cloud.asked()[0].split_once("assertion=").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!((&claims["iss"], &claims["aud"]), (&"a@b".into(), &token_uri.into()));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
}

#[test]
fn a_machine_at_google_knows_its_own_login() {
    // A proxy gets no token of a machine to see, nor is it asked for one.
    let (cloud, proxy) = (Cloud::taking(0), Cloud::taking(1));
    let home = Home::of(&cloud.google("disable_config_load = false")).with_env("GCE_METADATA_HOST", &cloud.host());
    assert_works(&home.with_env("HTTP_PROXY", &proxy.url()));
    assert_asked_once(&cloud, &["metadata-flavor: Google"]);
    assert_eq!(proxy.asked().len(), 0);

    let nowhere = Home::of(&cloud.google("disable_config_load = false\ndisable_vm_metadata = true"));
    let (works, said) = checked(&nowhere);
    assert!(!works && said.contains("gcloud auth application-default login"), "{said}");
}

#[test]
fn a_token_that_the_store_refuses_is_renewed_once() {
    for (good, works, given) in [(2, true, 2), (0, false, 2)] {
        for azure in [false, true] {
            let cloud = Cloud::taking(good);
            let login = if azure { cloud.azure("") } else { cloud.google("credential_path = \"~/login.json\"") };
            let home = Home::of(&login)
                .with_env("IDENTITY_ENDPOINT", &format!("{}/msi/token", cloud.url()))
                .with_env("IDENTITY_HEADER", "hunter2");
            fs::write(home.dir().join("login.json"), user_of(&cloud).to_string()).unwrap();
            let said = checked(&home);
            assert_eq!((said.0, cloud.asked().len()), (works, given), "azure: {azure}: {}", said.1);
        }
    }
}

#[test]
fn an_application_logs_in_at_entra() {
    let wanted = [
        "POST /tenant/oauth2/v2.0/token ",
        "client_id=app",
        "grant_type=client_credentials",
        "storage.azure.com%2F.default",
    ];
    let cloud = Cloud::taking(1);
    let written = "tenant_id = \"tenant\"\nclient_id = \"app\"\nclient_secret = \"hunter2\"";
    assert_works(&Home::of(&cloud.azure(written)).with_env("AZURE_AUTHORITY_HOST", &cloud.url()));
    assert_asked_once(&cloud, &[&wanted[..], &["client_secret=hunter2"]].concat());

    let cloud = Cloud::taking(1);
    let home = Home::of(&cloud.azure("")).with_env("AZURE_AUTHORITY_HOST", &format!("{}/", cloud.url()));
    let home = home.with_env("AZURE_TENANT_ID", "tenant").with_env("AZURE_CLIENT_ID", "app");
    assert_works(&home.with_env("AZURE_CLIENT_SECRET", "hunter2"));
    assert_asked_once(&cloud, &[&wanted[..], &["client_secret=hunter2"]].concat());

    let cloud = Cloud::taking(1);
    let home = Home::of(&cloud.azure("")).with_env("AZURE_AUTHORITY_HOST", &cloud.url());
    fs::write(home.dir().join("workload"), "hunter2\n").unwrap();
    let file = text(home.dir().join("workload"));
    let home = home.with_env("AZURE_TENANT_ID", "tenant").with_env("AZURE_CLIENT_ID", "app");
    assert_works(&home.with_env("AZURE_FEDERATED_TOKEN_FILE", &file));
    let bearer = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
    assert_asked_once(&cloud, &[&wanted[..], &["client_assertion=hunter2&", bearer]].concat());
}

#[test]
fn machines_and_applications_at_azure_know_their_own_login() {
    let cloud = Cloud::taking(1);
    let home =
        Home::of(&cloud.azure("client_id = \"app\"")).with_env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &cloud.url());
    assert_works(&home);
    let query = "?api-version=2018-02-01&resource=https%3A%2F%2Fstorage.azure.com%2F&client_id=app";
    assert_asked_once(&cloud, &[query, "metadata: true"]);

    let cloud = Cloud::taking(1);
    let home = Home::of(&cloud.azure("")).with_env("IDENTITY_ENDPOINT", &format!("{}/msi/token", cloud.url()));
    assert_works(&home.with_env("IDENTITY_HEADER", "hunter2"));
    let query = "/msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fstorage.azure.com%2F ";
    assert_asked_once(&cloud, &[query, "x-identity-header: hunter2"]);
}

#[test]
fn the_login_of_the_azure_cli_is_taken_where_no_machine_answers() {
    let cloud = Cloud::taking(7);
    let home = Home::of(&cloud.azure("")).with_env("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1");
    let path = std::env::var("PATH").unwrap();
    let home = home.with_env("PATH", &path);
    let (works, said) = checked(&home);
    assert!(!works && said.contains("az login"), "{said}");

    let cli = home.dir().join("az");
    fs::write(&cli, "#!/bin/sh\ntest \"$*\" = \"account get-access-token --resource https://storage.azure.com/ --query accessToken --output tsv\" && echo secret-7\n").unwrap();
    fs::set_permissions(&cli, fs::Permissions::from_mode(0o755)).unwrap();
    let dir = text(home.dir());
    assert_works(&home.with_env("PATH", &format!("{dir}:{path}")));
    assert_eq!(cloud.asked().len(), 0);
}

#[test]
fn machines_and_containers_at_amazon_know_their_own_key() {
    let cloud = Cloud::taking(1);
    let home = Home::of(&cloud.amazon("disable_config_load = false"));
    assert_works(&home.with_env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &cloud.url()));
    let asked = cloud.asked();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(
        asked[0].starts_with("PUT /latest/api/token ") && asked[2].contains("x-aws-ec2-metadata-token: imds-token"),
        "{asked:?}"
    );

    let cloud = Cloud::taking(1);
    let home = Home::of(&cloud.amazon("disable_config_load = false")).with_env("AWS_EC2_METADATA_DISABLED", "true");
    let home = home.with_env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/ecs", cloud.url()));
    assert_works(&home.with_env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hunter2"));
    assert_asked_once(&cloud, &["GET /ecs ", "authorization: hunter2"]);
}

#[test]
fn a_key_that_the_store_refuses_is_renewed_once() {
    for (good, works) in [(2, true), (0, false)] {
        let cloud = Cloud::taking(good);
        let home = Home::of(&cloud.amazon("disable_config_load = false")).with_env("AWS_EC2_METADATA_DISABLED", "true");
        let home = home.with_env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/ecs", cloud.url()));
        let said = checked(&home);
        assert_eq!((said.0, cloud.asked().len()), (works, 2), "{}", said.1);
    }
}

#[test]
fn profiles_of_amazon_may_name_a_program_or_a_single_sign_on() {
    let cloud = Cloud::taking(1);
    let home = Home::of(&cloud.amazon("profile = \"sso\"")).with_env("AWS_EC2_METADATA_DISABLED", "true");
    let sso = "sso_start_url = https://x.awsapps.com/start\nsso_region = eu-west-1\nsso_account_id = 1\nsso_role_name = reader";
    let program = format!("{}/program", text(home.dir()));
    fs::create_dir_all(home.dir().join(".aws/sso/cache")).unwrap();
    let profiles = format!("[profile sso]\n{sso}\n[profile program]\ncredential_process = {program} key\n");
    fs::write(home.dir().join(".aws/config"), profiles).unwrap();
    // The name is the SHA-1 of the start URL.
    let cached = home.dir().join(".aws/sso/cache/3947de8b16688092197fa616c34e01335f21d256.json");
    fs::write(cached, json!({"accessToken": "hunter2", "expiresAt": "2126-01-01T00:00:00Z"}).to_string()).unwrap();
    let home = home.with_env("AWS_SSO_ENDPOINT", &format!("{}/sso", cloud.url()));
    assert_works(&home);
    assert_asked_once(&cloud, &["GET /sso?role_name=reader&account_id=1 ", "x-amz-sso_bearer_token: hunter2"]);

    let key = json!({"Version": 1, "AccessKeyId": "secret-1", "SecretAccessKey": "hunter2"});
    fs::write(&program, format!("#!/bin/sh\ntest \"$1\" = key && echo '{key}'\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    home.configure(&cloud.amazon("profile = \"program\""));
    assert_works(&home);
}

/// Homes in which the login that each store takes is found where its tools look, and which ask it only if they must.
fn reluctant(cloud: &Cloud) -> [Home; 3] {
    let if_refused = "load_if_refused = true";
    let google = Home::of(&cloud.google(if_refused));
    fs::create_dir_all(google.dir().join(".config/gcloud")).unwrap();
    let file = google.dir().join(".config/gcloud/application_default_credentials.json");
    fs::write(file, user_of(cloud).to_string()).unwrap();
    let azure = Home::of(&cloud.azure("").replace("disable_config_load = false", if_refused))
        .with_env("IDENTITY_ENDPOINT", &format!("{}/msi/token", cloud.url()))
        .with_env("IDENTITY_HEADER", "hunter2");
    let amazon = Home::of(&cloud.amazon(if_refused)).with_env("AWS_EC2_METADATA_DISABLED", "true");
    [google, azure, amazon.with_env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/ecs", cloud.url()))]
}

#[test]
fn a_login_is_looked_for_once_a_request_without_one_was_refused() {
    for number in 0..3 {
        let cloud = Cloud::taking(1);
        assert_works(&reluctant(&cloud)[number]);
        assert_eq!(cloud.asked().len(), 1, "{number}");

        let cloud = Cloud::taking(1);
        cloud.shared.is_open.store(true, Ordering::Relaxed);
        assert_works(&reluctant(&cloud)[number]);
        assert_eq!(cloud.asked().len(), 0, "{number}: the store is open to everybody");

        let cloud = Cloud::taking(1);
        cloud.shared.is_blunt.store(true, Ordering::Relaxed);
        assert_works(&reluctant(&cloud)[number]);
        assert_eq!(cloud.asked().len(), 1, "{number}: the store calls a request without a login a bad one");
    }
}

#[test]
fn a_store_that_calls_requests_without_a_key_bad_ones_is_asked_with_the_key_of_the_environment() {
    let dir = kit::reaper::reachable();
    fs::create_dir(dir.path().join("b")).unwrap();
    fs::write(dir.path().join("b/file"), "bytes").unwrap();
    let server = S3::rclone(dir.path());
    let url = format!("s3://b?endpoint={}", server.url());
    let home = Home::of("").with_env("AWS_EC2_METADATA_DISABLED", "true");
    let said = home.kitovufs(["mount", "--strict", &url, &text(home.mountpoint())]);
    let told = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && told.contains("credentials not accepted"), "{told}");
    assert!(told.contains("UnsupportedAlgorithm") && told.contains("aws configure"), "{told}");

    let home = home.with_env("AWS_ACCESS_KEY_ID", server.access_key());
    let home = home.with_env("AWS_SECRET_ACCESS_KEY", server.secret_key());
    let mountpoint = text(home.mountpoint());
    let mounted = home.kitovufs(["mount", "--strict", &url, &mountpoint]);
    let read = fs::read(home.mountpoint().join("file"));
    let unmounted = home.kitovufs(["unmount", &mountpoint]);
    assert!(mounted.status.success() && unmounted.status.success(), "{mounted:?} {unmounted:?}");
    assert_eq!(read.unwrap(), b"bytes");

    home.configure(&format!("[sources.c]\ntype = \"s3\"\nendpoint = \"{}\"\nbucket = \"b\"\n", server.url()));
    let (works, said) = checked(&home);
    assert!(!works && said.contains("no login is configured: `access_key_id`"), "{said}");
}

#[test]
fn who_has_no_login_is_told_of_the_refusal_and_where_one_is_looked_for() {
    let cloud = Cloud::taking(1);
    let if_refused = "load_if_refused = true";
    for (config, advice) in [
        (cloud.google(&format!("{if_refused}\ndisable_vm_metadata = true")), "gcloud auth application-default login"),
        (cloud.azure("").replace("disable_config_load = false", if_refused), "az login"),
        (cloud.amazon(if_refused), "aws configure"),
    ] {
        let home = Home::of(&config).with_env("AWS_EC2_METADATA_DISABLED", "true");
        let home = home.with_env("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1");
        let (works, said) = checked(&home);
        assert!(!works && said.contains(advice) && said.contains("401 Unauthorized"), "{advice}: {said}");
    }
}

#[test]
fn a_bucket_that_a_command_line_names_finds_the_login_of_the_tools() {
    let cloud = Cloud::taking(1);
    let home = Home::of("").with_env("AWS_EC2_METADATA_DISABLED", "true");
    let home = home.with_env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/ecs", cloud.url()));
    let (url, mountpoint) = (format!("s3://b?endpoint={}", cloud.url()), text(home.mountpoint()));
    let mounted = home.kitovufs(["mount", &url, &mountpoint]);
    let read = fs::read(home.mountpoint().join("file"));
    let unmounted = home.kitovufs(["unmount", &mountpoint]);
    assert!(mounted.status.success() && unmounted.status.success(), "{mounted:?} {unmounted:?}");
    assert_eq!(read.unwrap(), b"bytes");
    assert_eq!(cloud.asked().len(), 1);
}

#[test]
fn a_file_that_is_busy_or_locked_at_the_source_says_nothing_of_the_others() {
    let cloud = Cloud::taking(1);
    cloud.shared.is_open.store(true, Ordering::Relaxed);
    let mount = Mount::of(&cloud.amazon("timeout = \"5s\""));
    assert_eq!(fs::read(mount.path("c/file")).unwrap(), b"bytes");
    for (name, told) in [("z-locked", "another program has locked the file"), ("z-busy", "503 Service Unavailable")] {
        for _ in 0..2 {
            fs::read(mount.path("c").join(name)).unwrap_err();
            let source = mount.status()["sources"]["c"].clone();
            assert_eq!(source["state"], "ok", "{name}: {source:#}");
            assert!(source["last_error"].as_str().unwrap().contains(told), "{name}: {source:#}");
        }
        assert_eq!(fs::read(mount.path("c/file")).unwrap(), b"bytes");
    }
}

#[test]
fn a_refused_login_shows_nothing_that_may_be_anothers() {
    let dir = kit::reaper::reachable();
    fs::create_dir(dir.path().join("b")).unwrap();
    fs::write(dir.path().join("b/file"), "bytes").unwrap();
    let mut server = S3::rclone(dir.path());
    let (right, wrong) = ([server.access_key(), server.secret_key()].map(str::to_owned), ["another", "wrong"]);
    let place = format!("type = \"s3\"\nendpoint = \"{}\"\nbucket = \"b\"\nfresh_for = \"0s\"\n", server.url());
    // The account's name in the configuration, and elsewhere.
    for (named, id) in [(true, format!("\"{}\"", right[0])), (false, "{ file = \"id\" }".to_owned())] {
        let key = "secret_access_key = { file = \"key\" }";
        let home = Home::of(&format!("[sources.c]\n{place}access_key_id = {id}\n{key}\n"));
        let dir = home.dir().to_owned();
        let kept = |[id, key]: [&str; 2]| {
            fs::write(dir.join("id"), id).unwrap();
            fs::write(dir.join("key"), key).unwrap();
        };
        kept(right.each_ref().map(String::as_str));
        let mut mount = home.mount();
        assert_eq!(fs::read(mount.path("c/file")).unwrap(), b"bytes");
        mount.unmount();

        kept(wrong);
        mount.remount();
        let (listed, read) = (fs::read_dir(mount.path("c")).map(drop), fs::read(mount.path("c/file")));
        assert_eq!(mount.status()["sources"]["c"]["state"], "unauthorized");
        assert_eq!((listed.is_ok(), read.is_ok()), (named, named), "{listed:?} {read:?}");
        if let Err(e) = &read {
            assert_eq!(e.kind(), std::io::ErrorKind::PermissionDenied);
        }
        mount.unmount();

        // Nobody refuses anything while the server is away.
        server.stop();
        mount.remount();
        assert_eq!(fs::read(mount.path("c/file")).unwrap(), b"bytes", "named: {named}");
        server.start();
    }
}
