//! Assembles the stub and takes its bytes out of the object file.
//!
//! Kind: shell. It refuses a stub with relocations (it would run wrong wherever it is put), or
//! one that is too long.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

const RESTORE_LIMIT: usize = 4096;
/// It has to fit into what is left of the vDSO's last page.
const DUMP_LIMIT: usize = 768;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=stub/stub.rs");
    let target = env::var("TARGET").unwrap();
    assert!(
        target.starts_with("x86_64-"),
        "there is no stub for {target}"
    );
    let out = env::var("OUT_DIR").unwrap();
    let object = Path::new(&out).join("stub.o");
    assemble(&target, &object);
    let elf = Elf(fs::read(&object).unwrap());
    let mut offsets = String::new();
    for (section, symbols, limit) in [
        (".crux.restore", "restore_", RESTORE_LIMIT),
        (".crux.dump", "dump_", DUMP_LIMIT),
    ] {
        let (index, code) = elf.section(section);
        assert_eq!(elf.relocations(index), 0, "{section} has relocations");
        assert!(code.len() <= limit, "{section} has {} bytes", code.len());
        fs::write(Path::new(&out).join(format!("{symbols}stub.bin")), code).unwrap();
        let mut found = elf.symbols(index);
        found.retain(|(name, _)| name.starts_with(symbols));
        assert!(!found.is_empty(), "{section} has no symbols");
        for (name, value) in found {
            let name = name.to_uppercase();
            writeln!(
                offsets,
                "#[allow(dead_code)]\npub(crate) const {name}: u64 = {value};"
            )
            .unwrap();
        }
    }
    fs::write(Path::new(&out).join("offsets.rs"), offsets).unwrap();
}

fn assemble(target: &str, object: &Path) {
    let rustc = env::var("RUSTC").unwrap();
    let status = Command::new(rustc)
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "lib",
            "--crate-name",
            "stub",
        ])
        .args(["--emit", "obj", "-C", "opt-level=s", "-C", "panic=abort"])
        .args(["-C", "codegen-units=1", "--target", target, "-o"])
        .arg(object)
        .arg("stub/stub.rs")
        .status()
        .unwrap();
    assert!(status.success(), "the stub does not assemble");
}

/// A relocatable ELF64 file (elf(5)), made by the compiler a moment ago.
struct Elf(Vec<u8>);

const SHT_SYMTAB: u64 = 2;
const SHT_RELA: u64 = 4;
const SHT_REL: u64 = 9;

impl Elf {
    fn number<const N: usize>(&self, at: usize) -> u64 {
        let bytes = &self.0[at..at + N];
        bytes
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    /// Where each section header is.
    fn headers(&self) -> Vec<usize> {
        let (start, size) = (self.number::<8>(40) as usize, self.number::<2>(58) as usize);
        let count = self.number::<2>(60) as usize;
        (0..count).map(|index| start + index * size).collect()
    }

    fn contents(&self, header: usize) -> &[u8] {
        let start = self.number::<8>(header + 24) as usize;
        &self.0[start..start + self.number::<8>(header + 32) as usize]
    }

    fn string(table: &[u8], at: u64) -> String {
        let rest = &table[at as usize..];
        let end = rest.iter().position(|byte| *byte == 0).unwrap();
        String::from_utf8(rest[..end].to_vec()).unwrap()
    }

    fn section(&self, name: &str) -> (usize, &[u8]) {
        let headers = self.headers();
        let names = self.contents(headers[self.number::<2>(62) as usize]);
        let named = |header: usize| Self::string(names, self.number::<4>(header)) == name;
        let index = headers.iter().position(|header| named(*header));
        let index = index.unwrap_or_else(|| panic!("the stub has no section {name}"));
        (index, self.contents(headers[index]))
    }

    /// Relocations that are to be made in a section.
    fn relocations(&self, section: usize) -> usize {
        let tables = self.headers().into_iter().filter(|header| {
            [SHT_RELA, SHT_REL].contains(&self.number::<4>(header + 4))
                && self.number::<4>(header + 44) as usize == section
        });
        tables.map(|header| self.contents(header).len()).sum()
    }

    /// Names and offsets in a section.
    fn symbols(&self, section: usize) -> Vec<(String, u64)> {
        let headers = self.headers();
        let mut found = Vec::new();
        for header in headers
            .iter()
            .filter(|it| self.number::<4>(*it + 4) == SHT_SYMTAB)
        {
            let names = self.contents(headers[self.number::<4>(header + 40) as usize]);
            let start = self.number::<8>(header + 24) as usize;
            for at in (start..start + self.contents(*header).len()).step_by(24) {
                if self.number::<2>(at + 6) as usize == section && self.number::<4>(at) != 0 {
                    found.push((
                        Self::string(names, self.number::<4>(at)),
                        self.number::<8>(at + 8),
                    ));
                }
            }
        }
        found
    }
}
