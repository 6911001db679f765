//! One action, carried out.

use super::bed::Bed;
use super::plan::{Action, What};
use anyhow::{Context, Result, bail};
use kube_watch::Ran;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Attempts at what should succeed: a lost packet is no verdict.
const ATTEMPTS: u32 = 3;

/// Tries an action; an error says in words what came instead of what should.
pub(super) async fn attempt(bed: &Bed, action: &Action, timeout: u64) -> Result<()> {
    if action.what == What::Drops {
        return drops(bed, action).await;
    }
    let mut last = String::new();
    for _ in 0..if action.allowed { ATTEMPTS } else { 1 } {
        let ran = once(bed, action, timeout).await?;
        match (ran.code == 0, action.allowed) {
            (true, true) | (false, false) => return Ok(()),
            _ => last = words(&ran),
        }
    }
    bail!("{}: {last}", if action.allowed { "not answered" } else { "answered, though policy denies it" })
}

async fn once(bed: &Bed, action: &Action, timeout: u64) -> Result<Ran> {
    let millis = timeout.to_string();
    let limit = Duration::from_millis(timeout) + Duration::from_secs(15);
    let run = async |argv: &[&str]| bed.in_pod(&action.from, argv, limit).await;
    match &action.what {
        What::Tcp(to, handshake) => {
            let to = to.to_string();
            let words = ["probe", "connect", &to, "--timeout", &millis, "--handshake"];
            run(&words[..if *handshake { 6 } else { 5 }]).await
        }
        What::Udp(to) => run(&["probe", "udp", &to.to_string(), "--timeout", &millis]).await,
        What::Ping(to) => run(&["probe", "ping", &to.to_string(), "--timeout", &millis]).await,
        What::Name(name, port) => {
            let found = run(&["nslookup", name]).await?;
            let text = String::from_utf8_lossy(&found.stdout).into_owned();
            let Some(ip) = addresses(&text).into_iter().next() else { return Ok(Ran { code: 1, ..found }) };
            let to = SocketAddr::new(ip, *port).to_string();
            run(&["probe", "connect", &to, "--timeout", &millis]).await
        }
        What::Drops => Ok(Ran::default()),
    }
}

/// Addresses in the answer of `nslookup`; the server's own comes with a port.
fn addresses(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("Address"));
    lines.filter_map(|rest| rest.split_once(':')?.1.trim().parse().ok()).collect()
}

/// The last words of a command.
fn words(ran: &Ran) -> String {
    let text = [&ran.stdout, &ran.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    let text = text.iter().filter(|text| !text.is_empty()).map(String::as_str).collect::<Vec<_>>().join("; ");
    if text.is_empty() { format!("exit code {}", ran.code) } else { text.replace('\n', " ") }
}

/// Looks for drops of the pod's packets among the flows of its node.
async fn drops(bed: &Bed, action: &Action) -> Result<()> {
    let flows = flows(bed, &action.from, &["--verdict", "DROPPED"]).await?;
    let told = flows.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    match told
        .into_iter()
        .any(|flow| flow.pointer("/flow/verdict").is_some_and(|verdict| verdict == "DROPPED"))
    {
        true => Ok(()),
        false => bail!("no drop among the flows of {}/{}", bed.namespace, action.from),
    }
}

/// The last flows of a pod, as JSON lines, from the agent of its node.
pub(super) async fn flows(bed: &Bed, pod: &str, filters: &[&str]) -> Result<String> {
    let node = &bed.places().get(pod).with_context(|| format!("no pod {pod}"))?.node;
    let agent = bed.agents.get(node).with_context(|| format!("no agent on {node}"))?;
    let name = format!("{}/{pod}", bed.namespace);
    let argv = [&["hubble", "observe", "--last", "100", "-o", "jsonpb", "--pod", &name], filters].concat();
    let ran = bed.agent(agent, &argv).await?;
    if ran.code != 0 {
        bail!("{}", words(&ran));
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::addresses;

    #[test]
    fn the_server_s_address_is_not_an_answer() {
        let text = "Server:\t\t10.96.0.10\nAddress:\t10.96.0.10:53\n\nName:\techo-b\nAddress: 10.0.1.5\nAddress 1: fd00::5\n";
        assert_eq!(
            addresses(text),
            ["10.0.1.5".parse::<std::net::IpAddr>().expect("v4"), "fd00::5".parse().expect("v6")]
        );
    }
}
