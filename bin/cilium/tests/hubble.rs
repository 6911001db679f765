//! `cilium hubble` against an API server that is made up: it has a relay, and forwards its port as real ones do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::Message;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::http::HeaderValue;

/// What the pod of the name listens on, and what it refuses.
const OPEN: u16 = 4245;
const CLOSED: u16 = 8081;

fn pod(name: &str, app: &str, ready: &str, port: (&str, u16)) -> Value {
    json!({
        "metadata": { "name": name, "namespace": "kube-system", "labels": { "k8s-app": app } },
        "spec": { "containers": [
            { "ports": [{ "name": "x", "containerPort": 1 }], "env": [{ "name": "BASE_URL", "value": "/hubble" }] },
            { "ports": [{ "name": port.0, "containerPort": port.1 }] },
        ] },
        "status": { "conditions": [{ "type": "Ready", "status": ready }] },
    })
}

fn service(app: &str, target: &str) -> Value {
    json!({ "spec": { "selector": { "k8s-app": app }, "ports": [{ "port": 80, "targetPort": target }] } })
}

/// The answer to a plain request.
fn object(path: &str) -> Option<Value> {
    let below = path.strip_prefix("/api/v1/namespaces/kube-system/")?;
    match below.split('?').next()? {
        "services/hubble-relay" => Some(service("hubble-relay", "grpc")),
        "services/hubble-ui" => Some(service("hubble-ui", "http")),
        "pods" => Some(json!({ "kind": "PodList", "apiVersion": "v1", "items": [
            pod("relay-old", "hubble-relay", "False", ("grpc", OPEN)),
            pod("other", "cilium", "True", ("grpc", OPEN)),
            pod("relay-new", "hubble-relay", "True", ("grpc", OPEN)),
            pod("ui", "hubble-ui", "True", ("http", CLOSED)),
        ] })),
        _ => None,
    }
}

fn answer(mut connection: TcpStream) {
    // A request that came whole is there to be looked at before it is read.
    let mut bytes = [0; 8192];
    let head = loop {
        let Ok(length) = connection.peek(&mut bytes) else { return };
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        match text.find("\r\n\r\n") {
            Some(end) => break text[..end + 4].to_owned(),
            None if length == 0 => return,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let path = head.split(' ').nth(1).expect("a path").to_owned();
    if path.contains("/portforward") {
        return forward(connection, &path);
    }
    connection.read_exact(&mut bytes[..head.len()]).expect("the request");
    let (status, body) = match object(&path) {
        Some(object) => ("200 OK", object),
        None => (
            "404 Not Found",
            json!({ "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404 }),
        ),
    };
    let body = body.to_string();
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = connection.write_all(text.as_bytes());
}

/// Channel 0 carries bytes, channel 1 errors; each begins with the port.
fn forward(connection: TcpStream, path: &str) {
    #[expect(clippy::result_large_err, reason = "the library's own")]
    let protocol = |_: &Request, mut response: Response| {
        response
            .headers_mut()
            .insert("sec-websocket-protocol", HeaderValue::from_static("v4.channel.k8s.io"));
        Ok(response)
    };
    let mut socket = tungstenite::accept_hdr(connection, protocol).expect("a handshake");
    let mut send = |channel: u8, bytes: &[u8]| {
        let _ = socket.send(Message::binary([&[channel], bytes].concat()));
    };
    let expected = "/api/v1/namespaces/kube-system/pods/";
    let (pod, ports) =
        path.strip_prefix(expected).expect("a pod").split_once("/portforward").expect("its port");
    let port = if pod == "ui" { CLOSED } else { OPEN };
    assert!(ports.contains(&format!("ports={port}")) && pod != "relay-old" && pod != "other", "{path}");
    for channel in [0, 1] {
        send(channel, &port.to_le_bytes());
    }
    if port == CLOSED {
        send(1, b"nothing listens on 8081\n");
    }
    while let Ok(message) = socket.read() {
        if let Message::Binary(bytes) = message
            && let [0, text @ ..] = &*bytes
        {
            let loud = text.to_ascii_uppercase();
            let _ = socket.send(Message::binary([&[0], &loud[..]].concat()));
            if text == b"end" {
                let _ = socket.close(None);
            }
        }
    }
}

/// The command, ended with the test.
struct Running(Child, std::path::PathBuf);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_file(&self.1);
    }
}

fn cilium(name: &str, args: &[&str]) -> Running {
    let api = TcpListener::bind("127.0.0.1:0").expect("a server");
    let server = format!("http://{}", api.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for connection in api.incoming() {
            let connection = connection.expect("a connection");
            std::thread::spawn(move || answer(connection));
        }
    });
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{ "name": "c", "cluster": { "server": server } }],
        "users": [{ "name": "u", "user": {} }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
    });
    let path = std::env::temp_dir().join(format!("cilium-hubble-{name}-{}", std::process::id()));
    std::fs::write(&path, kubeconfig.to_string()).expect("a kubeconfig");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cilium"));
    command.arg("hubble").args(args).arg("--kubeconfig").arg(&path);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command");
    Running(child, path)
}

impl Running {
    /// What it says first.
    fn said(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().expect("piped")).read_line(&mut line).expect("a line");
        line
    }

    /// The first line of its complaints.
    fn complained(&mut self) -> String {
        let mut line = String::new();
        BufReader::new(self.0.stderr.as_mut().expect("piped")).read_line(&mut line).expect("a line");
        line
    }
}

fn connect(said: &str) -> TcpStream {
    let end = said.trim().trim_end_matches("/hubble");
    let port = end.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).expect("a port");
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    stream
}

#[test]
fn the_relay_is_at_a_port_of_this_machine() {
    let mut running = cilium("relay", &["port-forward", "--port-forward", "0"]);
    let said = running.said();
    assert!(said.starts_with("Hubble Relay is available at 127.0.0.1:"), "{said}");
    let (mut first, mut second) = (connect(&said), connect(&said));
    for (stream, text, loud) in [(&mut first, "one", "ONE"), (&mut second, "two", "TWO")] {
        stream.write_all(text.as_bytes()).expect("sent");
        let mut answer = [0; 3];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, loud.as_bytes());
    }
    // Who is told that the other end has closed is told all before.
    first.write_all(b"end").expect("sent");
    let mut rest = String::new();
    first.read_to_string(&mut rest).expect("the end");
    assert_eq!(rest, "END");
}

#[test]
fn what_cannot_be_reached_is_said() {
    let mut running = cilium("ui", &["ui", "--port-forward", "0", "--open-browser=false"]);
    let said = running.said();
    assert!(said.starts_with("Hubble UI is available at http://localhost:"), "{said}");
    assert!(said.ends_with("/hubble\n"), "{said}");
    let mut stream = connect(&said);
    assert_eq!(stream.read(&mut [0; 8]).expect("the end"), 0);
    let complained = running.complained();
    assert!(
        complained.contains("hubble-ui") && complained.contains("nothing listens on 8081"),
        "{complained}"
    );
    let mut running = cilium("elsewhere", &["port-forward", "--namespace", "elsewhere"]);
    let complained = running.complained();
    assert!(complained.contains("there is no service hubble-relay in namespace elsewhere"), "{complained}");
    assert!(complained.contains("--set hubble.relay.enabled=true"), "{complained}");
    assert_eq!(running.0.wait().expect("it ends").code(), Some(2));
}
