//! Leader election over a Lease, as client-go does it: one holder, who must renew; the others watch the version change.
//!
//! Clocks of different machines are never compared. A candidate takes the lease when it has not changed for the
//! lease's duration by the candidate's own clock; a leader that cannot renew steps down before that.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::clients::Clients;
use crate::error::describe;

/// Who wants to lead what, and how fast.
#[derive(Clone, Debug)]
pub struct Election {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of the Lease, `cilium-operator-resource-lock` for the operator.
    pub name: String,
    /// Name of this candidate, unique among all.
    pub identity: String,
    /// A lease that was not renewed for this long is free.
    pub lease: Duration,
    /// A leader that could not renew for this long steps down.
    pub renew_deadline: Duration,
    /// Time between tries.
    pub retry: Duration,
}

impl Election {
    /// An election with Cilium's times: 15 s, 10 s, 2 s.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }

    /// Takes part until `stop` becomes true or its sender is gone; then releases the lease, if held, so that the next
    /// leader need not wait. `leading` says at every moment whether this candidate leads.
    pub async fn run(self, clients: &Clients, leading: watch::Sender<bool>, mut stop: watch::Receiver<bool>) {
        let api = Api::namespaced(clients.client(), &self.namespace);
        let mut candidate = Candidate { api, election: self, seen: None, renewed: None };
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                () = candidate.turn(&leading) => {}
            }
        }
        if say(&leading, false) {
            candidate.release().await;
        }
    }
}

/// Says whether we lead; returns whether that is news, and wakes nobody if not.
fn say(leading: &watch::Sender<bool>, leads: bool) -> bool {
    leading.send_if_modified(|now| std::mem::replace(now, leads) != leads)
}

struct Candidate {
    api: Api<Lease>,
    election: Election,
    /// The version last seen, and since when.
    seen: Option<(String, Instant)>,
    /// When the lease was last taken or renewed by us.
    renewed: Option<Instant>,
}

/// How a try went.
#[derive(Debug)]
enum Try {
    /// The lease is ours.
    Held,
    /// Somebody else's.
    Other(String),
    /// Nobody knows.
    Failed(String),
}

impl Candidate {
    /// One try, its consequences, and the pause after it.
    async fn turn(&mut self, leading: &watch::Sender<bool>) {
        // The time of the request's start counts: the server may have seen it then.
        let started = Instant::now();
        // A request that is lost must leave time for another before the lead is.
        let patience = started + self.election.renew_deadline / 3;
        let until = self.step_down_at().map_or(patience, |at| at.min(patience));
        let outcome = match timeout_at(until, self.try_once()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Try::Failed(describe(&error)),
            Err(_) => Try::Failed("no answer".to_owned()),
        };
        let name = &self.election.name;
        match outcome {
            Try::Held => {
                self.renewed = Some(started);
                if say(leading, true) {
                    tracing::info!(lease = %name, "leading");
                }
            }
            Try::Other(holder) => {
                self.renewed = None;
                if say(leading, false) {
                    tracing::warn!(lease = %name, %holder, "no longer leading: somebody else holds the lease");
                }
            }
            Try::Failed(error) => {
                let late = self.step_down_at().is_none_or(|at| at <= Instant::now());
                if late && say(leading, false) {
                    tracing::warn!(lease = %name, %error, "no longer leading: the lease could not be renewed in time");
                    self.renewed = None;
                } else {
                    tracing::debug!(lease = %name, %error, "the lease could not be taken or renewed");
                }
            }
        }
        let next = Instant::now() + self.election.retry;
        sleep_until(self.step_down_at().map_or(next, |at| at.min(next))).await;
    }

    /// When a leader that has not renewed again must stop being one.
    fn step_down_at(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.election.renew_deadline)
    }

    async fn try_once(&mut self) -> kube::Result<Try> {
        let Some(mut lease) = self.api.get_opt(&self.election.name).await? else {
            return self.write(None).await;
        };
        let version = lease.resource_version().unwrap_or_default();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => {
                let now = Instant::now();
                self.seen = Some((version, now));
                now
            }
        };
        let spec = lease.spec.get_or_insert_default();
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let duration = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = duration.map_or(self.election.lease, Duration::from_secs);
        if !holder.is_empty() && holder != self.election.identity && since.elapsed() < duration {
            return Ok(Try::Other(holder));
        }
        self.write(Some(lease)).await
    }

    /// Writes the lease as ours over the version that was read; of several candidates the server lets one.
    async fn write(&mut self, lease: Option<Lease>) -> kube::Result<Try> {
        let now = MicroTime(Timestamp::now());
        let params = PostParams::default();
        let is_new = lease.is_none();
        let mut lease = lease.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.election.name.clone()), ..ObjectMeta::default() },
            ..Lease::default()
        });
        let spec: &mut LeaseSpec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_ref() != Some(&self.election.identity) {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |count| count.saturating_add(1)));
        }
        spec.holder_identity = Some(self.election.identity.clone());
        spec.lease_duration_seconds = i32::try_from(self.election.lease.as_secs()).ok();
        spec.renew_time = Some(now);
        let written = if is_new {
            self.api.create(&params, &lease).await
        } else {
            self.api.replace(&self.election.name, &params, &lease).await
        };
        match written {
            Ok(lease) => {
                self.seen = Some((lease.resource_version().unwrap_or_default(), Instant::now()));
                Ok(Try::Held)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                Ok(Try::Failed("somebody else was first".to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the lease back: nobody holds it.
    async fn release(&self) {
        let released = async {
            let mut lease = self.api.get(&self.election.name).await?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_ref() == Some(&self.election.identity) {
                spec.holder_identity = Some(String::new());
                spec.lease_duration_seconds = Some(1);
                spec.renew_time = Some(MicroTime(Timestamp::now()));
                self.api.replace(&self.election.name, &PostParams::default(), &lease).await?;
            }
            kube::Result::Ok(())
        };
        match timeout(Duration::from_secs(2), released).await {
            Ok(Ok(())) => tracing::info!(lease = %self.election.name, "lease released"),
            Ok(Err(error)) => {
                tracing::warn!(lease = %self.election.name, error = describe(&error), "lease not released")
            }
            Err(_) => tracing::warn!(lease = %self.election.name, "lease not released: no answer"),
        }
    }
}

#[cfg(test)]
mod tests;
