use super::*;

fn table(text: &str) -> BTreeMap<String, Value> {
    text.parse::<toml::Table>().expect("the test's TOML is right").into_iter().collect()
}

fn remote(url: &str, variables: &[&str]) -> UrlSource {
    parse(url, &|name| variables.contains(&name)).expect("the URL is right")
}

fn refusal(url: &str) -> String {
    parse(url, &|_| true).expect_err("the URL is refused")
}

#[test]
fn webdav_urls_become_http_endpoints() {
    for (url, endpoint) in [
        ("webdav://Host.example/", "http://host.example"),
        ("dav://host.example:80", "http://host.example"),
        ("webdavs://host.example:8443", "https://host.example:8443"),
        ("DAVS://[::1]:1", "https://[::1]:1"),
    ] {
        let remote = remote(url, &[]);
        assert_eq!(remote.values, table(&format!("endpoint = '{endpoint}'")), "{url}");
        assert_eq!(remote.type_name, "webdav");
    }
}

#[test]
fn http_urls_stay_what_they_are() {
    for (url, kept) in [
        ("HTTP://Host.example:8080/a%20b/", "http://host.example:8080/a%20b/"),
        ("https://host.example/file.iso", "https://host.example/file.iso"),
        ("https://anna@h", "https://h/"),
    ] {
        let remote = remote(url, &[]);
        assert_eq!((remote.values["url"].as_str(), remote.type_name), (Some(kept), "http"), "{url}");
    }
    assert_eq!(remote("https://anna@h", &["KITOVUFS_PASSWORD"]).values.len(), 3);
    assert!(refusal("https://h/x?token=1").contains("%3F"));
}

#[test]
fn ftp_urls_name_host_port_root_and_user() {
    let expected = "host = 'h'\nport = 2121\nroot = '/a b'\nusername = 'anna'\ntls = true";
    assert_eq!(remote("ftps://anna@h:2121/a%20b/", &[]).values, table(expected));
    assert_eq!(remote("ftp://[::1]", &[]).values, table("host = '::1'"));
}

#[test]
fn path_and_user_of_a_webdav_url_are_decoded() {
    let expected = "endpoint = 'https://h'\nroot = '/a b/ü%'\nusername = 'anna@x'";
    assert_eq!(remote("webdavs://anna%40x@h/a%20b/ü%25/", &[]).values, table(expected));
}

#[test]
fn the_password_of_a_webdav_user_comes_from_the_environment() {
    let values = remote("webdav://anna@h", &["KITOVUFS_PASSWORD"]).values;
    assert_eq!(values["password"], Value::Table("env = 'KITOVUFS_PASSWORD'".parse().expect("TOML")));
    assert!(!remote("webdav://h", &["KITOVUFS_PASSWORD"]).values.contains_key("password"), "nobody's password");
}

#[test]
fn sftp_urls_name_host_user_port_and_directory() {
    let sftp = remote("sftp://anna@Host.example:2222/srv/a%20b/", &["KITOVUFS_PASSWORD"]);
    let expected = "host = 'host.example'\nport = 2222\nroot = '/srv/a b'\nusername = 'anna'\npassword = { env = 'KITOVUFS_PASSWORD' }";
    assert_eq!((sftp.type_name, sftp.values), ("sftp", table(&expected.replace("host.example", "Host.example"))));
    assert_eq!(remote("sftp://[::1]/~/docs", &[]).values, table("host = '::1'\nroot = '/~/docs'"));
    assert_eq!(remote("SFTP://h/", &[]).values, table("host = 'h'"));
    assert!(refusal("sftp:///x").contains("no host"));
    assert!(refusal("sftp://h/x?y").contains("%3F"));
    assert!(!refusal("sftp://anna:hunter2@h").contains("hunter2"));
}

