//! The prices of one model, and what an answer costs by them: exact sums of prices times counts. Whatever was used and has no
//! price makes the whole cost unknown; it is never counted as free. Knows neither names of models nor where prices come from.

use std::sync::Arc;

use super::component::{Component, Price, Rate, Slot};
use super::hours::Window;
use crate::conversation::Usage;
use crate::conversation::usage::Tier;
use crate::ground::usd::Usd;

/// What one model costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prices {
    pub list: Box<[Price]>,
    /// When prices marked `OffPeak` hold.
    pub off_peak: Box<[Window]>,
    /// Which table they are of, for rows.
    pub version: Arc<str>,
}

/// An answer being added up.
struct Bill<'p> {
    prices: &'p Prices,
    tier: Tier,
    /// Tokens of the whole prompt: some prices rise with them.
    prompt: u64,
    is_off_peak: bool,
    /// Of tokens, on which factors are laid.
    tokens: Usd,
    others: Usd,
    /// Nothing without a price was used so far.
    is_known: bool,
}

impl Prices {
    /// What an answer costs that used this much at a time, in microseconds since 1970 UTC. `None`: something that was used has no
    /// price, or nothing is known of what was used.
    pub fn cost(&self, usage: &Usage, at_us: i64) -> Option<Usd> {
        let per_request = self.standard(Component::Request);
        if self.list.iter().all(|price| price.slot.component == Component::Request) {
            // A price of the whole request is all there is to say.
            return per_request;
        }
        if usage.is_empty() {
            return None;
        }
        let mut bill = Bill {
            prices: self,
            tier: usage.service.tier.unwrap_or_default(),
            prompt: usage.input.unwrap_or_default(),
            is_off_peak: self.off_peak.iter().any(|window| window.holds(at_us)),
            tokens: Usd::ZERO,
            others: per_request.unwrap_or_default(),
            is_known: true,
        };
        bill.tokens_or_units(usage);
        bill.charge_other(usage.queries.unwrap_or_default(), self.standard(Component::Query));
        bill.searches(usage.searches.unwrap_or_default());
        bill.factors(usage);
        let sum = bill.tokens.plus(bill.others);
        // A larger one is a count that nobody can have used, and no row holds it.
        (bill.is_known && sum < Usd::MAX_STORED).then_some(sum)
    }

    /// The price of a unit of any class and for any size of prompt.
    fn standard(&self, component: Component) -> Option<Usd> {
        self.at(Slot::of(component))
    }

    fn at(&self, slot: Slot) -> Option<Usd> {
        self.list.iter().find(|price| price.slot == slot).map(|price| price.usd)
    }

    fn has(&self, component: Component) -> bool {
        self.list.iter().any(|price| price.slot.component == component)
    }
}

