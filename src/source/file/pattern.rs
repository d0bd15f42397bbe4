//! what a pattern finds: the files to tail, or why there is none

use super::tail::Key;
use glob::{MatchOptions, Pattern};
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Endings of files that are not logs any more.
const PACKED: [&str; 7] = ["gz", "zst", "bz2", "xz", "zip", "lz4", "Z"];
/// `*` stops at a `/`.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

/// What a pattern finds.
#[derive(Debug, Default)]
pub struct Found {
    /// files, by what they are
    pub files: Vec<(Key, PathBuf)>,
    /// what is there that cannot be tailed, and what to write instead: the first of it
    pub odd: Option<String>,
}

/// Looks for files of a pattern that no other pattern excludes.
pub fn find(pattern: &str, exclude: &[Pattern]) -> Found {
    let mut found = Found::default();
    for path in glob::glob_with(pattern, OPTIONS).into_iter().flatten() {
        let path = match path {
            Ok(path) => path,
            Err(error) => {
                let message = format!("cannot look into `{}`: {}", error.path().display(), error.error());
                found.odd.get_or_insert(message);
                continue;
            }
        };
        if exclude.iter().any(|pattern| pattern.matches_path_with(&path, OPTIONS)) {
            continue;
        }
        if path.extension().is_some_and(|end| PACKED.iter().any(|packed| end == *packed)) {
            found.odd.get_or_insert(format!("`{}` is packed; unpack it to a file of its own", path.display()));
            continue;
        }
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => found.files.push((Key::of(&metadata), path)),
            Ok(metadata) => found.odd = found.odd.or_else(|| told(&path, metadata.file_type())),
            Err(_) => {}
        }
    }
    found
}

/// Why what is at a path cannot be tailed, and what to write; nothing where it is a file, or nothing is there.
pub fn odd(path: &Path) -> Option<String> {
    told(path, fs::metadata(path).ok()?.file_type())
}

fn told(path: &Path, kind: fs::FileType) -> Option<String> {
    let shown = path.display();
    match kind {
        _ if kind.is_file() => None,
        _ if kind.is_dir() => {
            let shown = shown.to_string();
            let folder = shown.trim_end_matches('/');
            Some(format!("`{shown}` is a directory; write `{folder}/*` for the files in it"))
        }
        _ if kind.is_fifo() => Some(format!(
            "`{shown}` is a pipe (FIFO), which cannot be read again from a place; write `type = \"stdin\"` and run it with `< {shown}`"
        )),
        _ if kind.is_socket() => {
            Some(format!("`{shown}` is a socket; let a program read it, and its output be `type = \"stdin\"`"))
        }
        _ => Some(format!("`{shown}` is a device; write `type = \"stdin\"` and run it with `< {shown}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::create_dir(path("logs")).unwrap();
        fs::write(path("logs/a.log"), "").unwrap();
        fs::write(path("old.gz"), "").unwrap();
        let made = std::process::Command::new("mkfifo").arg(path("pipe")).status().unwrap();
        assert!(made.success());
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        for (pattern, files, says) in [
            ("logs", 0, "logs` is a directory; write `"),
            ("logs/", 0, "logs/*` for the files in it"),
            ("log?", 0, "logs/*` for the files in it"),
            ("logs/*", 1, ""),
            ("l*/a.log", 1, ""),
            ("pipe", 0, "pipe` is a pipe (FIFO)"),
            ("socket", 0, "socket` is a socket"),
            ("old*", 0, "old.gz` is packed"),
            ("none", 0, ""),
        ] {
            let found = find(&path(pattern), &[]);
            assert_eq!(found.files.len(), files, "{pattern}");
            let odd = found.odd.unwrap_or_default();
            assert!(odd.contains(says) && odd.is_empty() == says.is_empty(), "{pattern}: {odd}");
        }
        let exclude = [Pattern::new(&path("logs")).unwrap()];
        assert!(find(&path("log?"), &exclude).odd.is_none());
        assert!(find("/dev/null", &[]).odd.unwrap().contains("is a device"));
    }
}
