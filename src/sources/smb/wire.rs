//! `Wire`: the connection under a session, until the login. It claims encryption, which smb2 0.39 does not,
//! keeps guests from signing, and reads the server's clock.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use parking_lot::Mutex;
use smb2::client::connection::Connection;
use smb2::crypto::kdf::PreauthHasher;
use smb2::msg::negotiate::NegotiateResponse;
use smb2::pack::{ReadCursor, Unpack as _};
use smb2::transport::{TcpTransport, TransportReceive, TransportSend};
use smb2::types::flags::Capabilities;

/// Bytes of the header before every request and answer (MS-SMB2 2.2.1.2).
const HEADER: usize = 64;
/// The place of the command in a header; that of NEGOTIATE is 0.
const COMMAND: std::ops::Range<usize> = 12..14;
/// The place of the capabilities in a NEGOTIATE request (MS-SMB2 2.2.3).
const CAPABILITIES: std::ops::Range<usize> = HEADER + 8..HEADER + 12;
/// The place in the answer to it that says what must be signed (MS-SMB2 2.2.4).
const SECURITY_MODE: usize = HEADER + 2;
const SIGNING_REQUIRED: u8 = 0x2;

/// How far this computer's two clocks may come apart: both follow a correction that is made little by little.
const MAX_DRIFT: Duration = Duration::from_secs(1);

/// The server's clock, told at the start of the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// In 100 ns since 1601.
    said: u64,
    at: Instant,
    /// The same moment by this computer's clock, which goes on while it sleeps.
    at_by_clock: SystemTime,
}

impl Clock {
    /// The time by the server's clock; at most the time of one answer late, never early.
    pub(super) fn now(&self) -> u64 {
        self.said + u64::try_from(self.at.elapsed().as_nanos() / 100).unwrap_or(u64::MAX / 2)
    }

    /// Whether it goes on right: not once this computer has slept, when it stood still, or its clock was set.
    pub(super) fn is_right(&self) -> bool {
        let passed = self.at.elapsed();
        let apart = match self.at_by_clock.elapsed() {
            Ok(by_clock) => by_clock.abs_diff(passed),
            Err(set_back) => set_back.duration() + passed,
        };
        apart < MAX_DRIFT
    }
}

/// Does NEGOTIATE over `tcp`: the connection, ready for a login, and the server's clock.
pub(super) async fn negotiate(tcp: TcpTransport, server: &str, guest: bool) -> smb2::Result<(Connection, Clock)> {
    let wire = Arc::new(Wire { tcp, guest, negotiation: Mutex::default() });
    let mut connection = Connection::from_transport(Box::new(Arc::clone(&wire)), Box::new(Arc::clone(&wire)), server);
    connection.negotiate().await?;
    let (at, at_by_clock) = (Instant::now(), SystemTime::now());
    let negotiation = std::mem::take(&mut *wire.negotiation.lock());
    // The hashed bytes must be those that went over the wire: keys are derived from them.
    connection.with_preauth_hasher_mut(|hasher| {
        *hasher = PreauthHasher::new();
        for message in &negotiation {
            hasher.update(message);
        }
    });
    let answer = negotiation.last().and_then(|message| message.get(HEADER..)).unwrap_or_default();
    let said = NegotiateResponse::unpack(&mut ReadCursor::new(answer))?.system_time;
    Ok((connection, Clock { said, at, at_by_clock }))
}

struct Wire {
    tcp: TcpTransport,
    /// Whether a guest is going to log in.
    guest: bool,
    /// Request and answer of NEGOTIATE as they went over the wire.
    negotiation: Mutex<Vec<Vec<u8>>>,
}

/// Whether this message, unencrypted, is of a NEGOTIATE.
fn is_negotiation(message: &[u8]) -> bool {
    message.starts_with(b"\xfeSMB") && message.get(COMMAND) == Some(&[0, 0]) && message.len() > CAPABILITIES.end
}

#[async_trait]
impl TransportSend for Wire {
    async fn send(&self, message: &[u8]) -> smb2::Result<()> {
        if !is_negotiation(message) {
            return self.tcp.send(message).await;
        }
        let mut message = message.to_vec();
        // Samba refuses shares that require encryption to clients that do not claim it here, whatever ciphers they offer.
        for (byte, flag) in message[CAPABILITIES].iter_mut().zip(Capabilities::ENCRYPTION.to_le_bytes()) {
            *byte |= flag;
        }
        self.negotiation.lock().push(message.clone());
        self.tcp.send(&message).await
    }
}

#[async_trait]
impl TransportReceive for Wire {
    async fn receive(&self) -> smb2::Result<Vec<u8>> {
        let mut message = self.tcp.receive().await?;
        if is_negotiation(&message) {
            self.negotiation.lock().push(message.clone());
            // Guests have no key: they never sign, whatever a server requires of others (MS-SMB2 3.2.5.3.1).
            if self.guest {
                message[SECURITY_MODE] &= !SIGNING_REQUIRED;
            }
        }
        Ok(message)
    }

    fn receive_progress(&self) -> Option<Arc<smb2::transport::ReceiveProgress>> {
        self.tcp.receive_progress()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_stood_still_while_the_computer_slept_is_not_right() {
        let clock = Clock { said: 0, at: Instant::now(), at_by_clock: SystemTime::now() };
        assert!(clock.is_right());
        let slept = Duration::from_secs(180);
        assert!(!Clock { at_by_clock: clock.at_by_clock - slept, ..clock }.is_right());
        assert!(!Clock { at_by_clock: clock.at_by_clock + slept, ..clock }.is_right(), "it was set back");
    }
}
