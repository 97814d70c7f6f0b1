//! A TCP proxy in front of a server, which fails on demand.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What the proxy does with open and new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// Accepts connections and forwards nothing. Data waits until the mode changes.
    Hang,
    /// Closes all connections, and new ones at once.
    Cut,
    /// Delays all data by this time, in each direction.
    Delay(Duration),
    /// Forwards requests, but no replies: the first reply closes the connection.
    LoseReplies,
    /// The same as `LoseReplies` for one reply, then `Pass`.
    LoseOneReply,
}

/// A proxy on a free port of the loopback interface, until it is dropped. It has a thread of its own, so it works while
/// the test's runtime is paused, busy or shutting down.
pub(crate) struct Proxy {
    address: SocketAddr,
    wire: Arc<Wire>,
    _end: watch::Sender<()>,
}

struct Wire {
    server: SocketAddr,
    mode: watch::Sender<Mode>,
    connections: AtomicUsize,
    /// How many connections, counted from the first, forward nothing any more.
    stranded: AtomicUsize,
    lost_replies: AtomicUsize,
}

impl Proxy {
    pub(crate) fn before(server: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let wire = Arc::new(Wire {
            server,
            mode: watch::Sender::new(Mode::Pass),
            connections: AtomicUsize::new(0),
            stranded: AtomicUsize::new(0),
            lost_replies: AtomicUsize::new(0),
        });
        let (end, mut ended) = watch::channel(());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let accepting = accept(listener, Arc::clone(&wire));
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = ended.changed() => {}
                    () = accepting => {}
                }
            });
        });
        Self {
            address,
            wire,
            _end: end,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the mode, also for open connections.
    pub(crate) fn set(&self, mode: Mode) {
        self.wire.mode.send_replace(mode);
    }

    pub(crate) fn mode(&self) -> Mode {
        *self.wire.mode.borrow()
    }

    /// Open connections stay open and forward nothing any more. New ones work.
    pub(crate) fn strand(&self) {
        let open = self.connections();
        self.wire.stranded.store(open, Ordering::SeqCst);
        self.set(Mode::Pass);
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.wire.connections.load(Ordering::SeqCst)
    }

    /// How many replies were lost so far.
    pub(crate) fn lost_replies(&self) -> usize {
        self.wire.lost_replies.load(Ordering::SeqCst)
    }
}

async fn accept(listener: std::net::TcpListener, wire: Arc<Wire>) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let number = wire.connections.fetch_add(1, Ordering::SeqCst);
        let wire = Arc::clone(&wire);
        tokio::spawn(async move {
            // Any failure looks like a closed connection to both ends.
            let _ = wire.connect(client, number).await;
        });
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Request,
    Reply,
}

impl Wire {
    async fn connect(&self, mut client: TcpStream, number: usize) -> io::Result<()> {
        let mut mode = self.mode.subscribe();
        if self.passing(&mut mode).await == Mode::Cut {
            return Ok(());
        }
        let mut server = TcpStream::connect(self.server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            _ = mode.wait_for(|mode| *mode == Mode::Cut) => Ok(()),
            done = self.carry(from_client, to_server, Direction::Request, number) => done,
            done = self.carry(from_server, to_client, Direction::Reply, number) => done,
        }
    }

    async fn carry(
        &self,
        mut from: impl AsyncReadExt + Unpin,
        mut to: impl AsyncWriteExt + Unpin,
        direction: Direction,
        number: usize,
    ) -> io::Result<()> {
        let mut mode = self.mode.subscribe();
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let read = from.read(&mut bytes).await?;
            if read == 0 {
                return Ok(());
            }
            let mode = self.passing(&mut mode).await;
            if number < self.stranded.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if direction == Direction::Reply && self.loses(mode) {
                return Ok(());
            }
            if let Mode::Delay(delay) = mode {
                tokio::time::sleep(delay).await;
            }
            to.write_all(&bytes[..read]).await?;
        }
    }

    /// Waits until the mode is not `Hang`, and returns it.
    async fn passing(&self, mode: &mut watch::Receiver<Mode>) -> Mode {
        match mode.wait_for(|mode| *mode != Mode::Hang).await {
            Ok(mode) => *mode,
            Err(_) => Mode::Cut,
        }
    }

    fn loses(&self, mode: Mode) -> bool {
        let lost = match mode {
            Mode::LoseReplies => true,
            // Only one connection loses its reply.
            Mode::LoseOneReply => self.mode.send_if_modified(|mode| {
                let is_first = *mode == Mode::LoseOneReply;
                if is_first {
                    *mode = Mode::Pass;
                }
                is_first
            }),
            Mode::Pass | Mode::Hang | Mode::Cut | Mode::Delay(_) => false,
        };
        if lost {
            self.lost_replies.fetch_add(1, Ordering::SeqCst);
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An echo server that counts requests.
    async fn echo() -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((mut peer, _)) = listener.accept().await {
                let heard = Arc::clone(&counts);
                tokio::spawn(async move {
                    let mut byte = [0];
                    while peer.read_exact(&mut byte).await.is_ok() {
                        heard.fetch_add(1, Ordering::SeqCst);
                        peer.write_all(&byte).await.unwrap();
                    }
                });
            }
        });
        (address, heard)
    }

    async fn ask(wire: &mut TcpStream) -> io::Result<u8> {
        wire.write_all(b"?").await?;
        wire.read_u8().await
    }

    #[tokio::test]
    async fn the_proxy_forwards_hangs_and_continues() {
        let (server, heard) = echo().await;
        let proxy = Proxy::before(server);
        let mut wire = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut wire).await.unwrap(), b'?');
        proxy.set(Mode::Hang);
        {
            let mut asking = std::pin::pin!(ask(&mut wire));
            let short = Duration::from_millis(50);
            assert!(tokio::time::timeout(short, &mut asking).await.is_err());
            assert_eq!(heard.load(Ordering::SeqCst), 1);
            proxy.set(Mode::Delay(Duration::from_millis(1)));
            assert_eq!(asking.await.unwrap(), b'?');
        }
        assert_eq!(proxy.connections(), 1);
    }

    #[tokio::test]
    async fn a_cut_closes_what_is_open_and_what_comes() {
        let (server, _) = echo().await;
        let proxy = Proxy::before(server);
        let mut wire = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut wire).await.unwrap(), b'?');
        proxy.set(Mode::Cut);
        assert!(wire.read_u8().await.is_err());
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(next.read_u8().await.is_err());
        proxy.set(Mode::Pass);
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut next).await.unwrap(), b'?');
    }

    #[tokio::test]
    async fn a_lost_reply_was_to_a_request_that_got_through() {
        let (server, heard) = echo().await;
        let proxy = Proxy::before(server);
        proxy.set(Mode::LoseOneReply);
        let mut wire = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(ask(&mut wire).await.is_err());
        assert_eq!((heard.load(Ordering::SeqCst), proxy.lost_replies()), (1, 1));
        assert_eq!(proxy.mode(), Mode::Pass);
        let mut wire = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut wire).await.unwrap(), b'?');
    }
}
