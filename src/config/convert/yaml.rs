//! A located tree written as YAML again, in blocks. References stay as they were written; comments are not in the tree.

use super::super::node::{Node, Plain, Scalar, Value};

/// Writes the tree as a document.
pub(super) fn write(node: &Node) -> String {
    let mut text = String::new();
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => block(node, 0, &mut text),
        _ => {
            inline(node, &mut text);
            text.push('\n');
        }
    }
    text
}

fn block(node: &Node, level: usize, text: &mut String) {
    match &node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                indent(level, text);
                text.push_str(&quoted(&Scalar::new(key.text.as_str(), true)));
                text.push(':');
                below(value, level, text);
            }
        }
        Value::List(items) => {
            for item in items {
                indent(level, text);
                text.push('-');
                match &item.value {
                    // The first key stands behind the dash.
                    Value::Map(entries) if !entries.is_empty() => {
                        let start = text.len();
                        block(item, level + 1, text);
                        let from = start + 2 * (level + 1);
                        let rest = text.get(from..).unwrap_or_default().to_owned();
                        text.truncate(start);
                        text.push(' ');
                        text.push_str(&rest);
                    }
                    _ => below(item, level, text),
                }
            }
        }
        Value::Scalar(_) => inline(node, text),
    }
}

/// What stands behind a key or a dash.
fn below(node: &Node, level: usize, text: &mut String) {
    let is_block = match &node.value {
        Value::Map(entries) => !entries.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Scalar(_) => false,
    };
    if is_block {
        text.push('\n');
        block(node, level + 1, text);
    } else {
        text.push(' ');
        inline(node, text);
        text.push('\n');
    }
}

fn inline(node: &Node, text: &mut String) {
    match &node.value {
        Value::Scalar(scalar) => text.push_str(&quoted(scalar)),
        Value::List(_) => text.push_str("[]"),
        Value::Map(_) => text.push_str("{}"),
    }
}

fn indent(level: usize, text: &mut String) {
    for _ in 0..level {
        text.push_str("  ");
    }
}

/// The scalar as it may stand in a block: bare where that cannot be misread, else in double quotes, which JSON's are.
fn quoted(scalar: &Scalar) -> String {
    let text = scalar.text.as_str();
    let is_bare = |c: char| c.is_ascii_alphanumeric() || "_-./ ${}+%()@".contains(c);
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "_/.$".contains(c));
    let looks_safe = text.chars().all(|c| is_bare(c) || c == ':')
        && begins_well
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !text.contains("--- ");
    let as_plain = Scalar::new(text, true);
    // Quotes around what begins with a digit have their reason: other readers know dates.
    let needs_none = as_plain.meaning() == Plain::Text
        && as_plain.yaml_1_1_truth().is_none()
        && !text.starts_with(|c: char| c.is_ascii_digit());
    let means_the_same = scalar.plain || needs_none;
    if scalar.is_null() {
        return "null".to_owned();
    }
    if looks_safe && means_the_same {
        return text.to_owned();
    }
    if scalar.plain && scalar.meaning() != Plain::Text {
        return text.to_owned();
    }
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::super::load::parse;
    use super::super::super::problem::Findings;
    use super::*;

    #[test]
    fn what_is_written_reads_as_what_was_read() {
        let text = "\
a: [1, '1', true, 'true', null, ~, yes, 'yes', 1.5, \"a: b\", 'x # y', '', '- z', 0x1F, '017']
b: {c: [], d: {}, e: [{f: 1, g: [x, {h: i}]}, [j, [k]]]}
'k: 1': \"line\\nbreak\\ttab \\u00e9 \\u2028\"
m: '${REF:-d}'
n: os.environ/X
o: '*'
p: [\"gpt-*\", '&a', '!b', '%c', '@d', '`e`', '{f', '#g', '|', '>']
2024-10-21: 2024-10-21
";
        let mut findings = Findings::default();
        let tree = parse(text.as_bytes(), 0, &mut findings).unwrap();
        let written = write(&tree);
        let again = parse(written.as_bytes(), 0, &mut findings).expect(&written);
        assert!(!findings.has_errors());
        // Quotes that were not needed may be gone: what it means is the same.
        assert_eq!(write(&again), written);
        assert_eq!(meaning(&again), meaning(&tree), "{written}");
    }

    fn meaning(node: &Node) -> String {
        match &node.value {
            Value::Scalar(scalar) => {
                format!("{:?} {:?} {:?}", scalar.meaning(), scalar.truth(), *scalar.text)
                    .replace("Null None \"~\"", "Null None \"null\"")
            }
            Value::List(items) => format!("{:?}", items.iter().map(meaning).collect::<Vec<_>>()),
            Value::Map(entries) => {
                let told = entries.iter().map(|(key, node)| (key.text.clone(), meaning(node)));
                format!("{:?}", told.collect::<Vec<_>>())
            }
        }
    }
}
