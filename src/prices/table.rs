//! A table of prices as text: a head that says where they are from, and a line for each model of a provider, in order, so that one
//! is found without reading the others. The same text is built in (compressed), written by `tidegate prices import` and read again.
//! Knows nothing of how names are tried.

use std::collections::BTreeMap;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::component::{Price, Slot};
use super::hours::Window;
use super::list::Prices;
use super::{litellm, models_dev};

/// The first line of every table.
const MAGIC: &str = "# tidegate price table 1";
/// The largest file that is read, and the most that one may become when it is unpacked.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;
const UNITS: &str =
    "# US dollars for one token, unless the name says otherwise: provider/model, then name=price";

/// A table that is read.
#[derive(Debug, PartialEq)]
pub struct Table {
    text: String,
    /// Where each model's line begins and ends, in the order of the names.
    lines: Vec<(usize, usize)>,
    pub about: About,
    /// Of a public price file: the keys whose values are no prices, as `model: key`. Whatever used them has no price.
    left_out: Vec<String>,
}

/// Where a table comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// For rows: the date and a digest of the prices.
    pub version: Arc<str>,
    /// `2026-11-26`; empty where nobody said it.
    pub date: String,
    pub source: String,
    /// The notice that goes with the prices, in lines.
    pub licence: Vec<String>,
}

/// Models and their prices, as they are gathered.
#[derive(Debug, Default)]
pub(super) struct Lines {
    models: BTreeMap<String, (Line, bool)>,
    /// As in a table.
    pub(super) left_out: Vec<String>,
}

/// What one model costs.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) prices: Vec<Price>,
    pub(super) off_peak: Vec<Window>,
}

/// Why a file is no table of prices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotATable(pub String);

impl std::fmt::Display for NotATable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Lines {
    /// Takes in a model. Of two with one name, the one that is `own` stays.
    pub(super) fn add(&mut self, provider: &str, model: &str, line: Line, own: bool) {
        let key = key(provider, model);
        let is_writable = !key.contains(|letter: char| letter.is_control() || letter == '\t');
        if is_writable && self.models.get(&key).is_none_or(|(_, is_own)| own || !is_own) {
            self.models.insert(key, (line, own));
        }
    }
}

