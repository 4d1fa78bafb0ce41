//! Who is let in by whom: ways to log in to an SSH server, and which servers are trusted.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use kitovufs::error::{Error, ErrorKind};
use russh::server::{Auth, Msg, Response, Session};
use russh::{Channel, ChannelId};

use crate::kit::sshd::{Agent, Sshd, keygen};
use crate::real::list;
use crate::{configured, source};

const PASSWORD: &str = "kit-password-Z9y";

fn served() -> tempfile::TempDir {
    let dir = kit::reaper::reachable();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    dir
}

/// The source connects and lists the one file.
async fn lets_in(table: &str) {
    let source = source(table).await;
    assert_eq!(list(source.as_ref(), "").await.unwrap().len(), 1, "{table}");
    source.disconnect().await;
}

/// The source does not connect; says why.
async fn refuses(table: &str) -> Error {
    configured(table).await.expect("the settings are right").connect().await.expect_err("no connection")
}

fn key_line(file: &Path) -> String {
    format!("key = \"{}\"\n", file.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_server_does_not_know_is_told() {
    let dir = served();
    let server = Sshd::run(dir.path());
    keygen(&server.file("other"), "");
    let error = refuses(&(server.table_without_key() + &key_line(&server.file("other")))).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().contains("with the key SHA256:"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_key_opens_with_its_passphrase_or_comes_from_the_agent() {
    let dir = served();
    let server = Sshd::run(dir.path());
    std::fs::copy(server.file("key"), server.file("locked")).unwrap();
    let mut command = std::process::Command::new("ssh-keygen");
    command.args(["-q", "-p", "-N", "hunter2", "-f"]).arg(server.file("locked")).stdout(Stdio::null());
    assert!(command.status().unwrap().success());
    let table = server.table_without_key() + &key_line(&server.file("locked"));
    lets_in(&format!("{table}passphrase = \"hunter2\"\n")).await;
    let error = refuses(&format!("{table}passphrase = \"hunter3\"\n")).await;
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("passphrase") && !error.to_string().contains("hunter3"), "{error}");
    let agent = Agent::with(&[&server.file("key")]);
    lets_in(&format!("{table}agent = \"{}\"\n", agent.socket().display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_logs_in_with_whichever_of_its_keys_is_right() {
    let dir = served();
    let server = Sshd::run(dir.path());
    keygen(&server.file("other"), "");
    let agent = Agent::with(&[&server.file("other"), &server.file("key")]);
    let table = server.table_without_key();
    lets_in(&format!("{table}agent = \"{}\"\n", agent.socket().display())).await;
    let useless = Agent::with(&[&server.file("other")]);
    let error = refuses(&format!("{table}agent = \"{}\"\n", useless.socket().display())).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().contains("the agent's key SHA256:"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_host_is_refused_until_somebody_has_run_what_the_refusal_says() {
    let dir = served();
    let server = Sshd::run(dir.path());
    let file = server.file("known_hosts");
    std::fs::remove_file(&file).unwrap();
    let error = refuses(&server.table()).await;
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let text = error.to_string();
    assert!(text.contains("is not known") && text.contains("SHA256:"), "{text}");
    let command = text.split("run: ").nth(1).expect("a command");
    assert_eq!(command, format!("ssh-keyscan -p {} -t ed25519 127.0.0.1 >> '{}'", server.port(), file.display()));
    let status = std::process::Command::new("sh").args(["-c", command]).stderr(Stdio::null()).status().unwrap();
    assert!(status.success());
    lets_in(&server.table()).await;
    // The same with a name that does not show.
    let mut hash = std::process::Command::new("ssh-keygen");
    assert!(hash.arg("-Hf").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("|1|"));
    lets_in(&server.table()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_host_key_is_refused_whoever_connects() {
    let dir = served();
    let mut server = Sshd::run(dir.path());
    server.change_host_key();
    server.start();
    let error = refuses(&server.table()).await;
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let file = server.file("known_hosts");
    assert!(error.to_string().contains(&format!("is not the one in {} line 1", file.display())), "{error}");
    let error = refuses(&server.table_with_alias("lab")).await;
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("Host key verification failed"), "{error}");
    // As soon as somebody has mended the file.
    server.reach_through(server.port());
    lets_in(&server.table()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_ssh_never_asks_and_its_last_words_are_told() {
    let dir = served();
    let server = Sshd::run(dir.path());
    lets_in(&server.table_with_alias("lab")).await;
    let table = server.table_with_alias("lab");
    std::fs::write(server.file("authorized_keys"), "").unwrap();
    let error = refuses(&table).await;
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.to_string().contains("Permission denied (publickey"), "{error}");
    let error = refuses(&table.replace("host = \"lab\"", "host = \"no-such-host.invalid\"")).await;
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}

/// A server that knows one password, however it is asked for, and leaves SFTP to OpenSSH's program.
#[derive(Clone, Default)]
struct PasswordServer {
    /// Only as the answer to a question, as PAM asks for it.
    interactive: bool,
    channel: Option<Arc<parking_lot::Mutex<Option<Channel<Msg>>>>>,
}

impl russh::server::Handler for PasswordServer {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, russh::Error> {
        let right = !self.interactive && user == "anna" && password == PASSWORD;
        Ok(if right { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        _: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, russh::Error> {
        let answers: Vec<_> = response.into_iter().flatten().collect();
        Ok(match answers.as_slice() {
            [] => Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: vec![("Password: ".into(), false)].into(),
            },
            [answer] if self.interactive && &answer[..] == PASSWORD.as_bytes() => Auth::Accept,
            _ => Auth::reject(),
        })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: russh::server::ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channel = Some(Arc::new(parking_lot::Mutex::new(Some(channel))));
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(&mut self, id: ChannelId, _: &str, session: &mut Session) -> Result<(), russh::Error> {
        let channel = self.channel.as_ref().and_then(|channel| channel.lock().take()).expect("a channel");
        let places = ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/libexec/sftp-server"];
        let program = places.iter().find(|place| Path::new(place).is_file()).expect("openssh-sftp-server is installed");
        let mut command = tokio::process::Command::new(program);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        session.channel_success(id)?;
        tokio::spawn(async move {
            let mut pipes = tokio::io::join(child.stdout.take().unwrap(), child.stdin.take().unwrap());
            let _ = tokio::io::copy_bidirectional(&mut channel.into_stream(), &mut pipes).await;
            let _ = child.kill().await;
        });
        Ok(())
    }
}

/// Starts such a server; the table of a source that knows it, without a password.
async fn password_server(own: &Path, dir: &Path, interactive: bool) -> String {
    let key = own.join("host_key");
    if !key.exists() {
        keygen(&key, "");
    }
    let mut config =
        russh::server::Config { keys: vec![russh::keys::load_secret_key(&key, None).unwrap()], ..Default::default() };
    config.auth_rejection_time = std::time::Duration::ZERO;
    let config = Arc::new(config);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = PasswordServer { interactive, channel: None };
            let running = russh::server::run_stream(Arc::clone(&config), stream, server).await;
            tokio::spawn(async move { running.unwrap().await });
        }
    });
    let public = std::fs::read_to_string(own.join("host_key.pub")).unwrap();
    let known_hosts = own.join(format!("known_hosts_{port}"));
    std::fs::write(&known_hosts, format!("[127.0.0.1]:{port} {public}")).unwrap();
    format!(
        "type = \"sftp\"\nhost = \"127.0.0.1\"\nport = {port}\nusername = \"anna\"\nknown_hosts = \"{}\"\nroot = \"{}\"\n",
        known_hosts.display(),
        dir.display()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_given_however_the_server_asks_for_it_and_never_shown() {
    let (dir, own) = (served(), kit::reaper::reachable());
    for interactive in [false, true] {
        let table = password_server(own.path(), dir.path(), interactive).await;
        lets_in(&format!("{table}password = \"{PASSWORD}\"\n")).await;
        let error = refuses(&format!("{table}password = \"hunter2\"\n")).await;
        assert_eq!(error.kind(), ErrorKind::Unauthenticated);
        assert!(error.to_string().contains("the password"), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }
}
