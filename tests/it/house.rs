//! The order of the folders of `src/`: a folder uses only what stands below it, and no files
//! import each other in a circle.

mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path as FilePath, PathBuf},
};

use self::source::Source;

/// From top to bottom. CONTRIBUTING.md describes them in the same order.
const ORDER: [&str; 21] = [
    "testing", "auth", "http", "operator", "session", "commit", "state", "config", "cookie",
    "import", "observe", "store", "record", "shutdown", "breaker", "throttle", "queue", "deadline",
    "error", "clock", "random",
];

/// The files of a crate, by their module.
struct House(BTreeMap<Vec<String>, Source>);

/// That one file uses another.
struct Import {
    line: usize,
    path: String,
}

impl House {
    fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let files: Vec<_> = files.into_iter().collect();
        let modules = files.iter().map(|(file, _)| source::module(file)).collect();
        let sources = files
            .iter()
            .map(|(file, text)| Source::parse(file, text, &modules));
        Self(
            sources
                .map(|source| (source.module.clone(), source))
                .collect(),
        )
    }

    /// The module that a path leads to, through whatever passes the name on.
    fn target(&self, segments: &[String]) -> &Source {
        let mut segments = segments.to_vec();
        // A circle of names that are passed on comes to no end.
        for _ in 0..10 {
            let known = (0..=segments.len())
                .rev()
                .find(|length| self.0.contains_key(&segments[..*length]));
            let length = known.expect("the root is a module");
            let source = &self.0[&segments[..length]];
            let passed_on = segments.get(length).and_then(|name| source.bound.get(name));
            match passed_on {
                Some(path) if *path != segments => {
                    let rest = segments.split_off(length + 1);
                    segments = path.iter().cloned().chain(rest).collect();
                }
                _ => return source,
            }
        }
        &self.0[&[][..]]
    }

    /// What each file imports, by the names of both files. The root may import everything.
    fn imports(&self) -> BTreeMap<&str, BTreeMap<&str, Import>> {
        let mut imports: BTreeMap<&str, BTreeMap<&str, Import>> = BTreeMap::new();
        for source in self.0.values().filter(|source| !source.module.is_empty()) {
            let imports = imports.entry(&source.file).or_default();
            for path in &source.paths {
                let target = self.target(&path.segments);
                if target.file != source.file {
                    imports.entry(&target.file).or_insert_with(|| Import {
                        line: path.line,
                        path: format!("crate::{}", path.segments.join("::")),
                    });
                }
            }
        }
        imports
    }

    /// Where a folder uses one that stands above it.
    fn climbs(&self) -> Vec<String> {
        let rank = |folder: &str| ORDER.iter().position(|known| *known == folder);
        let mut climbs = Vec::new();
        for (file, imports) in self.imports() {
            for (target, Import { line, path }) in imports {
                let (from, to) = (folder(file), folder(target));
                if to == "lib" {
                    climbs.push(format!(
                        "src/{file}:{line} uses `{path}` from the root: name the file that has it"
                    ));
                } else if rank(to) < rank(from) {
                    climbs.push(format!(
                        "src/{file}:{line} uses `{path}`, but `{to}` stands above `{from}`: move what \
                         both need to `{from}` or below, or hand it in as an argument"
                    ));
                }
            }
        }
        climbs
    }

    /// Files that import each other, perhaps by way of others; the `mod.rs` of a folder aside.
    fn circles(&self) -> Vec<String> {
        let is_opening_of = |opening: &str, file: &str| {
            let folder = opening.strip_suffix("mod.rs");
            folder.is_some_and(|folder| file.starts_with(folder))
        };
        let mut imports = self.imports();
        for (file, targets) in &mut imports {
            targets.retain(|target, _| {
                *target != "lib.rs" && !is_opening_of(file, target) && !is_opening_of(target, file)
            });
        }
        // What nothing in a circle leads to, or away from, is taken away until nothing changes.
        loop {
            let used: BTreeSet<&str> = imports
                .values()
                .flat_map(|targets| targets.keys().copied())
                .collect();
            let before = imports.len();
            imports.retain(|file, targets| !targets.is_empty() && used.contains(file));
            let left: BTreeSet<&str> = imports.keys().copied().collect();
            for targets in imports.values_mut() {
                targets.retain(|target, _| left.contains(target));
            }
            if imports.len() == before && imports.values().all(|targets| !targets.is_empty()) {
                break;
            }
        }
        let mut circles = Vec::new();
        while let Some(start) = imports.keys().next().copied() {
            let Some(circle) = shortest_circle(&imports, start) else {
                imports.remove(start);
                continue;
            };
            let steps: Vec<String> = circle
                .windows(2)
                .map(|pair| {
                    let Import { line, path } = &imports[pair[0]][pair[1]];
                    format!("src/{}:{line} uses `{path}`", pair[0])
                })
                .collect();
            circles.push(format!(
                "{}: move what they share to a file below them",
                steps.join(", ")
            ));
            for pair in circle.windows(2) {
                imports.get_mut(pair[0]).unwrap().remove(pair[1]);
            }
        }
        circles
    }

    /// Files that stand in no folder of the order.
    fn strangers(&self) -> Vec<&str> {
        let files = self.0.values().map(|source| &*source.file);
        files
            .filter(|file| *file != "lib.rs" && !ORDER.contains(&folder(file)))
            .collect()
    }
}

