//! Real handshakes, with certificates made here.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tonic::transport::{Endpoint, Server as Grpc};

/// An authority that writes certificates into a folder.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = folder.to_owned();
        std::fs::write(folder.join(name), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn issue(&self, name: &str, file: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let identity = Identity {
            certificate: self.folder.join(format!("{file}.crt")),
            key: self.folder.join(format!("{file}.key")),
        };
        std::fs::write(&identity.certificate, certificate.pem()).unwrap();
        std::fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }
}

/// A server with no service but one: that is enough for a handshake and an answer.
async fn serve(server: Server) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let connections = Arc::new(server).accept(listener);
    let (_, health) = tonic_health::server::health_reporter();
    tokio::spawn(async move {
        let connections = std::pin::pin!(connections.map(|c| c));
        let _ = Grpc::builder().add_service(health).serve_with_incoming(connections).await;
    });
    address
}

/// Whether an answer comes, or why not.
async fn ask(client: &Client, address: &str, name: &str) -> Result<(), String> {
    let endpoint = Endpoint::from_static("https://server").timeout(Duration::from_secs(5));
    let channel = client.connect(endpoint, address.to_owned(), name.to_owned()).await;
    let channel = channel.map_err(|error| format!("{error:?}"))?;
    let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
    let answer = tonic_health::pb::health_client::HealthClient::new(channel).check(request).await;
    answer.map(drop).map_err(|error| format!("{error:?}"))
}

#[tokio::test]
async fn both_ends_must_be_who_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(folder.path(), "ca"), Authority::new(folder.path(), "other"));
    let (ca, other) = (folder.path().join("ca"), folder.path().join("other"));
    let server = Server::new(ours.issue("*.hubble.example", "server"), vec![ca.clone()]).unwrap();
    let address = serve(server).await;
    let client = |trust, identity| Client::new(trust, identity).unwrap();
    let good = || Some(ours.issue("relay", "client"));
    let trust = || Trust::Files(vec![ca.clone()]);
    ask(&client(trust(), good()), &address, "n1.hubble.example").await.unwrap();
    ask(&client(Trust::Anybody, good()), &address, "elsewhere.example").await.unwrap();
    for (client, name) in [
        (client(trust(), good()), "n1.elsewhere.example"),
        (client(Trust::Files(vec![other.clone()]), good()), "n1.hubble.example"),
        (client(trust(), None), "n1.hubble.example"),
        (client(trust(), Some(theirs.issue("relay", "stranger"))), "n1.hubble.example"),
    ] {
        assert!(ask(&client, &address, name).await.is_err(), "{client:?} {name}");
    }
}

#[tokio::test]
async fn new_files_are_used_and_broken_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let old = Authority::new(folder.path(), "old");
    let identity = old.issue("a.example", "server");
    let address = serve(Server::new(identity.clone(), vec![]).unwrap()).await;
    let client = |ca: &str| Client::new(Trust::Files(vec![folder.path().join(ca)]), None).unwrap();
    ask(&client("old"), &address, "a.example").await.unwrap();
    std::fs::write(&identity.certificate, "nothing").unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    ask(&client("old"), &address, "a.example").await.unwrap();
    let new = Authority::new(folder.path(), "new");
    new.issue("a.example", "server");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    ask(&client("new"), &address, "a.example").await.unwrap();
    assert!(ask(&client("old"), &address, "a.example").await.is_err());
}

#[test]
fn what_is_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ca");
    let identity = authority.issue("a", "x");
    let missing = Identity { key: folder.path().join("none"), ..identity.clone() };
    assert!(Server::new(missing, vec![]).unwrap_err().to_string().contains("none"));
    let swapped = Identity { key: authority.issue("b", "y").key, ..identity.clone() };
    assert!(matches!(Server::new(swapped, vec![]), Err(CertError::Rejected { .. })));
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    assert!(Server::new(identity, vec![empty]).unwrap_err().to_string().contains("holds no certificate"));
    assert!(matches!(Client::new(Trust::Files(vec![]), None), Err(CertError::NoAuthority)));
}
