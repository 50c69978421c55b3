//! Unit and property tests of the contents format, over members in memory.

use super::*;
use proptest::prelude::*;
use std::io::Cursor;

type Writer = ContentsWriter<Cursor<Vec<u8>>>;

/// Both members, and where the tree is.
struct Image {
    index: Vec<u8>,
    data: Vec<u8>,
    section: Section,
}

impl Image {
    fn read(&self) -> Result<Vec<Entry>, FormatError> {
        let mut reader = self.reader()?;
        reader.section(self.section)?.collect()
    }

    fn verify(&self) -> Result<(), FormatError> {
        self.reader()?.verify(self.section)
    }

    fn reader(&self) -> Result<ContentsReader<Cursor<Vec<u8>>>, FormatError> {
        ContentsReader::new(
            Cursor::new(self.index.clone()),
            Cursor::new(self.data.clone()),
        )
    }
}

fn write(fill: impl FnOnce(&mut Writer) -> Result<(), FormatError>) -> Result<Image, FormatError> {
    let mut writer = Writer::new(Cursor::default(), Cursor::default())?;
    writer.begin_section()?;
    fill(&mut writer)?;
    let section = writer.finish_section()?;
    let (index, data) = writer.finish()?;
    Ok(Image {
        index: index.into_inner(),
        data: data.into_inner(),
        section,
    })
}

fn write_all(entries: &[Entry]) -> Result<Image, FormatError> {
    write(|writer| entries.iter().try_for_each(|entry| writer.push(entry)))
}

fn name(bytes: &str) -> Name {
    Name::new(bytes).unwrap()
}

const METADATA: Metadata = Metadata {
    uid: 1000,
    gid: 100,
    mode: Mode(0o4755),
    accessed: Timestamp {
        seconds: -1,
        nanoseconds: 999_999_999,
    },
    modified: Timestamp {
        seconds: i64::MAX,
        nanoseconds: 0,
    },
};

fn file(called: &str, names: u32, node: Node) -> Entry {
    Entry::File(FileEntry {
        name: name(called),
        names,
        metadata: METADATA,
        node,
    })
}

fn regular(called: &str, size: u64) -> Entry {
    file(
        called,
        1,
        Node::Regular {
            size,
            data: Data::Extents,
        },
    )
}

fn xattr(called: &str) -> Entry {
    let value = XattrValue::new(vec![7; 65536]).unwrap();
    Entry::Xattr(Xattr {
        name: XattrName::new(called).unwrap(),
        value,
    })
}

fn leave() -> Entry {
    Entry::Leave(METADATA)
}

/// A tree with one file of `data` at offset 4096, and one small file.
fn image_with(data: &[u8]) -> Image {
    write(|writer| {
        writer.push(&regular("big", 4096 + data.len() as u64))?;
        let extent = writer.extent(4096, data.len() as u64, |buffer, at| {
            let rest = &data[at as usize - 4096..];
            let count = rest.len().min(buffer.len()).min(100_000);
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok::<usize, FormatError>(count)
        })?;
        writer.push(&Entry::Extents(vec![extent]))?;
        let inline = Inline::new(*b"small").unwrap();
        writer.push(&file(
            "small",
            1,
            Node::Regular {
                size: 5,
                data: Data::Inline(inline),
            },
        ))?;
        writer.push(&leave())
    })
    .unwrap()
}

#[track_caller]
fn refused(entries: &[Entry], expected: Rule) {
    match write_all(entries) {
        Err(FormatError::Rule { rule, .. }) => assert_eq!(rule, expected),
        other => panic!("{expected:?} expected, not {:?}", other.map(|i| i.section)),
    }
}

#[test]
fn a_tree_is_read_as_it_was_written() {
    let device = Device {
        major: 4095,
        minor: (1 << 20) - 1,
    };
    let entries = [
        Entry::Enter(name("dir")),
        file("a\n\u{e9}", 2, Node::Fifo),
        xattr("user.x"),
        Entry::Link {
            name: name("b"),
            to: LinkNumber(0),
        },
        file("c", 1, Node::Symlink(LinkTarget::new("../x").unwrap())),
        leave(),
        xattr("security.capability"),
        xattr("system.posix_acl_default"),
        file("d", 1, Node::CharDevice(device)),
        regular("hole", i64::MAX as u64),
        leave(),
        xattr("trusted.root"),
    ];
    let image = write_all(&entries).unwrap();
    assert_eq!(image.read().unwrap(), entries);
    assert_eq!(image.section.entries, 7);
}

