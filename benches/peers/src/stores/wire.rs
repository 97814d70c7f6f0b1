//! A proxy that counts round trips: [`Wire`].

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
};

/// The way to a server.
pub struct Wire {
    url: String,
    round_trips: Arc<AtomicU64>,
}

impl Wire {
    /// A way to the server of `url`, which names host and port.
    pub async fn start(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, server) = match place.rsplit_once('@') {
            Some((user, server)) => (format!("{user}@"), server.to_owned()),
            None => (String::new(), place.to_owned()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let round_trips = Arc::new(AtomicU64::new(0));
        tokio::spawn(serve(listener, server, Arc::clone(&round_trips)));
        Self {
            url: format!("{scheme}://{user}{address}/{path}"),
            round_trips,
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }
}

async fn serve(listener: TcpListener, server: String, round_trips: Arc<AtomicU64>) {
    while let Ok((client, _)) = listener.accept().await {
        let server = TcpStream::connect(&server).await.expect("a server");
        for wire in [&client, &server] {
            wire.set_nodelay(true).expect("a connection");
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let has_asked = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&has_asked);
        tokio::spawn(pass(from_client, to_server, move || {
            asked.store(true, Ordering::Relaxed);
        }));
        let round_trips = Arc::clone(&round_trips);
        tokio::spawn(pass(from_server, to_client, move || {
            if has_asked.swap(false, Ordering::Relaxed) {
                round_trips.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
}

async fn pass(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, saw: impl Fn()) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        saw();
        if to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
    }
}
