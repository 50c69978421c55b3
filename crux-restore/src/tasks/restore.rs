//! The supervisor's part of a restore with tasks: carries what the roles say and hold.
//!
//! Kind: shell. It decodes numbers and short words, no record of an image.

use super::birth::{First, Newborn};
use super::plan::{Inherited, NewNamespaces, Source};
use crate::cli::{External, Options, bytes};
use crate::console::Consoles;
use crate::failure::{Exit, Failure, OrExit};
use crate::files::Held;
use crate::grants;
use crate::report;
use crate::roles::builder::{Handed, PROCS};
use crate::roles::message::{
    Answer, Begun, Delivery, FACTS, Followed, Linked, Placing, RECORD, Released, SMALL, Traced,
    Tracing, Verified, bound,
};
use crate::tasks::wanted::{Kept, Made};
use crux_image::mounts::{NamespaceIndex, UserNsIndex};
use crux_role::Role;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::WaitOptions;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::ExitCode;

/// What there is besides roles.
pub(crate) struct Holdings {
    /// `pages.raw`, if the image has it.
    pub(crate) pages: Option<OwnedFd>,
    /// /proc, as the caller sees it.
    pub(crate) proc: OwnedFd,
    /// A socket of rtnetlink(7) of the caller's, if this machine has any.
    pub(crate) route: Option<OwnedFd>,
}

/// Makes it.
pub(crate) fn open_route() -> Option<OwnedFd> {
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    socket_with(family, kind, SocketFlags::CLOEXEC, None).ok()
}

/// A plan of tasks on its way, and what was begun for it.
pub(crate) struct Order {
    delivery: Delivery,
    plan: Vec<u8>,
    /// What came with the first task, for the builder.
    pub(crate) begun: Begun,
    /// Its descriptors.
    pub(crate) along: Vec<OwnedFd>,
    /// eBPF programs, loaded.
    programs: Vec<OwnedFd>,
}

impl Order {
    /// Terminals whose masters are for somebody outside.
    pub(crate) fn kept(&self) -> &[Kept] {
        &self.delivery.kept
    }
}

/// Takes the plan from the planner.
pub(crate) fn order(planner: &mut Role) -> Result<Order, Failure> {
    let delivery = planner.receive::<Delivery>(bound(SMALL, 0));
    let (delivery, _) = delivery.or_exit(Exit::Undone)?;
    let plan = planner
        .receive_bytes(bound(RECORD, 0))
        .or_exit(Exit::Undone)?;
    Ok(Order {
        delivery,
        plan,
        begun: Begun::default(),
        along: Vec::new(),
        programs: Vec::new(),
    })
}

/// Has the forker make what the builder needs.
pub(crate) fn begin(forker: &mut Role, order: &mut Order) -> Result<(), Failure> {
    let delivery = &order.delivery;
    let newborn = Newborn {
        namespaces: namespaces(delivery.birth.new),
        before: namespaces(delivery.birth.before),
        user: delivery.birth.user.clone(),
        pids: vec![number(delivery.birth.pid)?],
        exit_signal: libc::SIGCHLD as u64,
        procs: delivery.procs,
    };
    forker.send(&newborn, &[]).or_exit(Exit::Undone)?;
    let (begun, along) = forker
        .receive::<Answer<Begun>>(bound(SMALL, PROCS))
        .or_exit(Exit::Undone)?;
    order.begun = begun.map_err(Failure::from)?;
    order.along = along;
    Ok(())
}

impl Order {
    /// Before anything is mounted: cgroup file systems of the container may show them.
    pub(crate) fn make_cgroups(&mut self, cgroups: &mut Role) -> Result<(), Failure> {
        let plan = &self.delivery.cgroups;
        if self.moves() || !plan.programs.is_empty() {
            place(cgroups, &Placing::Make(plan.clone()))?;
            for at in 0..plan.programs.len() {
                let load = Placing::Load(at as u32);
                cgroups.send(&load, &[]).or_exit(Exit::Undone)?;
                let answer = cgroups.receive::<Answer<()>>(bound(SMALL, 1));
                let (done, program) = answer.or_exit(Exit::Undone)?;
                done.map_err(Failure::from)?;
                self.programs.extend(program);
            }
        }
        Ok(())
    }

    /// Whether any task is to be elsewhere than its restorer.
    fn moves(&self) -> bool {
        !self.delivery.cgroups.cgroups.is_empty()
    }
}

/// Has the role for cgroups do something.
pub(crate) fn place(cgroups: &mut Role, placing: &Placing) -> Result<(), Failure> {
    cgroups.send(placing, &[]).or_exit(Exit::Undone)?;
    let answer = cgroups.receive::<Answer<()>>(bound(SMALL, 0));
    answer.or_exit(Exit::Undone)?.0.map_err(Failure::from)
}

