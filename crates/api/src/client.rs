//! A blocking client: one connection a call.

use crate::error::{ClientError, ErrorBody};
use crate::http::{Body, Head, HeadError, read_head};
use crate::paths;
use serde::{Serialize, de::DeserializeOwned};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::marker::PhantomData;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest answer that is read, bytes; a conntrack table of half a million flows fits.
const MAX_BODY: u64 = 512 << 20;

/// Talks to the agent of this node.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

impl Default for Client {
    /// The usual socket, [`paths::SOCKET`].
    fn default() -> Self {
        Client::new(paths::SOCKET)
    }
}

impl Client {
    /// A client of the agent that listens on `socket`; nothing is connected yet. Calls give up after 60 s of silence.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Client { socket: socket.into(), timeout: Duration::from_secs(60) }
    }

    /// Gives up after `timeout` of silence; at least a millisecond.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// Where the agent is expected.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// GET.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call("GET", path, None)
    }

    /// POST of a JSON body.
    pub fn post<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body)
            .map_err(|source| ClientError::Encode { path: path.to_owned(), source })?;
        self.call("POST", path, Some(&body))
    }

    /// DELETE.
    pub fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call("DELETE", path, None)
    }

    /// GET of a stream of JSON lines. Waits for the next line as long as it takes.
    pub fn stream<T: DeserializeOwned>(&self, path: &str) -> Result<Lines<T>, ClientError> {
        let body = self.open("GET", path, None)?;
        body.stream
            .set_read_timeout(None)
            .map_err(|source| ClientError::Exchange { path: path.to_owned(), source })?;
        Ok(Lines {
            reader: BufReader::new(body.body),
            path: path.to_owned(),
            line: Vec::new(),
            item: PhantomData,
        })
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<T, ClientError> {
        let mut text = Vec::new();
        self.open(method, path, body)?
            .body
            .take(MAX_BODY)
            .read_to_end(&mut text)
            .map_err(|source| ClientError::Exchange { path: path.to_owned(), source })?;
        serde_json::from_slice(&text).map_err(|source| ClientError::Decode { path: path.to_owned(), source })
    }

    /// Sends a request and reads the head of the answer; an answer that is not a 2xx becomes an error.
    fn open(&self, method: &str, path: &str, body: Option<&[u8]>) -> Result<Open, ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .map_err(|source| ClientError::Connect { socket: self.socket.clone(), source })?;
        let (reader, head) = self.exchange(&stream, method, path, body).map_err(|error| match error {
            HeadError::Io(source) => ClientError::Exchange { path: path.to_owned(), source },
            HeadError::Malformed(what) => ClientError::Protocol { path: path.to_owned(), what },
        })?;
        let body = Body::new(reader, &head);
        if (200..300).contains(&head.status) {
            Ok(Open { stream, body })
        } else {
            Err(refusal(head.status, body))
        }
    }

    fn exchange(
        &self,
        stream: &UnixStream,
        method: &str,
        path: &str,
        body: Option<&[u8]>,
    ) -> Result<(BufReader<UnixStream>, Head), HeadError> {
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        let body = body.unwrap_or_default();
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n").into_bytes();
        if !body.is_empty() {
            write!(request, "Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())?;
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        (&*stream).write_all(&request)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let head = read_head(&mut reader)?;
        Ok((reader, head))
    }
}

struct Open {
    stream: UnixStream,
    body: Body<UnixStream>,
}

/// An answer that is not JSON is quoted as it is: better than nothing for who has to find out what listens there.
fn refusal(status: u16, body: Body<UnixStream>) -> ClientError {
    let mut text = Vec::new();
    // What came before the connection broke is still the best there is to tell.
    let _ = body.take(64 << 10).read_to_end(&mut text);
    let body = serde_json::from_slice(&text).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(&text);
        ErrorBody { message: format!("the agent answered {status}: {}", text.trim()), ..ErrorBody::default() }
    });
    ClientError::Refused { status, body }
}

/// JSON lines as they come.
pub struct Lines<T> {
    reader: BufReader<Body<UnixStream>>,
    path: String,
    line: Vec<u8>,
    item: PhantomData<T>,
}

impl<T: DeserializeOwned> Iterator for Lines<T> {
    type Item = Result<T, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.line.clear();
            match self.reader.read_until(b'\n', &mut self.line) {
                Ok(0) => return None,
                Ok(_) if self.line.iter().all(u8::is_ascii_whitespace) => {}
                Ok(_) => {
                    let path = || self.path.clone();
                    let item = serde_json::from_slice(&self.line);
                    return Some(item.map_err(|source| ClientError::Decode { path: path(), source }));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Some(Err(ClientError::Exchange { path: self.path.clone(), source })),
            }
        }
    }
}

#[cfg(test)]
mod tests;