fn folder(file: &str) -> &str {
    let name = file.split('/').next().unwrap_or(file);
    name.trim_end_matches(".rs")
}

/// From `start` back to it, by the fewest imports.
fn shortest_circle<'a>(
    imports: &BTreeMap<&'a str, BTreeMap<&'a str, Import>>,
    start: &'a str,
) -> Option<Vec<&'a str>> {
    let mut ways = vec![vec![start]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            let last = way.last()?;
            for target in imports.get(last).into_iter().flat_map(BTreeMap::keys) {
                let mut way = way.clone();
                way.push(target);
                if *target == start {
                    return Some(way);
                }
                if seen.insert(*target) {
                    longer.push(way);
                }
            }
        }
        ways = longer;
    }
    None
}

/// The root of the repository.
fn root() -> PathBuf {
    let start = FilePath::new(env!("CARGO_MANIFEST_DIR"));
    let root = start.ancestors().find(|at| at.join("src/lib.rs").is_file());
    root.expect("the tests stand beside or within the crate")
        .to_owned()
}

fn crate_files() -> Vec<(String, String)> {
    fn collect(folder: &FilePath, src: &FilePath, files: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, src, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(src).unwrap().to_str().unwrap();
                let text = fs::read_to_string(&path).unwrap();
                files.push((name.replace('\\', "/"), text));
            }
        }
    }
    let (src, mut files) = (root().join("src"), Vec::new());
    collect(&src, &src, &mut files);
    files
}

fn with_house<R>(check: impl FnOnce(&House) -> R) -> R {
    let files = crate_files();
    check(&House::new(
        files.iter().map(|(file, text)| (&**file, &**text)),
    ))
}

#[track_caller]
fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn a_folder_uses_only_what_stands_below_it() {
    assert_none(with_house(House::climbs));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    assert_none(with_house(House::circles));
}

#[test]
fn each_file_has_a_place_in_the_order_of_the_folders() {
    with_house(|house| {
        assert_eq!(house.strangers(), Vec::<&str>::new());
        assert!(house.0.len() > 50, "{}", house.0.len());
    });
}

#[test]
fn the_order_of_the_folders_is_the_one_in_contributing() {
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let table = page
        .split_once("| in `src/` |")
        .expect("the table of the house")
        .1;
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let described: Vec<&str> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .collect();
    assert_eq!(described, ORDER);
}

/// Mirrors and offline builds have other hosts. Pages of other projects bring them in.
#[test]
fn no_file_names_the_host_of_a_package_registry() {
    let hosts = [concat!("crates", ".io"), concat!("://docs", ".rs")];
    let mut faults = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if let Ok(text) = fs::read_to_string(&path)
                && name != "Cargo.lock"
            {
                let named = text
                    .lines()
                    .filter(|line| hosts.iter().any(|host| line.contains(host)));
                faults.extend(named.map(|line| format!("{}: {line}", path.display())));
            }
        }
    }
    assert_none(faults);
}

fn climbs(files: &[(&str, &str)]) -> Vec<String> {
    House::new(files.iter().copied().chain([("lib.rs", "")])).climbs()
}

fn circles(files: &[(&str, &str)]) -> Vec<String> {
    House::new(files.iter().copied().chain([("lib.rs", "")])).circles()
}

#[test]
fn an_import_of_a_folder_above_is_found_with_its_line_and_what_to_do() {
    let files = [
        (
            "store/mod.rs",
            "//! Stores.\n\nuse crate::http::layer::Layer;",
        ),
        ("http/layer.rs", "use crate::store::Store;"),
    ];
    assert_eq!(
        climbs(&files),
        [
            "src/store/mod.rs:3 uses `crate::http::layer::Layer`, but `http` stands above `store`: \
             move what both need to `store` or below, or hand it in as an argument"
        ]
    );
}

