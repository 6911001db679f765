//! Runs a plan, test after test; the actions of a scenario at once.

use super::attempt::{attempt, flows};
use super::bed::Bed;
use super::plan::{Action, Plan, Scenario, Test};
use super::report::{ActionOutcome, Outcome, ScenarioOutcome, TestOutcome, action_line, scenario_line};
use crate::cli::TestArgs;
use crate::output::say;
use anyhow::{Context, Result, bail};
use futures::future::join_all;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long agents may take to realise a policy.
const POLICY: Duration = Duration::from_secs(30);

/// Runs everything and tells on the way.
pub(super) async fn all(bed: &Bed, plan: &Plan, args: &TestArgs) -> Result<Outcome> {
    let total = plan.running();
    say(format!("🏃[{}] Running {total} tests ...", bed.namespace));
    let mut outcome = Outcome::default();
    let mut number = 0;
    for test in &plan.tests {
        if let Some(why) = &test.skip {
            // What nobody asked for is no news.
            if why != "not asked for" {
                say(format!("[=] [{}] Skipping test [{}]: {why}", bed.namespace, test.name));
            }
            outcome.tests.push(TestOutcome::skipped(test.name, why));
            continue;
        }
        number += 1;
        say(format!("[=] [{}] Test [{}] [{number}/{total}]", bed.namespace, test.name));
        outcome.tests.push(one(bed, test, args).await?);
    }
    Ok(outcome)
}

async fn one(bed: &Bed, test: &Test, args: &TestArgs) -> Result<TestOutcome> {
    let start = Instant::now();
    let mut outcome = TestOutcome { name: test.name.to_owned(), ..TestOutcome::default() };
    let result = under_policies(bed, test, args, &mut outcome).await;
    for policy in &test.policies {
        bed.delete(policy).await?;
    }
    match result {
        Ok(Some(before)) => realised(bed, &before, test).await?,
        Ok(None) => {}
        Err(error) => {
            outcome.trouble = Some(format!("{error:#}"));
            say(format!("  ❌ {error:#}"));
        }
    }
    outcome.seconds = start.elapsed().as_secs_f64();
    Ok(outcome)
}

/// Runs the scenarios; gives the agents' revisions while the policies were there.
async fn under_policies(
    bed: &Bed,
    test: &Test,
    args: &TestArgs,
    outcome: &mut TestOutcome,
) -> Result<Option<Vec<u64>>> {
    // Redirects are no policies in the agents' count.
    let counted = test.policies.iter().any(|object| object["kind"] != "CiliumLocalRedirectPolicy");
    let before = if counted { revisions(bed).await? } else { Vec::new() };
    for policy in &test.policies {
        bed.apply(policy).await?;
    }
    let during = match counted {
        true => {
            realised(bed, &before, test).await?;
            Some(revisions(bed).await?)
        }
        false => None,
    };
    for scenario in &test.scenarios {
        let done = run_scenario(bed, test, scenario, args).await;
        say(scenario_line(test.name, &done));
        for action in done.actions.iter().filter(|action| args.verbose || action.failure.is_some()) {
            say(action_line(action));
        }
        outcome.scenarios.push(done);
    }
    Ok(during)
}

async fn run_scenario(bed: &Bed, test: &Test, scenario: &Scenario, args: &TestArgs) -> ScenarioOutcome {
    let mut outcome =
        ScenarioOutcome { name: scenario.name.clone(), skip: scenario.skip.clone(), actions: Vec::new() };
    if scenario.skip.is_some() {
        return outcome;
    }
    let tried =
        join_all(scenario.actions.iter().map(|action| attempt(bed, action, args.request_timeout))).await;
    for (action, result) in scenario.actions.iter().zip(tried) {
        let failure = result.err().map(|error| format!("{error:#}"));
        let name = format!("{}/{}/{}", test.name, scenario.name, action.name);
        let mut kept = None;
        if failure.is_some() {
            kept = keep(bed, &name, action, args).await;
        }
        let words = format!("{}/{} -> {}", bed.namespace, action.from, target(action));
        outcome.actions.push(ActionOutcome { name, words, failure, kept });
    }
    outcome
}

fn target(action: &Action) -> String {
    use super::plan::What;
    match &action.what {
        What::Tcp(to, _) | What::Udp(to) => format!("{} ({to})", action.to),
        What::Ping(to) => format!("{} ({to})", action.to),
        What::Name(_, port) => format!("{}:{port}", action.to),
        What::Drops => action.to.clone(),
    }
}

/// Keeps the flows of the pod that tried, for a look; gives the file.
async fn keep(bed: &Bed, name: &str, action: &Action, args: &TestArgs) -> Option<String> {
    let flows = flows(bed, &action.from, &[]).await.ok().filter(|flows| !flows.is_empty())?;
    std::fs::create_dir_all(&args.flows_dir).ok()?;
    let path = args.flows_dir.join(format!("{}.json", name.replace('/', "-")));
    std::fs::write(&path, flows).ok()?;
    Some(path.display().to_string())
}

/// The revision of each agent's policies.
async fn revisions(bed: &Bed) -> Result<Vec<u64>> {
    let asked = bed.agents.values().map(async |agent| {
        let ran = bed.agent(agent, &["cilium-dbg", "policy", "get", "-o", "json"]).await?;
        let told: Value =
            serde_json::from_slice(&ran.stdout).with_context(|| format!("policies of {agent}"))?;
        // A revision of 0 is left out.
        Ok(told["revision"].as_u64().unwrap_or(0))
    });
    join_all(asked).await.into_iter().collect()
}

/// Waits until every agent has a newer revision than `before` in its tables.
async fn realised(bed: &Bed, before: &[u64], test: &Test) -> Result<()> {
    let start = Instant::now();
    loop {
        let asked = bed.agents.values().zip(before).map(|(agent, before)| settled(bed, agent, *before));
        let settled: Vec<bool> = join_all(asked).await.into_iter().collect::<Result<_>>()?;
        if settled.iter().all(|settled| *settled) {
            return Ok(());
        }
        if start.elapsed() > POLICY {
            bail!("the agents have not realised the policies of {} after {} s", test.name, POLICY.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn settled(bed: &Bed, agent: &str, before: u64) -> Result<bool> {
    let ran = bed.agent(agent, &["cilium-dbg", "policy", "get", "-o", "json"]).await?;
    let told: Value = serde_json::from_slice(&ran.stdout).unwrap_or_default();
    let Some(revision) = told["revision"].as_u64().filter(|revision| *revision > before) else {
        return Ok(false);
    };
    let ran = bed.agent(agent, &["cilium-dbg", "endpoint", "list", "-o", "json"]).await?;
    let endpoints: Vec<Value> = serde_json::from_slice(&ran.stdout).unwrap_or_default();
    let path = "/status/policy/realized/policy-revision";
    Ok(endpoints
        .iter()
        .all(|one| one.pointer(path).and_then(Value::as_u64).is_some_and(|has| has >= revision)))
}
