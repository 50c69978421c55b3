//! The containers of the other tests are what they claim to be.

use crux_tests::blueprint::{lxc5, recorded, shape, systemd, vivid};
use crux_tests::{Lab, Setup, Table, differences, reach};

fn same_shape(text: &str, pid: nix::unistd::Pid) {
    let built = Table::of(pid).unwrap();
    let (wanted, found) = (shape(&recorded(text).unwrap()), shape(&built));
    let lost: Vec<_> = wanted.iter().filter(|line| !found.contains(line)).collect();
    let extra: Vec<_> = found.iter().filter(|line| !wanted.contains(line)).collect();
    assert!(
        lost.is_empty() && extra.is_empty(),
        "lost {lost:#?}\nextra {extra:#?}\n{built}"
    );
    assert_eq!(wanted.len(), found.len());
}

#[test]
fn root_vivid_container_has_the_table_of_the_request() {
    Lab::test(Setup::ROOT, |lab| {
        let container = vivid::start(lab)?;
        let table = vivid::TABLE.replace("/proc/sysrq-trigger", vivid::trigger());
        let table = table.replace(
            "/sysrq-trigger",
            vivid::trigger().trim_start_matches("/proc"),
        );
        same_shape(&table, container.pid);
        Ok(())
    });
}

#[test]
fn root_lxc5_container_has_the_table_that_was_seen() {
    Lab::test(Setup::ROOT, |lab| {
        let (container, _terminals) = lxc5::start(lab)?;
        same_shape(lxc5::TABLE, container.pid);
        Ok(())
    });
}

#[test]
fn root_systemd_container_has_the_table_that_was_seen() {
    Lab::test(Setup::ROOT, |lab| {
        let (container, _host) = systemd::start(lab)?;
        same_shape(&systemd::table(), container.pid);
        Ok(())
    });
}

#[test]
fn root_probe_of_vivid_sees_the_host_in_the_slaves_and_leaves_nothing() {
    Lab::test(Setup::ROOT, |lab| {
        let container = vivid::start(lab)?;
        let pid = container.pid.as_raw().unsigned_abs();
        let before = Table::of(pid)?;
        let reach = reach(pid)?;
        let pstore = &reach["host:/sys/fs/pstore"];
        assert!(pstore.contains("container:/sys/fs/pstore"), "{reach:#?}");
        assert_eq!(reach["container:/sys/fs/pstore"].len(), 1, "{reach:#?}");
        assert!(
            reach
                .values()
                .flatten()
                .all(|place| !place.starts_with("left")),
            "{reach:#?}"
        );
        assert_eq!(
            differences(&before, &Table::of(pid)?, &Table::own()?),
            [""; 0]
        );
        Ok(())
    });
}
