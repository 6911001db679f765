use super::*;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Answers one connection with `answer`, byte for byte; returns a client and what the server will have read.
fn serve(answer: &'static [u8]) -> (Client, thread::JoinHandle<String>) {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let socket = std::env::temp_dir().join(format!("axt-api-{}-{number}.sock", std::process::id()));
    let listener = UnixListener::bind(&socket).expect("bind");
    let path = socket.clone();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        let mut request = vec![0; 4096];
        let got = stream.read(&mut request).expect("request");
        request.truncate(got);
        // Byte by byte, so that every cut of the framing is met.
        for byte in answer {
            if stream.write_all(&[*byte]).is_err() {
                break;
            }
        }
        let _ = std::fs::remove_file(path);
        String::from_utf8(request).expect("text")
    });
    (Client::new(socket).with_timeout(Duration::from_secs(5)), server)
}

#[test]
fn a_body_with_a_length() {
    let (client, server) = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n[1,2,3]");
    assert_eq!(client.post::<_, Vec<u32>>("/v1/x", &"hi").expect("answer"), [1, 2, 3]);
    let request = server.join().expect("server");
    assert!(request.starts_with("POST /v1/x HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("Content-Length: 4\r\n") && request.ends_with("\r\n\r\n\"hi\""), "{request}");
}

#[test]
fn chunks_are_joined() {
    let (client, _server) =
        serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n4;x=y\r\n2,3]\r\n0\r\n\r\n");
    assert_eq!(client.get::<Vec<u32>>("/").expect("answer"), [1, 2, 3]);
}

#[test]
fn lines_stream_across_chunks() {
    let (client, _server) =
        serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"id\"\r\n9\r\n:1}\n{\"id\"\r\n4\r\n:2}\n\r\n0\r\n\r\n");
    let ids: Vec<u32> = client
        .stream::<crate::identity::Identity>("/")
        .expect("stream")
        .map(|item| item.expect("item").id)
        .collect();
    assert_eq!(ids, [1, 2]);
}

#[test]
fn a_cut_body_is_an_error() {
    let (client, _server) = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 70\r\n\r\n[1,2,3]");
    let error = client.get::<Vec<u32>>("/").expect_err("cut");
    assert!(matches!(error, ClientError::Exchange { .. }), "{error}");
}

#[test]
fn refusals_carry_the_agents_words() {
    let (client, _server) = serve(
        b"HTTP/1.1 409 Conflict\r\ncontent-length: 49\r\n\r\n{\"message\":\"pool is empty\",\"cure\":\"add a CIDR\"}  ",
    );
    let error = client.get::<Vec<u32>>("/").expect_err("refused");
    assert_eq!((error.to_string().as_str(), error.status()), ("pool is empty (add a CIDR)", Some(409)));
    assert!(!error.is_unavailable());
}

#[test]
fn what_is_not_http_is_told() {
    let (client, _server) = serve(b"SSH-2.0-OpenSSH\r\n\r\n");
    assert!(matches!(client.get::<u32>("/").expect_err("not http"), ClientError::Protocol { .. }));
    let (client, _server) = serve(b"HTTP/1.1 500 Oops\r\n\r\nplain words");
    assert!(client.get::<u32>("/").expect_err("500").to_string().contains("500: plain words"));
}

#[test]
fn nobody_listens() {
    let error = Client::new("/nonexistent/agent.sock").get::<u32>("/").expect_err("no socket");
    assert!(error.is_unavailable() && error.to_string().contains("/nonexistent/agent.sock"), "{error}");
}
