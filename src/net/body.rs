//! a body, decompressed while it arrives and never larger than allowed
//!
//!     chunk ─► (gzip, zstd) ─► text, counted against the cap and against the room all bodies share ─► all of it, or why not
//!
//! **Always:** a bomb costs at most the cap, in memory and in time; a body that ends too early is an error, never a shorter body.

use crate::error::{Error, ErrorKind};
use crate::units::ByteSize;
use bytes::Bytes;
use flate2::write::GzDecoder;
use http_body_util::BodyExt;
use hyper::body::Body;
use std::fmt;
use std::io::{self, Write};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zstd::stream::raw::{DParameter, Decoder as RawZstd, InBuffer, Operation, OutBuffer};

/// Compressed bytes taken in one go: at a ratio of 1:1000 this is 2 MiB, some milliseconds of work.
const SLICE_BYTES: usize = 2 << 10;
/// The largest window of a zstd frame, as a power of two: 8 MiB, what RFC 9659 allows over HTTP.
const WINDOW_LOG_MAX: u32 = 23;
/// The most members of a gzip body: each costs some 20 µs, however small it is.
const MEMBERS_MAX: usize = 10_000;
/// The size of the parts that a body is kept in while it comes.
const PART_BYTES: usize = 256 << 10;
/// After the body's time is over, it must have come with this speed on average.
const SPEED_MIN: u64 = 8 << 10;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    Identity,
    /// RFC 1952; several members after one another are one body.
    Gzip,
    /// RFC 8878, with windows of at most 8 MiB; several frames after one another are one body.
    Zstd,
}

/// What a body may cost.
#[derive(Clone, Debug)]
pub struct Gather {
    /// how it is compressed
    pub coding: Coding,
    /// the most bytes of it, as it comes and decompressed
    pub bytes_max: u64,
    /// how long it may take before its average speed counts
    pub wait_max: Duration,
    /// room that all bodies share, if they do
    pub room: Option<Room>,
}

/// Memory that all bodies being received share. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

/// A whole body, and the room it takes up until it is dropped.
#[derive(Debug)]
pub struct Gathered {
    /// the body, decompressed
    pub bytes: Bytes,
    /// its size as it came
    pub wire_bytes: u64,
    /// the room it takes up
    pub held: Option<OwnedSemaphorePermit>,
}

/// Why a body could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// it is larger than so many bytes
    TooLarge(u64),
    /// it is not what its coding says
    Broken(Coding, String),
    /// it came too slowly
    Slow,
    /// all bodies together take up all the room there is
    Full,
    /// the connection broke before the body's end
    Gone(String),
}

impl Coding {
    /// Reads the header `Content-Encoding`; none for a coding that is not spoken here.
    pub fn parse(header: &str) -> Option<Coding> {
        match header.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Coding::Identity),
            "gzip" | "x-gzip" => Some(Coding::Gzip),
            "zstd" => Some(Coding::Zstd),
            _ => None,
        }
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Coding::Identity => "identity",
            Coding::Gzip => "gzip",
            Coding::Zstd => "zstd",
        }
    }
}

impl Room {
    /// Room for so many bytes.
    pub fn new(bytes: u64) -> Room {
        let kibibytes = usize::try_from(bytes / 1024).unwrap_or(usize::MAX).clamp(1, Semaphore::MAX_PERMITS);
        Room(Arc::new(Semaphore::new(kibibytes)))
    }

    fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kibibytes = u32::try_from(bytes.div_ceil(1024)).ok()?;
        self.0.clone().try_acquire_many_owned(kibibytes).ok()
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BodyError::TooLarge(max) => {
                write!(f, "the body is larger than {}, as it comes or decompressed; send it in parts", ByteSize(*max))
            }
            BodyError::Broken(coding, why) => write!(f, "the body is not whole, correct {}: {why}", coding.word()),
            BodyError::Slow => f.write_str("the body came too slowly; send it in smaller parts"),
            BodyError::Full => {
                f.write_str("too many bodies are being received at this moment; send it again in a second")
            }
            BodyError::Gone(why) => write!(f, "the connection broke before the end of the body: {why}"),
        }
    }
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        let kind = match &error {
            BodyError::TooLarge(_) | BodyError::Slow => ErrorKind::Limit,
            BodyError::Broken(_, _) => ErrorKind::Invalid,
            BodyError::Full => ErrorKind::Unavailable,
            BodyError::Gone(_) => ErrorKind::Io,
        };
        Error::new(kind, error.to_string())
    }
}

