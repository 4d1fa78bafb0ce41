//! The user at the other end of a connection within this machine, as the kernel tells. It decides nothing.

use std::net::{IpAddr, SocketAddr};
use std::{fs, io};

/// The states of a connection that is established, or whose end has said that it sends no more, in `/proc/net/tcp`.
const OPEN: [&str; 3] = ["01", "04", "05"];

/// The inode of an end that its process has closed; it shows root as its owner.
const NONE: &str = "0";

/// How often the table is read until the connection is in it: it changes while it is read.
const ATTEMPTS: usize = 3;

/// The user whose process has the other end of the connection between `here` and `there`; `None` if it is not on this machine.
///
/// # Errors
/// The kernel does not tell.
pub(super) fn user(here: SocketAddr, there: SocketAddr) -> io::Result<Option<u32>> {
    let table = if there.is_ipv4() { "/proc/self/net/tcp" } else { "/proc/self/net/tcp6" };
    for _ in 0..ATTEMPTS {
        if let Some(user) = find(&fs::read_to_string(table)?, there, here) {
            return Ok(Some(user));
        }
    }
    Ok(None)
}

/// The owner of the end `local` of an open connection, by the columns of proc(5).
fn find(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let (local, remote) = (written(local), written(remote));
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<_> = line.split_whitespace().collect();
        let [_, this, other, state, _, _, _, user, _, inode, ..] = columns[..] else { return None };
        let is_it = this == local && other == remote && OPEN.contains(&state) && inode != NONE;
        is_it.then(|| user.parse().ok()).flatten()
    })
}

/// An address as the kernel writes it there: each 32 bits of it as a number of this machine.
fn written(address: SocketAddr) -> String {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = octets.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().expect("it has four bytes")));
    let ip: String = words.map(|word| format!("{word:08X}")).collect();
    format!("{ip}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener, TcpStream};

    use rustix::process::geteuid;

    use super::*;

    #[test]
    fn the_other_end_of_a_connection_is_ours_while_it_is_open() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                println!("there is no {address} here");
                continue;
            };
            let here = listener.local_addr().expect("it is bound");
            let client = TcpStream::connect(here).expect("it listens");
            let (_server, there) = listener.accept().expect("it is connected");
            assert_eq!(user(here, there).expect("the kernel tells"), Some(geteuid().as_raw()));
            client.shutdown(Shutdown::Write).expect("it is connected");
            assert_eq!(user(here, there).expect("the kernel tells"), Some(geteuid().as_raw()), "it listens still");
            drop(client);
            assert_eq!(user(here, there).expect("the kernel tells"), None, "what is closed has no owner");
        }
    }

    #[test]
    fn only_the_open_end_at_that_address_counts() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1\n\
            1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 2 1\n\
            2: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1001        0 3 1\n\
            3: 0100007F:C351 0100007F:1F90 06 00000000:00000000 00:00000000 00000000     0        0 0 3\n\
            4: 0100007F:C353 0100007F:1F90 05 00000000:00000000 00:00000000 00000000     0        0 0 3\n\
            5: 0100007F:C354 0100007F:1F90 05 00000000:00000000 00:00000000 00000000  1001        0 4 1\n";
        let here = "127.0.0.1:8080".parse().expect("an address");
        let of = |port| find(table, SocketAddr::from(([127, 0, 0, 1], port)), here);
        // The numbers of the table are those of a machine whose first byte is the lowest.
        if cfg!(target_endian = "little") {
            assert_eq!((of(50000), of(50001), of(50002)), (Some(1001), None, None));
            assert_eq!((of(50003), of(50004)), (None, Some(1001)), "closed, and closed for sending alone");
        }
    }
}
