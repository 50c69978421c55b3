//! Compares what mounts show: origins, their options, user namespaces.
//!
//! Kind: pure.

use super::compare::{Both, Comparison};
use super::pairing::Paired;
use crate::mounts::{
    External, ExternalRole, FsOption, IdRange, NamespaceContext, Origin, OriginIndex,
    OwnFileSystem, UserNsIndex,
};
use crate::path::Escaped;
use crate::render::words;
use std::collections::BTreeMap;

impl Comparison<'_> {
    pub(super) fn origin(&mut self, both: Both, was: OriginIndex, is: OriginIndex) {
        match self.origins.pair(was, is, both) {
            Paired::Known => {}
            Paired::New => self.new_origin(both, was, is),
            Paired::WasElsewhere(first) => {
                let name = self.name(first, both.namespace);
                self.at(
                    both,
                    "",
                    format!("not of the same file system as {name}"),
                    "of the same".into(),
                );
            }
            Paired::IsElsewhere(first) => {
                let name = self.name(first, both.namespace);
                self.at(
                    both,
                    "",
                    format!("of the same file system as {name}"),
                    "of another".into(),
                );
            }
        }
    }

    fn new_origin(&mut self, both: Both, was: OriginIndex, is: OriginIndex) {
        match (&self.was.origins[was.at()], &self.is.origins[is.at()]) {
            (Origin::Own(was), Origin::Own(is)) => self.own(both, was, is),
            (Origin::External(was), Origin::External(is)) => self.external(both, was, is),
            (was, is) => self.at(both, "", origin_words(is), origin_words(was)),
        }
    }

    fn own(&mut self, both: Both, was: &OwnFileSystem, is: &OwnFileSystem) {
        if was.fs_type != is.fs_type {
            let words = |own: &OwnFileSystem| format!("a {}", own.fs_type.name());
            self.at(both, "", words(is), words(was));
            return;
        }
        if was.source != is.source {
            let words = |own: &OwnFileSystem| format!("\"{}\"", Escaped(&own.source));
            self.at(both, "source", words(is), words(was));
        }
        if was.flags != is.flags {
            self.at(
                both,
                "superblock",
                words::superblock(is.flags),
                words::superblock(was.flags),
            );
        }
        self.options(both, &was.options, &is.options);
        self.context(both, was.context, is.context);
        let name = self.name(both, both.namespace);
        let subject = self.subject(both.namespace, &name) + ", user namespace";
        self.users(both.namespace, &subject, was.user, is.user);
    }

    fn options(&mut self, both: Both, was: &[FsOption], is: &[FsOption]) {
        let (before, now) = (by_key(was), by_key(is));
        for (key, values) in &before {
            if now.get(key) != Some(values) {
                let is = now
                    .get(key)
                    .map_or("absent".into(), |values| values.join(","));
                self.at(both, &format!("option {key}"), is, values.join(","));
            }
        }
        for (key, values) in &now {
            if !before.contains_key(key) {
                self.at(
                    both,
                    &format!("option {key}"),
                    values.join(","),
                    "absent".into(),
                );
            }
        }
    }

    fn context(&mut self, both: Both, was: NamespaceContext, is: NamespaceContext) {
        const ASPECT: &str = "net or ipc namespace";
        let words = |context| match context {
            NamespaceContext::Caller => "that of whoever restores".to_owned(),
            NamespaceContext::Own(_) => "one of the container's own".to_owned(),
        };
        match (was, is) {
            (NamespaceContext::Caller, NamespaceContext::Caller) => {}
            (NamespaceContext::Own(before), NamespaceContext::Own(now)) => {
                match self.contexts.pair(before, now, both) {
                    Paired::New | Paired::Known => {}
                    Paired::WasElsewhere(first) => {
                        let name = self.name(first, both.namespace);
                        self.at(
                            both,
                            ASPECT,
                            format!("not that of {name}"),
                            "the same".into(),
                        );
                    }
                    Paired::IsElsewhere(first) => {
                        let name = self.name(first, both.namespace);
                        self.at(both, ASPECT, format!("that of {name}"), "another".into());
                    }
                }
            }
            (was, is) => self.at(both, ASPECT, words(is), words(was)),
        }
    }

    fn external(&mut self, both: Both, was: &External, is: &External) {
        if (was.role, &was.name) != (is.role, &is.name) {
            self.at(both, "", external_words(is), external_words(was));
        } else if was.kind != is.kind {
            self.at(
                both,
                "external source",
                words::kind(is.kind),
                words::kind(was.kind),
            );
        }
    }

    /// Compares two user namespaces and their ancestors.
    pub(super) fn users(
        &mut self,
        at: usize,
        subject: &str,
        mut was: Option<UserNsIndex>,
        mut is: Option<UserNsIndex>,
    ) {
        let words = |user: Option<UserNsIndex>| match user {
            None => "that of whoever restores".to_owned(),
            Some(_) => "one of the container's own".to_owned(),
        };
        loop {
            let (Some(before), Some(now)) = (was, is) else {
                if was != is {
                    self.differs(at, subject.to_owned(), words(is), words(was));
                }
                return;
            };
            match self.users.pair(before, now, at) {
                Paired::Known => return,
                Paired::New => {}
                Paired::WasElsewhere(_) | Paired::IsElsewhere(_) => {
                    let tied =
                        "another than where it was the same, or the same where it was another";
                    self.differs(at, subject.to_owned(), tied.into(), "not".into());
                    return;
                }
            }
            let (before, now) = (
                &self.was.user_namespaces[before.at()],
                &self.is.user_namespaces[now.at()],
            );
            for (what, was, is) in [
                ("uid map", &before.uid_map, &now.uid_map),
                ("gid map", &before.gid_map, &now.gid_map),
            ] {
                if map_words(was) != map_words(is) {
                    self.differs(
                        at,
                        format!("{subject}, {what}"),
                        map_words(is),
                        map_words(was),
                    );
                }
            }
            (was, is) = (before.parent, now.parent);
        }
    }
}

/// The values of each key in their order: some file systems take a key more than once.
fn by_key(options: &[FsOption]) -> BTreeMap<&str, Vec<String>> {
    let mut values: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for option in options {
        let value = option
            .value
            .as_ref()
            .map_or("set".into(), |value| match value.as_slice() {
                b"" | b"set" | b"absent" => format!("\"{}\"", Escaped(value)),
                value => Escaped(value).to_string().replace(',', "\\054"),
            });
        values.entry(&option.key).or_default().push(value);
    }
    values
}

fn origin_words(origin: &Origin) -> String {
    match origin {
        Origin::Own(own) => format!("a {} of the container's own", own.fs_type.name()),
        Origin::External(external) => external_words(external),
    }
}

fn external_words(external: &External) -> String {
    match external.role {
        ExternalRole::Root => format!("the external root {}", words::external_name(external)),
        ExternalRole::Bind => format!("external {}", words::external_name(external)),
    }
}

/// `0→100000 (65536)`, sorted: the order of lines has no meaning.
pub(super) fn map_words(map: &[IdRange]) -> String {
    let mut ranges: Vec<(u32, u32, u32)> = map
        .iter()
        .map(|range| (range.inside, range.outside, range.count))
        .collect();
    ranges.sort_unstable();
    let ranges: Vec<String> = ranges
        .iter()
        .map(|(inside, outside, count)| format!("{inside}→{outside} ({count})"))
        .collect();
    if ranges.is_empty() {
        "empty".into()
    } else {
        ranges.join(" ")
    }
}