/// Receives a whole body.
pub async fn gather<B>(body: B, rules: &Gather) -> Result<Gathered, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: fmt::Display,
{
    let mut body = pin!(body);
    if body.size_hint().lower() > rules.bytes_max {
        return Err(BodyError::TooLarge(rules.bytes_max));
    }
    let mut decoder = Decoder::new(rules.coding, Sink::new(rules))?;
    let (mut wire_bytes, mut work) = (0, Work::default());
    let mut overdue = pin!(tokio::time::sleep(rules.wait_max));
    let due = overdue.deadline();
    loop {
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = overdue.as_mut() => return Err(BodyError::Slow),
        };
        let Some(frame) = frame else { break };
        let Ok(chunk) = frame.map_err(|error| BodyError::Gone(error.to_string()))?.into_data() else { continue };
        wire_bytes += chunk.len() as u64;
        if wire_bytes > rules.bytes_max {
            return Err(BodyError::TooLarge(rules.bytes_max));
        }
        overdue.as_mut().reset(due + Duration::from_secs_f64(wire_bytes as f64 / SPEED_MIN as f64));
        match rules.coding {
            Coding::Identity => decoder.write(&chunk)?,
            Coding::Gzip | Coding::Zstd => {
                for slice in chunk.chunks(SLICE_BYTES) {
                    decoder.write(slice)?;
                    work.done(slice.len(), decoder.text_bytes()).await;
                }
            }
        }
    }
    let (bytes, held) = decoder.finish(wire_bytes)?.join();
    Ok(Gathered { bytes, wire_bytes, held })
}

/// How much was decompressed since others had their turn.
#[derive(Default)]
struct Work {
    wire_bytes: usize,
    text_bytes: usize,
}

impl Work {
    /// Lets others have their turn after 64 KiB that came or 1 MiB that they became.
    async fn done(&mut self, wire_bytes: usize, text_bytes: usize) {
        self.wire_bytes += wire_bytes;
        if self.wire_bytes > 64 << 10 || text_bytes - self.text_bytes > 1 << 20 {
            *self = Work { wire_bytes: 0, text_bytes };
            tokio::task::yield_now().await;
        }
    }
}

/// Where decompressed bytes go, until they are too many. They are kept in parts: a vector that doubles would need twice the room.
#[derive(Default)]
struct Sink {
    parts: Vec<Vec<u8>>,
    bytes: usize,
    bytes_max: u64,
    room: Option<Room>,
    held: Option<OwnedSemaphorePermit>,
    room_bytes: usize,
    refusal: Option<BodyError>,
}

impl Sink {
    fn new(rules: &Gather) -> Sink {
        let room = rules.room.clone();
        Sink { bytes_max: rules.bytes_max, room, ..Sink::default() }
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), BodyError> {
        let total = self.bytes + bytes.len();
        if total as u64 > self.bytes_max {
            return Err(BodyError::TooLarge(self.bytes_max));
        }
        if let Some(room) = self.room.as_ref().filter(|_| total > self.room_bytes) {
            let step = (total - self.room_bytes).next_multiple_of(64 << 10);
            let more = room.take(step).ok_or(BodyError::Full)?;
            match &mut self.held {
                Some(held) => held.merge(more),
                None => self.held = Some(more),
            }
            self.room_bytes += step;
        }
        self.bytes = total;
        while !bytes.is_empty() {
            // Most bodies fit into the first part, and need no more than they have.
            let fresh = if self.parts.is_empty() { 0 } else { PART_BYTES };
            match self.parts.last_mut().filter(|part| part.len() < PART_BYTES) {
                Some(part) => {
                    let (now, later) = bytes.split_at(bytes.len().min(PART_BYTES - part.len()));
                    part.extend_from_slice(now);
                    bytes = later;
                }
                None => self.parts.push(Vec::with_capacity(fresh)),
            }
        }
        Ok(())
    }

