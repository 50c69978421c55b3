//! Containers made by runc, with the configuration that `runc spec` writes.
//!
//! Kind: effect. The workload is `cat`, which ends when the lab does.

use crate::lab::Lab;
use crate::programs::{Output, Running};
use crate::sys::keep_to_streams;
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// Where Debian has it.
const RUNC: &str = "/usr/sbin/runc";

/// A running container of runc's.
#[derive(Debug)]
pub struct Runc {
    name: String,
    state: PathBuf,
    running: Option<Running>,
    /// Its process, as the host side numbers it.
    pub pid: u32,
}

impl Runc {
    /// Starts a container with the configuration that `runc spec OPTIONS` writes, but for its command.
    pub fn start(lab: &Lab, options: &[&str]) -> Result<Self> {
        keep_to_streams()?;
        let bundle = lab.path("bundle");
        fs::create_dir(&bundle)?;
        lab.root("bundle/rootfs")?;
        let place = bundle.to_string_lossy().into_owned();
        let spec = [&["spec", "--bundle", &place], options].concat();
        finish(&spec)?.success("runc spec")?;
        edit(&bundle.join("config.json"))?;
        let (name, state) = (lab.name(), lab.path("runc"));
        let global = ["--root".to_owned(), state.to_string_lossy().into_owned()];
        let run = ["run", "--bundle", &place, &name].map(str::to_owned);
        let running = start(global.into_iter().chain(run))?;
        let (running, pid) = running.wait_for_cat().context("runc run")?;
        Ok(Self {
            name,
            state,
            running: Some(running),
            pid,
        })
    }

    /// Starts a shell on a terminal whose master goes to who listens at `socket`.
    pub fn on_a_terminal(lab: &Lab, socket: &Path) -> Result<Self> {
        keep_to_streams()?;
        let bundle = lab.path("bundle");
        fs::create_dir(&bundle)?;
        lab.root("bundle/rootfs")?;
        let place = bundle.to_string_lossy().into_owned();
        finish(&["spec", "--bundle", &place])?.success("runc spec")?;
        let (name, state) = (lab.name(), lab.path("runc"));
        let global = ["--root".to_owned(), state.to_string_lossy().into_owned()];
        let pidfile = lab.path("runc-pid");
        let (socket, file) = (socket.to_string_lossy(), pidfile.to_string_lossy());
        let run = [
            "run",
            "-d",
            "--console-socket",
            &socket,
            "--pid-file",
            &file,
        ];
        let rest = ["--bundle", &place, &name];
        let words = run.into_iter().chain(rest).map(str::to_owned);
        start(global.into_iter().chain(words))?
            .finish()?
            .success("runc run")?;
        let pid = fs::read_to_string(&pidfile)?.trim().parse()?;
        Ok(Self {
            name,
            state,
            running: None,
            pid,
        })
    }

    /// Ends it.
    pub fn stop(mut self) -> Result<()> {
        let running = self.running.take().context("the container runs")?;
        running.finish()?.success("runc run").map(drop)
    }
}

impl Drop for Runc {
    fn drop(&mut self) {
        // Its input ends with this, so it ends; what it leaves goes with `delete`.
        self.running = None;
        let state = self.state.to_string_lossy();
        let _ = finish(&["--root", &state, "delete", "--force", &self.name]);
    }
}

/// `cat` instead of a shell on a terminal, in a net namespace of its own.
fn edit(config: &Path) -> Result<()> {
    let text = fs::read_to_string(config)?;
    let mut edited = text.clone();
    if !text.contains("\"type\": \"network\"") {
        // That of --rootless: the container would share the machine's net namespace.
        let namespaces = "\"namespaces\": [";
        ensure!(text.contains(namespaces), "runc spec has no namespaces");
        let more = format!("{namespaces} {{ \"type\": \"network\" }},");
        edited = edited.replace(namespaces, &more);
    }
    for (from, to) in [
        ("\"terminal\": true", "\"terminal\": false"),
        ("\"sh\"", "\"/bin/cat\""),
    ] {
        if !edited.contains(from) {
            bail!("runc spec has no {from}:\n{text}");
        }
        edited = edited.replace(from, to);
    }
    Ok(fs::write(config, edited)?)
}

fn start(arguments: impl IntoIterator<Item = String>) -> Result<Running> {
    Running::start(Path::new(RUNC), arguments).context("runc is needed: `apt-get install runc`")
}

fn finish(arguments: &[&str]) -> Result<Output> {
    start(arguments.iter().map(|&word| word.to_owned()))?.finish()
}
