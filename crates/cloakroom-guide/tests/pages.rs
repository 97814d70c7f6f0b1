//! A page shows its program as it is, in parts, and its links lead to other pages.

use std::{fs, path::Path};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide");
const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

/// The code of the page's Rust blocks, one after the other.
fn code(page: &str) -> String {
    let mut code = String::new();
    let mut is_code = false;
    for line in page.lines() {
        match line {
            "```rust" => is_code = true,
            "```" => is_code = false,
            _ if is_code => code += &(line.to_owned() + "\n"),
            _ => {}
        }
    }
    code
}

fn without_empty_lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty()).collect()
}

/// The program without its first line and the way to its tests.
fn shown(program: &str) -> &str {
    let (_, program) = program.split_once("\n\n").unwrap();
    let tests = program.find("#[cfg(test)]\n#[path");
    &program[..tests.unwrap_or(program.len())]
}

#[track_caller]
fn assert_shows(page: &str, program: &Path) {
    let page = Path::new(GUIDE).join(page);
    let (page, program) = (fs::read_to_string(page), fs::read_to_string(program));
    assert_eq!(
        without_empty_lines(&code(&page.unwrap())),
        without_empty_lines(shown(&program.unwrap()))
    );
}

#[test]
fn a_page_has_the_whole_program_of_its_name() {
    let programs = fs::read_dir(PROGRAMS).unwrap();
    let programs = programs.map(|entry| entry.unwrap().path());
    // The programs of these pages are tests.
    let tests = ["moving_from_tower_sessions.rs", "testing.rs"];
    let tests = tests.map(|name| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests")
            .join(name)
    });
    for program in programs.chain(tests) {
        let name = program.file_stem().unwrap().to_str().unwrap();
        assert_shows(&format!("{}.md", name.replace('_', "-")), &program);
    }
}

/// The links of a page to files, as `[name]: file`.
fn definitions(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.lines().filter_map(|line| {
        let (name, to) = line.strip_prefix('[')?.split_once("]: ")?;
        (!to.starts_with("http")).then_some((name, to))
    })
}

#[test]
fn links_between_pages_lead_somewhere_in_the_repository_and_in_the_documentation() {
    let guide = Path::new(GUIDE);
    let links = include_str!("../../../src/guide_links.md");
    for entry in fs::read_dir(guide).unwrap() {
        let path = entry.unwrap().path();
        let page = fs::read_to_string(&path).unwrap();
        for (name, to) in definitions(&page) {
            let file = guide.join(to.split('#').next().unwrap());
            assert!(file.is_file(), "{}: {to}", path.display());
            let known = format!("[{name}]: ");
            let is_known = links.lines().any(|line| line.starts_with(&known));
            assert!(
                is_known,
                "{}: {name} is not in guide_links.md",
                path.display()
            );
        }
        // The list of the pages is for the repository alone.
        let is_list = path.ends_with("README.md");
        assert!(
            is_list || !page.contains(".md)"),
            "{}: a link to a file is none in the documentation: define it below the page",
            path.display()
        );
    }
}
