//! A step in words, for errors.
//!
//! Kind: pure.

use crate::plan::Step;

pub(super) fn in_words(step: &Step) -> String {
    match step {
        Step::OpenSource { origin, into } => {
            format!("open-source of origin {} into {into}", origin.0)
        }
        Step::OpenOutside { origin } => format!("open-outside of origin {}", origin.0),
        Step::CloneOutside { origin } => format!("clone-outside of origin {}", origin.0),
        Step::EnterYard => "enter-yard".into(),
        Step::NewNamespace { namespace } => format!("new-namespace {}", namespace.0),
        Step::Create { origin, into } => format!("create origin {} into {into}", origin.0),
        Step::AttachHelper { helper } => format!("attach-helper {helper}"),
        Step::Clone { from, root, into } => format!("clone {root} of {from} into {into}"),
        Step::SetAttributes { mount, .. } => format!("set-attributes of {mount}"),
        Step::EnterNamespace { namespace } => format!("enter-namespace {}", namespace.0),
        Step::AttachRoot { mount } => format!("attach-root {mount}"),
        Step::Attach { mount, parent, at } => format!("attach {mount} at {at} of {parent}"),
        Step::Unlink { through, name, .. } => format!("unlink {name} through {through}"),
        Step::SetGroup { from, to } => format!("set-group from {from} to {to}"),
        Step::MakeShared { mount } => format!("make-shared {mount}"),
        Step::MakeSlave { mount } => format!("make-slave {mount}"),
        Step::MakeUnbindable { mount } => format!("make-unbindable {mount}"),
    }
}
