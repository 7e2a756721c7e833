//! A YAML value, and the line that it stands on.

use std::collections::BTreeMap;

use super::fault::{Fault, Place};

/// How a value meets the one that it is merged over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tag {
    /// By the rules of its key.
    None,
    /// `!reset`: both go.
    Reset,
    /// `!override`: the other goes.
    Override,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    Null,
    Text(String),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Node {
    /// Where its key stands, or it itself where it has none.
    pub(super) at: Place,
    pub(super) tag: Tag,
    pub(super) value: Value,
}

impl Node {
    pub(super) fn new(at: &Place, value: Value) -> Self {
        Self { at: at.clone(), tag: Tag::None, value }
    }

    /// What stands under `key`, where this is a mapping that has it and it is not empty.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(map) => map.get(key).filter(|node| node.value != Value::Null),
            Value::Null | Value::Text(_) | Value::List(_) => None,
        }
    }

    /// What stands at the end of `path`.
    pub(super) fn find(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The entries of a mapping; none of anything else.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Self)> {
        let map = match &self.value {
            Value::Map(map) => Some(map),
            Value::Null | Value::Text(_) | Value::List(_) => None,
        };
        map.into_iter().flatten().map(|(key, node)| (key.as_str(), node))
    }

    /// The items of a list, or the one value that stands in place of a list; none of a mapping.
    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Text(_) => std::slice::from_ref(self),
            Value::Null | Value::Map(_) => &[],
        }
    }

    /// Refuses what is no mapping. Nothing counts as an empty one.
    pub(super) fn must_be_map(&self, what: &str) -> Result<(), Fault> {
        match &self.value {
            Value::Map(_) | Value::Null => Ok(()),
            Value::Text(_) | Value::List(_) => {
                Err(Fault::new(&self.at, format!("`{what}` must be a mapping, but is {}", self.value.kind())))
            }
        }
    }
}

impl Value {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "empty",
            Self::Text(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}
