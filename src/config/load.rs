//! YAML in, a located tree out. The only file that knows which YAML crate is used.
//!
//! It builds the tree from the parser's events and not through serde, because serde hides what the
//! checks need: the place of every value, both halves of a repeated key, and how a scalar was
//! written (`api_version: 2024-10-21`, `api_key: 0012`). Nothing here knows what a key means.
//!
//! Bounds: 16 MiB of text, 64 levels, 1 MiB in one scalar, and 64 MiB for the tree with every alias
//! replaced by what it stands for, which is what "billion laughs" files attack.

use std::collections::HashMap;

use serde_yaml::granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::node::{Key, Node, Scalar, Value};
use super::problem::{Findings, Place, show_key};

/// Bytes of one file.
pub(super) const MOST_BYTES: usize = 16 * 1024 * 1024;
const MOST_LEVELS: usize = 64;
const MOST_SCALAR_BYTES: usize = 1024 * 1024;
/// What the whole tree may weigh; a node weighs 64 bytes and its text.
const MOST_WEIGHT: usize = 64 * 1024 * 1024;
const NODE_WEIGHT: usize = 64;

/// Reads one document. Faults of syntax and repeated keys go to `findings`; what could be read in
/// spite of repeated keys is returned, so that later stages can report their own findings too.
///
/// `None` after a fault of syntax, an empty document or a broken bound.
pub(super) fn parse(bytes: &[u8], file: u16, findings: &mut Findings) -> Option<Node> {
    match text(bytes, file).and_then(|text| compose(text, file, findings)) {
        Ok(node) => Some(node),
        Err(fault) => {
            findings.error(fault.place, fault.message);
            None
        }
    }
}

/// Why a document cannot be read at all.
struct Fault {
    place: Place,
    message: String,
}

type Outcome<T> = Result<T, Fault>;

/// A list or mapping that is not complete yet.
struct Frame {
    place: Place,
    anchor: usize,
    level: Level,
    /// Weight and depth of what is in it so far.
    size: Size,
}

enum Level {
    List(Vec<Node>),
    Map(Mapping),
}

#[derive(Default)]
struct Mapping {
    entries: Vec<(Key, Node)>,
    seen: HashMap<String, Place>,
    /// What stands after `<<`: taken in at the end, as the mapping's own keys win.
    merges: Vec<Node>,
    /// The key whose value comes next.
    slot: Option<Slot>,
}

/// Where the value after a key goes.
enum Slot {
    Entry(Key),
    /// After `<<`.
    Merge,
    /// After a repeated key, already reported.
    Nowhere,
}

#[derive(Clone, Copy)]
struct Size {
    weight: usize,
    depth: usize,
}

struct Composer<'f> {
    file: u16,
    findings: &'f mut Findings,
    stack: Vec<Frame>,
    anchors: HashMap<usize, (Node, Size)>,
    weight: usize,
    root: Option<Node>,
}

/// The bytes as text: UTF-8 without NUL, with a place for the first byte that is not.
fn text(bytes: &[u8], file: u16) -> Outcome<&str> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let at = |offset: usize| place_of(bytes, offset, file);
    if bytes.len() > MOST_BYTES {
        let message = format!("the file is larger than {} MiB", MOST_BYTES >> 20);
        return Err(Fault { place: at(0), message });
    }
    if let Some(offset) = memchr::memchr(0, bytes) {
        let message = "a NUL byte: the file is not text, or not UTF-8".to_owned();
        return Err(Fault { place: at(offset), message });
    }
    std::str::from_utf8(bytes).map_err(|error| Fault {
        place: at(error.valid_up_to()),
        message: "the file is not UTF-8 from here on".to_owned(),
    })
}

fn place_of(bytes: &[u8], offset: usize, file: u16) -> Place {
    let before = bytes.get(..offset).unwrap_or_default();
    let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let column = before
        .get(line_start..)
        .map(String::from_utf8_lossy)
        .map_or(0, |line| line.chars().count());
    Place { file, line: count(line), column: count(column + 1) }
}

fn compose(text: &str, file: u16, findings: &mut Findings) -> Outcome<Node> {
    let options = serde_yaml::granit_parser::options! {
        block_nesting_limit: MOST_LEVELS,
        flow_nesting_limit: MOST_LEVELS,
        disallow_directives: false,
    };
    let mut composer = Composer {
        file,
        findings,
        stack: Vec::new(),
        anchors: HashMap::new(),
        weight: 0,
        root: None,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| composer.syntax(&error))?;
        composer.event(event, span)?;
    }
    let start = Place { file, line: 1, column: 1 };
    match composer.root {
        Some(node) if !node.is_null() => Ok(node),
        _ => Err(Fault { place: start, message: "the file is empty".to_owned() }),
    }
}

