//! A place in an object: `spec.ingress[0].toPorts[1]`.

use serde_json::Value;
use std::fmt;

/// A way from the top of a document to one of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(Vec<Step>);

/// One step of the way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Into a field of a mapping.
    Key(String),
    /// Into an item of a list.
    Index(usize),
}

impl Place {
    /// A field of this place.
    pub fn key(&self, name: &str) -> Self {
        self.with(Step::Key(name.to_owned()))
    }

    /// An item of the list at this place.
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Reads what `Display` wrote of a place in `value`. Keys may hold dots: of several readings the one that leads into
    /// `value` counts, the longest key first. What is not there is one more key.
    pub fn parse(&self, text: &str, value: &Value) -> Self {
        let mut place = self.clone();
        let mut rest = text;
        let mut here = Some(value);
        while !rest.is_empty() {
            if let Some((index, after)) = leading_index(rest) {
                place = place.index(index);
                here = here.and_then(|value| value.get(index));
                rest = after.strip_prefix('.').unwrap_or(after);
                continue;
            }
            let known = here.and_then(Value::as_object).into_iter().flat_map(|fields| fields.keys());
            let fits = |key: &&String| {
                let after = rest.strip_prefix(key.as_str());
                after.is_some_and(|after| after.is_empty() || after.starts_with(['.', '[']))
            };
            let name = match known.filter(fits).max_by_key(|key| key.len()) {
                Some(key) => key.clone(),
                None => rest[..rest.find(['.', '[']).unwrap_or(rest.len())].to_owned(),
            };
            rest = &rest[name.len()..];
            rest = rest.strip_prefix('.').unwrap_or(rest);
            here = here.and_then(|value| value.get(&name));
            place = place.key(&name);
        }
        place
    }
}

/// `[12]rest` → 12 and `rest`.
fn leading_index(text: &str) -> Option<(usize, &str)> {
    let (number, rest) = text.strip_prefix('[')?.split_once(']')?;
    Some((number.parse().ok()?, rest))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(name) if number == 0 => f.write_str(name)?,
                Step::Key(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn places_are_read_back() {
        let value =
            json!({ "spec": { "a": [{ "matchLabels": { "app.kubernetes.io/name": "x", "app": 1 } }] } });
        let place =
            Place::default().key("spec").key("a").index(0).key("matchLabels").key("app.kubernetes.io/name");
        assert_eq!(place.to_string(), "spec.a[0].matchLabels.app.kubernetes.io/name");
        assert_eq!(Place::default().parse(&place.to_string(), &value), place);
        let absent = Place::default().parse("spec.b[1].c", &value);
        assert_eq!(absent, Place::default().key("spec").key("b").index(1).key("c"));
    }
}
