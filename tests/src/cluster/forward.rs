//! A port of the machine's own loopback address behind which the API server is, as long as the cluster is up.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, setns};

/// The port. Dropping it closes it; connections that are open end with their other side.
#[derive(Debug)]
pub(super) struct Forward {
    address: SocketAddr,
    closing: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Forward {
    /// Opens a port; what connects to it is connected to `target` in this network namespace.
    pub(super) fn open(network: File, target: SocketAddr) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of the loopback address");
        let address = listener.local_addr().expect("a bound port has an address");
        let closing = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&closing);
        let accepting = thread::spawn(move || {
            // This thread alone is in the node's network from here on; the listener stays where it was made.
            setns(&network, CloneFlags::CLONE_NEWNET).expect("to enter the node's network");
            for client in listener.incoming() {
                if stop.load(Ordering::Acquire) {
                    break;
                }
                if let Ok(client) = client
                    && let Ok(server) = TcpStream::connect(target)
                {
                    let _ = join(client, server);
                }
            }
        });
        Self {
            address,
            closing,
            accepting: Some(accepting),
        }
    }

    /// Where the port is, on the machine.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// Copies what each side says to the other until both have said all.
fn join(client: TcpStream, server: TcpStream) -> io::Result<()> {
    for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}
