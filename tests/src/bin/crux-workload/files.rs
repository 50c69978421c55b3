//! Open files and pipes.
//!
//! Kind: effect.

use super::{Verify, same, sys};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _};

/// Offsets, flags, and a description with two descriptors.
pub(crate) fn regular() -> Verify {
    std::fs::write("/tmp/a", "0123456789").expect("write");
    std::fs::create_dir_all("/tmp/d").expect("mkdir");
    std::env::set_current_dir("/tmp/d").expect("chdir");
    let mut one = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/tmp/a")
        .expect("open");
    let mut two = one.try_clone().expect("dup");
    let mut appended = OpenOptions::new()
        .append(true)
        .open("/tmp/a")
        .expect("open");
    let directory = File::open("/tmp").expect("open");
    let mut first = [0; 3];
    one.read_exact(&mut first).expect("read");
    let inherited = File::open("/tmp/a").expect("open");
    fcntl(&inherited, FcntlArg::F_SETFD(FdFlag::empty())).expect("fcntl");
    let mut length = 10_u64;
    Box::new(move || {
        let mut wrong = Vec::new();
        let before = one.stream_position().unwrap_or(u64::MAX);
        wrong.extend(same("offset", before, 3));
        // What one does, the other sees.
        let mut byte = [0];
        let read = two.read_exact(&mut byte);
        wrong.extend(read.err().map(|error| format!("read: {error}")));
        wrong.extend(same("the byte", byte, *b"3"));
        wrong.extend(same("shared offset", one.stream_position().unwrap_or(0), 4));
        let back = one.seek(std::io::SeekFrom::Start(3));
        wrong.extend(back.err().map(|error| format!("lseek: {error}")));
        let written = appended.write_all(b"+");
        wrong.extend(written.err().map(|error| format!("write: {error}")));
        length += 1;
        let found = std::fs::metadata("/tmp/a").map(|it| it.len()).unwrap_or(0);
        wrong.extend(same("length", found, length));
        wrong.extend(same("close-on-exec", on_exec(&one), true));
        wrong.extend(same("inherited", on_exec(&inherited), false));
        let here = std::env::current_dir().unwrap_or_default();
        wrong.extend(same("directory", here, "/tmp/d".into()));
        let of_directory = directory.metadata().map(|it| it.is_dir()).unwrap_or(false);
        wrong.extend(same("a directory", of_directory, true));
        wrong
    })
}

/// A fifo with a name: both ends at once, one that reads and one that writes.
pub(crate) fn fifos() -> Verify {
    let (path, mode) = ("/tmp/fifo", nix::sys::stat::Mode::from_bits_truncate(0o600));
    nix::unistd::mkfifo(path, mode).expect("mkfifo");
    let open = |flags: OFlag| {
        let opened = nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty());
        File::from(opened.expect("open"))
    };
    let both = open(OFlag::O_RDWR | OFlag::O_NONBLOCK);
    let (mut reads, mut writes) = (open(OFlag::O_RDONLY), open(OFlag::O_WRONLY));
    let flags = |file: &File| fcntl(file, FcntlArg::F_GETFL).unwrap_or(0);
    let before = [flags(&both), flags(&reads), flags(&writes)];
    Box::new(move || {
        let mut wrong = Vec::new();
        let after = [flags(&both), flags(&reads), flags(&writes)];
        wrong.extend(same("flags", after, before));
        let mut byte = [0];
        let sent = writes
            .write_all(b"x")
            .and_then(|()| reads.read_exact(&mut byte));
        wrong.extend(sent.err().map(|error| format!("through the fifo: {error}")));
        wrong.extend(same("the byte", byte, *b"x"));
        wrong
    })
}

fn on_exec(file: &impl AsFd) -> bool {
    let flags = fcntl(file, FcntlArg::F_GETFD).unwrap_or(0);
    flags & FdFlag::FD_CLOEXEC.bits() != 0
}

