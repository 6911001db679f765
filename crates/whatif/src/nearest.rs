//! What was probably meant.

/// The candidate that differs least from `text`, if it is near enough to be a slip of the fingers.
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (text.chars().count() / 3).clamp(1, 3);
    let others = candidates.into_iter().filter(|candidate| *candidate != text);
    let near = others.map(|candidate| (distance(text, candidate), candidate));
    near.filter(|(far, _)| *far <= most).min().map(|(_, candidate)| candidate)
}

/// How many letters have to be put in, taken out, replaced or swapped with their neighbour, whatever their case.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) =
        (one.to_lowercase().chars().collect(), other.to_lowercase().chars().collect());
    // Rows of the usual table: two before this one, for swaps.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let replaced = last[j] + usize::from(a != b);
            let mut least = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_fingers() {
        let names = ["frontend", "backend", "database"];
        assert_eq!(nearest("forntend", names), Some("frontend"));
        assert_eq!(nearest("backnd", names), Some("backend"));
        assert_eq!((nearest("cache", names), nearest("Backend", names)), (None, Some("backend")));
        assert_eq!(nearest("backend", names), None, "it is there");
        assert_eq!(nearest("web", ["wen", "prod"]), Some("wen"));
        assert_eq!(nearest("ab", ["cd"]), None);
    }
}
