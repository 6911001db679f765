//! A fake agent, and the plugin run as a runtime runs it: a process in the node's namespace.

use netlink::{NetNs, Netlink};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What the agent answers to (method, path, body): a status and a body; none: silence for ever.
pub(crate) type Answer = Option<(u16, Value)>;

/// A node: its namespace, a folder for socket and queue, and what the agent was asked.
pub(crate) struct Node {
    pub(crate) namespace: NetNs,
    pub(crate) folder: PathBuf,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Node {
    /// A node without an agent.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("axt-cni-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("folder");
        Node { namespace: NetNs::create().expect("a namespace: needs root"), folder, asked: Arc::default() }
    }

    /// A node whose agent does what is right.
    pub(crate) fn with_agent() -> Self {
        let node = Node::new();
        node.serve(well_behaved);
        node
    }

    /// Starts an agent; a later one takes the socket over.
    pub(crate) fn serve(&self, answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) {
        let socket = self.socket();
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).expect("bind");
        let (asked, answer) = (Arc::clone(&self.asked), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
                thread::spawn(move || handle(stream, &asked, &*answer));
            }
        });
    }

    /// The agent's socket vanishes, as in a restart.
    pub(crate) fn stop_agent(&self) {
        let _ = std::fs::remove_file(self.socket());
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("cilium.sock")
    }

    /// Requests so far whose "METHOD path" starts so.
    pub(crate) fn asked(&self, what: &str) -> Vec<(String, Value)> {
        let asked = self.asked.lock().expect("lock");
        asked.iter().filter(|(request, _)| request.starts_with(what)).cloned().collect()
    }

    /// Files in the queue of releases.
    pub(crate) fn queue(&self) -> Vec<(PathBuf, Option<api::delete_queue::Release>)> {
        api::delete_queue::read(&self.folder.join("deleteQueue")).expect("queue")
    }

    /// Names of the node's interfaces, without loopback.
    pub(crate) fn links(&self) -> Vec<String> {
        let links = Netlink::open_in(&self.namespace).and_then(|mut n| n.links()).expect("links");
        links.into_iter().map(|link| link.name).filter(|name| name != "lo").collect()
    }

    /// Starts the plugin with `config` on its standard input.
    pub(crate) fn start(&self, command: &str, pod: &Pod, config: &str) -> Child {
        let mut plugin = Command::new(env!("CARGO_BIN_EXE_cilium-cni"));
        plugin.env_clear().env("CILIUM_SOCK", self.socket()).env("CNI_COMMAND", command);
        plugin
            .env("CNI_CONTAINERID", &pod.container_id)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", pod.path());
        plugin.env("CNI_PATH", "/opt/cni/bin");
        let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=u-1;K8S_POD_INFRA_CONTAINER_ID=x";
        self.run_env(plugin.env("CNI_ARGS", args), config)
    }

    /// Starts any command in the node's namespace.
    pub(crate) fn run_env(&self, plugin: &mut Command, config: &str) -> Child {
        plugin.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A child starts in the namespace of the thread that makes it.
        let mut child = self.namespace.run(|| plugin.spawn()).expect("enter").expect("start");
        // The plugin may have refused its environment and gone without reading.
        let _ = child.stdin.take().expect("stdin").write_all(config.as_bytes());
        child
    }

    /// Runs the plugin; success gives its answer (null if it said nothing), failure its error object.
    pub(crate) fn call(&self, command: &str, pod: &Pod, config: &str) -> Result<Value, Value> {
        outcome(self.start(command, pod, config))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A container's namespace.
pub(crate) struct Pod {
    pub(crate) namespace: NetNs,
    pub(crate) container_id: String,
}

impl Pod {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let container_id = format!("c{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Pod { namespace: NetNs::create().expect("a namespace"), container_id }
    }

    /// A path to the namespace that other processes can open.
    pub(crate) fn path(&self) -> String {
        path_of(&self.namespace)
    }

    pub(crate) fn netlink(&self) -> Netlink {
        Netlink::open_in(&self.namespace).expect("a socket in the pod")
    }
}

/// A path to a namespace without a name.
pub(crate) fn path_of(namespace: &NetNs) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), namespace.as_fd().as_raw_fd())
}

pub(crate) fn outcome(child: Child) -> Result<Value, Value> {
    let output = child.wait_with_output().expect("wait");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        output.stderr.is_empty(),
        "the plugin wrote to stderr: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let value =
        if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("one JSON object") };
    if output.status.success() { Ok(value) } else { Err(value) }
}

/// A network configuration.
pub(crate) fn config(version: &str) -> Value {
    json!({ "cniVersion": version, "name": "cilium", "type": "cilium-cni", "log-file": "", "enable-debug": false })
}

/// What a good agent answers.
pub(crate) fn well_behaved(request: &str, body: &Value) -> Answer {
    Some(match request {
        "POST /v1/cni/allocate" => (200, allocation(body)),
        "POST /v1/cni/attach" => (200, json!({ "identity": 4711, "policy_revision": 3 })),
        "GET /v1/healthz" => (200, json!({ "state": "Ok", "msg": "" })),
        _ if request.starts_with("DELETE /v1/cni/") => (200, json!({ "released": true })),
        _ => (404, json!({ "message": "not known" })),
    })
}

/// Addresses for a pod; the name of the device follows from the container.
pub(crate) fn allocation(body: &Value) -> Value {
    let id = body["container_id"].as_str().expect("container_id");
    let number = id.rsplit('-').next().expect("a number");
    json!({
        "endpoint_id": 77, "ipv4": "10.1.0.5", "ipv6": "fd00:1::5", "gateway_ipv4": "10.1.0.1",
        "gateway_ipv6": "fd00:1::1", "mtu": 1500, "route_mtu": 1450, "host_ifname": format!("lxcaxt{number}"),
    })
}

fn handle(
    mut stream: UnixStream,
    asked: &Mutex<Vec<(String, Value)>>,
    answer: &dyn Fn(&str, &Value) -> Answer,
) {
    let Some((request, body)) = read_request(&stream) else { return };
    asked.lock().expect("lock").push((request.clone(), body.clone()));
    match answer(&request, &body) {
        Some((status, body)) => {
            let body = body.to_string();
            let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
        None => thread::sleep(std::time::Duration::from_secs(3600)),
    }
}

fn read_request(stream: &UnixStream) -> Option<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let request = line.strip_suffix(" HTTP/1.1\r\n")?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header == "\r\n" {
            break;
        }
        if let Some(value) = header.strip_prefix("Content-Length: ") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((request, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..400 {
        if is_so() {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("it never came to this: {what}");
}

/// Lines of a log.
pub(crate) fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}
