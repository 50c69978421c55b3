//! Where the parts of a program are in its memory, and the program itself.
//!
//! Kind: effect.

use crate::tasks::{Target, proc_text};
use crux_image::tasks::MemoryLayout;
use crux_mount::sys::SysError;
use rustix::io::Errno;

/// Reads `/proc/PID/stat`. The end of the heap is in no file of /proc: `brk` is what brk(2) said.
pub(super) fn layout(target: &Target, brk: u64) -> Result<MemoryLayout, SysError> {
    let text = proc_text::read(&target.directory, "stat")?;
    parse(&text, brk).ok_or_else(|| SysError::new("read(\"stat\")", Errno::SRCH))
}

/// The name may hold anything, also parentheses: what counts comes after the last.
/// The numbers are those of proc_pid_stat(5).
fn parse(text: &[u8], brk: u64) -> Option<MemoryLayout> {
    let after = text.iter().rposition(|&b| b == b')')? + 1;
    let text = std::str::from_utf8(&text[after..]).ok()?;
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse().ok();
    Some(MemoryLayout {
        start_code: field(26)?,
        end_code: field(27)?,
        start_stack: field(28)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk: field(47)?,
        brk,
        arg_start: field(48)?,
        arg_end: field(49)?,
        env_start: field(50)?,
        env_end: field(51)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_counted_as_the_manual_does() {
        let numbers: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let line = format!("1 (a) S) S {}", numbers.join(" "));
        let layout = parse(line.as_bytes(), 7).unwrap();
        assert_eq!((layout.start_code, layout.start_stack), (26, 28));
        assert_eq!((layout.start_data, layout.env_end, layout.brk), (45, 51, 7));
    }
}
