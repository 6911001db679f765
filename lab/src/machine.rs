//! A running machine, seen from the host: make it, start services in it, run commands in it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::cgroup;
use crate::init::{MachineSpec, Program, Reply, Request, STAGE_1, pid_file, socket};
use crate::layout::{Lab, Machine, Role, Spec};
use crate::report::tail;
use crate::run::{root, tool};

/// A machine of a lab.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    /// Its name.
    pub name: String,
    /// Its directory on the host.
    pub dir: PathBuf,
}

impl Handle {
    /// The machine `name`, which must exist.
    pub(crate) fn open(lab: &Lab, name: &str) -> Result<Self> {
        let known: Vec<String> = lab.spec()?.machines().into_iter().map(|m| m.name).collect();
        ensure!(
            known.iter().any(|k| k == name),
            "no machine {name:?} in this lab, it has {}",
            known.join(" ")
        );
        Ok(Self { name: name.to_owned(), dir: lab.machine_dir(name) })
    }

    /// Number of process 1 on the host, checked to be this machine's.
    pub(crate) fn init_pid(&self, lab: &Lab) -> Result<u32> {
        let path = pid_file(&self.dir);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("{} does not run (no {})", self.name, path.display()))?;
        let pid: u32 = text.trim().parse().with_context(|| format!("{} is damaged", path.display()))?;
        ensure!(
            same_namespace(pid, &lab.netns_path(&self.name)),
            "{} does not run: its process 1 is gone; `lab down`, then `lab up`",
            self.name
        );
        Ok(pid)
    }

    /// One request to process 1.
    pub(crate) fn ask(&self, request: &Request) -> Result<Reply> {
        let path = socket(&self.dir);
        let stream = UnixStream::connect(&path)
            .with_context(|| format!("{} does not answer at {}", self.name, path.display()))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut text = serde_json::to_vec(request)?;
        text.push(b'\n');
        (&stream).write_all(&text)?;
        let mut line = String::new();
        BufReader::new(&stream)
            .read_line(&mut line)
            .with_context(|| format!("{} closed the connection", self.name))?;
        let reply: Reply = serde_json::from_str(&line)?;
        match reply.error {
            Some(error) => bail!("{}: {error}", self.name),
            None => Ok(reply),
        }
    }

    /// Starts a service; its log is `log/NAME.log` of the machine.
    pub(crate) fn start(&self, name: &str, argv: &[String]) -> Result<()> {
        self.start_with(name, argv, &[])
    }

    /// Like [`Handle::start`] with additions to the environment.
    pub(crate) fn start_with(&self, name: &str, argv: &[String], env: &[(&str, &str)]) -> Result<()> {
        let mut env: Vec<_> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        env.push(("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()));
        env.push(("HOME".into(), "/root".into()));
        let program = Program { argv: argv.to_vec(), env, log: self.log(name) };
        let request = Request::Start { name: name.into(), program };
        self.ask(&request).map(drop).with_context(|| format!("{name} on {}", self.name))
    }

    /// File of a service's output.
    pub(crate) fn log(&self, service: &str) -> PathBuf {
        self.dir.join("log").join(format!("{service}.log"))
    }

    /// Waits until `ready` says yes. Fails at once if the service ends, and tells the end of its log.
    pub(crate) fn wait(
        &self,
        service: &str,
        limit: Duration,
        mut ready: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let limit = limit.mul_f32(patience());
        let deadline = Instant::now() + limit;
        loop {
            if ready()? {
                return Ok(());
            }
            let reply = self.ask(&Request::List)?;
            if let Some(how) = reply.services.get(service).and_then(|s| s.ended.clone()) {
                bail!("{service} on {} ended ({how})\n{}", self.name, tail(&self.log(service), 15));
            }
            if Instant::now() > deadline {
                let seconds = limit.as_secs();
                bail!(
                    "{service} on {} is not ready after {seconds} s\n{}",
                    self.name,
                    tail(&self.log(service), 15)
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a service that was told to end has done so.
    pub(crate) fn wait_end(&self, service: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.ask(&Request::List)?.services.get(service).is_some_and(|s| s.ended.is_none()) {
            ensure!(Instant::now() < deadline, "{service} on {} does not end", self.name);
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// A command that will run inside, in all of the machine's namespaces.
    pub(crate) fn command(&self, lab: &Lab, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let mut command = Command::new(tool("nsenter")?);
        command.args(["--target", &self.init_pid(lab)?.to_string()]);
        command.args(["--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--"]);
        command.arg(program);
        Ok(command)
    }
}

/// How much longer than usual to wait for things, from `LAB_PATIENCE`: 5 on a machine a fifth as fast as usual.
pub(crate) fn patience() -> f32 {
    let given = std::env::var("LAB_PATIENCE").ok().and_then(|text| text.parse::<f32>().ok());
    given.filter(|factor| (1.0..=100.0).contains(factor)).unwrap_or(1.0)
}

/// Is the process's network namespace the one of this file?
pub(crate) fn same_namespace(pid: u32, netns: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let of = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    let wanted = of(netns);
    wanted.is_some() && of(Path::new(&format!("/proc/{pid}/ns/net"))) == wanted
}

/// Makes a machine: directories, cgroups, namespaces, process 1. Its network must exist.
pub(crate) fn create(lab: &Lab, spec: &Spec, machine: &Machine) -> Result<Handle> {
    let dir = lab.machine_dir(&machine.name);
    fs::create_dir_all(dir.join("log"))?;
    let init = describe(lab, spec, machine, &dir)?;
    for (from, _) in &init.binds {
        fs::create_dir_all(from)?;
    }
    let path = dir.join("machine.json");
    fs::write(&path, serde_json::to_vec_pretty(&init)?)?;
    let log = File::create(dir.join("log/start.log"))?;
    let status = Command::new(std::env::current_exe()?)
        .arg(STAGE_1)
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()
        .context("cannot start the machine's first process")?;
    ensure!(
        status.success(),
        "machine {} did not start\n{}",
        machine.name,
        tail(&dir.join("log/start.log"), 10)
    );
    let handle = Handle { name: machine.name.clone(), dir };
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(e) = handle.ask(&Request::List) {
        let log = tail(&handle.log("init"), 10);
        ensure!(handle.init_pid(lab).is_ok(), "process 1 of {} ended\n{log}", machine.name);
        ensure!(Instant::now() < deadline, "process 1 of {} does not answer: {e:#}\n{log}", machine.name);
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(handle)
}

fn describe(lab: &Lab, spec: &Spec, machine: &Machine, dir: &Path) -> Result<MachineSpec> {
    let on_node = matches!(machine.role, Role::Node | Role::Thin);
    let mut binds = vec![(dir.join("log"), PathBuf::from("/var/log"))];
    if on_node {
        binds.push((dir.join("cni/net.d"), "/etc/cni/net.d".into()));
        binds.push((dir.join("cni/bin"), "/opt/cni/bin".into()));
        binds.push((dir.join("cni/state"), "/var/lib/cni".into()));
    }
    if machine.role == Role::Node {
        binds.push((dir.join("containerd"), "/var/lib/containerd".into()));
        binds.push((dir.join("kubelet"), "/var/lib/kubelet".into()));
    }
    let mut files = vec![
        ("/etc/hosts".into(), hosts(spec)),
        ("/etc/resolv.conf".into(), "# no way out of the lab\n".to_owned()),
    ];
    let mut links = Vec::new();
    if on_node {
        files.extend(crate::node::files(spec, machine));
        links = crate::node::cni_links(spec)?;
    }
    if machine.role == Role::Thin {
        links.push(("/opt/cni/bin/cilium-cni".into(), own_binary("cilium-cni")?));
    }
    Ok(MachineSpec {
        hostname: machine.name.clone(),
        dir: dir.to_owned(),
        netns: lab.netns_path(&machine.name),
        cgroups: cgroup::create(&lab.cgroup(), &machine.name)?,
        hierarchies: cgroup::hierarchies()?,
        sysctls: sysctls(spec, on_node),
        binds,
        files,
        links,
    })
}

fn sysctls(spec: &Spec, forwards: bool) -> Vec<(String, String)> {
    let mut all = vec![("net/ipv4/ping_group_range".to_owned(), "0 2147483647".to_owned())];
    if forwards {
        all.push(("net/ipv4/ip_forward".into(), "1".into()));
    }
    if forwards && spec.ipv6 {
        all.push(("net/ipv6/conf/all/forwarding".into(), "1".into()));
    }
    all
}

fn hosts(spec: &Spec) -> String {
    let mut text = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
    for m in spec.machines() {
        text.push_str(&format!("{} {}\n", m.v4(), m.name));
        if spec.ipv6 {
            text.push_str(&format!("{} {}\n", m.v6(), m.name));
        }
    }
    text
}

/// `program` of our own static binaries.
pub(crate) fn own_binary(program: &str) -> Result<PathBuf> {
    let path = crate::image::binaries().join(program);
    ensure!(path.is_file(), "{} is not built: run tools/binaries.sh in {}", path.display(), root().display());
    Ok(path)
}
