//! The names under which a model may stand in a table, the most exact first: as it is asked for, without a region, without a date,
//! as LiteLLM tries them (<https://docs.litellm.ai/docs/proxy/custom_pricing>). Looks nothing up.

/// What Amazon puts before a model's name to say where it may run
/// (<https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html>).
const AREAS: &[&str] =
    &["apac", "au", "ca", "eu", "global", "jp", "sa", "us", "us-gov", "us-gov-east", "us-gov-west"];
/// What LiteLLM's users put before it to say which of Bedrock's interfaces is meant.
const ROUTES: &[&str] = &["async_invoke/", "converse/", "converse_like/", "invoke/"];

/// The names, each once.
pub(super) fn candidates(provider: &str, model: &str, region: Option<&str>) -> Vec<String> {
    let mut names = Vec::new();
    let mut add = |name: String| {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    };
    match provider {
        "bedrock" => {
            let plain = ROUTES.iter().find_map(|route| model.strip_prefix(route)).unwrap_or(model);
            // An ARN ends with the model, or with a profile, which carries its name.
            let plain = if plain.starts_with("arn:") {
                plain.rsplit('/').next().unwrap_or(plain)
            } else {
                plain
            };
            if let Some(region) = region {
                add(format!("{region}/{plain}"));
            }
            add(plain.to_owned());
            let area = plain.split_once('.').filter(|(area, _)| AREAS.contains(area));
            add(area.map_or("", |(_, rest)| rest).to_owned());
            // `us-east-1/anthropic.claude…`, where the region is named with the model.
            add(plain.split_once('/').map_or("", |(_, rest)| rest).to_owned());
        }
        "fireworks_ai" => {
            add(model.to_owned());
            add(format!("accounts/fireworks/models/{model}"));
        }
        "gemini" | "vertex_ai" => {
            let plain = model.strip_prefix("models/").unwrap_or(model);
            add(plain.to_owned());
            add(plain.split_once('@').map_or("", |(name, _)| name).to_owned());
            add(without_version(plain).to_owned());
        }
        _ => {
            add(model.to_owned());
            if model.starts_with("ft:") {
                // `ft:gpt-4o-2024-08-06:organisation:name:id` costs what all that were tuned from the same model cost.
                let base: Vec<&str> = model.split(':').take(2).collect();
                add(base.join(":"));
            }
        }
    }
    for name in names.clone() {
        let undated = without_date(&name);
        if undated != name && !names.iter().any(|known| known == undated) {
            names.push(undated.to_owned());
        }
    }
    names
}

/// `gemini-2.0-flash-001`.
fn without_version(name: &str) -> &str {
    name.rsplit_once('-')
        .filter(|(_, end)| end.len() == 3 && end.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(name, |(name, _)| name)
}

/// `gpt-4o-2024-08-06`, `claude-sonnet-4-5-20250929`.
fn without_date(name: &str) -> &str {
    let is_date = |end: &str, shape: &str| {
        let fits = |(byte, wanted): (u8, u8)| match wanted {
            b'0' => byte.is_ascii_digit(),
            _ => byte == wanted,
        };
        end.len() == shape.len() && end.bytes().zip(shape.bytes()).all(fits)
    };
    for shape in ["-0000-00-00", "-00000000"] {
        let start = name.len().saturating_sub(shape.len());
        if let Some((name, end)) = name.split_at_checked(start)
            && is_date(end, shape)
        {
            return name;
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(provider: &str, model: &str, region: Option<&str>, expected: &[&str]) {
        assert_eq!(candidates(provider, model, region), expected);
    }

    #[test]
    fn names_lose_what_does_not_change_the_price() {
        check("openai", "gpt-4o-2024-08-06", None, &["gpt-4o-2024-08-06", "gpt-4o"]);
        check(
            "anthropic",
            "claude-sonnet-4-5-20250929",
            None,
            &["claude-sonnet-4-5-20250929", "claude-sonnet-4-5"],
        );
        check(
            "openai",
            "ft:gpt-4o-2024-08-06:acme::x1",
            None,
            &["ft:gpt-4o-2024-08-06:acme::x1", "ft:gpt-4o-2024-08-06", "ft:gpt-4o"],
        );
        check(
            "bedrock",
            "converse/us.amazon.nova-pro-v1:0",
            Some("us-east-1"),
            &[
                "us-east-1/us.amazon.nova-pro-v1:0",
                "us.amazon.nova-pro-v1:0",
                "amazon.nova-pro-v1:0",
            ],
        );
        check(
            "bedrock",
            "arn:aws:bedrock:us-east-1:1:inference-profile/eu.meta.llama3-2-1b-instruct-v1:0",
            None,
            &["eu.meta.llama3-2-1b-instruct-v1:0", "meta.llama3-2-1b-instruct-v1:0"],
        );
        check(
            "vertex_ai",
            "gemini-2.0-flash-001",
            None,
            &["gemini-2.0-flash-001", "gemini-2.0-flash"],
        );
        check("vertex_ai", "claude-x@20250929", None, &["claude-x@20250929", "claude-x"]);
        check("openrouter", "openai/gpt-4o", None, &["openai/gpt-4o"]);
        check("fireworks_ai", "qwen", None, &["qwen", "accounts/fireworks/models/qwen"]);
    }
}