impl Table {
    /// Reads a file: LiteLLM's prices, those of models.dev, or a table, packed or not.
    ///
    /// # Errors
    /// It is none of these; the text says what is wrong.
    pub fn read(bytes: &[u8], about: About) -> Result<Self, NotATable> {
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec()).map_err(|_| NotATable("it is not UTF-8".to_owned()))
        };
        // Some editors mark a text as UTF-8.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        if bytes.starts_with(b"#") {
            return Self::parse(text(bytes)?);
        }
        if bytes.trim_ascii_start().starts_with(b"{") {
            return Self::import(bytes, about);
        }
        let unpacked = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(bytes, MAX_BYTES);
        let unpacked = unpacked.map_err(|_| {
            let what = "it is neither LiteLLM's price file, nor models.dev's api.json, nor a table that \
                        `tidegate prices import` wrote";
            NotATable(what.to_owned())
        })?;
        Self::parse(text(&unpacked)?)
    }

    /// Reads a packed table that was checked when it was made.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn trusted(bytes: &[u8]) -> Result<Self, NotATable> {
        let unpacked = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(bytes, MAX_BYTES);
        let unpacked = unpacked.map_err(|error| NotATable(error.to_string()))?;
        let text = String::from_utf8(unpacked).map_err(|error| NotATable(error.to_string()))?;
        Self::indexed(text, false)
    }

    pub(super) fn empty(about: About) -> Self {
        Self { text: String::new(), lines: Vec::new(), about, left_out: Vec::new() }
    }

    /// Makes a table of a public price file.
    fn import(bytes: &[u8], about: About) -> Result<Self, NotATable> {
        let file: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes)
            .map_err(|error| NotATable(format!("it is no JSON object: {error}")))?;
        let is_models_dev = file.values().any(|provider| provider.get("models").is_some());
        let mut lines =
            if is_models_dev { models_dev::import(&file) } else { litellm::import(&file) };
        let left_out = std::mem::take(&mut lines.left_out);
        if lines.models.is_empty() {
            let why = match left_out.first() {
                Some(first) => format!("; what stands there is none, as in {first}"),
                None => ": each model needs a `litellm_provider` and prices such as `input_cost_per_token`".to_owned(),
            };
            return Err(NotATable(format!("there is no price in it{why}")));
        }
        Ok(Self { left_out, ..Self::parse(written(lines, &about))? })
    }

    fn parse(text: String) -> Result<Self, NotATable> {
        Self::indexed(text, true)
    }

    fn indexed(text: String, is_checked: bool) -> Result<Self, NotATable> {
        let mut about = About::default();
        let mut lines = Vec::new();
        let mut at = 0;
        let mut last = "";
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let (begin, row) = (at, line.trim_end_matches(['\n', '\r']));
            at += line.len();
            let wrong = |what: &str| NotATable(format!("line {}: {what}", index + 1));
            if index == 0 && row != MAGIC {
                return Err(wrong("this is no table of prices"));
            }
            if let Some(note) = row.strip_prefix('#') {
                about.note(note.strip_prefix(' ').unwrap_or(note));
            } else if !row.is_empty() {
                let key = row.split('\t').next().unwrap_or_default();
                if key <= last {
                    return Err(wrong("the models are not in order, or one stands twice"));
                }
                if is_checked && parse_line(row).is_none() {
                    return Err(wrong("a price that cannot be read"));
                }
                last = key;
                lines.push((begin, begin + row.len()));
            }
        }
        Ok(Self { lines, about, text, left_out: Vec::new() })
    }

    /// The prices of exactly this model.
    pub fn get(&self, provider: &str, model: &str) -> Option<Prices> {
        let key = key(provider, model);
        let of = |line: &(usize, usize)| self.row(*line).split('\t').next().unwrap_or_default();
        let index = self.lines.binary_search_by(|line| of(line).cmp(&key)).ok()?;
        let line = parse_line(self.row(*self.lines.get(index)?))?;
        Some(Prices {
            list: line.prices.into(),
            off_peak: line.off_peak.into(),
            version: self.about.version.clone(),
        })
    }

    /// Every model as `provider/model`, with its prices.
    pub fn models(&self) -> impl Iterator<Item = (&str, Vec<Price>)> {
        self.lines.iter().filter_map(|line| {
            let row = self.row(*line);
            Some((row.split('\t').next()?, parse_line(row)?.prices))
        })
    }

    /// Tells of values of a public price file that are no prices, where there are any.
    pub fn left_out(&self) -> Option<String> {
        let first: Vec<&str> = self.left_out.iter().take(5).map(String::as_str).collect();
        let more = if self.left_out.len() > first.len() { ", …" } else { "" };
        (!first.is_empty()).then(|| {
            format!(
                "{} values are left out, since they are no prices (a number from 0 up, below a billion): {}{more}",
                self.left_out.len(),
                first.join(", ")
            )
        })
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The table as it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same, packed.
    pub fn packed(&self) -> Vec<u8> {
        miniz_oxide::deflate::compress_to_vec_zlib(self.text.as_bytes(), 10)
    }

    fn row(&self, (begin, end): (usize, usize)) -> &str {
        self.text.get(begin..end).unwrap_or_default()
    }
}

impl About {
    fn note(&mut self, note: &str) {
        match note.split_once(": ") {
            Some(("version", text)) => self.version = text.into(),
            Some(("date", text)) => text.clone_into(&mut self.date),
            Some(("source", text)) => text.clone_into(&mut self.source),
            Some(("licence", text)) => self.licence.push(text.to_owned()),
            _ => {}
        }
    }
}

fn key(provider: &str, model: &str) -> String {
    format!("{provider}/{model}").to_lowercase()
}

fn written(lines: Lines, about: &About) -> String {
    let mut body = String::new();
    for (key, (mut line, _)) in lines.models {
        body.push_str(&key);
        line.prices.sort_by_key(|price| (price.slot.component, price.slot.above));
        for Price { slot, usd } in line.prices {
            body.push('\t');
            slot.write(&mut body);
            body.push('=');
            body.push_str(&usd.to_string());
        }
        for window in line.off_peak {
            body.push_str("\t@");
            body.push_str(&window.write());
        }
        body.push('\n');
    }
    let digest: String =
        Sha256::digest(&body).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let dash = if about.date.is_empty() { "" } else { "-" };
    let mut head = format!("{MAGIC}\n{UNITS}\n# version: {}{dash}{digest}\n", about.date);
    let notes = [("date", &about.date), ("source", &about.source)].into_iter();
    let notes = notes.filter(|(_, text)| !text.is_empty());
    for (name, text) in notes.chain(about.licence.iter().map(|line| ("licence", line))) {
        head.push_str(&format!("# {name}: {text}\n"));
    }
    head + &body
}

fn parse_line(row: &str) -> Option<Line> {
    let mut line = Line { prices: Vec::new(), off_peak: Vec::new() };
    for part in row.split('\t').skip(1) {
        if let Some(window) = part.strip_prefix('@') {
            line.off_peak.push(Window::parse(window)?);
            continue;
        }
        let (slot, usd) = part.split_once('=')?;
        line.prices.push(Price { slot: Slot::read(slot)?, usd: usd.parse().ok()? });
    }
    Some(line)
}
