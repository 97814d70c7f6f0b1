//! What a source file uses of its crate: [`Source`].

use std::collections::{BTreeMap, BTreeSet};

/// A file of `src/`, by the module that it is, and the paths in it.
pub(super) struct Source {
    /// Relative to `src/`, such as `http/layer.rs`.
    pub(super) file: String,
    /// `["http", "layer"]`; the root has none.
    pub(super) module: Vec<String>,
    pub(super) paths: Vec<Path>,
    /// The names that its `use` lines bind, outside of inline modules.
    pub(super) bound: BTreeMap<String, Vec<String>>,
}

/// A path that begins with `crate`, `self`, `super` or a bound name, from the root of the crate.
#[derive(Debug, PartialEq)]
pub(super) struct Path {
    pub(super) line: usize,
    pub(super) segments: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
struct Token<'a> {
    line: usize,
    text: &'a str,
}

impl Source {
    /// `modules` are those of all files of the crate.
    pub(super) fn parse(file: &str, text: &str, modules: &BTreeSet<Vec<String>>) -> Self {
        let module = module(file);
        let mut source = Self {
            file: file.to_owned(),
            module: module.clone(),
            paths: Vec::new(),
            bound: BTreeMap::new(),
        };
        let mut reader = Reader {
            tokens: &without_tests(&tokens(text)),
            at: 0,
            modules,
            source: &mut source,
        };
        reader.read(&module);
        source
    }
}

/// The module that a file of `src/` is.
pub(super) fn module(file: &str) -> Vec<String> {
    file.trim_end_matches(".rs")
        .split('/')
        .filter(|name| !matches!(*name, "mod" | "lib"))
        .map(str::to_owned)
        .collect()
}

struct Reader<'a> {
    tokens: &'a [Token<'a>],
    at: usize,
    modules: &'a BTreeSet<Vec<String>>,
    source: &'a mut Source,
}

