//! What came of a run, as text and as JUnit.

use std::fmt::Write;

/// A run.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) tests: Vec<TestOutcome>,
}

/// A test.
#[derive(Debug, Default)]
pub(super) struct TestOutcome {
    pub(super) name: String,
    pub(super) scenarios: Vec<ScenarioOutcome>,
    pub(super) skip: Option<String>,
    /// It could not be carried out.
    pub(super) trouble: Option<String>,
    pub(super) seconds: f64,
}

/// A scenario.
#[derive(Debug, Default)]
pub(super) struct ScenarioOutcome {
    pub(super) name: String,
    pub(super) actions: Vec<ActionOutcome>,
    pub(super) skip: Option<String>,
}

/// An action.
#[derive(Debug, Default)]
pub(super) struct ActionOutcome {
    /// `test/scenario/action`.
    pub(super) name: String,
    /// Who asked whom.
    pub(super) words: String,
    pub(super) failure: Option<String>,
    /// File with the flows of that time.
    pub(super) kept: Option<String>,
}

impl TestOutcome {
    /// A test that does not run.
    pub(super) fn skipped(name: &str, why: &str) -> Self {
        Self { name: name.to_owned(), skip: Some(why.to_owned()), ..Self::default() }
    }

    fn actions(&self) -> impl Iterator<Item = &ActionOutcome> {
        self.scenarios.iter().flat_map(|scenario| &scenario.actions)
    }

    fn failures(&self) -> Vec<String> {
        let of_actions = self.actions().filter_map(|action| {
            let failure = action.failure.as_ref()?;
            let kept = action.kept.as_ref().map(|path| format!(" (flows: {path})")).unwrap_or_default();
            Some(format!("{}: {}: {failure}{kept}", action.name, action.words))
        });
        of_actions.chain(self.trouble.clone()).collect()
    }
}

impl Outcome {
    /// How many tests failed.
    pub(super) fn failed(&self) -> usize {
        self.tests.iter().filter(|test| !test.failures().is_empty()).count()
    }
}

/// `  [-] Scenario [no-policies/pod-to-a] ✅ 2 actions`.
pub(super) fn scenario_line(test: &str, scenario: &ScenarioOutcome) -> String {
    let failed = scenario.actions.iter().filter(|action| action.failure.is_some()).count();
    let result = match &scenario.skip {
        Some(why) => format!("⏭️  skipped: {why}"),
        None if failed > 0 => {
            format!("❌ {failed} of {} failed", crate::output::count(scenario.actions.len(), "action"))
        }
        None => format!("✅ {}", crate::output::count(scenario.actions.len(), "action")),
    };
    format!("  [-] Scenario [{test}/{}] {result}", scenario.name)
}

/// `  [.] Action [no-policies/pod-to-a/ipv4: a -> b]`, and what went wrong.
pub(super) fn action_line(action: &ActionOutcome) -> String {
    let mut line = format!("  [.] Action [{}: {}]", action.name, action.words);
    if let Some(failure) = &action.failure {
        // Writing to a String cannot fail.
        let _ = write!(line, "\n  ❌ {failure}");
    }
    line
}

/// The last lines.
pub(super) fn closing(outcome: &Outcome, namespace: &str) -> String {
    let skipped = outcome.tests.iter().filter(|test| test.skip.is_some()).count();
    let run = outcome.tests.len() - skipped;
    let actions: usize = outcome.tests.iter().map(|test| test.actions().count()).sum();
    let scenarios = outcome.tests.iter().flat_map(|test| &test.scenarios);
    let left_out = scenarios.filter(|scenario| scenario.skip.is_some()).count();
    let failed = outcome.failed();
    if failed == 0 {
        return format!(
            "\n✅ [{namespace}] All {run} tests ({actions} actions) successful, {skipped} tests skipped, {left_out} scenarios skipped.\n"
        );
    }
    let bad: usize = outcome
        .tests
        .iter()
        .map(|test| test.actions().filter(|action| action.failure.is_some()).count())
        .sum();
    let mut text = format!(
        "\n📋 Test Report [{namespace}]\n❌ {failed}/{run} tests failed ({bad}/{actions} actions), {skipped} tests skipped, \
         {left_out} scenarios skipped:\n"
    );
    for test in &outcome.tests {
        let failures = test.failures();
        if failures.is_empty() {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "Test [{}]:", test.name);
        for failure in failures {
            let _ = writeln!(text, "  ❌ {failure}");
        }
    }
    text
}

