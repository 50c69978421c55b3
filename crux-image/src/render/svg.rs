//! The propagation graph as an SVG image, without Graphviz.
//!
//! Kind: pure.

use super::graph::{EdgeKind, Graph, Node, NodeKind};
use super::layout::{Box, LINE, MARGIN, PADDING, layout};
use super::words;
use crate::mounts::Mounts;
use std::fmt::Write;

const STYLE: &str = "text{font:12px 'DejaVu Sans Mono',monospace;fill:#1f2430}\
.title{font-weight:bold}.note{fill:#667}\
.group{fill:#e8f0fe;stroke:#3b6cb7}.slave{fill:#fdf3e1;stroke:#c27c0e}\
.outside{fill:#f1f1f1;stroke:#777;stroke-dasharray:5 3}\
path{fill:none;stroke:#555;stroke-width:1.3}path.head{fill:#555;stroke:none}";

/// Peer groups and slaves as boxes, an arrow from each master to what receives from it.
pub fn svg(mounts: &Mounts) -> String {
    let graph = Graph::new(mounts);
    let (boxes, width, height) = layout(&graph);
    let notes = notes(&graph);
    let widest_note = notes
        .iter()
        .map(|note| note.chars().count())
        .max()
        .unwrap_or(0);
    #[allow(clippy::cast_precision_loss, reason = "pixels")]
    let (width, below) = (
        width.max(widest_note as f64 * 7.3 + 2.0 * MARGIN),
        notes.len() as f64 * LINE + PADDING,
    );
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{0:.0}\" \
         viewBox=\"0 0 {width:.0} {0:.0}\">\n<title>Mount propagation</title>\n\
         <style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        height + below
    );
    for (at, node) in graph.nodes.iter().enumerate() {
        if let Some((above, kind)) = node.above {
            edge(&mut text, boxes[above], boxes[at], kind);
        }
    }
    for (node, place) in graph.nodes.iter().zip(&boxes) {
        write_node(&mut text, node, *place);
    }
    let mut y = height + LINE / 2.0;
    for note in notes {
        line(&mut text, MARGIN, y, "note", &note);
        y += LINE;
    }
    text.push_str("</svg>\n");
    text
}

fn notes(graph: &Graph) -> Vec<String> {
    let mut notes = vec!["Arrow: from a master to what receives its mount events.".to_owned()];
    if graph
        .nodes
        .iter()
        .any(|node| matches!(node.above, Some((_, EdgeKind::Peer))))
    {
        notes.push("Two heads: both are one peer group.".to_owned());
    }
    if graph.namespaces > 1 {
        notes.push("Before the colon: the mount namespace.".to_owned());
    }
    match graph.private {
        0 => {}
        private => notes.push(format!(
            "Not shown: {} private or unbindable.",
            words::count(private, "mount")
        )),
    }
    notes
}

fn write_node(text: &mut String, node: &Node, b: Box) {
    let (class, radius) = match node.kind {
        NodeKind::Group => ("group", 8.0),
        NodeKind::Slave => ("slave", 2.0),
        NodeKind::Outside => ("outside", b.height / 2.0),
    };
    let _ = writeln!(
        text,
        "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{radius:.1}\"/>",
        b.x, b.y, b.width, b.height
    );
    let mut y = b.y + PADDING / 2.0 + LINE * 0.72;
    if node.kind != NodeKind::Slave {
        line(text, b.x + PADDING, y, "title", &node.title);
        y += LINE;
    }
    for member in &node.members {
        line(text, b.x + PADDING, y, "member", member);
        y += LINE;
    }
}

fn line(text: &mut String, x: f64, y: f64, class: &str, words: &str) {
    let _ = writeln!(
        text,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" xml:space=\"preserve\">{}</text>",
        escaped(words)
    );
}

fn edge(text: &mut String, from: Box, to: Box, kind: EdgeKind) {
    let (x0, y0) = (from.x + from.width, from.y + from.height / 2.0);
    let (x1, y1) = (to.x, to.y + to.height / 2.0);
    let middle = (x0 + x1) / 2.0;
    let (tail, head) = (
        x0 + if kind == EdgeKind::Peer { 8.0 } else { 0.0 },
        x1 - 8.0,
    );
    let _ = writeln!(
        text,
        "<path d=\"M{tail:.1} {y0:.1} C{middle:.1} {y0:.1} {middle:.1} {y1:.1} {head:.1} {y1:.1}\"/>"
    );
    arrow_head(text, (x1, y1), -9.0);
    if kind == EdgeKind::Peer {
        arrow_head(text, (x0, y0), 9.0);
    }
}

fn arrow_head(text: &mut String, (x, y): (f64, f64), back: f64) {
    let _ = writeln!(
        text,
        "<path class=\"head\" d=\"M{x:.1} {y:.1} l{back:.1} -4.5 v9 z\"/>"
    );
}

/// Text of an XML document. Control characters are escaped before they come here.
fn escaped(words: &str) -> String {
    let mut text = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '&' => text.push_str("&amp;"),
            '"' => text.push_str("&quot;"),
            // Not allowed in XML, even escaped.
            '\u{fffe}' | '\u{ffff}' => text.push('\u{fffd}'),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_cannot_become_markup() {
        assert_eq!(
            super::escaped("</text><script>&\""),
            "&lt;/text&gt;&lt;script&gt;&amp;&quot;"
        );
    }
}
