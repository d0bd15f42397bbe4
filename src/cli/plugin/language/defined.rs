//! which world a plugin is made for, by the functions that its main file defines

use crate::error::{Error, Result};
use crate::plugin::World;
use std::path::Path;

/// How a language spells the functions of a world: of a whole batch, and of each row.
pub(super) type Spelling = fn(World) -> &'static [&'static str];

/// `parse`, and `parseRow` for each row.
pub(super) fn javascript(world: World) -> &'static [&'static str] {
    match world {
        World::Parser => &["parseRow", "parse"],
        World::Filter => &["keepRow", "keep"],
        World::Enricher => &["enrichRow", "enrich"],
        World::Autoscaler => &["decide"],
    }
}

/// `parse`, and `parse_row` for each row.
pub(super) fn python(world: World) -> &'static [&'static str] {
    match world {
        World::Parser => &["parse_row", "parse"],
        World::Filter => &["keep_row", "keep"],
        World::Enricher => &["enrich_row", "enrich"],
        World::Autoscaler => &["decide"],
    }
}

/// The one world whose function is among the names that a file defines. `verb` is what one does there with a function.
pub(super) fn world(file: &Path, names: &[&str], spelling: Spelling, verb: &str) -> Result<World> {
    let known = || World::ALL.iter().flat_map(|world| spelling(*world).iter().map(move |name| (*world, *name)));
    let found: Vec<(World, &str)> = known().filter(|(_, name)| names.contains(name)).collect();
    match found.as_slice() {
        [(world, _)] => Ok(*world),
        [] => {
            let each = |world: &World| format!("{} ({})", spelling(*world).join(" or "), super::article(*world));
            let each: Vec<String> = World::ALL.iter().map(each).collect();
            let file = file.display();
            Err(Error::invalid(format!("{file}: it is of no world yet; {verb} one of {}", each.join(", "))))
        }
        several => {
            let names: Vec<&str> = several.iter().map(|(_, name)| *name).collect();
            let both = names.join(" and ");
            let file = file.display();
            Err(Error::invalid(format!("{file}: a plugin is of one world, in one way; {verb} only one of {both}")))
        }
    }
}

/// The names that a module in JavaScript or TypeScript exports, as far as its lines tell.
pub(super) fn exports(source: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for line in source.lines() {
        let Some(rest) = line.trim_start().strip_prefix("export ") else { continue };
        if let Some((list, _)) = rest.trim_start().strip_prefix('{').and_then(|list| list.split_once('}')) {
            names.extend(list.split(',').filter_map(|one| one.split_whitespace().last()));
            continue;
        }
        let mut words = rest.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).filter(|w| !w.is_empty());
        let declares = |word: &&str| !matches!(*word, "async" | "function" | "const" | "let" | "var");
        names.extend(words.find(declares));
    }
    names
}

/// The names that a module in Python defines at its top, as far as its lines tell.
pub(super) fn definitions(source: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for line in source.lines() {
        if let Some(rest) = line.strip_prefix("def ").or_else(|| line.strip_prefix("async def ")) {
            names.extend(rest.split('(').next().map(str::trim));
        } else if let Some((_, imported)) = line.strip_prefix("from ").and_then(|rest| rest.split_once(" import ")) {
            names.extend(imported.trim_matches(['(', ')']).split(',').filter_map(|one| one.split_whitespace().last()));
        } else if let Some((name, _)) = line.split_once('=')
            && !line.starts_with([' ', '\t', '#'])
        {
            names.push(name.trim());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_world_is_told_by_what_a_file_defines() {
        let file = Path::new("plugin.js");
        let told = |source| world(file, &exports(source), javascript, "export").map_err(|error| error.to_string());
        for (source, wanted) in [
            ("export const name = 'a';\nexport function parseRow(row) {}", World::Parser),
            ("export const keepRow = () => true;", World::Filter),
            ("function enrich() {}\nexport { enrich, other as name };", World::Enricher),
            ("export async function decide() {}", World::Autoscaler),
        ] {
            assert_eq!(told(source), Ok(wanted), "{source}");
        }
        let none = told("function parseRow() {}").unwrap_err();
        assert!(none.contains("export one of parseRow or parse (a parser), keepRow or keep"), "{none}");
        let two = told("export function parse() {}\nexport function keep() {}").unwrap_err();
        assert!(two.contains("export only one of parse and keep"), "{two}");
        let source = "from mine import decide\nX = 1\nclass A:\n    def keep_row(self): ...\n";
        assert_eq!(definitions(source), ["decide", "X"]);
        assert_eq!(definitions("def parse_row(row, context):\n    x = 1\n"), ["parse_row"]);
    }
}
