//! What must not be seen of a child's words: everything it was given in confidence, which is its environment and its
//! arguments. Servers print their connection strings when the connection fails.

use std::path::Path;

use super::sandbox;
use crate::config::snapshot::McpCommand;
use crate::ground::secret::{self, Secret};

/// A line of a secret that has several is struck out alone from this length on.
const SHORTEST_LINE: usize = 8;

/// The texts to strike out, the longest first: one may stand within another.
pub(super) fn secrets(command: &McpCommand) -> Vec<Secret> {
    let mut texts: Vec<&str> = Vec::new();
    let mut derived: Vec<String> = Vec::new();
    let package = sandbox::is_runner(Path::new(&command.program))
        .then(|| command.args.iter().position(|argument| !argument.expose().starts_with('-')))
        .flatten();
    let given = command.args.iter().map(Secret::expose).enumerate();
    let given = given.filter(|(at, text)| Some(*at) != package && !is_plain(text));
    let given = given.map(|(_, text)| text);
    for text in command.env.values().map(Secret::expose).chain(given) {
        texts.push(text);
        // `--token=abc`, `TOKEN=abc`
        if let Some((_, value)) = text.split_once('=') {
            texts.push(value);
        }
        if text.contains('\n') {
            let lines = text.lines().map(str::trim);
            texts.extend(lines.filter(|line| line.len() >= SHORTEST_LINE));
        }
        if let Some(password) = password(text) {
            texts.push(password);
            let decoded = url::form_urlencoded::parse(password.replace('+', "%2B").as_bytes())
                .map(|(name, _)| name.into_owned())
                .collect::<String>();
            derived.push(decoded);
        }
    }
    let mut secrets: Vec<Secret> =
        texts.into_iter().map(str::to_owned).chain(derived).map(Secret::new).collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
    secrets
}

/// A text without control characters (escape sequences of terminals among them) and without the secrets.
pub(super) fn clean(text: &str, secrets: &[Secret]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' && characters.next_if_eq(&'[').is_some() {
            // The sequence ends with its first letter.
            while characters.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
        } else if character == '\t' {
            out.push(' ');
        } else if !character.is_control() {
            out.push(character);
        }
    }
    secret::strike(&out, secrets.iter().map(Secret::expose)).unwrap_or(out)
}

/// The password in the text of a URL, as it is spelled there.
fn password(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    let (credentials, _) = rest.split(['/', '?', '#']).next()?.rsplit_once('@')?;
    credentials.split_once(':').map(|(_, password)| password)
}

/// Arguments that say nothing in confidence, and without which an error cannot be read: switches, paths, names of
/// packages with a scope.
fn is_plain(argument: &str) -> bool {
    let is_switch = || {
        argument.starts_with('-')
            && argument.len() <= 32
            && argument.chars().all(|c| c == '-' || c.is_ascii_lowercase())
    };
    let is_path = || argument.starts_with(['/', '.']) && Path::new(argument).exists();
    let is_package = || {
        argument.starts_with('@')
            && argument.contains('/')
            && argument.chars().all(|c| c.is_ascii_lowercase() || "@/-_.".contains(c))
    };
    is_switch() || is_path() || is_package()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(argument: &str, said: &str, expected: &str) {
        let command = McpCommand { args: vec![Secret::new(argument)], ..McpCommand::default() };
        assert_eq!(clean(said, &secrets(&command)), expected);
    }

    #[test]
    fn secrets_are_struck_out_in_every_form() {
        check("sk-canary", "bad key sk-canary!", "bad key [key]!");
        check("--token=sk-canary", "bad key sk-canary", "bad key [key]");
        check("pg://u:s%40crt@db/x", "auth failed: s%40crt s@crt", "auth failed: [key] [key]");
        check("pg://u:secret@db/x", "cannot reach pg://u:secret@db/x", "cannot reach [key]");
        check("-----KEY-----\nMIIBcanary\n", "bad: MIIBcanary", "bad: [key]");
    }

    #[test]
    fn switches_paths_and_packages_stay_readable() {
        check("--stdio", "unknown option --stdio", "unknown option --stdio");
        check("/usr", "cannot open /usr", "cannot open /usr");
        check("@scope/server", "404 @scope/server", "404 @scope/server");
    }

    #[test]
    fn the_package_that_is_run_stays_readable() {
        let args = ["-y", "mcp-server", "mcp-canary"].map(Secret::new).into();
        let command = McpCommand { program: "npx".into(), args, ..McpCommand::default() };
        let said = "404 mcp-server mcp-canary";
        assert_eq!(clean(said, &secrets(&command)), "404 mcp-server [key]");
    }

    #[test]
    fn control_characters_are_stripped() {
        check("", "\u{1b}[31mred\u{1b}[0m\ta\u{7}b\u{1b}", "red ab");
    }
}
