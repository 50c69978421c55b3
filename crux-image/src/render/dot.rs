//! The propagation graph for Graphviz.
//!
//! Kind: pure.

use super::graph::{EdgeKind, Graph, Node, NodeKind};
use crate::mounts::Mounts;
use std::fmt::Write;

/// A `digraph`: peer groups as clusters, masters as arrows to what receives from them.
pub fn dot(mounts: &Mounts) -> String {
    let graph = Graph::new(mounts);
    let mut text = String::from(
        "digraph propagation {\n  rankdir=LR;\n  compound=true;\n  \
         node [shape=box, fontname=\"sans-serif\", fontsize=11];\n  \
         edge [fontname=\"sans-serif\", fontsize=10];\n",
    );
    for (at, node) in graph.nodes.iter().enumerate() {
        write_node(&mut text, at, node);
    }
    for (at, node) in graph.nodes.iter().enumerate() {
        if let Some((above, kind)) = node.above {
            write_edge(&mut text, (above, &graph.nodes[above]), (at, node), kind);
        }
    }
    text.push_str("}\n");
    text
}

fn write_node(text: &mut String, at: usize, node: &Node) {
    let title = quoted(&node.title);
    match node.kind {
        NodeKind::Outside => {
            let _ = writeln!(
                text,
                "  n{at}_0 [label={title}, shape=ellipse, style=dashed];"
            );
        }
        NodeKind::Slave => {
            let label = quoted(node.members.first().map_or("", String::as_str));
            let _ = writeln!(text, "  n{at}_0 [label={label}];");
        }
        NodeKind::Group => {
            let _ = writeln!(
                text,
                "  subgraph cluster_{at} {{\n    label={title}; style=rounded;"
            );
            for (member, name) in node.members.iter().enumerate() {
                let _ = writeln!(text, "    n{at}_{member} [label={}];", quoted(name));
            }
            text.push_str("  }\n");
        }
    }
}

fn write_edge(text: &mut String, from: (usize, &Node), to: (usize, &Node), kind: EdgeKind) {
    let mut attributes = vec![match kind {
        EdgeKind::Slave => "label=\"slave\"".to_owned(),
        EdgeKind::Peer => "label=\"peers\", dir=both".to_owned(),
    }];
    for ((at, node), end) in [(from, "ltail"), (to, "lhead")] {
        if node.kind == NodeKind::Group {
            attributes.push(format!("{end}=cluster_{at}"));
        }
    }
    let _ = writeln!(
        text,
        "  n{}_0 -> n{}_0 [{}];",
        from.0,
        to.0,
        attributes.join(", ")
    );
}

/// A quoted string of the dot language, in which a backslash begins an escape.
fn quoted(words: &str) -> String {
    format!("\"{}\"", words.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_cannot_end_their_quotes() {
        assert_eq!(super::quoted(r#"a"]; x\"#), r#""a\"]; x\\""#);
    }
}
