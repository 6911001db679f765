use super::*;

fn labels(texts: &[&str]) -> Labels {
    Labels::parse(texts.iter().copied()).unwrap()
}

fn one(key: &str, operator: &str, values: &[&str]) -> Result<Selector, SelectorError> {
    Selector::new([], [(key, operator, values.iter().copied())], &Source::Any)
}

fn matches(key: &str, operator: &str, values: &[&str], set: &[&str]) -> bool {
    one(key, operator, values).unwrap().matches(&labels(set))
}

#[test]
fn operators_follow_kubernetes() {
    assert!(matches("app", "In", &["a", "b"], &["k8s:app=b"]));
    assert!(!matches("app", "In", &["a"], &["k8s:other=a"]));
    assert!(matches("app", "NotIn", &["a"], &["k8s:other=a"]), "NotIn holds for an absent key");
    assert!(!matches("app", "NotIn", &["a"], &["k8s:app=a"]));
    assert!(matches("app", "Exists", &[], &["k8s:app"]));
    assert!(matches("app", "DoesNotExist", &[], &["k8s:apps=1"]));
    assert!(Selector::everything().matches(&Labels::none()));
}

#[test]
fn sources_narrow_and_any_does_not() {
    assert!(matches("any:app", "In", &["a"], &["container:app=a"]));
    assert!(!matches("k8s:app", "In", &["a"], &["container:app=a"]));
    assert!(matches("reserved:host", "Exists", &[], &["reserved:host"]));
    assert!(!matches("k8s:host", "Exists", &[], &["reserved:host"]));
    // Two sources under one key: any of them may satisfy.
    assert!(matches("k8s:app", "In", &["a"], &["container:app=b", "k8s:app=a"]));
}

#[test]
fn all_requirements_must_hold() {
    let selector = Selector::new([("app", "web")], [("tier", "NotIn", vec!["db"])], &Source::K8s).unwrap();
    assert!(selector.matches(&labels(&["k8s:app=web"])));
    assert!(!selector.matches(&labels(&["k8s:app=web", "k8s:tier=db"])));
    assert_eq!(selector.to_string(), "k8s:app=web,k8s:tier notin (db)");
    assert_eq!(selector.match_labels()["k8s:app"], "web");
}

#[test]
fn only_positive_tests_require_a_source() {
    assert!(one("reserved:host", "Exists", &[]).unwrap().requires_source(&Source::Reserved));
    assert!(!one("reserved:init", "DoesNotExist", &[]).unwrap().requires_source(&Source::Reserved));
    assert!(!one("any:host", "Exists", &[]).unwrap().requires_source(&Source::Reserved));
}

#[test]
fn writing_does_not_matter() {
    let a =
        Selector::new([("a", "1"), ("b", "2")], [] as [(&str, &str, Vec<&str>); 0], &Source::Any).unwrap();
    let b = Selector::new([("any:b", "2")], [("a", "In", vec!["1"])], &Source::Any).unwrap();
    assert_eq!(a, b);
    assert_eq!(b.clone().and_all(a.clone()), a);
}

#[test]
fn bad_selectors_say_why() {
    let text =
        |key: &str, operator: &str, values: &[&str]| one(key, operator, values).unwrap_err().to_string();
    assert!(text("", "Exists", &[]).contains("is no label key"));
    assert!(text("k8s:", "Exists", &[]).contains("is no label key"));
    assert!(text("a b", "Exists", &[]).contains("is no label key"));
    assert!(text("a", "In", &[]).contains("has no values"));
    assert!(text("a", "NotIn", &[]).contains("has no values"));
    assert!(text("a", "Exists", &["x"]).contains("has values"));
    assert!(text("a", "DoesNotExist", &["x"]).contains("has values"));
    assert!(text("a", "Gt", &["1"]).contains("is unknown"));
    assert!(text("a", "In", &["-x"]).contains("is no label value"));
    assert!(text("a", "In", &["ü"]).contains("is no label value"));
    assert!(text("a", "In", &["x".repeat(64).as_str()]).contains("is no label value"));
    assert!(one("a", "In", &[""]).is_ok());
}
