//! What a program needs to be executed, and to know how much of the machine is its own.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use elf::ElfStream;
use elf::abi::PT_INTERP;
use elf::endian::AnyEndian;

use super::rules::Rules;

/// How many programs may stand behind each other, as `env` and `node` behind a script.
const MOST: usize = 8;

/// The longest first line of a script, in bytes; the kernel reads no more.
const FIRST_LINE: u64 = 256;

/// What is needed for `program`, which is looked for in `path` where its name has no folder: itself, the interpreters it
/// names, and the folders of their libraries. Of a program that is not there or cannot be read there is nothing to find out:
/// it cannot be executed, and the kernel says why.
pub fn needs(program: &OsStr, path: &OsStr) -> Rules {
    let mut rules = Rules::default();
    let mut open: Vec<OsString> = vec![program.to_owned()];
    for _ in 0..MOST {
        let Some(found) = open.pop().and_then(|name| find(&name, path)) else { break };
        if let Ok(kind) = kind(&found) {
            match kind {
                Kind::Script(interpreters) => {
                    rules.execute.extend(package(&found));
                    open.extend(interpreters);
                }
                Kind::Binary(loader) => {
                    rules.read.extend(loader.iter().flat_map(|loader| libraries(loader)));
                    rules.execute.extend(loader);
                }
            }
        }
        rules.execute.insert(found);
    }
    rules
}

/// The folders with the limits of this process's control groups, by its `/proc/self/cgroup`.
pub fn cgroups(own: &str) -> BTreeSet<PathBuf> {
    let folder = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        // Version 2 has one hierarchy and no name for it.
        Some(Path::new("/sys/fs/cgroup").join(controllers.trim_start_matches("name=")).join(path))
    };
    own.lines().filter_map(folder).collect()
}

/// What the kernel makes of a file.
enum Kind {
    /// These programs are executed: the interpreter, and what `env` finds.
    Script(Vec<OsString>),
    /// It is loaded, by the program it names if it has shared libraries.
    Binary(Option<PathBuf>),
}

fn kind(program: &Path) -> io::Result<Kind> {
    let mut file = File::open(program)?;
    let mut line = Vec::new();
    file.by_ref().take(FIRST_LINE).read_to_end(&mut line)?;
    if let Some(line) = line.strip_prefix(b"#!") {
        return Ok(Kind::Script(interpreters(line.split(|byte| *byte == b'\n').next().unwrap_or_default())));
    }
    file.rewind()?;
    loader(file).map(Kind::Binary)
}

/// Those that the first line of a script names.
fn interpreters(line: &[u8]) -> Vec<OsString> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let Some(interpreter) = words.next() else { return Vec::new() };
    let interpreter = OsString::from_vec(interpreter.to_vec());
    if Path::new(&interpreter).file_name() != Some(OsStr::new("env")) {
        return vec![interpreter];
    }
    // `env -S NAME=value node --flag`
    let named = words.find(|word| !word.starts_with(b"-") && !word.contains(&b'='));
    named.map(|named| OsString::from_vec(named.to_vec())).into_iter().chain([interpreter]).collect()
}

/// The program that loads a binary with its shared libraries.
fn loader(file: File) -> io::Result<Option<PathBuf>> {
    let mut again = file.try_clone()?;
    let wrong = |error| io::Error::other(format!("{error}"));
    let elf = ElfStream::<AnyEndian, _>::open_stream(file).map_err(wrong)?;
    let Some(segment) = elf.segments().iter().find(|segment| segment.p_type == PT_INTERP) else {
        return Ok(None);
    };
    again.seek(SeekFrom::Start(segment.p_offset))?;
    let mut path = Vec::new();
    again.take(segment.p_filesz.min(FIRST_LINE)).read_to_end(&mut path)?;
    path.retain(|byte| *byte != 0);
    Ok(Some(PathBuf::from(OsString::from_vec(path))))
}

/// Where the libraries are that a loader finds: beside itself, and in the same place under `/usr`.
fn libraries(loader: &Path) -> Vec<PathBuf> {
    let real = loader.canonicalize().unwrap_or_else(|_| loader.to_owned());
    let Some(beside) = real.parent() else { return Vec::new() };
    let under_usr = beside.strip_prefix("/").ok().filter(|beside| !beside.starts_with("usr"));
    let under_usr = under_usr.map(|beside| Path::new("/usr").join(beside));
    [beside.to_owned()].into_iter().chain(under_usr).collect()
}

/// The packages that a script of npm belongs to: the CLI's own program may be one of them.
fn package(script: &Path) -> Option<PathBuf> {
    let real = script.canonicalize().ok()?;
    let packages = real.ancestors().filter(|folder| folder.file_name() == Some(OsStr::new("node_modules")));
    packages.last().map(Path::to_owned)
}

