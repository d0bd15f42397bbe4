//! the words that a text must have, at least one of them, for a pattern to match it
//!
//! ```text
//! (Chrome|CriOS)/(\d+)  ─►  chrome/  crios/
//! ```
//!
//! All in lower case: whoever searches for them ignores case, which may let through too much and never too little.

use std::collections::BTreeSet;

use regex_syntax::hir::{Class, Hir, HirKind};

/// What most agents have in them, so that it tells little.
const COMMON: [&str; 3] = [
    "mozilla/5.0 (compatible; linux; u; android; windows nt; macintosh; x11; iphone; cpu; like mac os x) ",
    " build/) applewebkit/ (khtml, like gecko) version/4.0 mobile/ safari/ chrome/ firefox/ gecko/",
    " build) applewebkit; wv) http:// https:// .html",
];

type Words = BTreeSet<String>;

/// More than this many texts are not kept exactly.
const EXACT_MAX: usize = 96;

/// Shorter words stand in nearly every text.
const WORD_BYTES_MIN: usize = 3;

/// The words of a pattern; none where nothing can be told, and the pattern has to be tried on every text.
pub fn words(hir: &Hir) -> Words {
    let Known { exact, required } = known(hir);
    let best = best(exact.into_iter().chain(required)).unwrap_or_default();
    // `chrome/1` is in a text only where `chrome` is.
    let shorter = |word: &String| best.iter().any(|other| other != word && word.contains(other.as_str()));
    best.iter().filter(|word| !shorter(word)).cloned().collect()
}

/// What is known of everything that a piece of a pattern matches.
#[derive(Default)]
struct Known {
    /// It is one of these.
    exact: Option<Words>,
    /// It has one of these in it.
    required: Option<Words>,
}

fn known(hir: &Hir) -> Known {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => exactly([String::new()]),
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) => exactly([text.to_ascii_lowercase()]),
            Err(_) => Known::default(),
        },
        HirKind::Class(class) => chars(class).map(exactly).unwrap_or_default(),
        HirKind::Capture(capture) => known(&capture.sub),
        HirKind::Repetition(repetition) => {
            let inside = known(&repetition.sub);
            match (repetition.min, repetition.max, inside.exact) {
                (least, Some(most @ ..=3), Some(exact)) if exact.len() < 3 => exactly(repeats(&exact, least, most)),
                (0, Some(1), Some(mut exact)) => {
                    exact.insert(String::new());
                    Known { exact: Some(exact), required: None }
                }
                (0, _, _) => Known::default(),
                (_, _, exact) => Known { exact: None, required: best(exact.into_iter().chain(inside.required)) },
            }
        }
        HirKind::Concat(_) => {
            let mut parts = Vec::new();
            flatten(hir, &mut parts);
            one_after_another(&parts)
        }
        HirKind::Alternation(parts) => one_of(parts),
    }
}

/// The texts `least` to `most` times behind each other.
fn repeats(texts: &Words, least: u32, most: u32) -> Words {
    let mut all = Words::new();
    let mut so_often = Words::from([String::new()]);
    for times in 0..=most {
        if times >= least {
            all.extend(so_often.iter().cloned());
        }
        so_often = so_often.iter().flat_map(|before| texts.iter().map(move |text| format!("{before}{text}"))).collect();
    }
    all
}

/// The pieces that follow each other, also across the edges of groups: `; (SN[0-9])` begins with `; sn`.
fn flatten<'h>(hir: &'h Hir, parts: &mut Vec<&'h Hir>) {
    match hir.kind() {
        HirKind::Concat(inside) => inside.iter().for_each(|part| flatten(part, parts)),
        HirKind::Capture(capture) => flatten(&capture.sub, parts),
        _ => parts.push(hir),
    }
}

fn one_after_another(parts: &[&Hir]) -> Known {
    let mut candidates = Vec::new();
    let mut all_exact = true;
    let mut run = Words::from([String::new()]);
    for part in parts {
        let Known { exact, required } = known(part);
        candidates.extend(required);
        match exact {
            Some(exact) if run.len() * exact.len() <= EXACT_MAX => {
                run = run.iter().flat_map(|before| exact.iter().map(move |after| format!("{before}{after}"))).collect();
            }
            exact => {
                all_exact = false;
                candidates.push(std::mem::replace(&mut run, exact.unwrap_or_else(|| Words::from([String::new()]))));
            }
        }
    }
    candidates.push(run.clone());
    if all_exact {
        Known { exact: Some(run), required: None }
    } else {
        Known { exact: None, required: best(candidates) }
    }
}

fn one_of(parts: &[Hir]) -> Known {
    let parts: Vec<Known> = parts.iter().map(known).collect();
    let exact: Option<Vec<&Words>> = parts.iter().map(|part| part.exact.as_ref()).collect();
    let exact: Option<Words> = exact.map(|sets| sets.into_iter().flatten().cloned().collect());
    if let Some(exact) = exact {
        // Kept whole although it may be long: a list of names is the best thing to look for.
        return Known { exact: Some(exact), required: None };
    }
    let required: Option<Vec<Words>> =
        parts.into_iter().map(|part| best(part.exact.into_iter().chain(part.required))).collect();
    Known { exact: None, required: required.map(|sets| sets.into_iter().flatten().collect()) }
}

/// Of several sets, each enough by itself, the rarest in texts: without common words, and with the longest shortest one.
fn best(candidates: impl IntoIterator<Item = Words>) -> Option<Words> {
    let shortest = |words: &Words| words.iter().map(String::len).min().unwrap_or(0);
    let rare = |words: &Words| {
        !words.iter().any(|word| COMMON.iter().any(|common| common.contains(word.as_str()) || word == common))
    };
    let useful = candidates.into_iter().filter(|words| shortest(words) >= WORD_BYTES_MIN);
    useful.max_by_key(|words| (rare(words), shortest(words).min(6), std::cmp::Reverse(words.len())))
}

/// The characters of a small class, without regard to case.
fn chars(class: &Class) -> Option<Words> {
    let mut chars = Words::new();
    let Class::Bytes(class) = class else { return None };
    for range in class.iter() {
        // A space of any kind tells little, and tabs and line ends have a meaning where the words are written.
        if !range.end().is_ascii() || range.start() < b' ' || usize::from(range.end() - range.start()) > EXACT_MAX {
            return None;
        }
        chars.extend((range.start()..=range.end()).map(|byte| char::from(byte.to_ascii_lowercase()).to_string()));
    }
    (chars.len() <= 10).then_some(chars)
}

fn exactly(texts: impl IntoIterator<Item = String>) -> Known {
    Known { exact: Some(texts.into_iter().collect()), required: None }
}