#[test]
fn several_sections_share_the_members() {
    let mut writer = Writer::new(Cursor::default(), Cursor::default()).unwrap();
    let mut sections = Vec::new();
    for size in [1, 2] {
        writer.begin_section().unwrap();
        writer.push(&regular("f", size)).unwrap();
        writer.push(&leave()).unwrap();
        sections.push(writer.finish_section().unwrap());
    }
    let (index, data) = writer.finish().unwrap();
    let mut reader = ContentsReader::new(index, data).unwrap();
    for (section, size) in sections.into_iter().zip([1, 2]) {
        let first = reader.section(section).unwrap().next().unwrap().unwrap();
        assert_eq!(first, regular("f", size));
    }
}

#[test]
fn many_entries_make_many_frames() {
    let entries: Vec<Entry> = (0..20_000)
        .map(|i| regular(&format!("file {i}"), i))
        .chain([leave()])
        .collect();
    let image = write_all(&entries).unwrap();
    assert!(image.section.length > 1 << 20);
    assert_eq!(image.read().unwrap(), entries);
}

#[test]
fn data_are_read_as_they_were_written_and_begin_at_pages() {
    let data: Vec<u8> = (0..1_000_003u32).map(|i| (i % 251) as u8).collect();
    let image = image_with(&data);
    let mut reader = image.reader().unwrap();
    let mut tree = reader.section(image.section).unwrap();
    tree.next_entry().unwrap();
    let Some(Entry::Extents(extents)) = tree.next_entry().unwrap() else {
        panic!("no extents")
    };
    assert_eq!(extents[0].place % DATA_ALIGNMENT, 0);
    let mut read = Vec::new();
    tree.extent(&extents[0], |bytes, at| {
        assert_eq!(at, 4096 + read.len() as u64);
        read.extend_from_slice(bytes);
        Ok::<(), FormatError>(())
    })
    .unwrap();
    assert!(read == data);
}

#[test]
fn truncated_members_are_refused() {
    let image = image_with(&[1; 5000]);
    for length in 0..image.index.len() {
        let index = image.index[..length].to_vec();
        assert!(
            Image {
                index,
                data: image.data.clone(),
                ..image
            }
            .verify()
            .is_err(),
            "{length}"
        );
    }
    for length in 0..image.data.len() {
        let data = image.data[..length].to_vec();
        assert!(
            Image {
                index: image.index.clone(),
                data,
                ..image
            }
            .verify()
            .is_err(),
            "{length}"
        );
    }
}

#[test]
fn every_flipped_bit_is_found() {
    let image = image_with(&[1; 5000]);
    for bit in 0..image.index.len() * 8 {
        let mut index = image.index.clone();
        index[bit / 8] ^= 1 << (bit % 8);
        assert!(
            Image {
                index,
                data: image.data.clone(),
                ..image
            }
            .verify()
            .is_err(),
            "{bit}"
        );
    }
    for bit in 0..image.data.len() * 8 {
        let mut data = image.data.clone();
        data[bit / 8] ^= 1 << (bit % 8);
        assert!(
            Image {
                index: image.index.clone(),
                data,
                ..image
            }
            .verify()
            .is_err(),
            "{bit}"
        );
    }
}

#[test]
fn a_frame_that_was_moved_is_refused() {
    let entries: Vec<Entry> = (0..2000)
        .map(|_| regular("x", 1))
        .chain([leave()])
        .collect();
    let mut image = write_all(&entries).unwrap();
    let first = image.section.offset as usize;
    let length = 8 + u32::from_le_bytes(image.index[first..first + 4].try_into().unwrap()) as usize;
    let frame = image.index[first..first + length].to_vec();
    image.index[first + length..first + 2 * length].copy_from_slice(&frame);
    assert!(matches!(
        image.read(),
        Err(FormatError::FrameChecksum { .. })
    ));
}

#[test]
fn sections_outside_the_index_are_refused() {
    let image = image_with(&[1; 10]);
    let Section {
        offset,
        length,
        entries,
    } = image.section;
    for (offset, length) in [
        (0, length),
        (offset, length + 1),
        (offset + 1, length),
        (u64::MAX, 2),
        (offset, length - 1),
        (offset, 0),
    ] {
        let section = Section {
            offset,
            length,
            entries,
        };
        let image = Image {
            index: image.index.clone(),
            data: image.data.clone(),
            section,
        };
        assert!(image.read().is_err(), "{section:?}");
    }
    let section = Section {
        offset,
        length,
        entries: entries + 1,
    };
    let image = Image { section, ..image };
    assert!(matches!(
        image.read(),
        Err(FormatError::Rule {
            rule: Rule::Count,
            ..
        })
    ));
}

