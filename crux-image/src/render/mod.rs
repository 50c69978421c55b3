//! Mount trees for people: text and propagation graphs.
//!
//! Kind: pure. What comes out depends on the tree only, not on ids or the order
//! of the record: equal trees give equal text. Everything that a container
//! chose is escaped. The input has passed [`Mounts::check`](crate::mounts::Mounts::check).

mod dot;
mod graph;
mod homes;
mod ipc;
mod layout;
mod narrow;
mod network;
mod order;
mod record;
mod sockets;
mod summary;
mod svg;
mod tasks;
mod terminals;
mod tree;
pub(crate) mod words;

pub use dot::dot;
pub use graph::{EdgeKind, Graph, Node, NodeKind};
pub use narrow::narrow_tree;
pub use record::{MountsRecord, mounts_record};
pub use summary::{InventoryRecord, inventory_record, summary};
pub use svg::svg;
pub use tasks::{TasksRecord, one_task, tasks_record, tasks_tree};
pub use tree::tree;

pub(crate) use order::{GroupNumbers, children, display_order, name_of};
