//! What answers other nodes' questions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::controllers::Controllers;

/// How long to wait before an address is tried again that is taken, or that nothing can be accepted on.
const AGAIN: Duration = Duration::from_secs(5);
/// How long an asker may take; whoever dawdles holds one of the places below.
const PATIENCE: Duration = Duration::from_secs(3);
/// Connections at once: anybody who reaches the node may open them, and the agent's files are not theirs to use up.
const AT_ONCE: usize = 64;
/// Longest question, bytes.
const LONGEST: usize = 1024;

const WELL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const UNKNOWN: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// Answers other agents' `GET /hello` on an address of this node, for ever; one that is taken is tried again.
pub(crate) async fn answer(address: SocketAddr, controllers: Controllers) {
    let name = format!("cilium-health-listen-{address}");
    loop {
        let outcome = match TcpListener::bind(address).await {
            Ok(listener) => {
                controllers.ran(&name, &Ok::<(), String>(()));
                serve(&listener).await
            }
            Err(error) => error,
        };
        tracing::warn!(%address, error = crate::text(&outcome), "cannot answer other nodes' probes");
        controllers.ran(&name, &Err::<(), _>(outcome));
        tokio::time::sleep(AGAIN).await;
    }
}

/// Answers until nothing more can be accepted.
async fn serve(listener: &TcpListener) -> std::io::Error {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        // The semaphore is never closed.
        let place = Arc::clone(&places).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(async move {
                    // Whoever goes away, or asks something else, has no further rights.
                    let _ = timeout(PATIENCE, one(stream)).await;
                    drop(place);
                });
            }
            Err(error) => return error,
        }
    }
}

/// One question, and its answer.
async fn one(mut stream: TcpStream) -> std::io::Result<()> {
    let mut question = Vec::new();
    let mut part = [0; 256];
    while !question.windows(4).any(|end| end == b"\r\n\r\n") {
        let length = stream.read(&mut part).await?;
        if length == 0 || question.len() > LONGEST {
            return Ok(());
        }
        question.extend_from_slice(&part[..length]);
    }
    let answer = if question.starts_with(b"GET /hello ") { WELL } else { UNKNOWN };
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(address: SocketAddr, question: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(question).await.expect("written");
        let mut answer = String::new();
        // Whoever asks too much is cut off.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn questions_and_those_that_dawdle() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let task = tokio::spawn(async move { serve(&listener).await });
        let mut idle = Vec::new();
        for _ in 0..AT_ONCE {
            idle.push(TcpStream::connect(address).await.expect("a connection"));
        }
        let answer = timeout(PATIENCE * 4, asked(address, b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")).await;
        assert_eq!(answer.as_deref(), Ok(WELL), "those that say nothing go after a while");
        assert_eq!(asked(address, b"GET /metrics HTTP/1.1\r\n\r\n").await, UNKNOWN);
        assert_eq!(asked(address, &[b'x'; 4 * LONGEST]).await, "");
        task.abort();
    }
}
