//! From a policy's write to the API server to the first packet that meets it, with every pod of the node selected.
//!
//! One pod sends a numbered datagram to another each fraction of a millisecond, and the other sends it back. The policy
//! alternates between denying and allowing them. Denied: the time at which the first datagram without an answer was
//! sent. Allowed: the time at which the first answered one was sent. Both count from before the request. Meanwhile the agent
//! is asked which revision its endpoints have: once it says that they have the new one, no datagram may meet the old.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use api::endpoint::Endpoint;
use api::{Client, paths};
use serde_json::{Value, json};

use super::plugin::Attachment;

const PORT: u16 = 9000;
const OTHER_PORT: u16 = 9001;
/// Between datagrams.
const PACE: Duration = Duration::from_micros(100);
/// An answer that has not come by then does not come.
const LATEST: Duration = Duration::from_millis(50);
/// A change that has not been seen by then failed.
const LIMIT: Duration = Duration::from_secs(10);
const POLICIES: &str = "/apis/cilium.io/v2/namespaces/default/ciliumnetworkpolicies";
const POLICY: &str = "bench";

/// What was seen of a change. Times count from before the request.
pub(super) struct Change {
    /// The first datagram that met the new policy was sent.
    pub(super) enforced: Duration,
    /// The API server has answered.
    pub(super) acknowledged: Duration,
    /// The agent has said that endpoints have it.
    pub(super) realized: Duration,
    /// Datagrams sent after that and treated as before.
    pub(super) old_verdicts: usize,
    /// Datagrams a second.
    pub(super) rate: f64,
}

/// Changes the policy so many times.
pub(super) fn measure(pods: &[(Attachment, IpAddr)], api: SocketAddr, changes: usize) -> Result<Vec<Change>> {
    let ((client, _), servers) = pods.split_first().context("no pods")?;
    ensure!(servers.len() >= 99, "{} pods are connected, 100 are needed", pods.len());
    for (server, _) in servers {
        echo(server)?;
    }
    request(api, "POST", POLICIES, &policy(true))?;
    let mut samples = Vec::new();
    for number in 0..changes {
        let allowed = number % 2 == 1;
        let (_, address) = servers[number % servers.len()];
        let socket = in_namespace(client, || UdpSocket::bind("0.0.0.0:0"))?;
        socket.connect((address, PORT)).context("connecting to a pod")?;
        socket.set_nonblocking(true)?;
        let mut stream = Stream { socket, sent: Vec::new() };
        stream.run_until(LIMIT, |stream| stream.agrees(!allowed)).with_context(|| {
            format!("before change {number}, which shall {}", if allowed { "allow" } else { "deny" })
        })?;
        samples.push(change(&mut stream, api, allowed).with_context(|| format!("change {number}"))?);
    }
    Ok(samples)
}

fn change(stream: &mut Stream, api: SocketAddr, allowed: bool) -> Result<Change> {
    let path = format!("{POLICIES}/{POLICY}");
    let body = policy(allowed);
    let agent = Client::new(paths::SOCKET);
    let before = revision(&agent)?;
    let writer = thread::spawn(move || -> Result<_> {
        let start = Instant::now();
        request(api, "PATCH", &path, &body)?;
        let acknowledged = start.elapsed();
        while revision(&agent)? <= before {
            ensure!(start.elapsed() < LIMIT, "waited {LIMIT:?} for the agent to say that endpoints have it");
            thread::sleep(Duration::from_millis(1));
        }
        Ok((start, acknowledged, start.elapsed()))
    });
    let first = stream.sent.len();
    stream.run_until(LIMIT, |stream| stream.agrees(allowed) && writer.is_finished())?;
    let (start, acknowledged, realized) = writer.join().map_err(|_| anyhow!("the writer panicked"))??;
    // Long enough that datagrams sent after the agent's word had time to be answered.
    let end = start + realized + 4 * LATEST;
    stream.run_until(LIMIT, |_| Instant::now() > end)?;
    let met = turn(&stream.sent, allowed).context("no datagram met the new policy")?;
    let settled = Instant::now() - LATEST;
    let after = stream.sent.iter().filter(|d| d.at > start + realized && d.at < settled);
    let sent = stream.sent.get(first..).unwrap_or_default();
    let (Some(one), Some(last)) = (sent.first(), sent.last()) else { bail!("no datagram was sent") };
    Ok(Change {
        enforced: met.at.saturating_duration_since(start),
        acknowledged,
        realized,
        old_verdicts: after.filter(|datagram| datagram.answered != allowed).count(),
        rate: sent.len() as f64 / (last.at - one.at).as_secs_f64(),
    })
}

/// The policy revision that all endpoints have.
fn revision(agent: &Client) -> Result<u64> {
    let endpoints: Vec<Endpoint> =
        agent.get(paths::ENDPOINTS).context("asking the agent for its endpoints")?;
    let revisions = endpoints.iter().map(|one| one.status.policy.realized.policy_revision);
    revisions.min().context("the agent has no endpoints")
}

