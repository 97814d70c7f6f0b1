use std::{
    io,
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

/// Records all log lines of this thread, at every level, while it lives.
pub(crate) struct Log {
    lines: Lines,
    _subscribed: tracing::subscriber::DefaultGuard,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn capture() -> Self {
        // If there are fewer than two subscribers, the first thread that logs an event decides for all others whether
        // the event is enabled.
        static ALIVE: OnceLock<[tracing::Dispatch; 2]> = OnceLock::new();
        ALIVE.get_or_init(|| [dispatch(Lines::default()), dispatch(Lines::default())]);
        let lines = Lines::default();
        let subscribed = tracing::dispatcher::set_default(&dispatch(lines.clone()));
        Self {
            lines,
            _subscribed: subscribed,
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.lines.0.lock().clone()).unwrap()
    }

    /// How many lines of this level contain `text`.
    pub(crate) fn count(&self, level: tracing::Level, text: &str) -> usize {
        let level = format!(" {level} ");
        let logged = self.text();
        let found = logged.lines().filter(|line| line.contains(&level));
        found.filter(|line| line.contains(text)).count()
    }
}

fn dispatch(lines: Lines) -> tracing::Dispatch {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(lines)
        .finish();
    tracing::Dispatch::new(subscriber)
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
