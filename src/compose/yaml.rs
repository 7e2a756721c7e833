//! YAML to values, with their lines and within limits.
//!
//! The parser is `saphyr-parser` because it hands out events: with places, with tags (`!reset`, `!override`),
//! and with an alias as an alias. So the limits are kept while the values are made, and not found out after an
//! alias bomb has unfolded.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    sync::Arc,
};

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag as YamlTag};

use super::{
    fault::{Fault, Place},
    node::{Node, Tag, Value},
};

/// Values in one file, those that aliases repeat counted each time. Large real files have some thousands.
const NODES_MOST: usize = 20_000;
/// Values within values. What Compose knows is nine deep.
const DEPTH_MOST: usize = 64;

/// Makes a text of the file into the text that Compose would see, or says why that cannot be done.
pub(super) type Fill<'f> = &'f mut dyn FnMut(&str, &Place) -> Result<String, Fault>;

/// The documents of a file.
pub(super) fn parse(text: &str, file: &Arc<str>, fill: Fill<'_>) -> Result<Vec<Node>, Fault> {
    let mut builder = Builder::new(file, fill);
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let at = Place { file: Arc::clone(file), line: error.marker().line() };
            Fault::new(&at, format!("is not YAML: {}", error.info()))
        })?;
        builder.take(event, span)?;
    }
    Ok(builder.documents)
}

/// A collection whose end has not been seen.
struct Open {
    node: Node,
    anchor: usize,
    /// The key that waits for its value.
    key: Option<(String, Place)>,
    /// What `<<` brings in, first things first.
    merged: Vec<Node>,
    /// How many values there were when it began.
    began: usize,
}

struct Builder<'f> {
    file: Arc<str>,
    fill: Fill<'f>,
    open: Vec<Open>,
    /// Each anchor's value, and how many values that is.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    documents: Vec<Node>,
}

impl<'f> Builder<'f> {
    fn new(file: &Arc<str>, fill: Fill<'f>) -> Self {
        let file = Arc::clone(file);
        Self { file, fill, open: Vec::new(), anchors: HashMap::new(), nodes: 0, documents: Vec::new() }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let at = Place { file: Arc::clone(&self.file), line: span.start.line() };
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, &at)?;
                let node = self.scalar(&text, style, tag.as_deref(), at)?;
                self.remember(anchor, &node, 1);
                self.place(node, style == ScalarStyle::Plain)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(anchor, tag.as_deref(), at, Value::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(anchor, tag.as_deref(), at, Value::Map(BTreeMap::new()))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err(Fault::new(&at, "an alias stands inside the value that it repeats"));
                };
                self.count(size, &at)?;
                self.place(Node { at, ..node }, true)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn count(&mut self, more: usize, at: &Place) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > NODES_MOST {
            let text = format!("the file unfolds to more than {NODES_MOST} values");
            return Err(Fault::new(at, text).hint("Repeat less with aliases, or split the file"));
        }
        Ok(())
    }

    fn remember(&mut self, anchor: usize, node: &Node, size: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
    }

    /// Keys are what they are: Compose fills in values only.
    fn expects_key(&self) -> bool {
        self.open.last().is_some_and(|open| matches!(open.node.value, Value::Map(_)) && open.key.is_none())
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&YamlTag>,
        at: Place,
    ) -> Result<Node, Fault> {
        let is_text = style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.suffix == "str");
        let value = if self.expects_key() {
            Value::Text(text.to_owned())
        } else if !is_text && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
            Value::Null
        } else {
            Value::Text((self.fill)(text, &at)?)
        };
        Ok(Node { tag: meaning(tag), at, value })
    }

    fn begin(&mut self, anchor: usize, tag: Option<&YamlTag>, at: Place, value: Value) -> Result<(), Fault> {
        if self.open.len() >= DEPTH_MOST {
            return Err(Fault::new(&at, format!("values are nested more than {DEPTH_MOST} deep")));
        }
        let began = self.nodes;
        self.count(1, &at)?;
        let node = Node { at, tag: meaning(tag), value };
        self.open.push(Open { node, anchor, key: None, merged: Vec::new(), began });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(Open { mut node, anchor, merged, began, .. }) = self.open.pop() else { return Ok(()) };
        if let Value::Map(map) = &mut node.value {
            // A mapping's own keys win, then the first of what is merged in (yaml.org/type/merge).
            for (key, value) in merged.into_iter().flat_map(into_entries) {
                map.entry(key).or_insert(value);
            }
        }
        self.remember(anchor, &node, self.nodes - began);
        self.place(node, false)
    }

    /// Puts a value where it belongs.
    fn place(&mut self, node: Node, is_plain: bool) -> Result<(), Fault> {
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        let map = match &mut open.node.value {
            Value::Map(map) => map,
            Value::List(items) => {
                items.push(node);
                return Ok(());
            }
            Value::Null | Value::Text(_) => return Ok(()),
        };
        let Some((key, at)) = open.key.take() else {
            let Value::Text(key) = node.value else {
                return Err(Fault::new(
                    &node.at,
                    format!("a key must be a text, but is {}", node.value.kind()),
                ));
            };
            // A quoted "<<" is a key like any other; the mark tells it apart until its value comes.
            open.key = Some((if key == "<<" && is_plain { MERGE.to_owned() } else { key }, node.at));
            return Ok(());
        };
        if key == MERGE {
            let sources = if let Value::List(items) = node.value { items } else { vec![node] };
            if let Some(wrong) = sources.iter().find(|node| !matches!(node.value, Value::Map(_))) {
                return Err(Fault::new(&wrong.at, "`<<` takes mappings only"));
            }
            open.merged.extend(sources);
            return Ok(());
        }
        match map.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(Node { at, ..node });
                Ok(())
            }
            Entry::Occupied(entry) => Err(Fault::new(
                &at,
                format!("`{}` stands twice; it stands in line {}, too", entry.key(), entry.get().at.line),
            )),
        }
    }
}

/// What `<<` becomes while its value is awaited. No key of a file can hold it: control characters are refused.
const MERGE: &str = "\0<<";

fn into_entries(node: Node) -> BTreeMap<String, Node> {
    match node.value {
        Value::Map(map) => map,
        Value::Null | Value::Text(_) | Value::List(_) => BTreeMap::new(),
    }
}

fn meaning(tag: Option<&YamlTag>) -> Tag {
    match tag.map(|tag| (tag.handle.as_str(), tag.suffix.as_str())) {
        Some(("!", "reset")) => Tag::Reset,
        Some(("!", "override")) => Tag::Override,
        Some(_) | None => Tag::None,
    }
}
