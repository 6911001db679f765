//! `lab up`: everything in order, nodes beside each other.

use std::fs::{self, File, TryLockError};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::layout::{Cni, Lab, Machine, Role, Spec};
use crate::machine::{self, Handle, own_binary};
use crate::report::{Progress, bold, say};
use crate::{addons, control_plane, flannel, image, net, node, pki, thin};

/// Brings the lab up; on an error it is left as it is, for a look and for `lab down`.
pub(crate) fn up(lab: &Lab, spec: &Spec) -> Result<()> {
    spec.check()?;
    ensure!(nix::unistd::geteuid().is_root(), "the lab makes namespaces and needs root");
    let _lock = prepare_dir(lab, spec)?;
    let progress = Progress::new(steps(spec));
    work(lab, spec, &progress).with_context(|| {
        format!("lab {} is not up; what is there stays for a look: `lab status`, then `lab down`", lab.name)
    })?;
    say(format!(
        "lab {} is up after {:.1} s: {}",
        lab.name,
        progress.seconds(),
        bold("lab kubectl get nodes")
    ));
    Ok(())
}

/// One command at a time works on a lab: the lock says who.
pub(crate) fn lock(lab: &Lab) -> Result<File> {
    let path = lab.dir.with_extension("lock");
    let file = File::options()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another `lab up` or `lab down` works on lab {:?} right now", lab.name)
        }
        Err(TryLockError::Error(e)) => Err(e).with_context(|| format!("cannot lock {}", path.display())),
    }
}

fn prepare_dir(lab: &Lab, spec: &Spec) -> Result<File> {
    let base = lab.dir.parent().context("no parent directory")?;
    fs::create_dir_all(base).with_context(|| format!("cannot make {}", base.display()))?;
    let lock = lock(lab)?;
    ensure!(
        !lab.dir.exists(),
        "lab {:?} is there already ({}): `lab down` removes it",
        lab.name,
        lab.dir.display()
    );
    ensure!(
        net::namespaces(lab)?.is_empty(),
        "lab {:?} left namespaces behind, maybe from another directory: `lab down` removes them",
        lab.name
    );
    fs::create_dir(&lab.dir)?;
    fs::write(lab.spec_path(), serde_json::to_vec_pretty(spec)?)?;
    Ok(lock)
}

fn steps(spec: &Spec) -> usize {
    let nodes = usize::from(spec.nodes);
    let network = usize::from(spec.cni.takes_chart());
    let ready = usize::from(spec.cni != Cni::None && spec.nodes > 0);
    let dns = usize::from(spec.dns && spec.nodes > 0) * (1 + ready);
    6 + nodes * 2 + usize::from(spec.thin > 0) + usize::from(spec.nodes > 0) + network + ready + dns
}

fn work(lab: &Lab, spec: &Spec, progress: &Progress) -> Result<()> {
    let archives =
        progress.step("images", || image::build(&image::all(spec.cni.takes_chart(), spec.dns)?))?;
    progress.step("certificates, network", || {
        pki::issue(lab, spec)?;
        net::create(lab, spec)?;
        if spec.cni == Cni::Bridge { net::bridge_routes(lab, spec) } else { Ok(()) }
    })?;
    let all = spec.machines();
    let handles = progress.step(format!("{} machines", all.len()), || {
        all.iter().map(|m| machine::create(lab, spec, m)).collect::<Result<Vec<_>>>()
    })?;
    let find = |role: Role| -> Vec<(&Machine, &Handle)> {
        all.iter().zip(&handles).filter(|(m, _)| m.role == role).collect()
    };
    for (_, world) in find(Role::World) {
        start_world(world)?;
    }
    let (_, cp) = find(Role::ControlPlane)[0];
    let full = find(Role::Node);
    parallel(lab, spec, progress, cp, &full, &archives)?;
    let nodes: Vec<Handle> = full.iter().map(|(_, h)| (*h).clone()).collect();
    if !nodes.is_empty() {
        progress.step("nodes registered", || addons::wait_registered(lab, spec, &nodes))?;
    }
    install(lab, spec, progress, &nodes)?;
    addons::wait_account(lab)?;
    let thin_nodes = find(Role::Thin);
    if !thin_nodes.is_empty() {
        progress.step(format!("{} thin nodes", thin_nodes.len()), || thin::start(lab, spec, &thin_nodes))?;
    }
    Ok(())
}

/// The control plane beside the nodes' runtimes; kubelets as soon as both are there.
fn parallel(
    lab: &Lab,
    spec: &Spec,
    progress: &Progress,
    cp: &Handle,
    full: &[(&Machine, &Handle)],
    archives: &[std::path::PathBuf],
) -> Result<()> {
    thread::scope(|scope| {
        let runtimes: Vec<_> = full
            .iter()
            .map(|(machine, handle)| {
                scope.spawn(move || {
                    progress.step(format!("{}: containerd, images", machine.name), || {
                        node::start_containerd(lab, handle)?;
                        node::import_images(lab, handle, archives)
                    })
                })
            })
            .collect();
        let plane = control_plane::start(lab, spec, cp, progress);
        for runtime in runtimes {
            runtime.join().map_err(|_| anyhow!("a thread of `lab up` panicked"))??;
        }
        plane
    })?;
    for (machine, handle) in full {
        progress.step(format!("{}: kubelet started", machine.name), || {
            node::start_kubelet(lab, spec, machine, handle)?;
            node::start_kube_proxy(lab, spec.kube_proxy, handle)
        })?;
    }
    Ok(())
}

fn install(lab: &Lab, spec: &Spec, progress: &Progress, nodes: &[Handle]) -> Result<()> {
    if spec.cni == Cni::Chart {
        progress.step("helm install charts/cilium", || addons::install_chart(lab, spec))?;
    }
    if let Some(backend) = spec.cni.flannel_backend() {
        progress.step(format!("Flannel, {backend}"), || flannel::start(lab, nodes))?;
    }
    let dns = spec.dns && !nodes.is_empty();
    if dns {
        progress.step("CoreDNS installed", || addons::install_dns(lab))?;
    }
    if spec.cni != Cni::None && !nodes.is_empty() {
        progress.step("nodes Ready", || addons::wait_ready(lab, nodes))?;
        if dns {
            progress.step("CoreDNS ready", || addons::wait_dns(lab, nodes))?;
        }
    }
    Ok(())
}

/// The outside answers on the usual ports and tells who asked.
fn start_world(world: &Handle) -> Result<()> {
    let probe = own_binary("probe")?.display().to_string();
    let argv =
        [probe, "serve".into(), "--tcp".into(), "80,443,8080".into(), "--udp".into(), "53,8080".into()];
    world.start("probe", &argv)
}
