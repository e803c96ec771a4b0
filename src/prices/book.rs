//! Where the prices of a deployment come from: what its entry says, else the operator's file, else the built-in table. Found when
//! the configuration is loaded; only what is not known until a request names it is looked up later, and remembered, up to a bound.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use super::component::{Component, Price, Slot};
use super::list::Prices;
use super::litellm;
use super::names::candidates;
use super::table::{About, Table};
use crate::ground::usd::Usd;

/// The built-in table, made by `tidegate prices import`.
static BUILT_IN: LazyLock<Arc<Table>> = LazyLock::new(|| {
    let table = Table::trusted(include_bytes!("built_in.z"));
    Arc::new(table.unwrap_or_else(|_| Table::empty(About::default())))
});
/// Names that are remembered.
const MAX_REMEMBERED: usize = 1024;
/// The version of prices that stand in the configuration.
const OWN: &str = "config";
/// Providers whose models stand in LiteLLM's file without a provider's name before them.
const UNPREFIXED: &[&str] = &["openai", "anthropic", "vertex_ai", "bedrock", "cohere"];

/// The tables, the first that has a model wins.
#[derive(Debug, Default)]
pub struct Book {
    file: Option<Arc<Table>>,
    remembered: Mutex<Remembered>,
}

/// By provider and model; also that there is none.
type Remembered = HashMap<(String, String), Option<Arc<Prices>>>;

/// Where a deployment's requests are served, where that changes prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    #[default]
    Anywhere,
    /// OpenAI's hosts for a region.
    HostEu,
    HostUs,
    HostGov,
    /// One of Google's locations.
    Location,
}

/// How the prices of one deployment are found.
#[derive(Clone, Debug, Default)]
pub struct Pricing {
    /// What its entry says.
    own: litellm::Entry,
    /// The catalogue's name.
    provider: &'static str,
    region: Option<String>,
    place: Place,
    base_model: Option<String>,
    /// Found already.
    fixed: Option<Arc<Prices>>,
    book: Arc<Book>,
}

/// What is known of a deployment when the configuration is loaded.
#[derive(Debug)]
pub struct Facts<'f> {
    pub provider: &'static str,
    /// The provider's name for the model; `None` where requests say it.
    pub model: Option<&'f str>,
    /// `model_info.base_model`: the model whose price it has.
    pub base_model: Option<&'f str>,
    /// Amazon's.
    pub region: Option<&'f str>,
    pub place: Place,
}

/// The built-in table.
pub fn built_in() -> &'static Table {
    &BUILT_IN
}

impl Book {
    pub fn new(file: Option<Table>) -> Self {
        Self { file: file.map(Arc::new), remembered: Mutex::default() }
    }

    /// A model's prices under any of its names.
    pub fn find(&self, provider: &str, model: &str, region: Option<&str>) -> Option<Prices> {
        let names = candidates(provider, model, region);
        let in_table = |table: &Table| names.iter().find_map(|name| table.get(provider, name));
        self.file.as_deref().and_then(in_table).or_else(|| in_table(&BUILT_IN))
    }

    /// The prices of a model that is named without saying whose it is, or with the provider before it: as `base_model`, or on the
    /// command line.
    pub fn find_named(&self, provider: Option<&str>, name: &str) -> Option<Prices> {
        let own = provider.and_then(|provider| self.find(provider, name, None));
        let prefixed = || {
            let (provider, model) = name.split_once('/')?;
            self.find(provider, model, None)
        };
        let bare = || UNPREFIXED.iter().find_map(|provider| self.find(provider, name, None));
        own.or_else(prefixed).or_else(bare)
    }

    fn remember(&self, provider: &str, model: &str, region: Option<&str>) -> Option<Arc<Prices>> {
        let key = (provider.to_owned(), model.to_owned());
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = remembered.get(&key) {
            return found.clone();
        }
        let found = self.find(provider, model, region).map(Arc::new);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, found.clone());
        found
    }

    fn version(&self) -> Option<&str> {
        self.file.as_deref().map(|table| &*table.about.version)
    }
}

impl Pricing {
    /// What the entry itself says, under LiteLLM's names.
    pub fn own(&self) -> impl Iterator<Item = (String, Usd)> {
        self.own.prices.iter().map(|price| price.told())
    }

