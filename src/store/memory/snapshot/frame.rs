//! The file format of a snapshot: [`Writer`] and [`Scanner`].
//!
//! A file has a head, a frame for each session, and an empty frame at the end. Every
//! frame begins with a marker that cannot occur inside one, so that the reader finds
//! the next frame after a damaged one.
//!
//! | head | bytes | frame | bytes |
//! | --- | --- | --- | --- |
//! | magic | 16 | marker | 8 |
//! | format number | 4 | length of the body | 4 |
//! | checksum of both | 4 | checksum of the body | 8 |
//! | | | checksum of the two before | 4 |
//! | | | body: see [`Session`] | |
//!
//! Numbers are little-endian; checksums are the first bytes of SHA-256.

use std::{
    io::{self, Read, Write},
    mem,
    sync::Arc,
};

use memchr::memmem::Finder;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    error::store::StoreError,
    record::{Activity, Record, data, token::SessionId},
};

const FORMAT: u32 = 1;
const MAGIC: [u8; 16] = *b"cloakroom\0coats\n";
const HEAD: usize = 24;

/// JSON cannot contain these bytes. The ids are random and the times small, so they do not either.
const MARKER: [u8; 8] = [0xff, 0xc1, b'c', b'o', b'a', b't', 0xfe, 0xf9];
const FRAME: usize = 24;

/// Larger than any body: a record whose keys and user take the most bytes when they are escaped.
const MAX_BODY: usize = 8 * data::MAX_BYTES;

fn checksum<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut sum = [0; N];
    sum.copy_from_slice(&Sha256::digest(bytes)[..N]);
    sum
}

/// A session in a snapshot: its id, its activity, whether it was used again since it was created, and the record
/// as [`Record::to_bytes`] encodes it.
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) activity: Activity,
    pub(super) is_seen: bool,
    pub(super) record: Arc<Record>,
}

const NEVER: u64 = u64::MAX;
const BEFORE_RECORD: usize = 16 + 8 + 8 + 1;

impl Session {
    fn encode(&self, body: &mut Vec<u8>) {
        let expires_at = self.activity.expires_at.map_or(NEVER, Timestamp::as_millis);
        body.extend_from_slice(self.id.as_bytes());
        body.extend_from_slice(&self.activity.last_seen_at.as_millis().to_le_bytes());
        body.extend_from_slice(&expires_at.to_le_bytes());
        body.push(u8::from(self.is_seen));
        body.extend_from_slice(&self.record.to_bytes());
    }

    /// `None` if the body is too short.
    pub(super) fn decode(body: &[u8]) -> Option<Result<Self, StoreError>> {
        let (before, record) = body.split_at_checked(BEFORE_RECORD)?;
        let (id, rest) = before.split_first_chunk::<16>()?;
        let (last_seen_at, rest) = rest.split_first_chunk::<8>()?;
        let (expires_at, rest) = rest.split_first_chunk::<8>()?;
        let expires_at = u64::from_le_bytes(*expires_at);
        let activity = Activity {
            last_seen_at: Timestamp::from_millis(u64::from_le_bytes(*last_seen_at)),
            expires_at: (expires_at != NEVER).then(|| Timestamp::from_millis(expires_at)),
        };
        Some(Record::from_bytes(record).map(|record| Self {
            id: Uuid::from_bytes(*id).into(),
            activity,
            is_seen: rest != [0],
            record: Arc::new(record),
        }))
    }
}

/// Writes a snapshot to the end of `W`.
pub(super) struct Writer<W> {
    to: W,
    body: Vec<u8>,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(to: W) -> io::Result<Self> {
        Self::of_format(FORMAT, to)
    }

    pub(super) fn of_format(format: u32, mut to: W) -> io::Result<Self> {
        let mut head = Vec::with_capacity(HEAD);
        head.extend_from_slice(&MAGIC);
        head.extend_from_slice(&format.to_le_bytes());
        let sum = checksum::<4>(&head);
        head.extend_from_slice(&sum);
        to.write_all(&head)?;
        Ok(Self {
            to,
            body: Vec::new(),
        })
    }

    pub(super) fn session(&mut self, session: &Session) -> io::Result<()> {
        let mut body = mem::take(&mut self.body);
        body.clear();
        session.encode(&mut body);
        self.frame(&body)?;
        self.body = body;
        Ok(())
    }

    /// Writes the end. A snapshot without it counts as cut short.
    pub(super) fn end(mut self) -> io::Result<W> {
        self.frame(&[])?;
        Ok(self.to)
    }

