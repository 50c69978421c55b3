//! Where the boxes of a propagation graph go.
//!
//! Kind: pure, linear, without recursion. The graph is a forest, so masters
//! stand left of what receives from them and no two lines cross.

use super::graph::{Graph, Node, NodeKind};

/// A box, in pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Box {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

pub(super) const LINE: f64 = 18.0;
pub(super) const PADDING: f64 = 10.0;
const CHARACTER: f64 = 7.3;
const GAP: f64 = 14.0;
const COLUMN_GAP: f64 = 90.0;
pub(super) const MARGIN: f64 = 20.0;

/// A box for each node, and the width and height of the whole.
pub(super) fn layout(graph: &Graph) -> (Vec<Box>, f64, f64) {
    let below = graph.below();
    let order = masters_first(graph, &below);
    let mut boxes: Vec<Box> = graph.nodes.iter().map(size).collect();
    let depths = depths(graph, &order);
    let lefts = columns(&boxes, &depths);
    let heights = heights(&boxes, &below, &order);
    let mut next_free = vec![0.0; graph.nodes.len()];
    let mut next_root = MARGIN;
    for &at in &order {
        let slot = match graph.nodes[at].above {
            Some((above, _)) => &mut next_free[above],
            None => &mut next_root,
        };
        let top = *slot;
        *slot += heights[at] + GAP;
        let beneath: f64 = below[at].iter().map(|b| heights[*b] + GAP).sum::<f64>() - GAP;
        next_free[at] = top + (heights[at] - beneath.max(0.0)) / 2.0;
        boxes[at].x = lefts[depths[at]];
        boxes[at].y = top + (heights[at] - boxes[at].height) / 2.0;
    }
    let width = boxes.iter().map(|b| b.x + b.width).fold(0.0, f64::max) + MARGIN;
    (boxes, width, next_root - GAP + MARGIN)
}

fn size(node: &Node) -> Box {
    let lines = match node.kind {
        NodeKind::Group => 1 + node.members.len(),
        NodeKind::Slave | NodeKind::Outside => 1,
    };
    let titles = (node.kind != NodeKind::Slave).then_some(&node.title);
    let widest = titles
        .into_iter()
        .chain(&node.members)
        .map(|line| line.chars().count())
        .max();
    #[allow(clippy::cast_precision_loss, reason = "pixels")]
    let (columns, lines) = (widest.unwrap_or(0) as f64, lines as f64);
    Box {
        width: columns * CHARACTER + 2.0 * PADDING,
        height: lines * LINE + PADDING,
        ..Box::default()
    }
}

/// Every node, each after its master; those without one by their position.
fn masters_first(graph: &Graph, below: &[Vec<usize>]) -> Vec<usize> {
    let roots = (0..graph.nodes.len()).filter(|at| graph.nodes[*at].above.is_none());
    let mut open: Vec<usize> = roots.collect();
    // Trees with edges come before groups that stand alone.
    open.sort_by_key(|at| below[*at].is_empty());
    open.reverse();
    let mut order = Vec::with_capacity(graph.nodes.len());
    while let Some(at) = open.pop() {
        order.push(at);
        open.extend(below[at].iter().rev());
    }
    order
}

fn depths(graph: &Graph, order: &[usize]) -> Vec<usize> {
    let mut depths = vec![0; graph.nodes.len()];
    for &at in order {
        if let Some((above, _)) = graph.nodes[at].above {
            depths[at] = depths[above] + 1;
        }
    }
    depths
}

/// The left edge of the column of each depth.
fn columns(boxes: &[Box], depths: &[usize]) -> Vec<f64> {
    let mut widths = vec![0.0f64; depths.iter().max().map_or(0, |deepest| deepest + 1)];
    for (at, depth) in depths.iter().enumerate() {
        widths[*depth] = widths[*depth].max(boxes[at].width);
    }
    let lefts = widths.iter().scan(MARGIN, |left, width| {
        let here = *left;
        *left += width + COLUMN_GAP;
        Some(here)
    });
    lefts.collect()
}

/// The height of each node with all that is right of it.
fn heights(boxes: &[Box], below: &[Vec<usize>], order: &[usize]) -> Vec<f64> {
    let mut heights: Vec<f64> = boxes.iter().map(|b| b.height).collect();
    for &at in order.iter().rev() {
        let beneath: f64 = below[at].iter().map(|b| heights[*b] + GAP).sum::<f64>() - GAP;
        heights[at] = heights[at].max(beneath);
    }
    heights
}
