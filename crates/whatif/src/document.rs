//! Files of YAML (and JSON, which is YAML too): their documents, and where in the file each field stands.

use crate::place::{Place, Step};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// A line and a column of a file, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// The objects that could be read, items of lists one by one, in order.
    pub objects: Vec<Document>,
    /// Why the others could not, and where.
    pub broken: Vec<(Position, String)>,
}

/// One object of a file.
#[derive(Clone, Debug)]
pub struct Document {
    /// The object.
    pub value: Value,
    /// Its place in its document: `items[2]` of a list.
    root: Place,
    text: String,
    first_line: usize,
}

impl Documents {
    /// Reads a file. A document that is broken hurts no other.
    pub fn read(text: &str) -> Self {
        let mut documents = Self::default();
        for (first_line, part) in split(text) {
            match read(&part) {
                Ok(None) => {}
                Ok(Some(value)) => documents.add(&value, &part, first_line, &Place::default()),
                Err((position, why)) => {
                    let line = position.line + first_line - 1;
                    documents.broken.push((Position { line, ..position }, why));
                }
            }
        }
        documents
    }

    fn add(&mut self, value: &Value, text: &str, first_line: usize, root: &Place) {
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
        let items = value.get("items").and_then(Value::as_array).filter(|_| kind.ends_with("List"));
        if let Some(items) = items {
            for (index, item) in items.iter().enumerate() {
                self.add(&with_kind(item, value, kind), text, first_line, &root.key("items").index(index));
            }
            return;
        }
        self.objects.push(Document {
            value: value.clone(),
            root: root.clone(),
            text: text.to_owned(),
            first_line,
        });
    }
}

/// Items of a `PodList` do not say that they are pods.
fn with_kind(item: &Value, list: &Value, kind: &str) -> Value {
    let mut item = item.clone();
    if let (Some(fields), Some(kind)) =
        (item.as_object_mut(), kind.strip_suffix("List").filter(|k| !k.is_empty()))
    {
        fields.entry("kind").or_insert_with(|| kind.into());
        fields.entry("apiVersion").or_insert_with(|| list.get("apiVersion").cloned().unwrap_or_default());
    }
    item
}

impl Document {
    /// A document that has no file, such as an object of a cluster.
    pub fn of(value: Value) -> Self {
        Self { value, root: Place::default(), text: String::new(), first_line: 1 }
    }

    /// Where a place of the object stands in the file: its value, or its name if it is one of a mapping's fields and
    /// `name` is asked for. Of what is not there, the last part of the way that is.
    pub fn position(&self, place: &Place, name: bool) -> Position {
        let steps: Vec<&Step> = self.root.steps().iter().chain(place.steps()).collect();
        for length in (0..=steps.len()).rev() {
            let last = length == steps.len() && name;
            if let Some(found) = seek(&self.text, &steps[..length], last) {
                return Position { line: found.line + self.first_line - 1, ..found };
            }
        }
        Position { line: self.first_line, column: 1 }
    }
}

/// The documents of a file, each with the number of its first line.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut parts = vec![(1, String::new())];
    for (number, line) in text.lines().enumerate() {
        // At the beginning of a line this ends a document, whatever it stands in.
        let marker = line.strip_prefix("---").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        match (marker, parts.last_mut()) {
            (Some(rest), _) => {
                // What follows the marker is content; spaces keep its column.
                parts.push((number + 1, format!("   {rest}\n")));
            }
            (None, Some((_, part))) => {
                part.push_str(line);
                part.push('\n');
            }
            (None, None) => {}
        }
    }
    parts
}

fn read(text: &str) -> Result<Option<Value>, (Position, String)> {
    let yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(|error| {
        let position = error.location().map_or(Position { line: 1, column: 1 }, |l| at(&l));
        (position, plain(&error))
    })?;
    if yaml.is_null() {
        return Ok(None);
    }
    let value = serde_json::to_value(&yaml)
        .map_err(|error| (Position { line: 1, column: 1 }, format!("{error}: an object has text as keys")))?;
    match value {
        Value::Object(_) => Ok(Some(value)),
        _ => Err((
            Position { line: 1, column: 1 },
            "this is no object: a Kubernetes object begins with apiVersion and kind".to_owned(),
        )),
    }
}

/// The error without its own words about the place, which is that in the part and not that in the file.
fn plain(error: &serde_yaml_ng::Error) -> String {
    let text = error.to_string();
    let cut = text.find(" at line ").map_or(text.as_str(), |at| &text[..at]);
    let cure = if cut.contains("tab") || cut.contains("cannot start any token") {
        "indent with spaces, and quote text that begins with @, ` or %"
    } else if cut.contains("duplicate") {
        "keep one of them"
    } else {
        "check indentation, colons and quotes here"
    };
    format!("{cut}: {cure}")
}

fn at(location: &serde_yaml_ng::Location) -> Position {
    Position { line: location.line(), column: location.column() }
}

