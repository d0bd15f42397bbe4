//! `regexes.yaml` as lines of text, one a rule, in the order in which they decide
//!
//! ```text
//! section ⇥ required words, between \x1f ⇥ pattern ⇥ template ⇥ template …
//! ```
//!
//! `section` is `b` for browsers (family, major, minor, patch, patch minor), `s` for systems (the same) and `d` for
//! devices (family, brand, model). A template is text with `$1` … `$9`, empty for nothing: what uap leaves to "the
//! second group, if there is one" is written out as `$2`, so that whoever reads the rules knows no such defaults.

use std::borrow::Cow;
use std::fmt::Write;

use regex_syntax::ParserBuilder;
use ua_parser::device::Flag;

use crate::required;

/// The rules of a `regexes.yaml`, in the form that `src/uap.rs` reads.
pub fn rules(yaml: &str) -> Result<String, String> {
    let regexes: ua_parser::Regexes = serde_yaml_ng::from_str(yaml).map_err(|error| error.to_string())?;
    let mut lines = String::new();
    for rule in regexes.user_agent_parsers {
        let given = [
            rule.family_replacement,
            rule.v1_replacement,
            rule.v2_replacement,
            rule.v3_replacement,
            rule.v4_replacement,
        ];
        line(&mut lines, 'b', &rule.regex, false, given, [Some(1), Some(2), Some(3), Some(4), Some(5)])?;
    }
    for rule in regexes.os_parsers {
        let given = [
            rule.os_replacement,
            rule.os_v1_replacement,
            rule.os_v2_replacement,
            rule.os_v3_replacement,
            rule.os_v4_replacement,
        ];
        line(&mut lines, 's', &rule.regex, false, given, [Some(1), Some(2), Some(3), Some(4), Some(5)])?;
    }
    for rule in regexes.device_parsers {
        let ignore_case = rule.regex_flag == Some(Flag::IgnoreCase);
        let given = [rule.device_replacement, rule.brand_replacement, rule.model_replacement];
        line(&mut lines, 'd', &rule.regex, ignore_case, given, [Some(1), None, Some(1)])?;
    }
    Ok(lines)
}

/// `groups`: which group stands in where no replacement is given.
fn line<const FIELDS: usize>(
    lines: &mut String,
    section: char,
    regex: &str,
    ignore_case: bool,
    given: [Option<Cow<'_, str>>; FIELDS],
    groups: [Option<usize>; FIELDS],
) -> Result<(), String> {
    let pattern = if ignore_case { format!("(?i){}", unbounded(regex)) } else { unbounded(regex) };
    let hir = ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .build()
        .parse(&pattern)
        .map_err(|error| format!("`{regex}`: {error}"))?;
    let count = hir.properties().explicit_captures_len();
    let words = required::words(&hir).into_iter().collect::<Vec<_>>().join("\x1f");
    write!(lines, "{section}\t{words}\t{pattern}").map_err(|error| error.to_string())?;
    for (given, group) in given.into_iter().zip(groups) {
        let template = match (given.filter(|text| !text.trim().is_empty()), group) {
            (Some(text), _) => text.into_owned(),
            (None, Some(group)) if group <= count => format!("${group}"),
            (None, _) => String::new(),
        };
        if pattern.contains(['\t', '\n']) || template.contains(['\t', '\n']) || words.contains(['\t', '\n']) {
            return Err(format!("`{regex}` has a tab or a line end in it"));
        }
        write!(lines, "\t{template}").map_err(|error| error.to_string())?;
    }
    lines.push('\n');
    Ok(())
}

/// `{0,100}` becomes `*` and `{1,300}` becomes `+`: they are guards for engines that backtrack, which ours does not,
/// and counted repeats are what makes a pattern large.
fn unbounded(regex: &str) -> String {
    let mut out = String::with_capacity(regex.len());
    let mut rest = regex;
    let mut in_class = false;
    while let Some(next) = rest.chars().next() {
        let taken = match next {
            '\\' => rest.chars().take(2).map(char::len_utf8).sum(),
            '{' if !in_class => match large_bound(rest) {
                Some((repeat, length)) => {
                    out.push(repeat);
                    rest = &rest[length..];
                    continue;
                }
                None => 1,
            },
            '[' | ']' => {
                in_class = next == '[';
                1
            }
            _ => next.len_utf8(),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out
}

/// What a bound of three digits or more at the start of the text becomes, and how long it is.
fn large_bound(text: &str) -> Option<(char, usize)> {
    let inside = &text[1..text.find('}')?];
    let (least, most) = inside.split_once(',')?;
    let repeat = match least {
        "0" => '*',
        "1" => '+',
        _ => return None,
    };
    (most.len() > 2 && most.bytes().all(|digit| digit.is_ascii_digit())).then_some((repeat, inside.len() + 2))
}