/// The roles that restore tasks.
pub(crate) struct Crew<'a> {
    pub(crate) cgroups: &'a mut Role,
    pub(crate) planner: Role,
    pub(crate) forker: Role,
    pub(crate) tracer: Role,
}

/// From the mounts, which are there, to tasks that run.
pub(crate) fn run(
    options: &Options,
    crew: Crew<'_>,
    order: Order,
    built: Handed,
    mut consoles: Consoles,
    mounts: Verified,
    holdings: Holdings,
) -> Result<ExitCode, Failure> {
    let Crew {
        cgroups,
        mut planner,
        mut forker,
        mut tracer,
    } = crew;
    let surroundings = Surroundings {
        options,
        built: &built,
        held: consoles.held(),
        programs: &order.programs,
    };
    let pid = bring_up(
        &mut forker,
        &mut tracer,
        cgroups,
        &order,
        &surroundings,
        holdings,
    )?;
    let (followed, files) = tracer
        .receive::<Answer<Followed>>(bound(FACTS, FILES))
        .or_exit(Exit::Undone)?;
    let followed = followed.map_err(Failure::from)?;
    if order.moves() {
        place(cgroups, &Placing::All(followed.processes.clone()))?;
    }
    let files: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
    planner.send(&followed, &files).or_exit(Exit::Undone)?;
    let (verified, _) = planner
        .receive::<Answer<()>>(bound(SMALL, 0))
        .or_exit(Exit::Undone)?;
    verified.map_err(Failure::from)?;
    planner.end();
    consoles.give_away(options, order.kept(), built.terminals, pid)?;
    report::released(options, mounts, &order.delivery, pid)?;
    release(options, consoles, forker, tracer)
}

/// Files of as many processes as one machine has.
const FILES: usize = 1 << 20;

/// From the plan to a first task that the tracer follows.
fn bring_up(
    forker: &mut Role,
    tracer: &mut Role,
    cgroups: &mut Role,
    order: &Order,
    surroundings: &Surroundings<'_>,
    holdings: Holdings,
) -> Result<u32, Failure> {
    let proc = [holdings.proc.as_fd()];
    tracer.send(&Tracing {}, &proc).or_exit(Exit::Undone)?;
    tracer.send_bytes(&order.plan).or_exit(Exit::Undone)?;
    let (linked, along) = tracer
        .receive::<Answer<Linked>>(bound(SMALL, 2))
        .or_exit(Exit::Undone)?;
    let linked = linked.map_err(Failure::from)?;
    let [memory, gate] = along.as_slice() else {
        return Err(amiss("the tracer sent other descriptors than its turn has"));
    };
    let delivery = &order.delivery;
    let mut descriptors = vec![memory.as_fd()];
    for inherited in &delivery.inherited {
        let made = &delivery.made;
        descriptors.push(descriptor(inherited, surroundings, made, gate, &holdings)?);
    }
    let first = First {
        base: delivery.base,
        length: linked.length,
        line: linked.line,
        numbers: delivery
            .inherited
            .iter()
            .map(|it| number(it.number))
            .collect::<Result<_, _>>()?,
    };
    forker.send(&first, &descriptors).or_exit(Exit::Undone)?;
    let (pid, _) = forker
        .receive::<Answer<u32>>(bound(SMALL, 0))
        .or_exit(Exit::Undone)?;
    let pid = pid.map_err(Failure::from)?;
    // What it does from here on counts where it is to count.
    if order.moves() {
        place(cgroups, &Placing::First(pid))?;
    }
    tracer.send(&Traced { pid }, &[]).or_exit(Exit::Undone)?;
    Ok(pid)
}

fn number(number: u32) -> Result<i32, Failure> {
    i32::try_from(number).map_err(|_| amiss("the plan has a number that is none"))
}

/// Those that clone3(2) makes.
fn namespaces(new: NewNamespaces) -> u64 {
    let flags = [
        (new.pid, libc::CLONE_NEWPID),
        (new.uts, libc::CLONE_NEWUTS),
        (new.ipc, libc::CLONE_NEWIPC),
        (new.net, libc::CLONE_NEWNET),
        (new.cgroup, libc::CLONE_NEWCGROUP),
    ];
    let wanted = flags.iter().filter(|(wanted, _)| *wanted);
    wanted.fold(0, |all, (_, flag)| all | *flag as u64)
}

/// What there is to have.
struct Surroundings<'a> {
    options: &'a Options,
    built: &'a Handed,
    held: &'a Held,
    programs: &'a [OwnedFd],
}

