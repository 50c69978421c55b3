//! Dumps of live mount namespaces.
//!
//! Tier: root. Each test makes its own mount namespaces, in a child that ends with it.

use crux_dump::collect::{WithTasks, read};
use crux_image::mounts::{Contents, Mounts, Origin, OwnFsType};
use crux_mount::features::Features;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A process in a mount namespace of its own, where a script has run.
struct Container(Child);

impl Container {
    /// Runs `script` in a new, private mount namespace with `$R`, a private tmpfs, as its place
    /// to play. What it starts has to wait for the end of descriptor 3, which the test holds.
    fn new(place: &Path, script: &str) -> Self {
        let script = format!(
            "set -e; exec 3<&0; R='{}'; mount -t tmpfs yard \"$R\"; {script}\necho ready; exec cat >/dev/null",
            place.display()
        );
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        Self(child)
    }

    fn dump(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_crux-dump"))
            .args(["--mounts-only", "--pid", &self.0.id().to_string()])
            .args(arguments)
            .output()
            .unwrap()
    }

    fn table(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/mountinfo", self.0.id())).unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn dumped(script: &str) -> (Mounts, String) {
    let place = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let image = out.path().join("image");
    let container = Container::new(place.path(), script);
    let before = container.table();
    let output = container.dump(&["--external", "auto", "--images", image.to_str().unwrap()]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    let after = container.table();
    assert_eq!(after, before, "a dump leaves the container's mounts alone");
    let reader = crux_image::directory::ImageReader::open(&image).unwrap();
    (reader.mounts().unwrap(), before)
}

fn entries(mounts: &Mounts, source: &str) -> u64 {
    let found = mounts.origins.iter().find_map(|origin| match origin {
        Origin::Own(own) if own.source == source.as_bytes() => Some(&own.contents),
        _ => None,
    });
    let Some(Contents::Tree(section)) = found else {
        panic!("{source}: {found:?}")
    };
    section.entries
}

#[test]
fn root_every_mount_is_recorded_and_the_container_is_left_alone() {
    let (mounts, table) = dumped(
        "mkdir $R/a $R/b; mount -t tmpfs ta $R/a; echo x > $R/a/f; mount --make-shared $R/a; \
         mount --bind $R/a $R/b",
    );
    assert_eq!(mounts.namespaces[0].mounts.len(), table.lines().count());
    assert_eq!(mounts.groups.len(), 1);
    assert!(entries(&mounts, "ta") >= 2);
}

#[test]
fn root_contents_that_other_mounts_hide_are_recorded() {
    let (mounts, _) = dumped(
        "mount --make-shared $R; mkdir $R/d; mount -t tmpfs low $R/d; touch $R/d/1 $R/d/2 $R/d/3; mkdir $R/d/s;\
         mount -t tmpfs deep $R/d/s; touch $R/d/s/4; mount -t tmpfs mid $R/d; mount -t tmpfs top $R/d",
    );
    let [low, deep, mid, top] = ["low", "deep", "mid", "top"].map(|name| entries(&mounts, name));
    assert!(low > deep && deep > mid && mid == top);
}

#[test]
fn root_unbindable_and_partly_shown_file_systems_are_recorded() {
    let (mounts, _) = dumped(
        "mkdir $R/u $R/t $R/p $R/q; mount -t tmpfs un $R/u; touch $R/u/1; mount --make-unbindable $R/u;\
         mount -t tmpfs part $R/t; mkdir -p $R/t/x/y $R/t/x/z $R/t/w; touch $R/t/x/y/1 $R/t/x/z/2 $R/t/w/3;\
         mount --bind $R/t/x/y $R/p; mount --bind $R/t/x/z $R/q; umount $R/t",
    );
    assert!(entries(&mounts, "un") >= 2);
    assert!(entries(&mounts, "part") >= 5);
}

#[test]
fn root_deleted_roots_get_a_name() {
    let (mounts, _) = dumped(
        "mkdir $R/t; mount -t tmpfs tt $R/t; echo x > $R/t/f; mkdir $R/t/d; touch $R/f; mkdir $R/d;\
         mount --bind $R/t/f $R/f; mount --bind $R/t/d $R/d; rm $R/t/f; rmdir $R/t/d",
    );
    let deleted = mounts.namespaces[0].mounts.iter().filter(|m| m.deleted);
    let names: Vec<String> = deleted.map(|mount| mount.root.to_string()).collect();
    assert_eq!(names, ["/.crux-deleted-0", "/.crux-deleted-1"]);
}

#[test]
fn root_namespaces_of_descendants_are_recorded_too() {
    let (mounts, _) = dumped(
        "mount --make-shared $R; mkdir $R/s; mount -t tmpfs sh $R/s;\
         unshare -m --propagation slave cat <&3 >/dev/null & c=$!;\
         while [ \"$(readlink /proc/$c/ns/mnt)\" = \"$(readlink /proc/self/ns/mnt)\" ]; do :; done",
    );
    assert_eq!(mounts.namespaces.len(), 2);
    let [first, second] = &mounts.namespaces[..] else {
        unreachable!()
    };
    assert_eq!(first.mounts.len(), second.mounts.len());
    let is_it = |origin: &&Origin| matches!(origin, Origin::Own(own) if own.fs_type == OwnFsType::Tmpfs && own.source == b"sh");
    let count = mounts.origins.iter().filter(is_it).count();
    assert_eq!(count, 1, "one superblock in two namespaces is one origin");
}

#[test]
fn root_undeclared_mounts_are_listed_with_the_options_that_help_and_nothing_is_written() {
    let place = tempfile::tempdir().unwrap();
    let image = place.path().join("image");
    let container = Container::new(place.path(), "mkdir $R/m; mount --bind /proc $R/m");
    let output = container.dump(&["--images", image.to_str().unwrap()]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.starts_with("Error: "), "{message}");
    assert!(message.contains("--external auto"), "{message}");
    assert!(!image.exists() && !place.path().join("image.partial").exists());
}

#[test]
fn root_bad_targets_are_refused_in_clear_words() {
    let dump = |pid: &str| {
        Command::new(env!("CARGO_BIN_EXE_crux-dump"))
            .args(["--mounts-only", "--dry-run", "--pid", pid])
            .output()
            .unwrap()
    };
    let mut zombie = Command::new("true").spawn().unwrap();
    let pid = zombie.id().to_string();
    let stat = format!("/proc/{pid}/stat");
    while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    let own = std::process::id().to_string();
    for (pid, code, words) in [
        (pid.as_str(), 3, "zombie"),
        (own.as_str(), 3, "mount namespace of crux-dump itself"),
        ("4194304", 2, "does not exist"),
        ("0", 2, "Error: "),
    ] {
        let output = dump(pid);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(
            message.starts_with("Error: ") && message.contains(words),
            "{message}"
        );
    }
    zombie.wait().unwrap();
}

/// Before Linux 6.11 the kernel cannot be asked what is above a chroot.
#[test]
fn root_mounts_above_a_chroot_are_noticed_whatever_the_kernel_can_tell() {
    let unreached = |script: &str| {
        let place = tempfile::tempdir().unwrap();
        let container = Container::new(place.path(), script);
        // What enters a namespace shares neither root nor working directory with another thread.
        crux_mount::sys::unshare_mount_namespace().unwrap();
        let count = |features| {
            let (collected, _) = read(container.0.id(), WithTasks::Yes, features).unwrap();
            collected.spaces[0].unreached
        };
        [count(&Features::probe()), count(&Features::default())]
    };
    let chroot = "mkdir $R/in; mount --bind / $R/in; \
                  exec chroot $R/in sh -c 'echo ready; exec cat >/dev/null'";
    let [asked, entered] = unreached(chroot);
    assert!(asked > 0 && entered > 0, "{asked}, {entered}");
    assert_eq!(unreached("true"), [0, 0]);
}
