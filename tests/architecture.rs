//! The map in src/README.md is true: every file is on it under its own first line, and imports go down the page.

use std::{fs, path::Path};

struct Row {
    path: String,
    caption: String,
}

fn map() -> Vec<Row> {
    let text = fs::read_to_string("src/README.md").unwrap();
    let text = text.split("```text").nth(1).unwrap().split("```").next().unwrap().to_owned();
    text.lines()
        .filter_map(|line| {
            let (path, caption) = line.get(14..)?.split_once(' ')?;
            Some(Row { path: path.to_owned(), caption: caption.trim().to_owned() })
        })
        .collect()
}

/// The room a file is in: `store` for `store/wal.rs`, `clock` for `clock.rs`.
fn room(path: &str) -> &str {
    path.split('/').next().unwrap().trim_end_matches(".rs")
}

fn files(dir: &Path) -> Vec<String> {
    fs::read_dir(dir)
        .unwrap()
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() {
                return files(&path);
            }
            let path = path.strip_prefix("src").unwrap().to_str().unwrap().to_owned();
            if path.ends_with(".rs") && path != "lib.rs" { vec![path] } else { vec![] }
        })
        .collect()
}

/// Every `crate::name` in a file, with its line; a group counts once for each name in it.
fn imports(text: &str) -> Vec<(usize, String)> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap().to_owned() + "\n").collect();
    let word = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut out = vec![];
    for (at, _) in code.match_indices("crate::") {
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            out.push((line, word(rest)));
            continue;
        };
        let (mut depth, mut fresh) = (0, true);
        for (i, c) in group.char_indices() {
            if fresh && c.is_alphabetic() {
                out.push((line, word(&group[i..])));
                fresh = false
            }
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => fresh = true,
                _ => (),
            }
        }
    }
    out
}

#[test]
fn imports_go_down_the_page() {
    let mut page: Vec<String> = map().iter().map(|row| room(&row.path).to_owned()).collect();
    page.dedup();
    let place = |name: &str| page.iter().position(|room| room == name);
    let mut wrong = vec![];
    for path in files(Path::new("src")) {
        let here = room(&path);
        for (line, there) in imports(&fs::read_to_string(Path::new("src").join(&path)).unwrap()) {
            if there != here && place(&there) < place(here) && place(&there).is_some() {
                wrong.push(format!("src/{path}:{line}: {here} imports {there}, which is above it on the map"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_map_is_true() {
    let mut wrong = vec![];
    let (map, files) = (map(), files(Path::new("src")));
    for path in &files {
        let text = fs::read_to_string(Path::new("src").join(path)).unwrap();
        let first = text.lines().next().unwrap_or("").trim_start_matches("//!").trim();
        match map.iter().find(|row| row.path == *path) {
            Some(row) if row.caption == first => (),
            Some(row) => wrong.push(format!("src/{path} opens with `{first}`, and the map says `{}`", row.caption)),
            None => wrong.push(format!("src/{path} is not on the map in src/README.md")),
        }
    }
    for row in map {
        if !files.contains(&row.path) {
            wrong.push(format!("the map has src/{}, which is not there", row.path))
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