fn find(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(name.into());
    }
    std::env::split_paths(path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rstest::rstest;

    use super::*;

    fn executed(program: &Path, path: &str) -> BTreeSet<PathBuf> {
        needs(program.as_os_str(), OsStr::new(path)).execute
    }

    fn set(paths: &[&Path]) -> BTreeSet<PathBuf> {
        paths.iter().map(|path| path.to_path_buf()).collect()
    }

    #[test]
    fn a_binary_needs_its_loader_and_the_folder_of_its_libraries() {
        // This test itself, which is linked as most programs are, or wholly by itself.
        let own = std::env::current_exe().unwrap();
        let needed = needs(own.as_os_str(), OsStr::new(""));
        assert!(needed.execute.contains(&own));
        let loaded = std::fs::read_to_string("/proc/self/maps").unwrap();
        for library in loaded.lines().filter_map(|line| line.split_whitespace().nth(5)) {
            let is_there = [&needed.read, &needed.execute].into_iter().flatten().any(|path| {
                let real = path.canonicalize().unwrap_or_default();
                !real.as_os_str().is_empty() && Path::new(library).starts_with(real)
            });
            assert!(is_there || !library.starts_with('/'), "{library} is not in {needed:?}");
        }
        assert!(needed.write.is_empty() && needed.connect.is_empty());
    }

    #[rstest]
    #[case("#!/bin/sh", &["/bin/sh"])]
    #[case("#! /bin/sh -e\nrest", &["/bin/sh"])]
    #[case("#!/usr/bin/env node", &["/usr/bin/env", "node"])]
    #[case("#!/usr/bin/env -S A=b node --flag", &["/usr/bin/env", "node"])]
    #[case("#!", &[])]
    fn a_script_needs_what_its_first_line_names(#[case] text: &str, #[case] expected: &[&str]) {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, text).unwrap();
        let mut named: Vec<OsString> = match kind(&script).unwrap() {
            Kind::Script(interpreters) => interpreters,
            Kind::Binary(_) => panic!("a script"),
        };
        named.sort();
        assert_eq!(named, expected);
    }

    #[test]
    fn what_env_finds_is_followed_too() {
        let folder = tempfile::tempdir().unwrap();
        let [script, node, sh] = ["script", "node", "sh"].map(|name| folder.path().join(name));
        std::fs::write(&script, "#!/usr/bin/env node\n").unwrap();
        std::fs::write(&node, format!("#!{}\n", sh.display())).unwrap();
        std::fs::write(&sh, "neither a script nor a binary").unwrap();
        let path = folder.path().to_str().unwrap();
        let needed = executed(&script, path);
        assert!(set(&[&script, &node, &sh, Path::new("/usr/bin/env")]).is_subset(&needed), "{needed:?}");
        // By its name alone it is found in the same place.
        assert_eq!(executed(Path::new("script"), path), needed);
        assert_eq!(executed(Path::new("script"), "/nowhere"), set(&[]));
    }

    #[test]
    fn scripts_that_name_each_other_come_to_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        std::fs::write(&one, format!("#!{}\n", other.display())).unwrap();
        std::fs::write(&other, format!("#!{}\n", one.display())).unwrap();
        assert_eq!(executed(&one, ""), set(&[&one, &other]));
    }

    #[test]
    fn a_script_of_npm_needs_its_packages() {
        let folder = tempfile::tempdir().unwrap();
        let packages = folder.path().canonicalize().unwrap().join("lib/node_modules");
        let inner = packages.join("cli/node_modules/other");
        std::fs::create_dir_all(&inner).unwrap();
        let script = inner.join("cli.js");
        std::fs::write(&script, "#!/bin/false\n").unwrap();
        let link = folder.path().join("claude");
        symlink(&script, &link).unwrap();
        assert!(executed(&link, "").contains(&packages));
    }

    #[test]
    fn a_program_that_is_missing_needs_nothing_but_itself() {
        let missing = Path::new("/nowhere/at/all");
        assert_eq!(executed(missing, ""), set(&[missing]));
    }

    #[test]
    fn both_versions_of_control_groups_are_found() {
        assert_eq!(cgroups("0::/\n"), set(&[Path::new("/sys/fs/cgroup/")]));
        assert_eq!(cgroups("0::/a.slice/b\n"), set(&[Path::new("/sys/fs/cgroup/a.slice/b")]));
        let first = "4:memory:/x\n3:cpu,cpuacct:/\n1:name=systemd:/y\nnonsense\n";
        let expected = ["/sys/fs/cgroup/memory/x", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/systemd/y"];
        assert_eq!(cgroups(first), set(&expected.map(Path::new)));
    }
}