impl Bill<'_> {
    /// What is sold by the piece, the second or the character is not charged by the token as well.
    fn tokens_or_units(&mut self, usage: &Usage) {
        use Component::{Character, Image, ImageTokenOutput, Output, Second, SecondOutput};
        let by_token = self.prices.has(Output) || self.prices.has(ImageTokenOutput);
        let is_by_image = usage.images.is_some() && (!by_token || usage.output.is_none());
        if is_by_image && let Some(price) = self.prices.standard(Image) {
            return self.charge_other(usage.images.unwrap_or_default(), Some(price));
        }
        if let Some(count) = usage.characters
            && let Some(price) = self.prices.standard(Character)
        {
            return self.charge_other(count, Some(price));
        }
        if let Some(milliseconds) = usage.audio_milliseconds
            && usage.input.is_none()
        {
            let second = self.prices.standard(SecondOutput).filter(|price| *price > Usd::ZERO);
            let second = second.or_else(|| self.prices.standard(Second));
            let millisecond = second.map(|second| second.by(Usd::MILLI));
            return self.charge_other(milliseconds, millisecond);
        }
        if usage.input.is_none() && usage.output.is_none() {
            // Something of the kind was used, and not what it is priced by.
            let units = [usage.images, usage.characters];
            self.is_known &= units.iter().flatten().all(|count| *count == 0);
        }
        self.input(usage);
        self.output(usage);
    }

    fn input(&mut self, usage: &Usage) {
        use Component::{
            AudioInput, CacheRead, CacheReadAudio, CacheWrite, CacheWriteHour, ImageTokenInput,
            Input,
        };
        let count = |count: Option<u64>| count.unwrap_or_default();
        let base = self.rate(Input);
        let (read, written) = (count(usage.cache_read), count(usage.cache_write));
        let for_an_hour = count(usage.cache_write_hour).min(written);
        // What was read from a cache is no fresh sound and no fresh picture.
        let mut fresh = self.prompt.saturating_sub(read).saturating_sub(written);
        // Something was said, and nothing is known of what it was said to; where that is free, nothing has to be.
        let is_free = base == Some(Usd::ZERO);
        self.is_known &= usage.input.is_some() || usage.output.is_none() || is_free;
        let audio = count(usage.audio_input).min(fresh);
        fresh -= audio;
        let image = count(usage.image_input).min(fresh);
        fresh -= image;
        let write = self.rate(CacheWrite).or(base);
        self.charge(fresh, base);
        let read_again = self.rate(CacheRead).or(base);
        let heard_again = count(usage.cache_read_audio).min(read);
        self.charge(read - heard_again, read_again);
        self.charge(heard_again, self.rate(CacheReadAudio).or(read_again));
        self.charge(written - for_an_hour, write);
        self.charge(for_an_hour, self.rate(CacheWriteHour).or(write));
        self.charge(audio, self.rate(AudioInput).or(base));
        self.charge(image, self.rate(ImageTokenInput).or(base));
    }

    fn output(&mut self, usage: &Usage) {
        use Component::{AudioOutput, ImageTokenOutput, Output};
        let count = |count: Option<u64>| count.unwrap_or_default();
        let picture = self.rate(ImageTokenOutput);
        // Of a model that only makes pictures, all tokens are a picture's.
        let base = self.rate(Output).filter(|price| *price > Usd::ZERO || picture.is_none());
        let base = base.or(picture);
        let mut text = count(usage.output);
        let mut part = |wanted: Option<u64>| {
            let part = count(wanted).min(text);
            text -= part;
            part
        };
        let audio = part(usage.audio_output);
        let image = part(usage.image_output);
        let reasoning = part(usage.reasoning);
        self.charge(text, base);
        self.charge(audio, self.prices.standard(AudioOutput).or(base));
        self.charge(image, picture.or(base));
        self.charge(reasoning, self.reasoning(base));
    }

    /// Reasoning is output where it has no price of its own. The output's price of a class of service goes before a price of
    /// reasoning that is for all classes.
    fn reasoning(&self, output: Option<Usd>) -> Option<Usd> {
        let tier = Rate::Tier(self.tier);
        let own = Slot { rate: tier, ..Slot::of(Component::Reasoning) };
        if self.tier != Tier::Standard {
            if let Some(price) = self.prices.at(own) {
                return Some(price);
            }
            if self.prices.at(Slot { rate: tier, ..Slot::of(Component::Output) }).is_some() {
                return output;
            }
        }
        self.rate(Component::Reasoning).or(output)
    }

    /// The price of a unit for this request: that of the largest size of prompt which it exceeds, that of its class of service
    /// before that for all.
    fn rate(&self, component: Component) -> Option<Usd> {
        let list = self.prices.list.iter().filter(|price| price.slot.component == component);
        if self.is_off_peak
            && let Some(price) = list.clone().find(|price| price.slot.rate == Rate::OffPeak)
        {
            return Some(price.usd);
        }
        let own = Rate::Tier(self.tier);
        let fits = |price: &&Price| {
            let Slot { above, rate, .. } = price.slot;
            (above == 0 || self.prompt > above.into()) && (rate == Rate::Standard || rate == own)
        };
        let best = list.filter(fits).max_by_key(|price| (price.slot.above, price.slot.rate == own));
        best.map(|price| price.usd)
    }

    fn searches(&mut self, count: u64) {
        use Component::{SearchHigh, SearchLow, SearchMedium, SearchedAnswer};
        if let Some(price) = self.prices.standard(SearchedAnswer) {
            return self.charge_other(count.min(1), Some(price));
        }
        // The answer does not tell which of the three it was; the middle one is what providers do unasked.
        let any =
            [SearchMedium, SearchLow, SearchHigh].iter().find_map(|it| self.prices.standard(*it));
        self.charge_other(count, any);
    }

    fn factors(&mut self, usage: &Usage) {
        let service = usage.service;
        let factors = [(service.is_fast, Component::Fast), (service.is_us_only, Component::UsOnly)];
        for (holds, factor) in factors {
            if let Some(factor) = self.prices.standard(factor).filter(|_| holds) {
                self.tokens = self.tokens.by(factor);
            }
        }
    }

    fn charge(&mut self, count: u64, price: Option<Usd>) {
        self.is_known &= count == 0 || price.is_some();
        self.tokens = self.tokens.plus(price.unwrap_or_default().times(count));
    }

    fn charge_other(&mut self, count: u64, price: Option<Usd>) {
        self.is_known &= count == 0 || price.is_some();
        self.others = self.others.plus(price.unwrap_or_default().times(count));
    }
}
