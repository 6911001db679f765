//! Certificates and kubeconfigs: one authority a lab, one certificate for each part of the cluster, as kubeadm has it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use crate::layout::{API_PORT, API_SERVICE_V4, Lab, Machine, Role, Spec};

/// User name, certificate subject and groups of a client of the API server.
struct Client<'a> {
    file: &'a str,
    user: &'a str,
    group: Option<&'a str>,
}

/// Issues everything for this lab.
pub(crate) fn issue(lab: &Lab, spec: &Spec) -> Result<()> {
    let dir = lab.pki();
    fs::create_dir_all(&dir)?;
    let ca = Authority::new(&dir, "ca", "axoneme-lab")?;
    let front = Authority::new(&dir, "front-proxy-ca", "axoneme-lab-front-proxy")?;
    let machines = spec.machines();
    ca.server(&dir, "apiserver", "kube-apiserver", &api_names(&machines))?;
    front.client(&dir, "front-proxy-client", "front-proxy-client", None)?;
    service_account_keys(&dir)?;
    let clients = [
        Client { file: "admin", user: "kubernetes-admin", group: Some("system:masters") },
        Client {
            file: "apiserver-kubelet",
            user: "kube-apiserver-kubelet-client",
            group: Some("system:masters"),
        },
        Client { file: "controller-manager", user: "system:kube-controller-manager", group: None },
        Client { file: "scheduler", user: "system:kube-scheduler", group: None },
        Client { file: "kube-proxy", user: "system:kube-proxy", group: None },
    ];
    for c in clients {
        ca.client(&dir, c.file, c.user, c.group)?;
        kubeconfig(&dir, c.file, c.user)?;
    }
    for m in machines.iter().filter(|m| matches!(m.role, Role::Node | Role::Thin)) {
        let user = format!("system:node:{}", m.name);
        ca.client(&dir, &m.name, &user, Some("system:nodes"))?;
        kubeconfig(&dir, &m.name, &user)?;
        let serving = format!("{}-serving", m.name);
        ca.server(&dir, &serving, &user, &[m.name.clone(), m.v4().to_string(), m.v6().to_string()])?;
    }
    Ok(())
}

fn api_names(machines: &[Machine]) -> Vec<String> {
    let mut names: Vec<String> =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"].map(Into::into).into();
    names.push("kubernetes.default.svc.cluster.local".into());
    names.extend(["127.0.0.1", "::1", "fd00:10:96::1"].map(Into::into));
    names.push(API_SERVICE_V4.to_string());
    for m in machines.iter().filter(|m| m.role == Role::ControlPlane) {
        names.extend([m.name.clone(), m.v4().to_string(), m.v6().to_string()]);
    }
    names
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(dir: &Path, file: &str, name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let cert = params.self_signed(&key)?;
        secret(&dir.join(format!("{file}.crt")), &cert.pem())?;
        secret(&dir.join(format!("{file}.key")), &key.serialize_pem())?;
        Ok(Self { issuer: Issuer::new(params, key) })
    }

    fn server(&self, dir: &Path, file: &str, name: &str, alt: &[String]) -> Result<()> {
        let params = CertificateParams::new(alt.to_vec())?;
        self.sign(dir, file, params, name, None, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn client(&self, dir: &Path, file: &str, name: &str, group: Option<&str>) -> Result<()> {
        self.sign(dir, file, CertificateParams::default(), name, group, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        dir: &Path,
        file: &str,
        mut params: CertificateParams,
        name: &str,
        group: Option<&str>,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<()> {
        let key = KeyPair::generate()?;
        params.distinguished_name.push(DnType::CommonName, name);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(&key, &self.issuer).with_context(|| format!("cannot sign {file}"))?;
        secret(&dir.join(format!("{file}.crt")), &cert.pem())?;
        secret(&dir.join(format!("{file}.key")), &key.serialize_pem())
    }
}

fn service_account_keys(dir: &Path) -> Result<()> {
    let key = KeyPair::generate()?;
    secret(&dir.join("sa.key"), &key.serialize_pem())?;
    secret(&dir.join("sa.pub"), &key.public_key_pem())
}

/// A kubeconfig is YAML, and JSON is YAML.
fn kubeconfig(dir: &Path, file: &str, user: &str) -> Result<()> {
    let path = |name: String| dir.join(name).display().to_string();
    let server = format!("https://172.31.0.10:{API_PORT}");
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": server, "certificate-authority": path("ca.crt".into())}}],
        "users": [{"name": user, "user": {
            "client-certificate": path(format!("{file}.crt")), "client-key": path(format!("{file}.key"))}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
        "current-context": "lab",
    });
    secret(&dir.join(format!("{file}.conf")), &serde_json::to_string_pretty(&config)?)
}

/// Writes a file that only root may read.
pub(crate) fn secret(path: &PathBuf, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}
