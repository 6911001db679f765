//! Writes invented services into etcd itself. The API server counts all addresses in use for each new service (the metric
//! of its `ipallocator`), so that the last of 30,000 takes it 0.1 s of a processor, and all of them 25 minutes.
//!
//! Each key is a write of its own: the API server's watches lose objects that came in one revision.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::objects;

/// The lab's etcd, as the machine `cp` reaches it.
const ETCD: &str = "127.0.0.1:2379";
/// Writers at once: etcd writes to disk what comes together.
const WRITERS: usize = 32;

/// Creates the services, with the claims of their addresses; those that are there are written anew.
pub(super) fn fill(services: Range<u32>) -> Result<()> {
    let numbers: Vec<u32> = services.collect();
    let share = numbers.len().div_ceil(WRITERS).max(1);
    let results: Vec<Result<()>> = thread::scope(|scope| {
        let writers: Vec<_> = numbers.chunks(share).map(|part| scope.spawn(move || write(part))).collect();
        let joined = writers.into_iter().map(thread::ScopedJoinHandle::join);
        joined.map(|result| result.unwrap_or_else(|_| Err(anyhow!("a writer panicked")))).collect()
    });
    results.into_iter().collect::<Result<()>>().context("writing services into etcd")
}

fn write(numbers: &[u32]) -> Result<()> {
    let mut stream = TcpStream::connect(ETCD).context("connecting to etcd")?;
    let mut answers = BufReader::new(stream.try_clone()?);
    for number in numbers {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        for (key, value) in objects::stored_service(*number, &now) {
            put(&mut stream, &key, &value)?;
            accepted(&mut answers).with_context(|| format!("the key {key}"))?;
        }
    }
    Ok(())
}

/// Asks for a write by etcd's JSON gateway (etcd 3.5, "gRPC gateway").
fn put(stream: &mut TcpStream, key: &str, value: &Value) -> Result<()> {
    let text = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    let body =
        json!({ "key": text(key.as_bytes()), "value": text(value.to_string().as_bytes()) }).to_string();
    let length = body.len();
    let request =
        format!("POST /v3/kv/put HTTP/1.1\r\nHost: {ETCD}\r\nContent-Length: {length}\r\n\r\n{body}");
    Ok(stream.write_all(request.as_bytes())?)
}

/// Reads an answer to its end.
fn accepted(answers: &mut BufReader<TcpStream>) -> Result<()> {
    let mut status = String::new();
    answers.read_line(&mut status)?;
    let mut length = None;
    loop {
        let mut header = String::new();
        ensure!(answers.read_line(&mut header)? > 0, "the answer ends early");
        if header == "\r\n" {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse()?);
        }
    }
    let mut body = vec![0; length.context("an answer without a length")?];
    answers.read_exact(&mut body)?;
    ensure!(status.contains(" 200 "), "etcd says: {}", String::from_utf8_lossy(&body));
    Ok(())
}