/// The run as JUnit XML: a case a test.
pub(super) fn junit(outcome: &Outcome) -> String {
    let skipped = outcome.tests.iter().filter(|test| test.skip.is_some()).count();
    let seconds: f64 = outcome.tests.iter().map(|test| test.seconds).sum();
    let numbers = format!(
        "tests=\"{}\" failures=\"{}\" skipped=\"{skipped}\" time=\"{seconds:.3}\"",
        outcome.tests.len(),
        outcome.failed()
    );
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {numbers}>\n  <testsuite name=\"connectivity test\" {numbers}>\n"
    );
    for test in &outcome.tests {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "    <testcase classname=\"connectivity test\" name=\"{}\" time=\"{:.3}\"",
            escape(&test.name),
            test.seconds
        );
        let failures = test.failures();
        let _ = match (&test.skip, failures.as_slice()) {
            (Some(why), _) => writeln!(text, "><skipped message=\"{}\"/></testcase>", escape(why)),
            (None, []) => writeln!(text, "/>"),
            (None, all) => writeln!(
                text,
                "><failure message=\"{}\" type=\"failure\">{}</failure></testcase>",
                escape(&format!("{} failed", test.name)),
                escape(&all.join("\n"))
            ),
        };
    }
    text + "  </testsuite>\n</testsuites>\n"
}

fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, character| {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no place for these.
            other if other.is_control() && !"\n\t".contains(other) => {}
            other => out.push(other),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(name: &str, failure: Option<&str>) -> ScenarioOutcome {
        let action = |family: &str, failure: Option<&str>| ActionOutcome {
            name: format!("t/{name}/{family}"),
            words: "ns/client-a -> ns/echo-a (10.0.0.1:80)".to_owned(),
            failure: failure.map(str::to_owned),
            kept: failure.map(|_| "flows.json".to_owned()),
        };
        ScenarioOutcome {
            name: name.to_owned(),
            actions: vec![action("ipv4", None), action("ipv6", failure)],
            skip: None,
        }
    }

    fn outcome(failure: Option<&str>) -> Outcome {
        let left_out =
            ScenarioOutcome { name: "x".to_owned(), skip: Some("one node".to_owned()), ..Default::default() };
        let scenarios = vec![scenario("pod-to-a", None), scenario("pod-to-b", failure), left_out];
        let test = TestOutcome { name: "t".to_owned(), scenarios, seconds: 1.5, ..TestOutcome::default() };
        Outcome { tests: vec![test, TestOutcome::skipped("u", "it is <off>")] }
    }

    #[test]
    fn the_lines() {
        let good = outcome(None);
        let lines: Vec<String> = good.tests[0].scenarios.iter().map(|one| scenario_line("t", one)).collect();
        assert_eq!(
            lines,
            [
                "  [-] Scenario [t/pod-to-a] ✅ 2 actions",
                "  [-] Scenario [t/pod-to-b] ✅ 2 actions",
                "  [-] Scenario [t/x] ⏭️  skipped: one node"
            ]
        );
        assert_eq!(
            closing(&good, "cilium-test-1"),
            "\n✅ [cilium-test-1] All 1 tests (4 actions) successful, 1 tests skipped, 1 scenarios skipped.\n"
        );
        let bad = outcome(Some("not answered: timeout"));
        assert_eq!(
            scenario_line("t", &bad.tests[0].scenarios[1]),
            "  [-] Scenario [t/pod-to-b] ❌ 1 of 2 actions failed"
        );
        assert_eq!(
            action_line(&bad.tests[0].scenarios[1].actions[1]),
            "  [.] Action [t/pod-to-b/ipv6: ns/client-a -> ns/echo-a (10.0.0.1:80)]\n  ❌ not answered: timeout"
        );
        assert_eq!(
            closing(&bad, "cilium-test-1"),
            "\n📋 Test Report [cilium-test-1]\n❌ 1/1 tests failed (1/4 actions), 1 tests skipped, 1 scenarios skipped:\n\
             Test [t]:\n  ❌ t/pod-to-b/ipv6: ns/client-a -> ns/echo-a (10.0.0.1:80): not answered: timeout (flows: flows.json)\n"
        );
    }

    #[test]
    fn the_xml() {
        let text = junit(&outcome(Some("a & b")));
        assert!(
            text.contains("<testsuites tests=\"2\" failures=\"1\" skipped=\"1\" time=\"1.500\">"),
            "{text}"
        );
        assert!(text.contains("<skipped message=\"it is &lt;off&gt;\"/>"), "{text}");
        assert!(text.contains("a &amp; b (flows: flows.json)</failure>"), "{text}");
        assert!(junit(&outcome(None)).contains("name=\"t\" time=\"1.500\"/>"));
    }
}
