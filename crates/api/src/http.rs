//! The little of HTTP/1.1 (RFC 9112) that one request on one unix socket needs.

use std::io::{self, BufRead, BufReader, Read};

/// Longest line of a head, bytes.
const MAX_LINE: u64 = 16 * 1024;
/// Most lines of a head.
const MAX_HEADERS: usize = 64;

/// The head of an answer.
pub(crate) struct Head {
    /// Status code.
    pub(crate) status: u16,
    framing: Framing,
}

#[derive(Clone, Copy)]
enum Framing {
    Chunked,
    Length(u64),
    UntilClose,
}

/// Why a head cannot be read.
pub(crate) enum HeadError {
    Io(io::Error),
    Malformed(&'static str),
}

impl From<io::Error> for HeadError {
    fn from(error: io::Error) -> Self {
        HeadError::Io(error)
    }
}

/// Reads the head of an answer.
pub(crate) fn read_head<R: Read>(reader: &mut BufReader<R>) -> Result<Head, HeadError> {
    let status_line = read_line(reader)?;
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| status_line.strip_prefix("HTTP/1.0 "))
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .ok_or(HeadError::Malformed("no status line"))?;
    let mut framing = Framing::UntilClose;
    for _ in 0..MAX_HEADERS {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok(Head { status, framing });
        }
        let (name, value) = line.split_once(':').ok_or(HeadError::Malformed("a header without a colon"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked") {
            framing = Framing::Chunked;
        } else if name.eq_ignore_ascii_case("content-length") && !matches!(framing, Framing::Chunked) {
            framing = Framing::Length(value.parse().map_err(|_| HeadError::Malformed("a bad length"))?);
        }
    }
    Err(HeadError::Malformed("too many headers"))
}

fn read_line<R: Read>(reader: &mut BufReader<R>) -> Result<String, HeadError> {
    let mut line = Vec::new();
    reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\n") {
        Some(rest) => {
            let rest = rest.strip_suffix(b"\r").unwrap_or(rest);
            String::from_utf8(rest.to_vec()).map_err(|_| HeadError::Malformed("a header that is not text"))
        }
        None if line.is_empty() => Err(HeadError::Io(io::ErrorKind::UnexpectedEof.into())),
        None => Err(HeadError::Malformed("a line that does not end")),
    }
}

/// The body of an answer, without its framing.
pub(crate) struct Body<R: Read> {
    reader: BufReader<R>,
    framing: Framing,
    /// Bytes left of the body or of the current chunk.
    left: u64,
    started: bool,
    done: bool,
}

impl<R: Read> Body<R> {
    pub(crate) fn new(reader: BufReader<R>, head: &Head) -> Self {
        let left = if let Framing::Length(n) = head.framing { n } else { 0 };
        Body { reader, framing: head.framing, left, started: false, done: false }
    }

    /// Reads the size of the next chunk; the last one is empty.
    fn next_chunk(&mut self) -> io::Result<()> {
        if self.started {
            self.chunk_line()?; // the line end after the data of the chunk before
        }
        self.started = true;
        let line = self.chunk_line()?;
        let size = line.split(';').next().unwrap_or_default().trim();
        self.left = u64::from_str_radix(size, 16)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a chunk without a size"))?;
        self.done = self.left == 0;
        Ok(())
    }

    fn chunk_line(&mut self) -> io::Result<String> {
        read_line(&mut self.reader).map_err(|error| match error {
            HeadError::Io(error) => error,
            HeadError::Malformed(what) => io::Error::new(io::ErrorKind::InvalidData, what),
        })
    }
}

impl<R: Read> Read for Body<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        match self.framing {
            Framing::UntilClose => return self.reader.read(buffer),
            Framing::Chunked if self.left == 0 && !self.done => self.next_chunk()?,
            _ => {}
        }
        if self.left == 0 {
            return Ok(0);
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.reader.read(&mut buffer[..room])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= got as u64;
        Ok(got)
    }
}
