//! `Session`: one login at one share over one connection, which dies with it. It knows no methods of the contract.

use std::time::Duration;

use smb2::Session as Smb2Session;
use smb2::client::connection::Connection;
use smb2::crypto::encryption::Cipher;
use smb2::msg::query_directory::{FileInformationClass, QueryDirectoryFlags};
use smb2::transport::TcpTransport;
use smb2::types::status::NtStatus;
use smb2::types::{Command, CreditCharge, Dialect, TreeId};
use smb2::{CompoundOp, Frame, Tree};

use super::failure::{ends_session, failed, status_ends_session};
use super::requests::{self, Access};
use super::settings::{Config, User};
use super::wire::{self, Clock};
use crate::error::{Error, ErrorKind, Result};
use crate::path::RemotePath;
use crate::revealed::Revealed;
use crate::source::LeftOut;
use crate::sources::purpose::Purpose;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may take to say goodbye.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How many bytes one credit pays for (MS-SMB2 3.1.5.2).
const CREDIT_BYTES: u32 = 65536;
/// Credits left to whatever goes with a request for bytes: open, query, close.
const SPARE_CREDITS: u16 = 4;
/// How the name of a guest is written.
const GUEST: &str = "Guest";

/// The account of a session.
#[derive(Debug, Clone)]
pub(super) enum Login {
    /// No account, where the server allows that.
    Guest,
    /// An account.
    Account {
        /// As the server knows it.
        username: String,
        /// Empty for an account of the server itself.
        domain: String,
        /// The account's.
        password: Revealed,
    },
}

/// A login at a share. Handles opened in it end with it, so that code with a handle holds the session too.
pub(super) struct Session {
    connection: Connection,
    tree: Tree,
    clock: Clock,
    /// The source's root in the share, as the wire has it; empty for the share itself.
    root: String,
    /// How many bytes one answer may carry.
    max_read: u32,
    max_listing: u32,
    /// Whether listings have the index of every file, so that digests may.
    pub(super) indexed: bool,
}

impl Session {
    /// Logs in and makes sure that the root is there.
    pub(super) async fn open(config: &Config, login: &Login) -> Result<Self> {
        let root = RemotePath::root();
        let purpose = Purpose { op: "connect", path: &root };
        let mut session = match login {
            Login::Account { username, domain, password } => {
                Self::log_in(purpose, config, username, password.expose(), domain).await?
            }
            Login::Guest => Self::log_in(purpose, config, GUEST, "", "").await?,
        };
        session.indexed = session.examine_root(purpose).await?;
        Ok(session)
    }

    async fn log_in(purpose: Purpose<'_>, config: &Config, name: &str, password: &str, domain: &str) -> Result<Self> {
        let failed = |error| failed(purpose, error);
        let guest = matches!(config.user, User::Guest);
        let tcp = TcpTransport::connect(config.address(), CONNECT_TIMEOUT).await.map_err(failed)?;
        let (mut connection, clock) = wire::negotiate(tcp, &config.host, guest).await.map_err(failed)?;
        let session = Smb2Session::setup(&mut connection, name, password, domain).await.map_err(failed)?;
        let tree = match Tree::connect(&mut connection, &config.share).await {
            Ok(tree) => tree,
            Err(error) => {
                let old = connection.params().is_some_and(|params| params.dialect < Dialect::Smb3_0);
                let error = failed(error);
                // A server too old to encrypt gives the same answer where the account may not use the share and where it must
                // encrypt.
                return Err(match error.kind() {
                    ErrorKind::PermissionDenied if old => error.because(
                        "the server does not let this user use the share, \
                         or the share requires encryption, for which the server speaks too old a dialect (SMB 2)",
                    ),
                    _ => error,
                });
            }
        };
        if tree.encrypt_data && !connection.should_encrypt() {
            let cipher = connection.params().and_then(|params| match params.dialect {
                // They know no other, so it is not negotiated.
                Dialect::Smb3_0 | Dialect::Smb3_0_2 => Some(Cipher::Aes128Ccm),
                _ => params.cipher,
            });
            let (Some(cipher), Some(ours), Some(theirs)) =
                (cipher, session.encryption_key.clone(), session.decryption_key.clone())
            else {
                let error = purpose.error(ErrorKind::Unsupported);
                return Err(error.because("the share requires encryption, but the server agreed on no cipher"));
            };
            connection.activate_encryption(ours, theirs, cipher);
        }
        // Paths are sent as they are, not as paths of a DFS namespace.
        connection.deregister_dfs_tree(tree.tree_id);
        let params = connection.params();
        let (read, transact) =
            params.map_or((CREDIT_BYTES, CREDIT_BYTES), |params| (params.max_read_size, params.max_transact_size));
        Ok(Self {
            connection,
            tree,
            clock,
            root: config.root.clone(),
            max_read: read,
            max_listing: transact,
            indexed: true,
        })
    }

