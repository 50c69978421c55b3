//! The viewer as its users run it.

use super::{groups, vivid, write};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn run(arguments: &[&str], images: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crux-image"))
        .args(arguments)
        .args(images)
        .output()
        .unwrap()
}

fn text(arguments: &[&str], images: &[&Path]) -> String {
    let output = run(arguments, images);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_tree_says_what_the_table_says() {
    let dir = tempfile::tempdir().unwrap();
    let image = write(dir.path(), "image", &vivid::mounts());
    let tree = text(&["tree"], &[&image]);
    for words in [
        "Mount namespace: 21 mounts\n",
        "├─/dev  ",
        "└─/sys (2nd)  ",
        "proc[/sys/net]",
        "slave of outside /sys/fs/pstore",
        "size=100k,mode=755\n",
    ] {
        assert!(tree.contains(words), "{words} is not in\n{tree}");
    }
}

#[test]
fn a_narrow_tree_fits_and_says_that_it_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let image = write(dir.path(), "image", &vivid::mounts());
    let tree = text(&["tree", "--width=100"], &[&image]);
    for words in ["└─(on top)", "proc[/sys/net]", "slave of outside"] {
        assert!(tree.contains(words), "{words} is not in\n{tree}");
    }
    assert!(
        tree.lines().all(|line| line.chars().count() <= 100),
        "{tree}"
    );
    assert_eq!(tree.lines().filter(|line| line.contains("─")).count(), 20);
    let narrower = text(&["tree", "--width=60"], &[&image]);
    assert!(narrower.contains("--width 0"), "{narrower}");
    let whole = text(&["tree", "--width=0"], &[&image]);
    assert_eq!(whole, text(&["tree"], &[&image]));
}

#[test]
fn hostile_names_do_not_reach_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let image = write(dir.path(), "image", &groups::mounts());
    for arguments in [
        &["show"][..],
        &["tree"],
        &["tree", "--width=100"],
        &["graph"],
        &["graph", "--format=svg"],
        &["tree", "--json"],
    ] {
        let text = text(arguments, &[&image]);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
    }
}

#[test]
fn json_is_printed_by_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let image = write(dir.path(), "image", &groups::mounts());
    let json = |arguments: &[&str], images: &[&Path]| -> serde_json::Value {
        serde_json::from_str(&text(arguments, images)).unwrap()
    };
    let tree = json(&["tree", "--json"], &[&image]);
    let mount = &tree["namespaces"][0]["mounts"][1];
    assert_eq!(mount["path"], "/bound");
    assert_eq!(
        mount["attributes"],
        serde_json::json!(["rw", "nosymfollow", "noatime"])
    );
    assert_eq!(
        tree["groups"][2],
        serde_json::json!({ "peer-of-outside": 3 })
    );
    assert_eq!(
        json(&["show", "--json"], &[&image])["inventory"]["pid"],
        4711
    );
    assert_eq!(json(&["verify", "--json"], &[&image])["whole"], true);
    assert_eq!(
        json(&["diff", "--json"], &[&image, &image]),
        serde_json::json!([])
    );
    assert_eq!(
        json(&["graph", "--json"], &[&image])["nodes"][0]["title"],
        "shared(1)"
    );
}

#[test]
fn exit_codes_tell_what_happened() {
    let dir = tempfile::tempdir().unwrap();
    let one = write(dir.path(), "one", &vivid::mounts());
    let two = write(dir.path(), "two", &groups::mounts());
    let code = |output: Output| output.status.code().unwrap();
    assert_eq!(code(run(&["diff"], &[&one, &one])), 0);
    assert_eq!(code(run(&["diff"], &[&one, &two])), 1);
    assert_eq!(code(run(&["graph", "--format=png"], &[&one])), 2);
    let output = run(&["show"], &[dir.path()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.starts_with("Error: image ") && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(code(output), 5);
}

#[test]
fn verify_names_the_damaged_file_and_what_does_not_belong() {
    let dir = tempfile::tempdir().unwrap();
    let image = write(dir.path(), "image", &vivid::mounts());
    fs::write(image.join("str\x1banger"), "").unwrap();
    assert!(text(&["verify"], &[&image]).contains("str\\033anger"));
    let path = image.join("mounts.crux");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let output = run(&["verify"], &[&image]);
    assert_eq!(output.status.code(), Some(5));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("mounts.crux: the checksum is"), "{said}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let image = write(dir.path(), "image", &super::scale::wide(10_000));
    let mut child = Command::new(env!("CARGO_BIN_EXE_crux-image"))
        .args(["tree", "--json"])
        .arg(&image)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}

/// 64 bytes that claim endless lists, read with little memory.
#[test]
fn memory_is_bounded_by_the_file_and_not_by_its_claims() {
    use crux_image::member::{Header, MemberKind};
    let dir = tempfile::tempdir().unwrap();
    let image = write(dir.path(), "image", &vivid::mounts());
    let payload = [0xff; 64];
    let header = Header::new(MemberKind::Inventory, 64, crc32fast::hash(&payload));
    fs::write(
        image.join("inventory.crux"),
        [&header.to_bytes()[..], &payload].concat(),
    )
    .unwrap();
    let output = Command::new("sh")
        .args([
            "-c",
            "ulimit -v 65536; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_crux-image"),
            "show",
        ])
        .arg(&image)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
}
