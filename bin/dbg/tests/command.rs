//! The program as a script runs it, against an agent that knows fixed answers.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// The socket of an agent; its file goes with it.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Starts an agent.
fn agent(answer: impl Fn(&str) -> (u16, Value) + Send + 'static) -> Socket {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let socket = std::env::temp_dir().join(format!("axt-dbg-{}-{number}.sock", std::process::id()));
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).expect("bind");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serve(stream, &answer);
        }
    });
    Socket(socket)
}

fn serve(mut stream: UnixStream, answer: &impl Fn(&str) -> (u16, Value)) {
    let mut reader = BufReader::new(stream.try_clone().expect("clone"));
    let (mut request, mut line, mut length) = (String::new(), String::new(), 0);
    reader.read_line(&mut request).expect("request");
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).expect("header");
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.trim().parse().expect("length");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("body");
    let request = format!("{}{}", request.trim_end_matches(" HTTP/1.1\r\n"), String::from_utf8_lossy(&body));
    let (status, value) = answer(&request);
    if value.get("lines").is_some() {
        // A stream: each line a chunk.
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for line in value["lines"].as_array().expect("lines") {
            let line = format!("{line}\n");
            let _ = write!(stream, "{:x}\r\n{line}\r\n", line.len());
        }
        let _ = write!(stream, "0\r\n\r\n");
    } else {
        let text = value.to_string();
        let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    }
}

