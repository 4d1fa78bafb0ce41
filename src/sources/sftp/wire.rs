//! Packets on byte streams. It knows their lengths, not their meaning.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::codec::{MAX_PACKET, Malformed};
use super::failure::Failure;

/// How many packets are written at once at most.
const BATCH: usize = 64;

/// One packet, without its length. It never takes more memory than a packet may have.
pub(super) async fn packet(reader: &mut (impl AsyncRead + Unpin)) -> Result<Bytes, Failure> {
    let broken = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => Failure::lost("the server ended the connection"),
        _ => Failure::lost(e.to_string()),
    };
    let len = reader.read_u32().await.map_err(broken)? as usize;
    if len == 0 || len > MAX_PACKET {
        return Err(Malformed("the server sent a packet of an impossible length").into());
    }
    let mut packet = BytesMut::with_capacity(len);
    let mut rest = reader.take(len as u64);
    while packet.len() < len {
        if rest.read_buf(&mut packet).await.map_err(broken)? == 0 {
            return Err(Failure::lost("the server ended the connection"));
        }
    }
    Ok(packet.freeze())
}

/// Writes questions as they come, several at once where several wait.
pub(super) async fn send(
    mut writer: impl AsyncWrite + Unpin,
    mut questions: mpsc::UnboundedReceiver<Vec<u8>>,
) -> std::io::Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    while questions.recv_many(&mut batch, BATCH).await > 0 {
        writer.write_all(&batch.concat()).await?;
        writer.flush().await?;
        batch.clear();
    }
    Ok(())
}