    /// All of it in one piece; each part is given back as soon as it is copied.
    fn join(mut self) -> (Bytes, Option<OwnedSemaphorePermit>) {
        let mut parts = std::mem::take(&mut self.parts);
        let text = match parts.len() {
            0 | 1 => parts.pop().unwrap_or_default(),
            _ => parts.into_iter().fold(Vec::with_capacity(self.bytes), |mut text, part| {
                text.extend_from_slice(&part);
                text
            }),
        };
        (Bytes::from(text), self.held)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.take(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(refusal) => {
                self.refusal = Some(refusal);
                Err(io::Error::other("refused"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A decompressor in the middle of its work.
enum Decoder {
    Identity(Sink),
    Gzip(Box<Members>),
    Zstd { frames: RawZstd<'static>, sink: Sink, scratch: Box<[u8]>, whole: bool },
}

impl Decoder {
    fn new(coding: Coding, sink: Sink) -> Result<Decoder, BodyError> {
        let broken = |error: io::Error| BodyError::Broken(coding, error.to_string());
        Ok(match coding {
            Coding::Identity => Decoder::Identity(sink),
            Coding::Gzip => Decoder::Gzip(Box::new(Members { member: GzDecoder::new(sink), count: 1 })),
            Coding::Zstd => {
                let mut frames = RawZstd::new().map_err(broken)?;
                frames.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(broken)?;
                Decoder::Zstd { frames, sink, scratch: vec![0; 64 << 10].into_boxed_slice(), whole: true }
            }
        })
    }

    fn write(&mut self, chunk: &[u8]) -> Result<(), BodyError> {
        match self {
            Decoder::Identity(sink) => sink.take(chunk),
            Decoder::Gzip(members) => members.write(chunk).map_err(|error| members.broken(&error)),
            Decoder::Zstd { frames, sink, scratch, whole } => {
                let mut input = InBuffer::around(chunk);
                loop {
                    let mut output = OutBuffer::around(&mut scratch[..]);
                    let hint = frames
                        .run(&mut input, &mut output)
                        .map_err(|error| BodyError::Broken(Coding::Zstd, error.to_string()))?;
                    let filled = output.pos();
                    *whole = hint == 0;
                    sink.take(output.as_slice())?;
                    if input.pos() == chunk.len() && (*whole || filled < scratch.len()) {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn text_bytes(&self) -> usize {
        match self {
            Decoder::Identity(sink) | Decoder::Zstd { sink, .. } => sink.bytes,
            Decoder::Gzip(members) => members.member.get_ref().bytes,
        }
    }

    fn finish(self, wire_bytes: u64) -> Result<Sink, BodyError> {
        match self {
            Decoder::Identity(sink) => Ok(sink),
            Decoder::Gzip(mut members) => {
                // No byte at all is no member at all, and an empty body.
                if wire_bytes > 0 {
                    members.member.try_finish().map_err(|error| members.broken(&error))?;
                }
                Ok(std::mem::take(members.member.get_mut()))
            }
            Decoder::Zstd { sink, whole: true, .. } => Ok(sink),
            Decoder::Zstd { .. } => Err(BodyError::Broken(Coding::Zstd, "it ends in the middle of a frame".to_owned())),
        }
    }
}

/// The members of a gzip body, one after another.
struct Members {
    member: GzDecoder<Sink>,
    count: usize,
}

impl Members {
    /// Decompresses a chunk, which may end one member and begin another.
    fn write(&mut self, mut chunk: &[u8]) -> io::Result<()> {
        while !chunk.is_empty() {
            let taken = self.member.write(chunk)?;
            chunk = chunk.get(taken..).unwrap_or_default();
            if taken == 0 {
                self.member.try_finish()?;
                self.count += 1;
                if self.count > MEMBERS_MAX {
                    return Err(io::Error::other(format!("it has more than {MEMBERS_MAX} members")));
                }
                self.member = GzDecoder::new(std::mem::take(self.member.get_mut()));
            }
        }
        Ok(())
    }

    fn broken(&mut self, error: &io::Error) -> BodyError {
        self.member.get_mut().refusal.take().unwrap_or_else(|| match error.kind() {
            io::ErrorKind::UnexpectedEof => BodyError::Broken(Coding::Gzip, "it ends too early".to_owned()),
            _ => BodyError::Broken(Coding::Gzip, error.to_string()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;
    use std::convert::Infallible;

    const CAP: u64 = 4 << 20;

    fn rules(coding: Coding) -> Gather {
        Gather { coding, bytes_max: CAP, wait_max: Duration::from_secs(20), room: None }
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        zstd::encode_all(text, 3).unwrap()
    }

    /// The body cut into chunks of so many bytes.
    async fn cut(wire: &[u8], chunk: usize, rules: &Gather) -> Result<Gathered, BodyError> {
        let chunks: Vec<_> =
            wire.chunks(chunk).map(|c| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(c)))).collect();
        gather(StreamBody::new(futures::stream::iter(chunks)), rules).await
    }

    #[tokio::test]
    async fn what_was_sent_is_what_arrives() {
        let text: Vec<u8> = (0..30_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let (first, second) = text.split_at(70_000);
        for (coding, wire) in [
            (Coding::Identity, text.clone()),
            (Coding::Gzip, gzip(&text)),
            (Coding::Gzip, [gzip(first), gzip(b""), gzip(second)].concat()),
            (Coding::Zstd, zstd(&text)),
            (Coding::Zstd, [zstd(first), zstd(b""), zstd(second)].concat()),
        ] {
            for chunk in [1, 7, 1000, 1 << 20] {
                let gathered = cut(&wire, chunk, &rules(coding)).await.unwrap();
                assert!(gathered.bytes == text, "{coding:?} in chunks of {chunk}");
                assert_eq!(gathered.wire_bytes, wire.len() as u64);
            }
        }
        for coding in [Coding::Identity, Coding::Gzip, Coding::Zstd] {
            assert_eq!(cut(b"", 1, &rules(coding)).await.unwrap().bytes.len(), 0, "empty {coding:?}");
        }
    }

    #[tokio::test]
    async fn broken_and_cut_bodies_are_refused() {
        let text = b"a line that is long enough to be compressed\n".repeat(100);
        let (gz, zst) = (gzip(&text), zstd(&text));
        let mut flipped = gz.clone();
        let last = flipped.len() - 6;
        flipped[last] ^= 1; // in the checksum
        for (coding, wire) in [
            (Coding::Gzip, b"not gzip at all".to_vec()),
            (Coding::Gzip, gz[..gz.len() - 1].to_vec()),
            (Coding::Gzip, gz[..5].to_vec()),
            (Coding::Gzip, flipped),
            (Coding::Gzip, [gz.clone(), b"tail".to_vec()].concat()),
            (Coding::Zstd, b"not zstd at all".to_vec()),
            (Coding::Zstd, zst[..zst.len() - 1].to_vec()),
            (Coding::Zstd, zst[..3].to_vec()),
            (Coding::Zstd, [zst.clone(), b"tail".to_vec()].concat()),
        ] {
            for chunk in [1, 1 << 20] {
                match cut(&wire, chunk, &rules(coding)).await {
                    Err(BodyError::Broken(of, _)) => assert_eq!(of, coding),
                    other => panic!("{coding:?} {wire:?}: {other:?}"),
                }
            }
        }
    }

    #[tokio::test]
    async fn a_bomb_stops_at_the_cap() {
        let zeros = vec![0; 16 << 20];
        for (coding, wire) in [(Coding::Gzip, gzip(&zeros)), (Coding::Zstd, zstd(&zeros))] {
            assert!(wire.len() < 1 << 16);
            let mut decoder = Decoder::new(coding, Sink::new(&rules(coding))).unwrap();
            let mut slices = wire.chunks(SLICE_BYTES);
            let refusal = slices.find_map(|slice| decoder.write(slice).err());
            assert_eq!(refusal, Some(BodyError::TooLarge(CAP)), "{coding:?}");
            let sink = match &decoder {
                Decoder::Identity(sink) | Decoder::Zstd { sink, .. } => sink,
                Decoder::Gzip(members) => members.member.get_ref(),
            };
            let held: usize = sink.parts.iter().map(Vec::capacity).sum();
            assert!(held as u64 <= CAP + 2 * PART_BYTES as u64, "{coding:?} holds {held}");
            assert_eq!(cut(&wire, 1 << 20, &rules(coding)).await.unwrap_err(), BodyError::TooLarge(CAP));
        }
        let declared = Full::new(Bytes::from(vec![0; CAP as usize + 1]));
        assert_eq!(gather(declared, &rules(Coding::Identity)).await.unwrap_err(), BodyError::TooLarge(CAP));
        let exact = Full::new(Bytes::from(vec![0; CAP as usize]));
        assert_eq!(gather(exact, &rules(Coding::Identity)).await.unwrap().bytes.len() as u64, CAP);
    }

    #[tokio::test]
    async fn more_members_than_sense_are_refused() {
        let wire = gzip(b"").repeat(MEMBERS_MAX + 1);
        assert!(matches!(cut(&wire, 1 << 16, &rules(Coding::Gzip)).await, Err(BodyError::Broken(Coding::Gzip, _))));
    }

    #[tokio::test]
    async fn a_window_beyond_8_mib_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        for _ in 0..17 {
            encoder.write_all(&vec![7; 1 << 20]).unwrap();
        }
        let wire = encoder.finish().unwrap();
        assert!(matches!(cut(&wire, 1000, &rules(Coding::Zstd)).await, Err(BodyError::Broken(Coding::Zstd, _))));
    }

    #[tokio::test]
    async fn all_bodies_share_the_room() {
        let room = Room::new(1 << 20);
        let rules = Gather { room: Some(room), ..rules(Coding::Identity) };
        let first = cut(&vec![0; 700_000], 10_000, &rules).await.unwrap();
        assert_eq!(cut(&vec![0; 700_000], 10_000, &rules).await.unwrap_err(), BodyError::Full);
        drop(first);
        assert!(cut(&vec![0; 700_000], 10_000, &rules).await.is_ok());
    }

    #[tokio::test]
    async fn a_trickle_ends() {
        let sender = |bytes: usize, chunks: u32| {
            StreamBody::new(futures::stream::unfold(0, move |n| async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                (n < chunks).then(|| (Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0; bytes]))), n + 1))
            }))
        };
        let rules = Gather { wait_max: Duration::from_millis(100), ..rules(Coding::Identity) };
        assert_eq!(gather(sender(1, 10_000), &rules).await.unwrap_err(), BodyError::Slow);
        assert_eq!(gather(sender(8000, 15), &rules).await.unwrap().bytes.len(), 120_000);
    }
}