impl<'a> Reader<'a> {
    fn text(&self, at: usize) -> Option<&'a str> {
        self.tokens.get(at).map(|token| token.text)
    }

    fn read(&mut self, module: &[String]) {
        let mut here = module.to_vec();
        let (mut outside, mut depth) = (Vec::new(), 0);
        while let Some(token) = self.tokens.get(self.at) {
            match token.text {
                "mod" if self.text(self.at + 2) == Some("{") => {
                    here.push(self.tokens[self.at + 1].text.to_owned());
                    outside.push(depth);
                }
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if outside.pop_if(|outside| *outside == depth).is_some() {
                        here.pop();
                    }
                }
                "use" => {
                    self.at += 1;
                    self.tree(&here, None, here == module);
                    continue;
                }
                text if self.text(self.at + 1) == Some("::") => {
                    let follows = self.at > 0 && self.tokens[self.at - 1].text == "::";
                    let start = match self.source.bound.get(text) {
                        _ if follows => None,
                        Some(path) => Some(path.clone()),
                        None => self.begin(text, &here),
                    };
                    if let Some(start) = start {
                        let line = token.line;
                        self.at += 1;
                        let segments = self.path(start);
                        self.source.paths.push(Path { line, segments });
                        continue;
                    }
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// The names that follow, each behind `::`.
    fn path(&mut self, mut segments: Vec<String>) -> Vec<String> {
        while self.text(self.at) == Some("::") {
            match self.text(self.at + 1) {
                Some("super") => drop(segments.pop()),
                Some("self") => {}
                Some(name) if is_name(name) => segments.push(name.to_owned()),
                _ => break,
            }
            self.at += 2;
        }
        segments
    }

    /// A tree of a `use` line. Within braces `prefix` is what stands before them.
    fn tree(&mut self, here: &[String], prefix: Option<&[String]>, binds: bool) {
        let Some(token) = self.tokens.get(self.at) else {
            return;
        };
        let (line, text) = (token.line, token.text);
        let is_braced = text == "{";
        let mut start = prefix.map(<[String]>::to_vec);
        if !is_braced {
            self.at += 1;
            start = match (start, text) {
                (Some(start), "self" | "*") => Some(start),
                (Some(start), "super") => Some(start[..start.len() - 1].to_vec()),
                (Some(start), name) => Some([start, vec![name.to_owned()]].concat()),
                (None, name) => self.begin(name, here),
            };
        }
        let is_of_crate = start.is_some();
        let segments = self.path(start.unwrap_or_default());
        if self.text(self.at) == Some("::") {
            self.at += 1;
        }
        match self.text(self.at) {
            Some("{") => {
                self.at += 1;
                let is_foreign = !(is_of_crate || is_braced && prefix.is_none());
                let before = self.source.paths.len();
                while self.text(self.at).is_some_and(|text| text != "}") {
                    let prefix = is_of_crate.then_some(&*segments);
                    self.tree(here, prefix, binds && !is_foreign);
                    if self.text(self.at) == Some(",") {
                        self.at += 1;
                    }
                }
                self.at += 1;
                if is_foreign {
                    self.source.paths.truncate(before);
                }
                return;
            }
            Some("*") => self.at += 1,
            _ => {}
        }
        let mut name = segments.last().cloned();
        if self.text(self.at) == Some("as") {
            name = self.text(self.at + 1).map(str::to_owned);
            self.at += 2;
        }
        if is_of_crate {
            if let Some(name) = name.filter(|_| binds) {
                self.source.bound.insert(name, segments.clone());
            }
            self.source.paths.push(Path { line, segments });
        }
    }

    /// Where a path leads that begins with `text` in module `here`; `None` out of the crate.
    fn begin(&self, text: &str, here: &[String]) -> Option<Vec<String>> {
        match text {
            "crate" => Some(Vec::new()),
            "self" => Some(here.to_vec()),
            "super" => Some(here[..here.len().saturating_sub(1)].to_vec()),
            name => {
                let child = [here, &[name.to_owned()]].concat();
                self.modules.contains(&child).then_some(child)
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// The tokens without the items behind `#[cfg(test)]`, `#[cfg(all(test, …))]`.
fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_attribute = tokens[at..]
            .iter()
            .take(3)
            .map(|it| it.text)
            .eq(["#", "[", "cfg"]);
        if !is_attribute {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = closing(tokens, at + 1);
        let names: Vec<_> = tokens[at..end].iter().map(|it| it.text).collect();
        let is_for_tests =
            names.contains(&"test") && !names.contains(&"not") && !names.contains(&"any");
        if is_for_tests {
            at = end;
            while at < tokens.len() && !matches!(tokens[at].text, "{" | ";") {
                at += 1;
            }
            at = if tokens.get(at).is_some_and(|it| it.text == "{") {
                closing(tokens, at)
            } else {
                at + 1
            };
        } else {
            kept.extend_from_slice(&tokens[at..end]);
            at = end;
        }
    }
    kept
}

/// Behind the bracket that closes the one at `open`.
fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "{" | "[" | "(" => depth += 1,
            "}" | "]" | ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Names and punctuation, without comments, literals and lifetimes.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < text.len() {
        let rest = &text[at..];
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            comment(rest)
        } else if let Some(length) = literal(rest) {
            length
        } else if is_name(rest) {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let text = &rest[..end.unwrap_or(rest.len())];
            found.push(Token { line, text });
            text.len()
        } else {
            let length = if rest.starts_with("::") {
                2
            } else {
                rest.chars().next().map_or(1, char::len_utf8)
            };
            if !rest.starts_with(char::is_whitespace) {
                let text = &rest[..length];
                found.push(Token { line, text });
            }
            length
        };
        line += rest[..length].matches('\n').count();
        at += length;
    }
    found
}

/// The length of the block comment, and those within it, at the start of `text`.
fn comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of the string, character, lifetime or number at the start of `text`.
fn literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        let rest = text.strip_prefix(prefix);
        rest.is_some_and(|rest| {
            let quoted = rest.trim_start_matches('#');
            let is_raw = prefix.ends_with('r');
            quoted.starts_with('"') && (is_raw || quoted.len() == rest.len())
                || *prefix == "b" && rest.starts_with('\'')
                || prefix.is_empty() && rest.starts_with('\'')
        })
    });
    if let Some(prefix) = prefix {
        let rest = &text[prefix.len()..];
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        if prefix.ends_with('r') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = prefix.len() + hashes + 1;
            return Some(start + text[start..].find(&end)? + end.len());
        }
        let quote = rest.chars().next()?;
        if quote == '\'' {
            let mut chars = rest.char_indices().skip(1);
            let (_, first) = chars.next()?;
            let (second_at, second) = chars.next()?;
            if first != '\\' && second != '\'' {
                // A lifetime.
                return Some(prefix.len() + second_at);
            }
        }
        let mut is_escaped = false;
        for (at, c) in rest.char_indices().skip(1) {
            match c {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                _ if c == quote => return Some(prefix.len() + at + 1),
                _ => {}
            }
        }
        return Some(text.len());
    }
    let digits = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    text.starts_with(|c: char| c.is_ascii_digit())
        .then(|| digits.unwrap_or(text.len()))
}
