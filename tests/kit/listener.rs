//! `Listener`: takes connections on a free port of loopback for as long as its value lives. It knows no protocol.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A port on which connections are taken.
#[derive(Debug)]
pub struct Listener {
    port: u16,
    ended: Arc<AtomicBool>,
}

impl Listener {
    /// Gives each connection to `take`, on one thread. `ended` becomes true when the value is dropped, for those that serve one until then.
    pub fn new(ended: Arc<AtomicBool>, take: impl Fn(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let over = ended.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                take(client);
            }
        });
        Self { port, ended }
    }

    /// Where it is.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}