#[test]
fn entries_out_of_order_are_refused() {
    let extent = Extent {
        at: 0,
        length: 1,
        place: 0,
        crc32: 0,
    };
    let extents = || Entry::Extents(vec![extent]);
    let link = |to| Entry::Link {
        name: name("l"),
        to: LinkNumber(to),
    };
    refused(&[], Rule::NoEnd);
    refused(&[Entry::Enter(name("d")), leave()], Rule::NoEnd);
    refused(&[leave(), leave()], Rule::AfterEnd);
    refused(&[leave(), regular("f", 0)], Rule::AfterEnd);
    refused(&[xattr("user.x")], Rule::XattrMisplaced);
    refused(
        &[Entry::Enter(name("d")), xattr("user.x")],
        Rule::XattrMisplaced,
    );
    refused(&[link(0)], Rule::LinkUnknown);
    refused(&[file("f", 1, Node::Fifo), link(0)], Rule::LinkUnknown);
    refused(&[file("f", 2, Node::Fifo), link(1)], Rule::LinkUnknown);
    refused(
        &[file("f", 2, Node::Fifo), link(0), xattr("user.x")],
        Rule::XattrMisplaced,
    );
    refused(&[extents()], Rule::ExtentsMisplaced);
    refused(
        &[file("f", 1, Node::Fifo), extents()],
        Rule::ExtentsMisplaced,
    );
    refused(
        &[regular("f", 9), xattr("user.x"), extents()],
        Rule::ExtentsMisplaced,
    );
    refused(
        &[regular("f", 9), Entry::Extents(vec![])],
        Rule::ExtentsMisplaced,
    );
    refused(
        &[regular("f", 9), Entry::Extents(vec![extent; 257])],
        Rule::ExtentsMisplaced,
    );
    refused(&[regular("f", 9), extents(), extents()], Rule::ExtentOrder);
    refused(
        &[regular("f", 9), extents(), regular("g", 9), extents()],
        Rule::ExtentPlace,
    );
    refused(&[regular("f", 0), extents()], Rule::ExtentRange);
}

#[test]
fn values_that_a_call_would_take_for_something_else_are_refused() {
    let with = |change: fn(&mut Metadata)| {
        let mut metadata = METADATA;
        change(&mut metadata);
        [Entry::Leave(metadata)]
    };
    refused(&with(|m| m.uid = u32::MAX), Rule::Owner);
    refused(&with(|m| m.gid = u32::MAX), Rule::Owner);
    refused(&with(|m| m.mode = Mode(0o10000)), Rule::Mode);
    refused(
        &with(|m| m.accessed.nanoseconds = 0x3fff_ffff),
        Rule::Nanoseconds,
    );
    refused(
        &with(|m| m.modified.nanoseconds = 1_000_000_000),
        Rule::Nanoseconds,
    );
    refused(&[file("f", 0, Node::Fifo)], Rule::NoName);
    refused(&[regular("f", 1 << 63)], Rule::Size);
    refused(
        &[file(
            "f",
            1,
            Node::BlockDevice(Device {
                major: 4096,
                minor: 0,
            }),
        )],
        Rule::Device,
    );
    refused(
        &[file(
            "f",
            1,
            Node::CharDevice(Device {
                major: 0,
                minor: 1 << 20,
            }),
        )],
        Rule::Device,
    );
    let inline = Data::Inline(Inline::new(*b"abc").unwrap());
    refused(
        &[file(
            "f",
            1,
            Node::Regular {
                size: 4,
                data: inline,
            },
        )],
        Rule::InlineLength,
    );
}

#[test]
fn depth_is_bounded_by_the_length_of_a_path() {
    let longest = Entry::Enter(name(&"x".repeat(255)));
    refused(&vec![longest.clone(); 4097], Rule::PathLength);
    let mut entries = vec![longest; 4096];
    entries.extend(std::iter::repeat_n(leave(), 4097));
    assert_eq!(
        write_all(&entries).unwrap().read().unwrap().len(),
        entries.len()
    );
}