    pub(super) fn frame(&mut self, body: &[u8]) -> io::Result<()> {
        let len = u32::try_from(body.len()).map_err(io::Error::other)?;
        let mut head = [0; FRAME - MARKER.len()];
        head[..4].copy_from_slice(&len.to_le_bytes());
        head[4..12].copy_from_slice(&checksum::<8>(body));
        let sum = checksum::<4>(&head[..12]);
        head[12..].copy_from_slice(&sum);
        self.to.write_all(&MARKER)?;
        self.to.write_all(&head)?;
        self.to.write_all(body)
    }
}

/// Reads a snapshot piece by piece, whatever is in the file.
pub(super) struct Scanner<R> {
    from: R,
    /// The bytes read. From `start` on they are not consumed yet.
    window: Vec<u8>,
    start: usize,
    /// The position of `start` in the file.
    offset: u64,
}

/// What is at the beginning of the file.
pub(super) enum Head {
    Known,
    Format(u32),
    Damaged,
}

/// What comes next in the file.
pub(super) enum Next<'a> {
    /// The body of an intact frame. An empty one is the end.
    Frame(&'a [u8]),
    /// Damaged bytes up to the next marker.
    Damaged,
    /// Damaged bytes up to the end of the file, or its end.
    Nothing,
}

const WINDOW: usize = 256 * 1024;

impl<R: Read> Scanner<R> {
    pub(super) fn new(from: R) -> Self {
        Self {
            from,
            window: Vec::new(),
            start: 0,
            offset: 0,
        }
    }

    /// How many bytes of the file are consumed.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Consumes the head if it is intact.
    pub(super) fn head(&mut self) -> io::Result<Head> {
        self.fill(HEAD)?;
        let head = &self.window[self.start..];
        let Some((head, _)) = head.split_first_chunk::<HEAD>() else {
            return Ok(Head::Damaged);
        };
        if head[..16] != MAGIC || head[20..] != checksum::<4>(&head[..20]) {
            return Ok(Head::Damaged);
        }
        let format = u32::from_le_bytes([head[16], head[17], head[18], head[19]]);
        self.pass(HEAD);
        Ok(match format {
            FORMAT => Head::Known,
            format => Head::Format(format),
        })
    }

    pub(super) fn next(&mut self) -> io::Result<Next<'_>> {
        match self.intact()? {
            Some(len) => {
                self.pass(FRAME + len);
                Ok(Next::Frame(&self.window[self.start - len..self.start]))
            }
            None if self.find_marker()? => Ok(Next::Damaged),
            None => Ok(Next::Nothing),
        }
    }

    /// The length of the body if there is an intact frame here.
    fn intact(&mut self) -> io::Result<Option<usize>> {
        self.fill(FRAME)?;
        let Some((frame, _)) = self.window[self.start..].split_first_chunk::<FRAME>() else {
            return Ok(None);
        };
        let (marker, head) = frame.split_at(MARKER.len());
        if *marker != MARKER || head[12..] != checksum::<4>(&head[..12]) {
            return Ok(None);
        }
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let sum: [u8; 8] = std::array::from_fn(|index| head[4 + index]);
        if len > MAX_BODY {
            return Ok(None);
        }
        self.fill(FRAME + len)?;
        let body = self
            .window
            .get(self.start + FRAME..self.start + FRAME + len);
        Ok(body
            .is_some_and(|body| checksum(body) == sum)
            .then_some(len))
    }

    /// Consumes everything up to the next marker after this position, or to the end of the file.
    fn find_marker(&mut self) -> io::Result<bool> {
        let finder = Finder::new(&MARKER);
        self.pass(1);
        loop {
            self.fill(WINDOW)?;
            let rest = &self.window[self.start..];
            if let Some(found) = finder.find(rest) {
                self.pass(found);
                return Ok(true);
            }
            let len = rest.len();
            if len < WINDOW {
                self.pass(len);
                return Ok(false);
            }
            // The last bytes may be the beginning of a marker.
            self.pass(len - MARKER.len() + 1);
        }
    }

    fn pass(&mut self, bytes: usize) {
        let passed = bytes.min(self.window.len() - self.start);
        self.start += passed;
        self.offset += passed as u64;
    }

    /// Reads until `wanted` bytes are available, or the file ends.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        let there = self.window.len() - self.start;
        if there >= wanted {
            return Ok(());
        }
        self.window.drain(..self.start);
        self.start = 0;
        let missing = wanted.max(WINDOW) - there;
        self.from
            .by_ref()
            .take(missing as u64)
            .read_to_end(&mut self.window)?;
        Ok(())
    }
}
