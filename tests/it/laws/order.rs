//! Whether events come as decoders promise them.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::conversation::Event;

/// Blocks are opened in order, closed once, and hold what is told of them; each choice ends once.
pub(super) fn check(events: &[Event]) -> Result<(), String> {
    let failed = events.iter().any(|event| matches!(event, Event::Fail(_)));
    let mut opened: BTreeMap<u32, u32> = BTreeMap::new();
    let mut open: BTreeSet<(u32, u32)> = BTreeSet::new();
    let mut finished: BTreeSet<u32> = BTreeSet::new();
    for (at, event) in events.iter().enumerate() {
        let wrong = |why: &str| Err(format!("{why}: event {at}: {event:?}"));
        match event {
            Event::Open { choice, block, .. } => {
                let next = opened.entry(*choice).or_default();
                if *block != *next || finished.contains(choice) {
                    return wrong("blocks are numbered in order, before the end");
                }
                *next += 1;
                open.insert((*choice, *block));
            }
            Event::Delta { choice, block, .. } if !open.contains(&(*choice, *block)) => {
                return wrong("the block is not open");
            }
            Event::Close { choice, block } if !open.remove(&(*choice, *block)) => {
                return wrong("the block is not open");
            }
            Event::Finish { choice, .. }
                if open.iter().any(|(of, _)| of == choice) || !finished.insert(*choice) =>
            {
                return wrong("a choice ends once, with all its blocks closed");
            }
            Event::Fail(_) if at + 1 != events.len() => return wrong("nothing follows a failure"),
            _ => {}
        }
    }
    let complete = opened.keys().all(|choice| finished.contains(choice)) && !finished.is_empty();
    if !complete && !failed {
        return Err("the stream ends neither well nor with a failure".to_owned());
    }
    Ok(())
}