#[test]
fn a_secret_in_a_url_is_refused_and_not_repeated() {
    for url in [
        "webdavs://anna:hunter2@h/x",
        "s3://anna:hunter2@b",
        "s3://b?secret_access_key=hunter2",
        "s3://b?endpoint=https%3A%2F%2Fanna:hunter2@h",
    ] {
        let message = refusal(url);
        assert!(message.contains("`ps`") && message.contains("environment variable"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    assert!(refusal("webdavs://anna:hunter2@h/x").contains("KITOVUFS_PASSWORD"));
    for broken in ["webdav://anna:hunter2/x@h", "anna:hunter2@h://", "anna:hunter2@h/x"] {
        assert!(!refusal(broken).contains("hunter2"), "{broken}");
    }
}

#[test]
fn s3_urls_name_bucket_prefix_and_server() {
    let s3 = remote("s3://My_bucket/a%20b/?endpoint=http://localhost:9000&region=eu-1", &[]);
    let expected = "bucket = 'My_bucket'\nroot = '/a b'\nendpoint = 'http://localhost:9000'\nregion = 'eu-1'\nload_if_refused = true";
    assert_eq!(s3.values, table(expected));
    assert_eq!((s3.type_name, &*s3.name), ("s3", "My_bucket"));
}

#[test]
fn s3_credentials_come_from_the_usual_variables_if_set() {
    let expected = "bucket = 'b'\naccess_key_id = { env = 'AWS_ACCESS_KEY_ID' }\nsecret_access_key = { env = 'AWS_SECRET_ACCESS_KEY' }";
    assert_eq!(remote("s3://b", &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]).values, table(expected));
    assert!(remote("s3://b", &["AWS_SESSION_TOKEN"]).values.contains_key("session_token"));
    assert!(refusal("s3://b?regoin=x").contains("did you mean `region`?"));
    assert!(refusal("s3:///x").contains("bucket"));
}

#[test]
fn azblob_urls_name_account_container_and_prefix() {
    let expected = "account_name = 'acc'\ncontainer = 'c'\nroot = '/a b'\naccount_key = { env = 'AZURE_STORAGE_KEY' }";
    let variables = ["AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"];
    assert_eq!(remote("azblob://acc/c/a%20b/", &variables).values, table(expected));
    assert!(remote("azblob://acc/c", &["AZURE_STORAGE_SAS_TOKEN"]).values.contains_key("sas_token"));
    let nothing = table("account_name = 'acc'\ncontainer = 'c'\nload_if_refused = true");
    assert_eq!(remote("azblob://acc/c", &[]).values, nothing);
    assert!(refusal("azblob://acc").contains("azblob://account/container"));
    let message = refusal("azblob://acc/c?sig=hunter2");
    assert!(message.contains("AZURE_STORAGE_KEY") && !message.contains("hunter2"), "{message}");
}

#[test]
fn gs_urls_name_bucket_and_prefix() {
    let expected = "bucket = 'b_c'\nroot = '/a b'\ntoken = { env = 'GOOGLE_OAUTH_ACCESS_TOKEN' }";
    assert_eq!(remote("gs://b_c/a%20b/", &["GOOGLE_OAUTH_ACCESS_TOKEN"]).values, table(expected));
    assert_eq!(remote("gs://b", &[]).values, table("bucket = 'b'\nload_if_refused = true"));
    let found = remote("gs://b", &["GOOGLE_APPLICATION_CREDENTIALS"]).values;
    assert_eq!(found, table("bucket = 'b'\ndisable_config_load = false"));
    assert!(!refusal("gs://b?token=hunter2").contains("hunter2"));
}

#[test]
fn moodle_urls_name_the_site_and_who_asks() {
    let expected = "url = 'https://moodle.example/m/'\ntoken = { env = 'KITOVUFS_PASSWORD' }";
    let moodle = remote("moodle://moodle.example/m/", &[]);
    assert_eq!((moodle.type_name, &*moodle.name), ("moodle", "moodle.example"));
    assert_eq!(moodle.values, table(expected));
    let expected = "url = 'http://h:8080/'\nusername = 'anna@x'\npassword = { env = 'KITOVUFS_PASSWORD' }";
    assert_eq!(remote("moodle+http://anna%40x@h:8080", &[]).values, table(expected));
    assert!(!refusal("moodle://anna:hunter2@h").contains("hunter2"));
    assert!(!refusal("moodle://h?token=hunter2").contains("hunter2"));
}

#[test]
fn directories_are_local_sources() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_str().expect("a UTF-8 path").to_owned();
    for url in [path.clone(), format!("{path}/"), format!("file://{path}"), format!("file://localhost{path}")] {
        let local = remote(&url, &[]);
        assert_eq!(local.values, table(&format!("path = '{path}'")), "{url}");
        assert_eq!(local.type_name, "local");
    }
    assert_eq!(remote("/", &[]).name, "local");
    assert!(refusal("/nonexistent").contains("no directory \"/nonexistent\""));
    assert!(refusal("relative/dir").contains("absolute directory"));
    assert!(refusal("file://server/x").contains("file:///path"));
}

#[test]
fn an_unknown_scheme_lists_the_known_ones() {
    for url in ["gopher://h/x", "nothing://h/x"] {
        let message = refusal(url);
        for known in [
            "webdavs://",
            "webdav://",
            "https://",
            "http://",
            "ftps://",
            "ftp://",
            "sftp://",
            "s3://",
            "smb://",
            "moodle://",
            "file://",
        ] {
            assert!(message.contains(known), "{message}");
        }
    }
    assert!(refusal("webdva://h").contains("did you mean webdav://?"));
}

#[test]
fn smb_urls_name_domain_user_server_share_and_folder() {
    let written = "smb://EXAMPLE;anna%40x@Files.example:4450/my%20share/a/b%20c/";
    let expected = "hostname = 'Files.example'\nport = 4450\nshare = 'my share'\nroot = '/a/b c'\n\
         domain = 'EXAMPLE'\nusername = 'anna@x'\npassword = { env = 'KITOVUFS_PASSWORD' }";
    let smb = remote(written, &[]);
    assert_eq!(smb.values, table(expected));
    assert_eq!((smb.type_name, &*smb.name), ("smb", "my share"));
    let guest = "hostname = '::1'\nshare = 's'\nguest = true";
    assert_eq!(remote("smb://[::1]/s", &[]).values, table(guest));
    for no_share in ["smb://h", "smb://h/"] {
        assert!(refusal(no_share).contains("smb://host/share/path"), "{no_share}");
    }
    assert!(!refusal("smb://anna:hunter2@h/s").contains("hunter2"));
}

#[test]
fn fuzz_url() {
    let corpus = crate::fuzz::Corpus::of("url");
    bolero::check!().with_type::<crate::fuzz::Input>().for_each(|input| {
        let bytes = corpus.bytes(input);
        drop(parse(&String::from_utf8_lossy(&bytes), &|name| name.len() % 2 == 0));
    });
}
