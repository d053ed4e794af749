//! Edits of a head's fields.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::spec::HeaderEditsSpec;

/// Edits of a head's fields, in the order in which they apply: remove, set, add.
#[derive(Debug, Default)]
pub struct HeaderEdits {
    edits: Box<[Edit]>,
}

#[derive(Debug)]
enum Edit {
    Remove(HeaderName),
    Set(HeaderName, HeaderValue),
    Add(HeaderName, HeaderValue),
}

impl HeaderEdits {
    /// The edits that `spec` asks for.
    pub fn new(spec: &HeaderEditsSpec) -> Self {
        let remove = spec.remove.iter().cloned().map(Edit::Remove);
        let set = spec.set.iter().cloned().map(|(name, value)| Edit::Set(name, value));
        let add = spec.add.iter().cloned().map(|(name, value)| Edit::Add(name, value));
        Self { edits: remove.chain(set).chain(add).collect() }
    }

    /// Whether nothing is edited.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Whether a field of this name is edited.
    pub fn names(&self, name: &HeaderName) -> bool {
        self.edits.iter().any(|edit| match edit {
            Edit::Remove(own) | Edit::Set(own, _) | Edit::Add(own, _) => own == name,
        })
    }

    /// Edits `headers`. A field that no longer fits in the map's bound is left out.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for edit in &self.edits {
            match edit {
                Edit::Remove(name) => drop(headers.remove(name)),
                Edit::Set(name, value) => drop(headers.try_insert(name, value.clone())),
                Edit::Add(name, value) => drop(headers.try_append(name, value.clone())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let field = |name: &str, value: &str| {
            (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap())
        };
        let edits = HeaderEdits::new(&HeaderEditsSpec {
            remove: vec![HeaderName::from_static("a"), HeaderName::from_static("b")],
            set: vec![field("b", "2"), field("c", "3")],
            add: vec![field("c", "4"), field("d", "5")],
        });
        let mut headers: HeaderMap =
            [field("a", "1"), field("b", "1"), field("c", "1"), field("d", "1")]
                .into_iter()
                .collect();

        edits.apply(&mut headers);

        let all = |name: &str| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
        assert_eq!(all("a"), [""; 0]);
        assert_eq!(all("b"), ["2"]);
        assert_eq!(all("c"), ["3", "4"]);
        assert_eq!(all("d"), ["1", "5"]);
    }
}
