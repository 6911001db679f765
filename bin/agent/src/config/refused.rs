//! Bad options, a row each: none is taken, none ends in a panic, and each is refused with a sentence that names the
//! option, what it was given, and the cure.

use super::tests::refusal;

/// `option=value [& option=value...] => cure`, or `... => what is named => cure` where that is not the first pair.
const ROWS: &str = include_str!("refused.txt");

#[test]
fn two_hundred_bad_configurations_are_refused_by_name_and_with_a_cure() {
    let mut count = 0;
    for row in ROWS.lines().filter(|row| !row.is_empty() && !row.starts_with('#')) {
        let parts: Vec<&str> = row.split(" => ").collect();
        let pairs: Vec<(&str, &str)> =
            parts[0].split(" & ").filter_map(|pair| pair.split_once('=')).collect();
        let (name, value) = pairs[0];
        let (named, cure) = match parts[1..] {
            [cure] => (format!("--{name}={value}"), cure),
            [named, cure] => (named.to_owned(), cure),
            _ => panic!("no row of the table: {row}"),
        };
        let text = refusal(&pairs);
        assert!(text.contains(&named), "{row}\n{text:?} does not name {named:?}");
        assert!(text.contains(cure), "{row}\n{text:?} does not say {cure:?}");
        count += 1;
    }
    assert!(count >= 200, "{count} rows");
}