#[test]
fn an_index_without_its_header_is_refused() {
    let image = image_with(&[1; 10]);
    let mut index = image.index.clone();
    index[..32].fill(0);
    let unfinished = Image {
        index,
        data: image.data.clone(),
        ..image
    };
    assert!(matches!(unfinished.read(), Err(FormatError::Magic)));
}

#[test]
fn a_later_version_is_refused_by_its_number() {
    let mut image = image_with(&[1; 10]);
    image.index[8] = 2;
    let error = image.read().unwrap_err().to_string();
    assert!(error.contains("version 2"), "{error}");
}

fn any_name() -> impl Strategy<Value = Name> {
    proptest::collection::vec(any::<u8>(), 1..=255).prop_filter_map("a name", |b| Name::new(b).ok())
}

fn any_metadata() -> impl Strategy<Value = Metadata> {
    let time = || {
        (any::<i64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanoseconds)| Timestamp {
            seconds,
            nanoseconds,
        })
    };
    (0..u32::MAX, 0..u32::MAX, 0..=0o7777u16, time(), time()).prop_map(
        |(uid, gid, mode, accessed, modified)| Metadata {
            uid,
            gid,
            mode: Mode(mode),
            accessed,
            modified,
        },
    )
}

fn any_node() -> impl Strategy<Value = Node> {
    let device = || (0..4096u32, 0..1u32 << 20).prop_map(|(major, minor)| Device { major, minor });
    prop_oneof![
        (0..=i64::MAX as u64).prop_map(|size| Node::Regular {
            size,
            data: Data::Extents
        }),
        proptest::collection::vec(any::<u8>(), 0..=4096).prop_map(|bytes| Node::Regular {
            size: bytes.len() as u64,
            data: Data::Inline(Inline::new(bytes).unwrap()),
        }),
        proptest::collection::vec(1..=255u8, 1..4096)
            .prop_map(|bytes| Node::Symlink(LinkTarget::new(bytes).unwrap())),
        device().prop_map(Node::CharDevice),
        device().prop_map(Node::BlockDevice),
        Just(Node::Fifo),
        Just(Node::Socket),
    ]
}

/// What can stand in a directory, with what follows it.
fn any_files() -> impl Strategy<Value = Vec<Entry>> {
    let file = (any_name(), 1..3u32, any_metadata(), any_node()).prop_map(
        |(name, names, metadata, node)| {
            vec![Entry::File(FileEntry {
                name,
                names,
                metadata,
                node,
            })]
        },
    );
    let tree = file.prop_recursive(4, 24, 4, |inner| {
        (
            any_name(),
            proptest::collection::vec(inner, 0..4),
            any_metadata(),
        )
            .prop_map(|(name, inner, metadata)| {
                let mut entries = vec![Entry::Enter(name)];
                entries.extend(inner.into_iter().flatten());
                entries.push(Entry::Leave(metadata));
                entries
            })
    });
    (proptest::collection::vec(tree, 0..4), any_metadata()).prop_map(|(trees, metadata)| {
        let mut entries: Vec<Entry> = trees.into_iter().flatten().collect();
        entries.push(Entry::Leave(metadata));
        entries
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_tree_is_read_as_it_was_written(entries in any_files()) {
        let image = write_all(&entries).unwrap();
        prop_assert_eq!(image.read().unwrap(), entries);
    }

    /// With the checksums made right again, what is decoded still keeps every rule.
    #[test]
    fn hostile_frames_are_refused_or_keep_the_rules(
        entries in any_files(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut image = write_all(&entries).unwrap();
        let start = image.section.offset as usize;
        let mut payload = image.index.split_off(start + frame::PREFIX);
        for (at, byte) in changes {
            let at = at.index(payload.len());
            payload[at] = byte;
        }
        image.index.extend(frame::seal(start as u64, &payload));
        image.index.drain(start..start + frame::PREFIX);
        if let Ok(entries) = image.read() {
            prop_assert!(write_all(&entries).is_ok());
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let mut image = image_with(&[1; 10]);
        let start = image.section.offset as usize;
        image.index.truncate(start);
        image.index.extend(frame::seal(start as u64, &bytes));
        image.section.length = (image.index.len() - start) as u64;
        let header = header::Header {
            index_length: image.index.len() as u64,
            data_length: image.data.len() as u64,
        };
        image.index[..header::HEADER].copy_from_slice(&header.encode());
        let _ = image.read();
    }
}
