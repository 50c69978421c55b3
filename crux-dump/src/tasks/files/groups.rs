//! Multicast groups: which sockets are in which.
//!
//! Kind: effect. The kernel lists the groups that devices listen to (`/proc/net/igmp`, `igmp6`), not who has joined them;
//! but a socket tells the sources that it wants to hear in a group (`MCAST_MSFILTER`) only if it is in it.

use super::diag;
use super::sys::{self, GroupFilter};
use crux_mount::sys::SysError;
use rustix::io::Errno;
use std::fs::read_to_string;
use std::os::fd::BorrowedFd;

/// A group that devices of a network namespace listen to, for somebody or for the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// The index of the device.
    pub(super) device: u32,
    /// 4 or 16 bytes.
    pub(super) address: Vec<u8>,
}

/// One that a socket is in, and what it hears there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) group: Group,
    pub(super) filter: GroupFilter,
}

/// Those of a network namespace. `home` is the caller's.
pub(super) fn listened_to(
    namespace: BorrowedFd<'_>,
    home: BorrowedFd<'_>,
) -> Result<Vec<Group>, SysError> {
    let read =
        || ["igmp", "igmp6"].map(|name| read_to_string(format!("/proc/thread-self/net/{name}")));
    let [four, six] = diag::there(namespace, home, read)?;
    // A machine may have no IPv6.
    let six = six.unwrap_or_default();
    let four = four.map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        SysError::new("read(/proc/net/igmp)", errno)
    })?;
    let mut groups = of_four(&four);
    groups.extend(six.lines().filter_map(of_six));
    Ok(groups)
}

/// Those of them that a socket is in.
pub(super) fn joined(
    socket: BorrowedFd<'_>,
    six: bool,
    groups: &[Group],
) -> Result<Vec<Joined>, SysError> {
    let mut joined = Vec::new();
    for group in groups {
        if group.address.len() == 16 && !six {
            continue;
        }
        if let Some(filter) = sys::group_filter(socket, group.device, &group.address)? {
            let group = group.clone();
            joined.push(Joined { group, filter });
        }
    }
    Ok(joined)
}

/// A line for each device (`2\teth0      :     1      V3`), and beneath it one for each group, as the machine has the
/// number (`\t\t\t\t010000E0     1 0:00000000\t\t0`).
fn of_four(text: &str) -> Vec<Group> {
    let (mut device, mut groups) = (0, Vec::new());
    for line in text.lines().skip(1) {
        let first = line.split_whitespace().next().unwrap_or_default();
        match line.starts_with('\t') {
            false => device = first.parse().unwrap_or(0),
            true => groups.extend(u32::from_str_radix(first, 16).ok().map(|number| Group {
                device,
                address: number.to_ne_bytes().into(),
            })),
        }
    }
    groups
}

/// `2    eth0            ff020000000000000000000000000001     1 0000000C 0`
fn of_six(line: &str) -> Option<Group> {
    let mut words = line.split_whitespace();
    let device = words.next()?.parse().ok()?;
    let number = u128::from_str_radix(words.nth(1)?, 16).ok()?;
    Some(Group {
        device,
        address: number.to_be_bytes().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_those_of_the_device_above_them() {
        let text = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                    1\tlo        :     1      V3\n\
                    \t\t\t\t010000E0     1 0:00000000\t\t0\n\
                    7\teth0      :     2      V3\n\
                    \t\t\t\tFB0000E0     1 0:00000000\t\t0\n";
        let found = of_four(text);
        let wanted = [(1, [224, 0, 0, 1]), (7, [224, 0, 0, 251])];
        let wanted = wanted.map(|(device, address)| Group {
            device,
            address: address.into(),
        });
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_group_of_ipv6_has_a_line_of_its_own() {
        let line = "2    eth0            ff0200000000000000000000000000fb     1 00000004 0";
        let found = of_six(line).unwrap();
        assert_eq!(
            (found.device, found.address[0], found.address[15]),
            (2, 0xff, 0xfb)
        );
    }
}