impl Composer<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Outcome<()> {
        let place = self.place(&span.start);
        let tag_place = span.tag_start().map_or(place, |tag| self.place(&tag));
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                Err(self.fault(place, "a second document: only one is read (remove the `---`)"))
            }
            Event::Scalar(text, style, anchor, tag) => {
                if text.len() > MOST_SCALAR_BYTES {
                    return Err(self.fault(place, "one text of more than 1 MiB"));
                }
                let plain = self.is_plain(style, tag.as_deref(), tag_place)?;
                let size = Size { weight: NODE_WEIGHT + text.len(), depth: 0 };
                let node = Node { place, value: Value::Scalar(Scalar::new(text, plain)) };
                self.weigh(size.weight, place)?;
                self.complete(node, anchor, size)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), "seq", tag_place)?;
                self.open(place, anchor, Level::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), "map", tag_place)?;
                self.open(place, anchor, Level::Map(Mapping::default()))
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(frame) = self.stack.pop() else { return Ok(()) };
                let value = match frame.level {
                    Level::List(items) => Value::List(items),
                    Level::Map(mapping) => Value::Map(self.merged(mapping)?),
                };
                self.complete(Node { place: frame.place, value }, frame.anchor, frame.size)
            }
            Event::Alias(anchor) => {
                let Some((_, size)) = self.anchors.get(&anchor) else {
                    return Err(self.fault(place, "an alias inside the value that it stands for"));
                };
                // Weighed before it is copied: the copy is what a bomb is after.
                let size = *size;
                self.weigh(size.weight, place)?;
                let Some((node, _)) = self.anchors.get(&anchor).cloned() else { return Ok(()) };
                self.complete(node, 0, size)
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, place: Place, anchor: usize, level: Level) -> Outcome<()> {
        if self.stack.len() >= MOST_LEVELS {
            return Err(self.too_deep(place));
        }
        self.weigh(NODE_WEIGHT, place)?;
        let size = Size { weight: NODE_WEIGHT, depth: 1 };
        self.stack.push(Frame { place, anchor, level, size });
        Ok(())
    }

    /// Takes in a complete node: remembers it under its anchor and puts it where it belongs.
    fn complete(&mut self, mut node: Node, anchor: usize, size: Size) -> Outcome<()> {
        let place = node.place;
        if self.stack.len() + size.depth > MOST_LEVELS {
            return Err(self.too_deep(place));
        }
        if anchor != 0 {
            self.weigh(size.weight, place)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.size.weight += size.weight;
        frame.size.depth = frame.size.depth.max(size.depth + 1);
        match &mut frame.level {
            Level::List(items) => items.push(node),
            Level::Map(mapping) => match mapping.slot.take() {
                None => return self.key(node),
                Some(Slot::Entry(key)) => {
                    if !matches!(node.value, Value::Scalar(_)) {
                        node.place = key.place;
                    }
                    mapping.entries.push((key, node));
                }
                Some(Slot::Merge) => mapping.merges.push(node),
                Some(Slot::Nowhere) => {}
            },
        }
        Ok(())
    }

    fn key(&mut self, node: Node) -> Outcome<()> {
        let place = node.place;
        let Value::Scalar(scalar) = node.value else {
            return Err(self.fault(place, "a key must be a text"));
        };
        let Some(Frame { level: Level::Map(mapping), .. }) = self.stack.last_mut() else {
            return Ok(());
        };
        let text = scalar.text.as_str().to_owned();
        mapping.slot = Some(if scalar.plain && text == "<<" {
            Slot::Merge
        } else if let Some(first) = mapping.seen.get(&text) {
            let message =
                format!("the key {} stands twice, first in line {}", show_key(&text), first.line);
            self.findings.error(place, message);
            Slot::Nowhere
        } else {
            mapping.seen.insert(text.clone(), place);
            Slot::Entry(Key { place, text })
        });
        Ok(())
    }

    /// The mapping's own entries, and after them what its `<<` bring in.
    fn merged(&self, mapping: Mapping) -> Outcome<Vec<(Key, Node)>> {
        let Mapping { mut entries, mut seen, merges, .. } = mapping;
        for node in merges {
            let place = node.place;
            let sources = match node.value {
                Value::List(items) => items,
                _ => vec![node],
            };
            for source in sources {
                let Value::Map(merged) = source.value else {
                    return Err(self.fault(place, "`<<` wants a mapping, or a list of them"));
                };
                for (key, node) in merged {
                    if !seen.contains_key(&key.text) {
                        seen.insert(key.text.clone(), key.place);
                        entries.push((key, node));
                    }
                }
            }
        }
        Ok(entries)
    }

    fn weigh(&mut self, weight: usize, place: Place) -> Outcome<()> {
        self.weight = self.weight.saturating_add(weight);
        if self.weight <= MOST_WEIGHT {
            return Ok(());
        }
        let message = format!(
            "the file, with every alias replaced by what it stands for, takes more than {} MiB",
            MOST_WEIGHT >> 20
        );
        Err(Fault { place, message })
    }

    /// Whether a scalar may stand for something other than a text. Only YAML's own tags are known.
    fn is_plain(&self, style: ScalarStyle, tag: Option<&Tag>, place: Place) -> Outcome<bool> {
        match tag {
            None => Ok(style == ScalarStyle::Plain),
            Some(tag) if tag.handle() == "!" && tag.suffix().is_empty() => Ok(false),
            Some(tag) => match tag.core_suffix() {
                Some("str") => Ok(false),
                Some("int" | "float" | "bool" | "null") => Ok(true),
                _ => Err(self.fault(place, "a tag (`!…`) that means nothing here")),
            },
        }
    }

    fn refuse_tag(&self, tag: Option<&Tag>, own: &str, place: Place) -> Outcome<()> {
        match tag {
            Some(tag) if tag.core_suffix() != Some(own) => {
                Err(self.fault(place, "a tag (`!…`) that means nothing here"))
            }
            _ => Ok(()),
        }
    }

    fn place(&self, marker: &Marker) -> Place {
        Place { file: self.file, line: count(marker.line()), column: count(marker.col() + 1) }
    }

    fn syntax(&self, error: &ScanError) -> Fault {
        Fault { place: self.place(error.marker()), message: format!("not YAML: {}", error.info()) }
    }

    fn fault(&self, place: Place, message: &str) -> Fault {
        Fault { place, message: message.to_owned() }
    }

    fn too_deep(&self, place: Place) -> Fault {
        Fault { place, message: format!("more than {MOST_LEVELS} levels of nesting") }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