fn run(socket: &Socket, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cilium-dbg"))
        .args(args)
        .env("CILIUM_SOCK", &socket.0)
        .output()
        .expect("run")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_agent_that_is_away() {
    let nowhere = Socket(PathBuf::from("/nonexistent/cilium.sock"));
    for args in [&["status", "--brief"][..], &["status"], &["endpoint", "list"], &["monitor"]] {
        let output = run(&nowhere, args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert_eq!(stdout(&output), "", "{args:?}");
    }
    let brief = run(&nowhere, &["status", "--brief"]);
    assert_eq!(String::from_utf8_lossy(&brief.stderr), "cilium: daemon unreachable\n");
    let version = run(&nowhere, &["version"]);
    assert!(version.status.success() && stdout(&version).contains("Daemon: unknown"), "{}", stdout(&version));
}

#[test]
fn the_exit_code_tells_how_the_agent_is() {
    let well = agent(|_| (200, json!({ "cilium": { "state": "Ok", "msg": "1.19.0" } })));
    let output = run(&well, &["status", "--brief"]);
    assert_eq!((stdout(&output).as_str(), output.status.code()), ("OK\n", Some(0)));
    let ill = agent(|_| (200, json!({ "cilium": { "state": "Failure", "msg": "no BPF file system" } })));
    let output = run(&ill, &["status", "--brief"]);
    assert_eq!(
        (stdout(&output).as_str(), output.status.code()),
        ("error in cilium: no BPF file system\n", Some(1))
    );
    let output = run(&ill, &["status"]);
    assert!(
        stdout(&output).starts_with("Cilium:  ") && output.status.code() == Some(1),
        "{}",
        stdout(&output)
    );
}

#[test]
fn every_form_of_output() {
    let socket = agent(|request| match request {
        "GET /v1/policy" => (200, json!({ "policy": "[\n  {}\n]", "revision": 7 })),
        "GET /v1/identity" => (
            200,
            json!([{ "id": 2, "labels": ["reserved:world"] }, { "id": 1, "labels": ["reserved:host"] }]),
        ),
        _ => (404, json!({ "message": "no such endpoint", "cure": "see endpoint list" })),
    });
    let text = |args: &[&str]| stdout(&run(&socket, args));
    assert_eq!(text(&["policy", "get", "-o", "jsonpath={.revision}"]), "7\n");
    assert_eq!(text(&["policy", "get"]), "[\n  {}\n]\nRevision: 7\n");
    assert_eq!(text(&["identity", "list", "-o", "jsonpath={[*].id}"]), "1 2\n");
    assert_eq!(text(&["identity", "list", "reserved:host"]), "ID   LABELS\n1    reserved:host\n");
    assert!(text(&["identity", "list", "-o", "yaml"]).starts_with("- id: 1\n  labels:\n  - reserved:host\n"));
    let json: Value = serde_json::from_str(&text(&["identity", "list", "-o", "json"])).expect("JSON");
    assert_eq!(json[0], json!({ "id": 1, "labels": ["reserved:host"] }));
    let missing = run(&socket, &["endpoint", "get", "99"]);
    let words = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert_eq!(
        (words.as_str(), missing.status.code()),
        ("Error: no such endpoint (see endpoint list)\n", Some(1))
    );
}

#[test]
fn services_and_the_tables_behind_them() {
    let service = |id: u32, ip: &str| {
        let frontend = json!({ "ip": ip, "port": 80, "protocol": "TCP", "scope": "external" });
        let spec = json!({ "id": id, "frontend-address": frontend, "flags": { "type": "ClusterIP" } });
        json!({ "spec": spec, "status": { "realized": spec } })
    };
    let socket = agent(move |request| match request {
        "GET /v1/service" => (200, json!([service(2, "10.96.0.2"), service(1, "10.96.0.1")])),
        "GET /v1/service/2" => (200, service(2, "10.96.0.2")),
        "GET /v1/bpf/lb" => (200, json!({ "sourceRanges": [{ "prefix": "10.0.0.0/8", "service": 7 }] })),
        "GET /v1/bpf/maglev" => (
            200,
            json!([{ "service": 7, "family": "v4", "table": 3, "start": 5 },
                { "service": 8, "family": "v6", "table": 4, "start": 9 }]),
        ),
        "GET /v1/bpf/maglev/3" => (200, json!([0, 1, 0])),
        _ => (404, json!({ "message": "not known on this node" })),
    });
    let text = |args: &[&str]| {
        stdout(&run(&socket, args)).lines().map(|line| line.trim_end().to_owned() + "\n").collect::<String>()
    };
    let first = "1    10.96.0.1:80/TCP   ClusterIP\n";
    let second = "2    10.96.0.2:80/TCP   ClusterIP\n";
    let title = "ID   Frontend           Service Type   Backend\n";
    for list in [&["service", "list"][..], &["services", "ls"]] {
        assert_eq!(text(list), format!("{title}{first}{second}"));
    }
    assert_eq!(text(&["service", "get", "2"]), format!("{title}{second}"));
    let address = "jsonpath={.status.realized.frontend-address.ip}";
    assert_eq!(text(&["service", "get", "2", "-o", address]), "10.96.0.2\n");
    assert_eq!(run(&socket, &["service", "get", "3"]).status.code(), Some(1));
    let ranges = ["bpf", "lb", "list", "--source-ranges"];
    assert_eq!(text(&ranges), "SOURCE RANGE (REVNAT_ID)\n10.0.0.0/8 (7)\n");
    assert_eq!(run(&socket, &[&ranges[..], &["--revnat"]].concat()).status.code(), Some(2), "one view");
    let tables = "SVC ID   LOOKUP TABLE\n[7]/v4   [5 6 5]\n[8]/v6   []\n";
    assert_eq!(text(&["bpf", "lb", "maglev", "list"]), tables, "the second one has just gone");
    assert_eq!(text(&["bpf", "lb", "maglev", "get", "7"]), "SVC ID   LOOKUP TABLE\n[7]/v4   [5 6 5]\n");
    assert_eq!(run(&socket, &["bpf", "lb", "maglev", "get", "9"]).status.code(), Some(1));
}

#[test]
fn a_trace_asks_for_both_ends() {
    let expected = r#"POST /v1/policy/trace{"source":{"pod":{"namespace":"default","name":"client"}},"destination":{"endpoint":78},"protocol":6,"port":80}"#;
    let socket = agent(move |request| {
        assert_eq!(request, expected);
        (200, json!({ "verdict": "DENIED", "reason": "Policy denied" }))
    });
    let args =
        ["policy", "trace", "--src-k8s-pod", "default:client", "--dst-endpoint", "78", "--dport", "80/tcp"];
    let output = run(&socket, &args);
    assert!(stdout(&output).ends_with("Final verdict: DENIED (Policy denied)\n"), "{}", stdout(&output));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(run(&socket, &args[..4]).status.code(), Some(2), "no receiver: told how to call it");
    let short = ["policy", "trace", "default/client", "78", "80"];
    assert_eq!(stdout(&run(&socket, &short)), stdout(&output));
    assert_eq!(run(&socket, &short[..4]).status.code(), Some(2), "no port");
    assert_eq!(run(&socket, &[&short[..], &args[2..4]].concat()).status.code(), Some(2), "two senders");
}

#[test]
fn a_trace_asks_for_what_it_was_told() {
    let expected = r#"POST /v1/policy/trace{"source":{"address":"fd00::a"},"destination":{"identity":2},"protocol":58,"port":128,"sourcePort":7,"ipv6":true,"existing":true}"#;
    let socket = agent(move |request| {
        assert_eq!(request, expected);
        (200, json!({ "verdict": "ALLOWED", "protocol": 58 }))
    });
    let args = ["policy", "trace", "--src-ip", "fd00::a", "--dst-identity", "2", "--dport", "128/icmpv6"];
    let output = run(&socket, &[&args[..], &["--sport", "7", "-6", "--existing", "-o", "json"]].concat());
    let answer: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!((&answer["verdict"], output.status.code()), (&json!("ALLOWED"), Some(0)));
}

#[test]
fn the_monitor_prints_as_events_come() {
    let socket = agent(|request| {
        assert_eq!(request, "GET /v1/monitor?type=drop,trace&related-to=78");
        let drop = json!({ "type": "drop", "reason": "Policy denied", "summary": "a -> b tcp SYN" });
        (200, json!({ "lines": [drop, { "type": "lost", "lost": 5 }] }))
    });
    let args = ["monitor", "-t", "drop", "-t", "trace", "--related-to", "78"];
    let output = run(&socket, &args);
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "Press Ctrl-C to quit");
    assert!(lines[1].starts_with("xx drop (Policy denied)") && lines[2] == "CPU 00: Lost 5 events", "{text}");
    assert_eq!(output.status.code(), Some(1), "an agent that closes the stream is an error");
    let json = stdout(&run(&socket, &[&args[..], &["-o", "json"]].concat()));
    let first: Value = serde_json::from_str(json.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["type"], "drop");
}