impl<'a> Surroundings<'a> {
    /// What was granted under a name: a descriptor of this program's, or what the builder opened.
    fn external(&self, name: &str) -> Option<BorrowedFd<'a>> {
        let mut sources = self.options.external.iter();
        let named = sources.find_map(|external| match external {
            External::Source {
                name: known,
                source,
            } if known == name => grants::descriptor(&bytes(source)),
            _ => None,
        });
        if let Some(number) = named {
            return self.held.get(number);
        }
        let mut files = self.built.files.iter();
        if let Some((_, file)) = files.find(|(known, _)| known == name) {
            return Some(file.as_fd());
        }
        let stream = grants::STREAMS.iter().position(|stream| *stream == name);
        match stream {
            Some(number) if self.options.gives_streams() => self.held.get(number as u32),
            // The terminal of the first process.
            None if self.options.inherit_stdio => self.held.get(0),
            _ => None,
        }
    }

    fn master(&self, made: Option<Made>) -> Option<BorrowedFd<'a>> {
        let mut all = self.built.terminals.iter();
        let found = all.find(|(known, _)| Some(*known) == made);
        found.map(|(_, master)| master.as_fd())
    }
}

/// TRUST: the planner asks; what there is to have was made for this container, or granted on the command line.
fn descriptor<'a>(
    inherited: &Inherited,
    surroundings: &Surroundings<'a>,
    made: &[Option<Made>],
    gate: &'a OwnedFd,
    holdings: &'a Holdings,
) -> Result<BorrowedFd<'a>, Failure> {
    let built = surroundings.built;
    let namespace = |at: NamespaceIndex| built.namespaces.get(at.at());
    let user = |at: UserNsIndex| built.users.get(at.at());
    let found = match &inherited.source {
        Source::Gate => Some(gate.as_fd()),
        Source::Pages => holdings.pages.as_ref().map(|file| file.as_fd()),
        Source::Proc => Some(holdings.proc.as_fd()),
        Source::MountNamespace(at) => namespace(*at).map(|it| it.namespace.as_fd()),
        Source::Root(at) => namespace(*at).map(|it| it.root.as_fd()),
        Source::UserNamespace(at) => user(*at).map(|it| it.as_fd()),
        Source::BuiltNet => built.net.as_ref().map(|it| it.as_fd()),
        Source::BuiltIpc => built.ipc.as_ref().map(|it| it.as_fd()),
        Source::External(name) => surroundings.external(name),
        Source::Program(at) => surroundings.programs.get(at.at()).map(|it| it.as_fd()),
        Source::Terminal(at) => surroundings.master(made.get(at.at()).copied().flatten()),
        Source::CallerRoute => holdings.route.as_ref().map(|fd| fd.as_fd()),
    };
    found.ok_or_else(|| {
        let source = &inherited.source;
        amiss(format_args!(
            "the plan asks for {source:?}, which is not there"
        ))
    })
}

/// Lets all tasks go. From then on they live, whatever becomes of this program.
fn release(
    options: &Options,
    // The last that goes: what keeps terminals waits for the tasks to end.
    consoles: Consoles,
    mut forker: Role,
    mut tracer: Role,
) -> Result<ExitCode, Failure> {
    tracer.send(&(), &[]).or_exit(Exit::Undone)?;
    let (released, _) = tracer
        .receive::<Answer<()>>(bound(SMALL, 0))
        .or_exit(Exit::Uncertain)?;
    released.map_err(Failure::from)?;
    consoles.leave();
    tracer.end();
    let then = match options.detach {
        true => Released::Leave,
        false => Released::Wait,
    };
    forker.send(&then, &[]).or_exit(Exit::Uncertain)?;
    let (written, _) = forker
        .receive::<Answer<()>>(bound(SMALL, 0))
        .or_exit(Exit::Uncertain)?;
    written.map_err(Failure::from)?;
    if options.detach {
        return Ok(ExitCode::SUCCESS);
    }
    forker.wait_for(None).or_exit(Exit::Uncertain)?;
    let (code, _) = forker
        .receive::<Answer<u8>>(bound(SMALL, 0))
        .or_exit(Exit::Uncertain)?;
    Ok(ExitCode::from(code.map_err(Failure::from)?))
}

/// Waits for tasks of a restore that has failed, which have become children of this process: they
/// end with their tracer.
pub(crate) fn reap() {
    while let Ok(Some(_)) | Err(Errno::INTR) = rustix::process::wait(WaitOptions::empty()) {}
}

fn amiss(what: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Undone, format_args!("restore tasks: {what}"))
}