/// The first datagram that met the new policy. The last ones have not had time to be answered, which under a denial looks
/// like one, so a denial begins after the last answer, and an admission with the first after the denial.
fn turn(sent: &[Datagram], allowed: bool) -> Option<&Datagram> {
    let last_answered = sent.iter().rposition(|datagram| datagram.answered);
    if !allowed {
        return sent.get(last_answered.map_or(0, |at| at + 1));
    }
    let denied_before =
        sent[..last_answered?].windows(2).rposition(|pair| !pair[0].answered && pair[1].answered);
    sent.get(denied_before.map_or(0, |at| at + 1))
}

struct Datagram {
    at: Instant,
    answered: bool,
}

struct Stream {
    socket: UdpSocket,
    sent: Vec<Datagram>,
}

impl Stream {
    /// Whether all datagrams of the last while that had time to be answered were (or were not).
    fn agrees(&self, answered: bool) -> bool {
        let now = Instant::now();
        let old = |d: &&Datagram| now - d.at > LATEST && now - d.at < 2 * LATEST;
        let mut settled = self.sent.iter().rev().filter(old).peekable();
        settled.peek().is_some() && settled.all(|d| d.answered == answered)
    }

    fn run_until(&mut self, limit: Duration, done: impl Fn(&Stream) -> bool) -> Result<()> {
        let start = Instant::now();
        while !done(self) {
            ensure!(start.elapsed() < limit, "waited {limit:?} for a verdict");
            let number = self.sent.len() as u32;
            self.sent.push(Datagram { at: Instant::now(), answered: false });
            // A refused send is a datagram without an answer.
            let _ = self.socket.send(&number.to_be_bytes());
            let next = Instant::now() + PACE;
            while Instant::now() < next {
                self.receive();
                thread::sleep(PACE / 4);
            }
        }
        Ok(())
    }

    fn receive(&mut self) {
        let mut bytes = [0; 4];
        while let Ok(4) = self.socket.recv(&mut bytes) {
            if let Some(datagram) = self.sent.get_mut(u32::from_be_bytes(bytes) as usize) {
                datagram.answered = true;
            }
        }
    }
}

/// Sends everything back that reaches this pod.
fn echo(pod: &Attachment) -> Result<()> {
    let socket = in_namespace(pod, || UdpSocket::bind(("0.0.0.0", PORT)))?;
    thread::Builder::new().stack_size(64 << 10).spawn(move || {
        let mut bytes = [0; 64];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..length], from);
        }
    })?;
    Ok(())
}

/// Makes a socket in a pod's network namespace; it stays there.
fn in_namespace<T: Send>(pod: &Attachment, make: impl FnOnce() -> std::io::Result<T> + Send) -> Result<T> {
    let path = pod.path();
    thread::scope(|scope| {
        let entered = scope.spawn(|| {
            let file = std::fs::File::open(&path)?;
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind)?;
            make()
        });
        entered
            .join()
            .map_err(|_| anyhow!("a thread panicked"))?
            .with_context(|| format!("a socket in {}", path.display()))
    })
}

fn policy(allowed: bool) -> Value {
    let port = if allowed { PORT } else { OTHER_PORT };
    json!({
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": POLICY, "namespace": "default"},
        "spec": {
            "endpointSelector": {"matchLabels": {"app": "bench"}},
            "ingress": [{
                "fromEndpoints": [{"matchLabels": {"app": "bench"}}],
                "toPorts": [{"ports": [{"port": port.to_string(), "protocol": "UDP"}]}],
            }],
        },
    })
}

/// One request to the API server through the proxy.
fn request(api: SocketAddr, method: &str, path: &str, body: &Value) -> Result<()> {
    let mut stream =
        TcpStream::connect(api).with_context(|| format!("connecting to the API server's proxy at {api}"))?;
    stream.set_nodelay(true)?;
    let body = body.to_string();
    let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {api}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes())?;
    let mut reader = BufReader::new(stream);
    let mut status = String::new();
    reader.read_line(&mut status)?;
    let good = status.split(' ').nth(1).is_some_and(|code| code.starts_with('2'));
    if !good {
        let mut rest = String::new();
        let _ = reader.read_to_string(&mut rest);
        let said = rest.split("\r\n\r\n").nth(1).unwrap_or_default();
        bail!("{method} {path}: {} {said}", status.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index of the turn in a row of datagrams: `a` answered, `.` not.
    fn index(row: &str, allowed: bool) -> Option<usize> {
        let start = Instant::now();
        let at = |i: usize| start + Duration::from_millis(i as u64);
        let sent: Vec<_> =
            row.chars().enumerate().map(|(i, c)| Datagram { at: at(i), answered: c == 'a' }).collect();
        turn(&sent, allowed).map(|first| (first.at - start).as_millis() as usize)
    }

    #[test]
    fn the_turn_is_where_the_verdict_changes() {
        assert_eq!(index("aaa....", false), Some(3));
        assert_eq!(index("...aaa..", true), Some(3));
        // One lost on the way before a denial does not make it early, nor one after an admission.
        assert_eq!(index("a.aa...", false), Some(4));
        assert_eq!(index("..aa.aa.", true), Some(5));
        assert_eq!(index("....", true), None);
        assert_eq!(index("aaaa", false), None);
    }
}
