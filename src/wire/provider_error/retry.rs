//! When to try again, in whole seconds, from wherever a provider says it.

/// Google's `17s` or `0.5s`.
pub(super) fn of_delay(delay: &str) -> Option<String> {
    whole(delay.strip_suffix('s')?.parse().ok()?)
}

/// The header `retry-after-ms`.
pub(super) fn of_milliseconds(text: &str) -> Option<String> {
    whole(text.trim().parse::<f64>().ok()? / 1000.0)
}

/// OpenAI's, Groq's and others' words: `Please try again in 7m12.5s`, `retry after 20 seconds`.
pub(super) fn of_words(message: &str) -> Option<String> {
    let message = message.to_ascii_lowercase();
    let places = ["try again in ", "retry after ", "retry in ", "retrying in "];
    let rest = places.iter().find_map(|place| message.split_once(place).map(|(_, rest)| rest))?;
    let mut seconds = 0.0;
    let mut found = false;
    let mut rest = rest;
    loop {
        let end = rest.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at_checked(end)?;
        let Ok(number) = number.parse::<f64>() else { break };
        let tail = tail.trim_start();
        let units = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(units)?;
        seconds += number
            * match unit {
                "ms" | "milliseconds" => 0.001,
                "s" | "sec" | "second" | "seconds" => 1.0,
                "m" | "min" | "minute" | "minutes" => 60.0,
                "h" | "hour" | "hours" => 3600.0,
                _ => break,
            };
        found = true;
        rest = tail;
    }
    if found { whole(seconds) } else { None }
}

fn whole(seconds: f64) -> Option<String> {
    // A day is more than any client waits.
    let bounded = (0.0..=86_400.0).contains(&seconds);
    bounded.then(|| format!("{:.0}", seconds.ceil().max(1.0)))
}
