//! Process 1's work: start services when asked, note how they end, bury orphans.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::{MachineSpec, socket};

/// What `lab` asks of process 1: one JSON line a connection.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub(crate) enum Request {
    /// Start a program; its output goes to a file.
    Start {
        /// Name of the service.
        name: String,
        /// What to run.
        program: Program,
    },
    /// Start a service that ended again, as it was started before.
    Again {
        /// Name of the service.
        name: String,
    },
    /// Send a signal to a service.
    Signal {
        /// Name of the service.
        name: String,
        /// Number of the signal.
        signal: i32,
    },
    /// Tell the state of all services.
    List,
}

/// A command line and what belongs to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Program {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment, complete.
    pub env: Vec<(String, String)>,
    /// File for standard output and error; appended to.
    pub log: PathBuf,
}

/// State of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceState {
    /// Process number inside the machine.
    pub pid: i32,
    /// How it ended ("exit 1", "signal SIGKILL"); nothing while it runs.
    pub ended: Option<String>,
}

/// Answer of process 1.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Reply {
    /// What went wrong, if anything.
    pub error: Option<String>,
    /// All services by name.
    pub services: BTreeMap<String, ServiceState>,
}

/// Services by name: what was started, and what became of it.
type Table = BTreeMap<String, (Program, ServiceState)>;
type Services = Arc<Mutex<Table>>;

/// Serves for ever: requests on a thread, the dead on this one.
pub(super) fn serve(spec: &MachineSpec) -> Result<()> {
    let path = socket(&spec.dir);
    let listener =
        UnixListener::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))?;
    let services = Services::default();
    let ours = Arc::clone(&services);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Err(e) = answer(stream, &ours) {
                eprintln!("request failed: {e:#}");
            }
        }
    });
    loop {
        match wait() {
            Ok(status) => note(status, &services),
            Err(Errno::ECHILD) => std::thread::sleep(Duration::from_millis(50)),
            Err(e) => eprintln!("wait: {e}"),
        }
    }
}

fn note(status: WaitStatus, services: &Services) {
    let (pid, how) = match status {
        WaitStatus::Exited(pid, code) => (pid, format!("exit {code}")),
        WaitStatus::Signaled(pid, signal, _) => (pid, format!("signal {signal}")),
        _ => return,
    };
    let mut services = services.lock().unwrap_or_else(PoisonError::into_inner);
    let mut states = services.values_mut().map(|(_, state)| state);
    if let Some(service) = states.find(|s| s.pid == pid.as_raw() && s.ended.is_none()) {
        service.ended = Some(how);
    }
}

fn answer(stream: UnixStream, services: &Services) -> Result<()> {
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    // Held while a program starts, so that its death cannot be noted before its birth.
    let mut services = services.lock().unwrap_or_else(PoisonError::into_inner);
    let result = serde_json::from_str(&line).context("not a request").and_then(|r| act(r, &mut services));
    let reply = Reply { error: result.err().map(|e| format!("{e:#}")), services: states(&services) };
    let mut text = serde_json::to_vec(&reply)?;
    text.push(b'\n');
    (&stream).write_all(&text)?;
    Ok(())
}

fn states(services: &Table) -> BTreeMap<String, ServiceState> {
    services.iter().map(|(name, (_, state))| (name.clone(), state.clone())).collect()
}

fn act(request: Request, services: &mut Table) -> Result<()> {
    match request {
        Request::List => Ok(()),
        Request::Signal { name, signal } => {
            let service = services.get(&name).filter(|(_, s)| s.ended.is_none());
            let pid = service.with_context(|| format!("{name} does not run here"))?.1.pid;
            kill(Pid::from_raw(pid), Signal::try_from(signal)?)
                .with_context(|| format!("cannot signal {name}"))
        }
        Request::Again { name } => {
            let known =
                services.get(&name).with_context(|| format!("no service {name} was ever started here"))?;
            let program = known.0.clone();
            run(name, program, services)
        }
        Request::Start { name, program } => run(name, program, services),
    }
}

fn run(name: String, program: Program, services: &mut Table) -> Result<()> {
    if services.get(&name).is_some_and(|(_, s)| s.ended.is_none()) {
        anyhow::bail!("{name} runs already");
    }
    let pid = start(&program)?;
    services.insert(name, (program, ServiceState { pid, ended: None }));
    Ok(())
}

fn start(program: &Program) -> Result<i32> {
    let (path, args) = program.argv.split_first().context("no program named")?;
    let log = &program.log;
    let file = File::options().create(true).append(true).open(log);
    let file = file.with_context(|| format!("cannot open {}", log.display()))?;
    let child = Command::new(path)
        .args(args)
        .env_clear()
        .envs(program.env.iter().map(|(k, v)| (k, v)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("cannot start {path}"))?;
    Ok(i32::try_from(child.id())?)
}