/// Pipes with data, of a size and with flags of their own.
pub(crate) fn pipes() -> Verify {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("pipe2");
    let (mut read, mut write) = (File::from(read), File::from(write));
    fcntl(&write, FcntlArg::F_SETPIPE_SZ(65536 * 2)).expect("F_SETPIPE_SZ");
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("F_SETFL");
    write.write_all(&[b'x'; 5000]).expect("write");
    // An end without the other.
    let (lone, gone) = nix::unistd::pipe2(OFlag::empty()).expect("pipe2");
    File::from(gone).write_all(b"left").expect("write");
    let lone = File::from(lone);
    Box::new(move || {
        let mut wrong = Vec::new();
        let size = fcntl(&write, FcntlArg::F_GETPIPE_SZ).unwrap_or(0);
        wrong.extend(same("size", size, 65536 * 2));
        let flags = fcntl(&read, FcntlArg::F_GETFL).unwrap_or(0);
        let nonblock = flags & OFlag::O_NONBLOCK.bits() != 0;
        wrong.extend(same("nonblock", nonblock, true));
        let flags = fcntl(&write, FcntlArg::F_GETFL).unwrap_or(0);
        wrong.extend(same("the other end", flags & OFlag::O_NONBLOCK.bits(), 0));
        let mut bytes = vec![0; 8000];
        let count = read.read(&mut bytes).unwrap_or(0);
        wrong.extend(same("data", count, 5000));
        wrong.extend(same("more data", read.read(&mut bytes).is_err(), true));
        let again = write.write_all(&[b'x'; 5000]);
        wrong.extend(again.err().map(|error| format!("write: {error}")));
        wrong.extend(same("what is left", sys::waiting(lone.as_raw_fd()), 4));
        wrong
    })
}

fn again(file: &impl AsFd, read: bool, write: bool) -> File {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let mut options = OpenOptions::new();
    options.read(read).write(write).open(path).expect("open")
}

/// Several descriptions of each end, one of both, and one that is only a place.
pub(crate) fn reopened_pipes() -> Verify {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("pipe2");
    let (mut read, mut write) = (File::from(read), File::from(write));
    let mut other = again(&read, true, false);
    fcntl(&other, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("F_SETFL");
    let mut both = again(&write, true, true);
    let path = format!("/proc/self/fd/{}", read.as_raw_fd());
    let place = nix::fcntl::open(&path[..], OFlag::O_PATH, nix::sys::stat::Mode::empty());
    let place = File::from(place.expect("open"));
    // Packets, in a pipe of their own.
    let (packets, sender) = nix::unistd::pipe2(OFlag::O_DIRECT).expect("pipe2");
    let (mut packets, mut sender) = (File::from(packets), File::from(sender));
    sender.write_all(b"one").expect("write");
    sender.write_all(b"three").expect("write");
    write.write_all(b"0123456789").expect("write");
    Box::new(move || {
        let mut wrong = Vec::new();
        let mut bytes = [0; 4];
        let counts = [
            read.read(&mut bytes).ok(),
            both.read(&mut bytes).ok(),
            other.read(&mut bytes).ok(),
        ];
        wrong.extend(same("data", counts, [Some(4), Some(4), Some(2)]));
        wrong.extend(same("the end of it", &bytes[..2], b"89"));
        wrong.extend(same("no more", other.read(&mut bytes).is_err(), true));
        let written = both.write_all(b"0123456789");
        wrong.extend(written.err().map(|error| format!("write: {error}")));
        let path = fcntl(&place, FcntlArg::F_GETFL).unwrap_or(0) & OFlag::O_PATH.bits();
        wrong.extend(same("a place", path, OFlag::O_PATH.bits()));
        let mut large = [0; 100];
        let counts = [packets.read(&mut large).ok(), packets.read(&mut large).ok()];
        wrong.extend(same("packets", counts, [Some(3), Some(5)]));
        for packet in [&b"one"[..], b"three"] {
            let written = sender.write_all(packet);
            wrong.extend(written.err().map(|error| format!("write: {error}")));
        }
        wrong
    })
}

/// One that is sealed, mapped for reading, and open twice; one that is written to.
pub(crate) fn memfds() -> Verify {
    use nix::fcntl::SealFlag;
    let flags = nix::sys::memfd::MFdFlags::MFD_ALLOW_SEALING;
    let mut sealed = File::from(nix::sys::memfd::memfd_create(c"sealed", flags).expect("memfd"));
    sealed.write_all(&[b'x'; 5000]).expect("write");
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&sealed, FcntlArg::F_ADD_SEALS(seals)).expect("F_ADD_SEALS");
    let reading = again(&sealed, true, false);
    let (protection, shared) = (nix::libc::PROT_READ, nix::libc::MAP_SHARED);
    let mapped = sys::map(5000, protection, shared, reading.as_raw_fd());
    let flags = nix::sys::memfd::MFdFlags::empty();
    let mut plain = File::from(nix::sys::memfd::memfd_create(c"plain", flags).expect("memfd"));
    plain.write_all(b"0123456789").expect("write");
    let mut other = again(&plain, true, false);
    other.seek(std::io::SeekFrom::Start(3)).expect("lseek");
    Box::new(move || {
        let mut wrong = Vec::new();
        let found = fcntl(&sealed, FcntlArg::F_GET_SEALS).unwrap_or(0);
        wrong.extend(same("seals", found, seals.bits()));
        wrong.extend(same("written", sealed.write(b"y").is_err(), true));
        wrong.extend(same(
            "mapped",
            sys::read(mapped),
            u64::from_ne_bytes(*b"xxxxxxxx"),
        ));
        let length = reading.metadata().map(|it| it.len()).unwrap_or(0);
        wrong.extend(same("its length", length, 5000));
        let positions = [plain.stream_position().ok(), other.stream_position().ok()];
        wrong.extend(same("positions", positions, [Some(10), Some(3)]));
        let mut byte = [0];
        let written = std::os::unix::fs::FileExt::write_all_at(&plain, b"z", 3);
        wrong.extend(written.err().map(|error| format!("write: {error}")));
        let read = std::os::unix::fs::FileExt::read_exact_at(&other, &mut byte, 3);
        wrong.extend(read.err().map(|error| format!("read: {error}")));
        wrong.extend(same("what the other sees", byte, *b"z"));
        wrong.extend(same("it only reads", other.write(b"y").is_err(), true));
        wrong
    })
}