/// Walks to a place and stops there with an error, to which the parser adds where it stood.
fn seek(text: &str, steps: &[&Step], name: bool) -> Option<Position> {
    let found = Seek { steps, name }.deserialize(serde_yaml_ng::Deserializer::from_str(text)).err()?;
    found.to_string().contains(FOUND).then(|| found.location().map(|l| at(&l)))?
}

/// No field of an object is called so, and the parser puts the way before the message.
const FOUND: &str = "\u{e000}here\u{e000}";

/// The rest of the way.
#[derive(Clone, Copy)]
struct Seek<'a> {
    steps: &'a [&'a Step],
    name: bool,
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Seek<'_> {
    fn arrived<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.steps.is_empty() { Err(E::custom(FOUND)) } else { Ok(()) }
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML node")
    }
    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.arrived()
    }
    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.arrived()
    }
    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.arrived()
    }
    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.arrived()
    }
    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.arrived()
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.arrived()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.arrived()?;
        let Some((Step::Index(wanted), rest)) = self.steps.split_first().map(|(step, rest)| (*step, rest))
        else {
            return Err(A::Error::custom("another way"));
        };
        for _ in 0..*wanted {
            if items.next_element::<serde::de::IgnoredAny>()?.is_none() {
                return Err(A::Error::custom("another way"));
            }
        }
        items.next_element_seed(Seek { steps: rest, ..self })?;
        Err(A::Error::custom("another way"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        self.arrived()?;
        let Some((Step::Key(wanted), rest)) = self.steps.split_first().map(|(step, rest)| (*step, rest))
        else {
            return Err(A::Error::custom("another way"));
        };
        let stop = self.name && rest.is_empty();
        while let Some(found) = fields.next_key_seed(Name { wanted, stop })? {
            if found {
                fields.next_value_seed(Seek { steps: rest, ..self })?;
                break;
            }
            fields.next_value::<serde::de::IgnoredAny>()?;
        }
        Err(A::Error::custom("another way"))
    }
}

/// Looks at a field's name; stops there if that is what is sought.
struct Name<'a> {
    wanted: &'a str,
    stop: bool,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }
    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<bool, E> {
        match (name == self.wanted, self.stop) {
            (true, true) => Err(E::custom(FOUND)),
            (found, _) => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# A comment
apiVersion: v1
kind: One
spec:
  ports:
  - port: \"80\"
    protocol: TCP
  - {port: 81, protocol: UDP}
--- # the next
kind: List
items:
- kind: Two
  metadata:
    name: x
---
: : :
  - bad
---
---
\"kind\": \"Three\"
";

    #[test]
    fn fields_have_their_lines() {
        let documents = Documents::read(FILE);
        let kinds: Vec<_> =
            documents.objects.iter().map(|d| d.value["kind"].as_str().unwrap_or("?")).collect();
        assert_eq!(kinds, ["One", "Two", "Three"]);
        let at = |index: usize, place: &str, name| {
            let document: &Document = &documents.objects[index];
            let found = document.position(&Place::default().parse(place, &document.value), name);
            (found.line, found.column)
        };
        assert_eq!(at(0, "spec.ports[0].port", false), (6, 11));
        assert_eq!(at(0, "spec.ports[0].protocol", true), (7, 5));
        assert_eq!(at(0, "spec.ports[1].port", false), (8, 12));
        // What is not there: the thing that it is missing in.
        assert_eq!(at(0, "spec.ports[1].endPort", false), (8, 5));
        assert_eq!(at(0, "spec.ports[7]", true), (6, 3));
        assert_eq!(at(1, "metadata.name", false), (14, 11));
        assert_eq!(at(2, "kind", false), (20, 9));
        assert_eq!(documents.broken.len(), 1);
        assert!((16..=17).contains(&documents.broken[0].0.line), "{:?}", documents.broken);
    }

    #[test]
    fn json_is_yaml_too_and_lists_name_their_items() {
        let documents = Documents::read(
            "{\"kind\": \"PodList\", \"apiVersion\": \"v1\",\n \"items\": [{\"metadata\": {\"name\": \"a\"}}]}",
        );
        let pod = &documents.objects[0];
        assert_eq!((&pod.value["kind"], &pod.value["apiVersion"]), (&"Pod".into(), &"v1".into()));
        assert_eq!(pod.position(&Place::default().key("metadata").key("name"), false).line, 2);
    }

    #[test]
    fn broken_files_say_where_and_what_to_do() {
        for (text, line) in [
            ("a: 1\na: 2\n", 2),
            ("a:\n\t- b\n", 2),
            ("a: [1\n", 2),
            ("- a\n", 1),
            ("just text\n", 1),
            ("a: \"x\n", 1),
        ] {
            let documents = Documents::read(text);
            assert!(documents.objects.is_empty(), "{text}");
            let (position, why) = &documents.broken[0];
            assert!(position.line.abs_diff(line) <= 1 && why.contains(": "), "{text}: {position:?} {why}");
        }
        assert!(
            Documents::read("").broken.is_empty() && Documents::read("# nothing\n---\n").objects.is_empty()
        );
    }
}
