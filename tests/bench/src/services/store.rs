//! Writes invented services into etcd itself. The API server counts all addresses in use for each new service (the metric
//! of its `ipallocator`), so that the last of 30,000 takes it 0.1 s of a processor, and all of them 25 minutes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Range;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::objects;

/// The lab's etcd, as the machine `cp` reaches it.
const ETCD: &str = "127.0.0.1:2379";
/// Services of one transaction, two keys each; etcd takes 128 operations.
const AT_ONCE: usize = 60;

/// Creates the services, with their addresses; those that are there are written anew.
pub(super) fn fill(services: Range<u32>) -> Result<()> {
    let numbers: Vec<u32> = services.collect();
    for part in numbers.chunks(AT_ONCE) {
        let puts: Vec<Value> =
            part.iter().flat_map(|number| objects::stored_service(*number)).map(put).collect();
        post("/v3/kv/txn", &json!({ "success": puts })).context("writing services into etcd")?;
    }
    Ok(())
}

/// The operation that writes a key.
fn put((key, value): (String, Value)) -> Value {
    let text = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    json!({ "requestPut": { "key": text(key.as_bytes()), "value": text(value.to_string().as_bytes()) } })
}

/// A request to etcd's JSON gateway (etcd 3.5, "gRPC gateway").
fn post(path: &str, body: &Value) -> Result<()> {
    let body = body.to_string();
    let mut stream = TcpStream::connect(ETCD).context("connecting to etcd")?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {ETCD}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let said = answer.lines().next().unwrap_or_default();
    ensure!(said.contains(" 200 ") && answer.contains("\"succeeded\":true"), "etcd says: {answer}");
    Ok(())
}