const MANY: usize = 1500;

/// More than any process may have by default.
pub(crate) fn many() -> Verify {
    let wanted = MANY as u64 + 100;
    let raised =
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, wanted, wanted);
    raised.expect("setrlimit");
    // It is restored by a process that has them.
    let child = sys::child(|| {
        loop {
            nix::unistd::pause();
        }
    });
    let its = move || std::fs::read_dir(format!("/proc/{child}/fd")).map_or(0, Iterator::count);
    let before = its();
    std::fs::write("/tmp/many", [b'x'; MANY]).expect("write");
    let mut files: Vec<File> = (0..MANY)
        .map(|_| File::open("/tmp/many").expect("open"))
        .collect();
    for (at, file) in files.iter_mut().enumerate() {
        file.seek(std::io::SeekFrom::Start(at as u64))
            .expect("lseek");
    }
    Box::new(move || {
        let positions = files.iter_mut().enumerate();
        let bad = positions.filter_map(|(at, file)| {
            let found = file.stream_position().unwrap_or(u64::MAX);
            same("position", found, at as u64)
        });
        let copies = same("descriptors of a child", its(), before);
        bad.take(3).chain(copies).collect()
    })
}

/// A pipe that tells of what comes by a signal of its own.
pub(crate) fn telling() -> Verify {
    let signal = nix::libc::SIGRTMIN() + 3;
    sys::catch(signal, 0, &[]);
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).expect("pipe2");
    let (mut read, mut write) = (File::from(read), File::from(write));
    sys::tell(read.as_raw_fd(), signal);
    fcntl(&read, FcntlArg::F_SETFL(OFlag::O_ASYNC | OFlag::O_NONBLOCK)).expect("F_SETFL");
    Box::new(move || {
        let count = &sys::CAUGHT[signal as usize];
        let before = count.load(std::sync::atomic::Ordering::SeqCst);
        let written = write.write_all(b"x");
        let mut wrong: Vec<String> = Vec::new();
        wrong.extend(written.err().map(|error| format!("write: {error}")));
        let after = count.load(std::sync::atomic::Ordering::SeqCst);
        wrong.extend(same("signals", after, before + 1));
        let read = read.read_exact(&mut [0]);
        wrong.extend(read.err().map(|error| format!("read: {error}")));
        wrong
    })
}