    /// Finds what can be found now. `own` are the prices of the deployment's entry.
    pub fn new(book: &Arc<Book>, facts: &Facts<'_>, own: litellm::Entry) -> Self {
        let mut pricing = Self {
            own,
            provider: facts.provider,
            region: facts.region.map(str::to_owned),
            place: facts.place,
            base_model: facts.base_model.map(str::to_owned),
            fixed: None,
            book: book.clone(),
        };
        let based = facts.base_model.and_then(|name| book.find_named(Some(facts.provider), name));
        let named = || book.find(facts.provider, facts.model?, facts.region);
        pricing.fixed = if pricing.stands_alone() {
            pricing.finished(None)
        } else {
            based.or_else(named).and_then(|found| pricing.finished(Some(&found)))
        };
        pricing
    }

    /// The prices of a request: `model` is the provider's name for what was asked for, `answered` that which the answer gives.
    pub fn of(&self, model: &str, answered: Option<&str>) -> Option<Arc<Prices>> {
        if let Some(fixed) = &self.fixed {
            return Some(fixed.clone());
        }
        let region = self.region.as_deref();
        let find = |name: &str| self.book.remember(self.provider, name, region);
        let found = find(model).or_else(|| find(answered.filter(|name| *name != model)?));
        match found {
            Some(found) if self.own.prices.is_empty() && self.place == Place::Anywhere => {
                Some(found)
            }
            found => self.finished(found.as_deref()),
        }
    }

    /// Whether the configuration itself says what requests cost.
    pub fn is_own(&self) -> bool {
        self.stands_alone()
    }

    /// An entry that says what input or output costs has a list of its own; one that says other prices only adds to the table's.
    fn stands_alone(&self) -> bool {
        use Component::{Image, Input, Output, Query, Request, Second, SecondOutput};
        let main = [Input, Output, Image, Query, Request, Second, SecondOutput];
        self.own.prices.iter().any(|price| main.contains(&price.slot.component))
    }

    /// What was found, with what the entry says laid over it.
    fn finished(&self, found: Option<&Prices>) -> Option<Arc<Prices>> {
        let own = &self.own;
        let Some(found) = found.filter(|_| !self.stands_alone()) else {
            return (!own.prices.is_empty()).then(|| {
                let list = own.prices.clone().into();
                Arc::new(Prices {
                    list,
                    off_peak: own.off_peak.clone().into(),
                    version: OWN.into(),
                })
            });
        };
        let mut list = self.placed(&found.list);
        list.retain(|price| own.prices.iter().all(|other| other.slot != price.slot));
        list.extend(&own.prices);
        let off_peak = if own.off_peak.is_empty() {
            found.off_peak.clone()
        } else {
            own.off_peak.clone().into()
        };
        let version = match own.prices.is_empty() {
            true => found.version.clone(),
            false => format!("{OWN}+{}", found.version).into(),
        };
        Some(Arc::new(Prices { list: list.into(), off_peak, version }))
    }

    /// The prices of tokens where the deployment is.
    fn placed(&self, list: &[Price]) -> Vec<Price> {
        let factor = match self.place {
            Place::Anywhere => None,
            Place::HostEu => Some(Component::HostEu),
            Place::HostUs => Some(Component::HostUs),
            Place::HostGov => Some(Component::HostGov),
            Place::Location => Some(Component::Location),
        };
        let factor = factor.and_then(|it| list.iter().find(|price| price.slot == Slot::of(it)));
        let Some(factor) = factor.map(|price| price.usd) else { return list.to_vec() };
        let is_token = |price: &Price| price.slot.component <= Component::ImageTokenOutput;
        let placed = |price: &Price| match is_token(price) {
            true => Price { usd: price.usd.by(factor), ..*price },
            false => *price,
        };
        list.iter().map(placed).collect()
    }
}

/// Two are alike where they lead to the same prices.
impl PartialEq for Pricing {
    fn eq(&self, other: &Self) -> bool {
        let facts = |it: &Self| (it.provider, it.region.clone(), it.place, it.base_model.clone());
        self.own == other.own
            && facts(self) == facts(other)
            && self.fixed == other.fixed
            && self.book.version() == other.book.version()
    }
}
