//! Two texts compared line by line, for messages and for pages that show only what differs.

/// Lines of context around each change.
const CONTEXT: usize = 2;

/// The changed lines, those only of the first after `-`, those only of the second after `+`.
pub(super) fn difference(first: &str, second: &str) -> String {
    let (first, second): (Vec<&str>, Vec<&str>) =
        (first.lines().collect(), second.lines().collect());
    let lines = aligned(&first, &second);
    let near = |at: usize| {
        let around = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(lines.len());
        lines[around].iter().any(|(mark, _)| *mark != ' ')
    };
    let mut out = String::new();
    let mut gap = false;
    for (at, (mark, line)) in lines.iter().enumerate() {
        if near(at) {
            if gap {
                out.push_str("  …\n");
            }
            out.push_str(format!("{mark} {line}").trim_end());
            out.push('\n');
        }
        gap = !near(at);
    }
    out
}

/// All lines of both, in order, by the longest common part.
fn aligned<'t>(first: &[&'t str], second: &[&'t str]) -> Vec<(char, &'t str)> {
    let (height, width) = (first.len(), second.len());
    let mut longest = vec![vec![0_u32; width + 1]; height + 1];
    for row in (0..height).rev() {
        for column in (0..width).rev() {
            longest[row][column] = if first[row] == second[column] {
                longest[row + 1][column + 1] + 1
            } else {
                longest[row + 1][column].max(longest[row][column + 1])
            };
        }
    }
    let (mut row, mut column, mut lines) = (0, 0, Vec::new());
    while row < height || column < width {
        if row < height && column < width && first[row] == second[column] {
            lines.push((' ', first[row]));
            (row, column) = (row + 1, column + 1);
        } else if column == width
            || (row < height && longest[row + 1][column] >= longest[row][column + 1])
        {
            lines.push(('-', first[row]));
            row += 1;
        } else {
            lines.push(('+', second[column]));
            column += 1;
        }
    }
    lines
}

#[test]
fn only_changes_are_told() {
    let told = difference("a\nb\nc\nd\ne\nf\ng\nh", "a\nb\nc\nd\ne\nX\ng\nh\ni");
    assert_eq!(told, "  …\n  d\n  e\n- f\n+ X\n  g\n  h\n+ i\n");
    assert_eq!(difference("a", "a"), "");
}