    /// Fails with `Unreachable` if the root is not there; tells whether listings have indexes.
    async fn examine_root(&self, purpose: Purpose<'_>) -> Result<bool> {
        let open = requests::open(self.root.clone(), Access::List);
        let class = FileInformationClass::FileIdBothDirectoryInformation;
        let list = requests::list(requests::SAME, class, QueryDirectoryFlags::RETURN_SINGLE_ENTRY, CREDIT_BYTES);
        let close = requests::close(requests::SAME);
        let operations = [
            self.operation(Command::Create, &open, 1),
            self.operation(Command::QueryDirectory, &list, 1),
            self.operation(Command::Close, &close, 1),
        ];
        let answers = self.compound(purpose, &operations).await?;
        if let Err(error) = requests::accepted(purpose, Command::Create, &answers[0]) {
            return match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => Err(self.root_is_gone(purpose)),
                // Files below the root may still be readable.
                ErrorKind::PermissionDenied => Ok(true),
                _ => Err(error),
            };
        }
        if !answers[2].header.status.is_success() {
            self.close(purpose, &answers[0]).await;
        }
        match answers[1].header.status {
            NtStatus::SUCCESS => {
                let entries = requests::entries(class, &answers[1], &LeftOut::default());
                Ok(entries.first().is_none_or(|entry| entry.index.is_some_and(|index| index != 0)))
            }
            NtStatus::INVALID_INFO_CLASS | NtStatus::NOT_SUPPORTED | NtStatus::INVALID_PARAMETER => Ok(false),
            _ => Ok(true),
        }
    }

    /// The error of a missing path: `error` if the root is still there, an outage if it is not.
    pub(super) async fn missing(&self, purpose: Purpose<'_>, error: Error) -> Error {
        if purpose.path.is_root() {
            return self.root_is_gone(purpose);
        }
        match self.examine_root(purpose).await {
            Ok(_) => error,
            Err(outage) => outage,
        }
    }

    fn root_is_gone(&self, purpose: Purpose<'_>) -> Error {
        let error = purpose.error(ErrorKind::Unreachable);
        let root = self.root.replace('\\', "/");
        match root.as_str() {
            "" => error.because(format!("the share {} cannot be opened", self.tree.share_name)),
            root => error.because(format!("the share {} has no folder {root}: is `root` right?", self.tree.share_name)),
        }
    }

    /// Whether requests may still be answered, and times compared with the server's clock.
    pub(super) fn is_alive(&self) -> bool {
        !self.connection.is_disconnected() && self.clock.is_right()
    }

    /// Tells the server that the share is no longer used.
    pub(super) async fn disconnect_tree(&self) {
        let mut connection = self.connection.clone();
        // The session ends whether or not the server answers.
        let _ = tokio::time::timeout(DISCONNECT_TIMEOUT, self.tree.disconnect(&mut connection)).await;
    }

    /// The time by the server's clock, in 100 ns since 1601.
    pub(super) fn now(&self) -> u64 {
        self.clock.now()
    }

    /// The purpose's path in the share, as the wire has it.
    pub(super) fn place(&self, purpose: Purpose<'_>) -> Result<String> {
        // Names there are UTF-16: others cannot exist.
        let path = purpose.path.as_str().ok_or_else(|| purpose.error(ErrorKind::NotFound))?;
        let path = smb2::encode_path(path);
        Ok(match (self.root.as_str(), path.as_str()) {
            ("", _) => path,
            (root, "") => root.to_owned(),
            (root, path) => format!("{root}\\{path}"),
        })
    }

    /// How many of the wanted bytes one request may ask for.
    pub(super) fn clamp_read(&self, wanted: u32) -> u32 {
        wanted.min(self.max_read).min(self.credit_bytes())
    }

    /// How many bytes of a listing one request may ask for.
    pub(super) fn clamp_listing(&self, wanted: u32) -> u32 {
        wanted.min(self.max_listing).min(self.credit_bytes())
    }

    fn credit_bytes(&self) -> u32 {
        let credits = self.connection.credit_ceiling().unwrap_or(u16::MAX);
        u32::from(credits.saturating_sub(SPARE_CREDITS).max(1)).saturating_mul(CREDIT_BYTES)
    }

    /// One request of a chain, whose answer carries up to `bytes`.
    pub(super) fn operation<'a>(&self, command: Command, body: &'a dyn smb2::pack::Pack, bytes: u32) -> CompoundOp<'a> {
        CompoundOp { command, body, tree_id: Some(self.tree_id()), credit_charge: charge(bytes) }
    }

    /// Sends a chain of requests at once; as many answers.
    pub(super) async fn compound(&self, purpose: Purpose<'_>, operations: &[CompoundOp<'_>]) -> Result<Vec<Frame>> {
        let answers = self.connection.execute_compound(operations).await;
        let answers = answers.and_then(|answers| answers.into_iter().collect::<smb2::Result<Vec<_>>>());
        self.answered(purpose, answers, |answers| answers.iter().map(|answer| answer.header.status).collect())
    }

    /// Sends one request, whose answer carries up to `bytes`.
    pub(super) async fn request(
        &self,
        purpose: Purpose<'_>,
        command: Command,
        body: &dyn smb2::pack::Pack,
        bytes: u32,
    ) -> Result<Frame> {
        let answer = self.connection.execute_with_credits(command, body, Some(self.tree_id()), charge(bytes)).await;
        self.answered(purpose, answer, |answer| vec![answer.header.status])
    }

    /// Closes what `opened` answered, if it did.
    pub(super) async fn close(&self, purpose: Purpose<'_>, opened: &Frame) {
        if let Ok(handle) = requests::opened(purpose, opened) {
            // A handle that cannot be closed ends with the session.
            let _ = self.request(purpose, Command::Close, &requests::close(handle), 1).await;
        }
    }

    fn answered<T>(
        &self,
        purpose: Purpose<'_>,
        answer: smb2::Result<T>,
        statuses: impl FnOnce(&T) -> Vec<NtStatus>,
    ) -> Result<T> {
        match answer {
            Ok(answer) => {
                if statuses(&answer).into_iter().any(status_ends_session) {
                    self.connection.mark_dead();
                }
                Ok(answer)
            }
            Err(error) => {
                if ends_session(&error) {
                    self.connection.mark_dead();
                }
                Err(failed(purpose, error))
            }
        }
    }

    fn tree_id(&self) -> TreeId {
        self.tree.tree_id
    }
}

fn charge(bytes: u32) -> CreditCharge {
    CreditCharge(u16::try_from(bytes.div_ceil(CREDIT_BYTES)).unwrap_or(u16::MAX).max(1))
}