#[test]
fn an_import_is_found_in_whatever_way_it_is_written() {
    let ways = [
        "use crate::{clock::Clock, session::{Session, handle::{self, Handle}}};",
        "use crate::{\n    clock::Clock,\n    session as visitors,\n};",
        "use {crate::clock::Clock, crate::session::*};",
        "pub(crate) use super::super::session::Session;",
        "fn f(session: &crate::session::Session<u8>) {}",
        "mod inner { use super::super::super::session::Session; }",
        "fn f<'a>(c: char) -> &'a str { if c == '\"' { crate::session::f() } else { \"\" } }",
        "use crate as root;\nfn f() { root::session::f() }",
        "#[cfg(not(test))]\nuse crate::session::Session;",
        "macro_rules! get { () => { $crate::session::Session } }",
    ];
    for way in ways {
        let files = [("session/mod.rs", ""), ("store/memory.rs", way)];
        let found = climbs(&files);
        let is_found = |climb: &String| climb.contains("`session` stands above `store`");
        assert!(found.iter().any(is_found), "{way}: {found:?}");
    }
}

#[test]
fn what_is_no_code_or_only_a_test_imports_nothing() {
    let others = [
        "//! See [`Session`](crate::session::Session).",
        "/// ```\n/// use crate::session::Session;\n/// ```\nfn f() {}",
        "/* use crate::session::Session; /* */ use crate::session::Session; */",
        "const TEXT: &str = \"use crate::session::Session;\";",
        "const TEXT: &str = r#\"\"use crate::session::Session;\"#;",
        "#[cfg(test)]\nmod tests {\n    use crate::session::Session;\n    fn f() {}\n}",
        "#[cfg(all(test, feature = \"mysql\"))]\nmod tests { use crate::session::Session; }",
        "#[cfg(test)]\nuse crate::session::Session;",
        "use session::{self, handle::Session};\npub(crate) fn f() {}",
        "use http::{Request, session::Session};",
    ];
    for other in others {
        let files = [("session/mod.rs", ""), ("store/memory.rs", other)];
        assert_eq!(climbs(&files), Vec::<String>::new(), "{other}");
    }
    let after = "#[cfg(test)]\nmod tests { fn f() {} }\nuse crate::session::Session;";
    let files = [("session/mod.rs", ""), ("store/memory.rs", after)];
    assert_eq!(climbs(&files).len(), 1);
}

#[test]
fn an_import_is_followed_through_the_file_that_passes_the_name_on() {
    let files = [
        ("session/mod.rs", ""),
        ("record/mod.rs", "pub use crate::session::Session;"),
        ("store/mod.rs", "use crate::record::Session;"),
    ];
    assert_eq!(climbs(&files).len(), 2, "{:?}", climbs(&files));
}

#[test]
fn an_import_from_the_root_is_told_to_name_the_file() {
    let files = [("store/mod.rs", "fn f(_: crate::Unknown) {}")];
    assert_eq!(climbs(&files).len(), 1);
}

#[test]
fn files_that_import_each_other_are_found() {
    let files = [
        ("state/a.rs", "use crate::state::b::B;"),
        ("state/b.rs", "\nuse super::{c::C, a::A};"),
        ("state/c.rs", ""),
    ];
    assert_eq!(
        circles(&files),
        [
            "src/state/a.rs:1 uses `crate::state::b::B`, src/state/b.rs:2 uses `crate::state::a::A`: \
             move what they share to a file below them"
        ]
    );
}

#[test]
fn a_circle_of_three_files_and_one_behind_a_name_that_is_passed_on_are_found() {
    let three = [
        ("state/a.rs", "use crate::state::b::B;"),
        ("state/b.rs", "fn f(_: crate::state::c::C) {}"),
        ("state/c.rs", "use super::a::A;"),
    ];
    assert_eq!(circles(&three).len(), 1, "{:?}", circles(&three));
    let behind = [
        ("state/mod.rs", "pub(crate) use self::{a::A, b::B};"),
        ("state/a.rs", "use crate::state::B;"),
        ("state/b.rs", "use super::A;"),
    ];
    assert_eq!(circles(&behind).len(), 1, "{:?}", circles(&behind));
}

#[test]
fn the_mod_rs_of_a_folder_and_its_files_may_import_each_other() {
    let files = [
        (
            "state/mod.rs",
            "pub(crate) use self::a::A; pub(crate) struct B;",
        ),
        ("state/a.rs", "use crate::state::B; use super::B as C;"),
    ];
    assert_eq!(circles(&files), Vec::<String>::new());
}
