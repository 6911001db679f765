use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Election;
use crate::clients::Clients;
use crate::mock::{Answer, Seen, Server, status};

/// A server with one Lease, as strict about versions as the real one.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lease: Option<Value>,
    version: u64,
    down: bool,
}

impl Store {
    fn clients(&self) -> Clients {
        let store = self.clone();
        Server::new(move |_, seen| store.answer(seen)).0
    }

    fn answer(&self, seen: &Seen) -> Answer {
        let mut state = self.0.lock().unwrap();
        if state.down {
            return Answer::Silence;
        }
        match (&*seen.method, state.lease.is_some()) {
            ("GET", true) => Answer::Json(200, state.lease.clone().unwrap()),
            ("GET", false) => Answer::Json(404, status(404, "NotFound")),
            ("POST", true) => Answer::Json(409, status(409, "AlreadyExists")),
            (method, _) => {
                let version = seen.body["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                if method == "PUT" && version != state.version.to_string() {
                    return Answer::Json(409, status(409, "Conflict"));
                }
                state.version += 1;
                let mut lease = seen.body.clone();
                lease["metadata"]["resourceVersion"] = json!(state.version.to_string());
                state.lease = Some(lease.clone());
                Answer::Json(200, lease)
            }
        }
    }

    fn holder(&self) -> String {
        let state = self.0.lock().unwrap();
        state.lease.as_ref().unwrap()["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }

    fn transitions(&self) -> i64 {
        self.0.lock().unwrap().lease.as_ref().unwrap()["spec"]["leaseTransitions"].as_i64().unwrap()
    }

    fn set_down(&self, down: bool) {
        self.0.lock().unwrap().down = down;
    }
}

struct Runner {
    leading: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    task: JoinSet<()>,
}

fn run(store: &Store, name: &str) -> Runner {
    let (leading, view) = watch::channel(false);
    let (stop, stopped) = watch::channel(false);
    let election = Election::new("kube-system", "cilium-operator-resource-lock", name);
    let clients = store.clients();
    let mut task = JoinSet::new();
    task.spawn(async move { election.run(&clients, leading, stopped).await });
    Runner { leading: view, stop, task }
}

impl Runner {
    fn leads(&self) -> bool {
        *self.leading.borrow()
    }

    async fn wait(&mut self) {
        self.leading.wait_for(|leading| *leading).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_leads_and_hands_over_when_it_stops() {
    let store = Store::default();
    let mut first = run(&store, "a");
    first.wait().await;
    let mut second = run(&store, "b");
    sleep(Duration::from_secs(120)).await;
    assert!(first.leads() && !second.leads());
    assert_eq!((store.holder(), store.transitions()), ("a".to_owned(), 0));
    first.stop.send(true).unwrap();
    first.task.join_next().await.unwrap().unwrap();
    assert!(!*first.leading.borrow());
    // Released, so the next need not wait for the lease to run out.
    let started = Instant::now();
    second.wait().await;
    assert!(started.elapsed() <= Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!((store.holder(), store.transitions()), ("b".to_owned(), 1));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_vanishes_is_replaced_when_its_lease_has_run_out() {
    let store = Store::default();
    let mut first = run(&store, "a");
    first.wait().await;
    let mut second = run(&store, "b");
    sleep(Duration::from_secs(5)).await;
    first.task.abort_all();
    let started = Instant::now();
    second.wait().await;
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(13) && waited <= Duration::from_secs(18), "{waited:?}");
}

/// The order that makes two leaders impossible: stepping down comes before another's taking over can.
#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_steps_down_before_another_may_take_over() {
    let store = Store::default();
    let mut first = run(&store, "a");
    first.wait().await;
    sleep(Duration::from_secs(7)).await;
    store.set_down(true);
    let started = Instant::now();
    first.leading.wait_for(|leading| !*leading).await.unwrap();
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(7) && waited <= Duration::from_secs(10), "{waited:?}");
    sleep(Duration::from_secs(600)).await;
    assert!(!first.leads());
    store.set_down(false);
    first.wait().await;
    assert_eq!(store.transitions(), 0, "its own lease, taken again");
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_does_not_cost_the_lead() {
    let store = Store::default();
    let mut first = run(&store, "a");
    first.wait().await;
    let mut changes = first.leading.clone();
    changes.mark_unchanged();
    for _ in 0..20 {
        store.set_down(true);
        sleep(Duration::from_secs(3)).await;
        store.set_down(false);
        sleep(Duration::from_secs(15)).await;
    }
    assert!(first.leads() && !changes.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn of_many_candidates_one_leads() {
    let store = Store::default();
    let runners: Vec<_> = (0..5).map(|number| run(&store, &format!("c{number}"))).collect();
    for _ in 0..60 {
        sleep(Duration::from_secs(1)).await;
        assert!(runners.iter().filter(|runner| runner.leads()).count() <= 1);
    }
    assert_eq!(runners.iter().filter(|runner| runner.leads()).count(), 1);
}
