//! Failures of providers before the answer, told to clients.

use std::fs;

use tidegate::wire::codec::ClientHalf;
use tidegate::wire::{formats, provider_error};

use super::{Page, pretty};

static CLIENTS: [(&str, &ClientHalf); 3] = [
    ("openai_chat", &formats::CHAT),
    ("openai_responses", &formats::RESPONSES),
    ("anthropic", &formats::MESSAGES),
];

pub(super) fn pages() -> Vec<Page> {
    let files = super::files("errors", &["http"]);
    files
        .into_iter()
        .map(|path| {
            let said = fs::read_to_string(&path).unwrap();
            let (head, body) = said.split_once("\n\n").unwrap();
            let mut lines = head.lines();
            let status = lines.next().unwrap().parse().unwrap();
            let header = |line: &str| {
                let (name, value) = line.split_once(": ").unwrap();
                (name.to_owned(), value.to_owned())
            };
            let headers: Vec<(String, String)> = lines.map(header).collect();
            let fault = provider_error::read(status, &headers, body.as_bytes(), None);
            let shown =
                if body.starts_with(['{', '[']) { pretty::json(body) } else { body.to_owned() };
            let name = path.file_name().unwrap().to_str().unwrap();
            let mut text = format!("# errors/{name}\n\n{head}\n\n{shown}\n\n");
            text.push_str(&format!(
                "retry after: {:?}\n",
                fault.details().and_then(|told| told.retry_after.clone())
            ));
            for (name, client) in CLIENTS {
                let told = String::from_utf8((client.error)(&fault).to_vec()).unwrap();
                let status = formats::status(client, &fault);
                text.push_str(&format!(
                    "\n## {name}\n\nstatus {status}\n{}\n",
                    pretty::json(&told)
                ));
            }
            Page { path: path.with_extension("golden"), text }
        })
        .collect()
}
