//! A Redis server that is newer or older than the one installed: a proxy that changes one command.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What `SET key value IFEQ former …` does on a server that has it.
const SWAP: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[2] then return false end
return redis.call('SET', KEYS[1], ARGV[1], unpack(ARGV, 3))";

/// A proxy on a free port of loopback, until it is dropped. It has a thread of its own.
///
/// The replies pass as they are, so errors, redirections and the stream to a replica do too.
pub(crate) struct Dialect {
    address: SocketAddr,
    spoken: Arc<Spoken>,
    _end: watch::Sender<()>,
}

#[derive(Default)]
struct Spoken {
    is_old: AtomicBool,
    swaps: AtomicUsize,
    scripts: AtomicUsize,
}

impl Dialect {
    /// The server at this port of loopback, with `SET … IFEQ`.
    pub(crate) fn newer(port: u16) -> Self {
        Self::start(port, false)
    }

    /// The same without.
    pub(crate) fn older(port: u16) -> Self {
        Self::start(port, true)
    }

    fn start(port: u16, is_old: bool) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let spoken = Arc::new(Spoken::default());
        let (end, mut ended) = watch::channel(());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let accepting = accept(listener, port, Arc::clone(&spoken));
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = ended.changed() => {}
                    () = accepting => {}
                }
            });
        });
        let dialect = Self {
            address,
            spoken,
            _end: end,
        };
        dialect.set_old(is_old);
        dialect
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// As if an older server, or a newer one, had taken over.
    pub(crate) fn set_old(&self, is_old: bool) {
        self.spoken.is_old.store(is_old, Ordering::SeqCst);
    }

    /// How often `SET … IFEQ` was sent since it was asked last, and how often a script.
    pub(crate) fn asked(&self) -> (usize, usize) {
        let Spoken { swaps, scripts, .. } = &*self.spoken;
        (
            swaps.swap(0, Ordering::SeqCst),
            scripts.swap(0, Ordering::SeqCst),
        )
    }
}

async fn accept(listener: std::net::TcpListener, port: u16, spoken: Arc<Spoken>) {
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let spoken = Arc::clone(&spoken);
        tokio::spawn(async move {
            // Whatever fails on a wire looks the same from its ends: it is closed.
            let _ = serve(client, port, &spoken).await;
        });
    }
}

async fn serve(mut client: TcpStream, port: u16, spoken: &Spoken) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let requests = async {
        let (mut bytes, mut done) = (Vec::new(), Vec::new());
        while from_client.read_buf(&mut bytes).await? != 0 {
            let mut rest = &bytes[..];
            while let Some(command) = take_command(&mut rest) {
                write_command(&mut done, &spoken.translate(command));
            }
            let read = bytes.len() - rest.len();
            bytes.drain(..read);
            to_server.write_all(&done).await?;
            done.clear();
        }
        Ok(())
    };
    let replies = copy(&mut from_server, &mut to_client);
    tokio::select! {
        ended = requests => ended,
        ended = replies => ended,
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> io::Result<()> {
    tokio::io::copy(from, to).await.map(drop)
}

type Command = Vec<Vec<u8>>;

impl Spoken {
    fn translate(&self, mut command: Command) -> Command {
        if command[0] == b"EVALSHA" {
            self.scripts.fetch_add(1, Ordering::SeqCst);
        }
        if command[0] != b"SET" || command.get(3).is_none_or(|option| option != b"IFEQ") {
            return command;
        }
        self.swaps.fetch_add(1, Ordering::SeqCst);
        if self.is_old.load(Ordering::SeqCst) {
            // The server itself says what is wrong with it.
            command[3] = b"UNKNOWN".to_vec();
            return command;
        }
        command.remove(3);
        command.splice(
            ..1,
            ["EVAL", SWAP, "1"].map(|part| part.as_bytes().to_vec()),
        );
        command
    }
}

/// The first command, if all of it is there.
fn take_command(bytes: &mut &[u8]) -> Option<Command> {
    let mut rest = *bytes;
    let count = take_number(&mut rest)?;
    let mut command = Vec::new();
    for _ in 0..count {
        let length = take_number(&mut rest)?;
        let (part, after) = rest.split_at_checked(length)?;
        rest = after.get(2..)?;
        command.push(part.to_vec());
    }
    *bytes = rest;
    Some(command)
}

/// The number of a line such as `$3`.
fn take_number(bytes: &mut &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, rest) = bytes.split_at(end);
    *bytes = &rest[2..];
    let number = str::from_utf8(line.get(1..)?).ok()?;
    Some(number.parse().expect("a command of Redis"))
}

fn write_command(out: &mut Vec<u8>, command: &Command) {
    out.extend(format!("*{}\r\n", command.len()).into_bytes());
    for part in command {
        out.extend(format!("${}\r\n", part.len()).into_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}
