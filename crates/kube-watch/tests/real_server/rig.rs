//! etcd and kube-apiserver on loopback, in a folder of their own, gone when the test is.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kube_watch::{ApiConfig, Clients};
use tempfile::TempDir;
use tokio::time::sleep;

/// A running API server.
pub(crate) struct Rig {
    folder: TempDir,
    port: u16,
    etcd_port: u16,
    server_binary: PathBuf,
    etcd: Running,
    server: Option<Running>,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Rig {
    /// Starts both, or says what is missing on this machine.
    pub(crate) async fn start() -> Result<Self, String> {
        let (etcd_binary, server_binary) = (find("etcd")?, find("kube-apiserver")?);
        let folder = tempfile::Builder::new().prefix("axoneme-kube-watch-").tempdir().unwrap();
        let (etcd_port, peer_port, port) = (free_port(), free_port(), free_port());
        let (client_url, peer_url) =
            (format!("http://127.0.0.1:{etcd_port}"), format!("http://127.0.0.1:{peer_port}"));
        let etcd = run(
            Command::new(etcd_binary).current_dir(folder.path()).args([
                "--data-dir=etcd",
                &format!("--listen-client-urls={client_url}"),
                &format!("--advertise-client-urls={client_url}"),
                &format!("--listen-peer-urls={peer_url}"),
                &format!("--initial-advertise-peer-urls={peer_url}"),
                &format!("--initial-cluster=default={peer_url}"),
                "--unsafe-no-fsync",
            ]),
            &folder.path().join("etcd.log"),
        );
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        write("accounts.key", key.serialize_pem());
        write("accounts.pub", key.public_key_pem());
        write("tokens.csv", "secret,admin,1,system:masters\n".to_owned());
        let mut rig = Self { folder, port, etcd_port, server_binary, etcd, server: None };
        rig.start_server().await;
        Ok(rig)
    }

    /// Starts the API server and waits until it is ready.
    pub(crate) async fn start_server(&mut self) {
        let (port, etcd_port) = (self.port, self.etcd_port);
        let mut server = run(
            Command::new(&self.server_binary).current_dir(self.folder.path()).args([
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                "--cert-dir=certificates",
                "--token-auth-file=tokens.csv",
                "--authorization-mode=RBAC",
                "--service-account-issuer=https://kubernetes.default.svc",
                "--service-account-signing-key-file=accounts.key",
                "--service-account-key-file=accounts.pub",
                "--service-cluster-ip-range=10.96.0.0/16",
                &format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
                &format!("--secure-port={port}"),
            ]),
            &self.folder.path().join("apiserver.log"),
        );
        let clients = self.clients().await;
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
            if clients.client().request_text(request).await.is_ok_and(|text| text == "ok") {
                break;
            }
            let ended = server.0.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "kube-apiserver: {}", self.log_end());
            sleep(Duration::from_millis(200)).await;
        }
        self.server = Some(server);
    }

    /// Kills the API server; the storage stays.
    pub(crate) fn stop_server(&mut self) {
        self.server = None;
    }

    /// A client of it.
    pub(crate) async fn clients(&self) -> Clients {
        let path = self.folder.path().join("kubeconfig");
        let kubeconfig = "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{name: c, cluster: {server: 'https://192.0.2.1:1', insecure-skip-tls-verify: true}}]\n\
             users: [{name: u, user: {token: secret}}]\n\
             contexts: [{name: c, context: {cluster: c, user: u}}]\n";
        std::fs::write(&path, kubeconfig).unwrap();
        // The address of the configuration leads nowhere: the override must win.
        let server = Some(format!("127.0.0.1:{}", self.port));
        Clients::new(&ApiConfig {
            server,
            kubeconfig: Some(path),
            user_agent: Some("test".into()),
            ..ApiConfig::default()
        })
        .await
        .unwrap()
    }

    fn log_end(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("apiserver.log")).unwrap_or_default();
        let etcd = std::fs::read_to_string(self.folder.path().join("etcd.log")).unwrap_or_default();
        let end = |text: &str| text.lines().rev().take(15).collect::<Vec<_>>().join("\n");
        format!("{}\netcd ({}): {}", end(&log), self.etcd.0.id(), end(&etcd))
    }
}

fn run(command: &mut Command, log: &Path) -> Running {
    let log = std::fs::File::create(log).unwrap();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
    Running(child)
}

/// In the folder of this workspace's tools, or on the path.
fn find(name: &str) -> Result<PathBuf, String> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(tools)
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| {
            format!("{name} is neither in target/tools/bin (make lab-up puts it there) nor on the PATH")
        })
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
