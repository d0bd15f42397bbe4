//! the engine's errors as sentences for the one who asked

use super::names::Mentions;
use super::{Place, QueryError};
use crate::error::{ErrorKind, nearest};
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

/// A failure of planning or execution; `mentions` says where names stand in the text.
pub fn told(error: &DataFusionError, mentions: &Mentions) -> QueryError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => told(inner, mentions),
        DataFusionError::Shared(inner) => told(inner, mentions),
        DataFusionError::Collection(all) => match all.first() {
            Some(first) => told(first, mentions),
            None => QueryError::new(ErrorKind::Internal, "planning failed without a reason"),
        },
        DataFusionError::SchemaError(error, _) => schema(error, mentions),
        DataFusionError::SQL(error, _) => parser(error),
        DataFusionError::ResourcesExhausted(_) => memory(),
        DataFusionError::External(inner) => match inner.downcast_ref::<QueryError>() {
            Some(ours) => ours.clone(),
            None => match inner.downcast_ref::<DataFusionError>() {
                Some(inner) => told(inner, mentions),
                None => QueryError::new(ErrorKind::Internal, sentence(&inner.to_string())),
            },
        },
        DataFusionError::ArrowError(error, _) => arrow(error, mentions),
        DataFusionError::ParquetError(_) | DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => {
            let text = error.to_string();
            if is_not_text(&text) {
                return not_text();
            }
            // A condition is evaluated inside the reader, which hands its error on as text only.
            if let Some(cast) = text.split("CastError(\"").nth(1).and_then(|rest| rest.split("\")").next()) {
                return arrow(&arrow::error::ArrowError::CastError(cast.to_owned()), mentions);
            }
            QueryError::new(ErrorKind::Io, format!("a segment could not be read: {}", sentence(&text)))
        }
        DataFusionError::NotImplemented(text) => {
            QueryError::invalid(format!("this is not supported: {}", sentence(text)))
        }
        DataFusionError::Plan(text) | DataFusionError::Configuration(text) | DataFusionError::Execution(text) => {
            plan(text, mentions)
        }
        DataFusionError::Internal(text) | DataFusionError::Substrait(text) | DataFusionError::Ffi(text) => {
            QueryError::new(ErrorKind::Internal, sentence(text))
        }
        DataFusionError::ExecutionJoin(_) => {
            QueryError::new(ErrorKind::Internal, "a part of the query stopped before it was done")
        }
    }
}

/// Memory ran out.
pub fn memory() -> QueryError {
    QueryError::new(ErrorKind::Limit, "the query needs more memory than queries may have")
        .hint("narrow the time range, select fewer columns, or group by something with fewer values")
}

/// The text does not parse; the parser says where at the end of its sentence.
pub fn parser(error: &ParserError) -> QueryError {
    let text = match error {
        ParserError::RecursionLimitExceeded => return QueryError::invalid("the query is nested too deeply"),
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
    };
    let (text, place) = split_place(text);
    let failure = QueryError::invalid(format!("syntax error: {}", sentence(text))).at(place);
    match text.rsplit_once("found: ") {
        Some((wanted, found)) if wanted.contains("SQL statement") => {
            match nearest(found.trim(), ["SELECT", "WITH", "EXPLAIN", "SHOW", "DESCRIBE", "VALUES"]) {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None => failure.hint("a query starts with SELECT, WITH, EXPLAIN, SHOW or DESCRIBE"),
            }
        }
        _ => failure,
    }
}

/// `... at Line: 1, Column: 8` as a sentence and a place.
pub fn split_place(text: &str) -> (&str, Option<Place>) {
    let Some((head, tail)) = text.rsplit_once(" at Line: ") else { return (text, None) };
    let place = tail.split_once(", Column: ").and_then(|(line, column)| {
        Some(Place { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
    });
    match place {
        Some(place) => (head, Some(place)),
        None => (text, None),
    }
}

fn schema(error: &SchemaError, mentions: &Mentions) -> QueryError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => unknown_column(field, valid_fields, mentions),
        SchemaError::AmbiguousReference { field } => {
            QueryError::invalid(format!("the column `{}` is in more than one table of this query", field.name))
                .at(mentions.place(&field.name))
                .hint(format!("write which: `table.{}`", field.name))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            QueryError::invalid(format!("two columns would be named `{name}`"))
                .at(mentions.place(name))
                .hint("give one another name with AS")
        }
    }
}

/// `a.b.c` as it was written.
pub fn whole(column: &Column) -> String {
    use datafusion::common::TableReference;
    let name = &column.name;
    match &column.relation {
        None => name.clone(),
        Some(TableReference::Bare { table }) => format!("{table}.{name}"),
        Some(TableReference::Partial { schema, table }) => format!("{schema}.{table}.{name}"),
        Some(TableReference::Full { catalog, schema, table }) => format!("{catalog}.{schema}.{table}.{name}"),
    }
}

fn unknown_column(field: &Column, valid: &[Column], mentions: &Mentions) -> QueryError {
    let name = field.name.as_str();
    let place = mentions.place(name).or_else(|| field.relation.as_ref().and_then(|r| mentions.place(r.table())));
    let mut known: Vec<&str> = valid.iter().map(|column| column.name.as_str()).collect();
    known.dedup();
    let failure = QueryError::invalid(format!("unknown column `{name}`")).at(place);
    if let Some(relation) = &field.relation
        && !mentions.is_source(relation.table())
    {
        return unknown_qualifier(relation.table(), whole(field), &known, failure);
    }
    if let Some(near) = nearest(name, known.iter().copied()) {
        return failure.hint(format!("did you mean `{near}`?"));
    }
    if mentions.is_double_quoted(name) {
        return failure.hint(format!("text goes in single quotes: '{name}'"));
    }
    match known.len() {
        0 => failure,
        1..=20 => failure.hint(format!("the columns here are {}", list(&known))),
        _ => failure.hint("`DESCRIBE <table>` lists the columns of a table"),
    }
}

/// `a.b` where `a` names no table: perhaps a column of that whole name was meant, or a label.
fn unknown_qualifier(qualifier: &str, whole: String, known: &[&str], failure: QueryError) -> QueryError {
    let failure = QueryError { message: format!("unknown column `{whole}`"), ..failure };
    match nearest(&whole, known.iter().copied()) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint(format!("no table here is named `{qualifier}`")),
    }
}

/// Names as people list them.
pub fn list(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The words for bytes that had to be text, wherever that was found.
const NOT_TEXT: [&str; 3] = ["non UTF-8 data", "non-UTF-8 data", "invalid utf-8 sequence"];

fn is_not_text(error: &str) -> bool {
    NOT_TEXT.iter().any(|words| error.contains(words))
}

fn not_text() -> QueryError {
    QueryError::invalid("there are bytes that are not UTF-8 text")
        .hint("text(raw) is bytes as text with U+FFFD for what is none, encode(raw, 'hex') shows them all")
}

fn arrow(error: &arrow::error::ArrowError, mentions: &Mentions) -> QueryError {
    use arrow::error::ArrowError;
    match error {
        ArrowError::ExternalError(inner) => match inner.downcast_ref::<DataFusionError>() {
            Some(inner) => told(inner, mentions),
            None => QueryError::new(ErrorKind::Internal, sentence(&inner.to_string())),
        },
        ArrowError::DivideByZero => {
            QueryError::invalid("division by zero").hint("NULLIF(x, 0) turns zero into null, and the result with it")
        }
        ArrowError::ArithmeticOverflow(text) => {
            let sum = text.split_once("on: ").map_or(text.as_str(), |(_, sum)| sum);
            QueryError::invalid(format!("{sum} is beyond the whole numbers of 64 bits"))
                .hint("CAST one side AS DECIMAL(38, 0), which is exact, or AS DOUBLE")
        }
        ArrowError::CastError(text) | ArrowError::ParseError(text) if !is_not_text(text) => {
            QueryError::invalid(sentence(text)).hint("TRY_CAST gives null where a value does not fit")
        }
        ArrowError::MemoryError(_) => memory(),
        other if is_not_text(&other.to_string()) => not_text(),
        other => {
            let text = other.to_string();
            QueryError::invalid(sentence(text.split_once(": ").map_or(text.as_str(), |(_, rest)| rest)))
        }
    }
}

/// Planner errors that are only text.
/// What stands behind a mark.
fn after<'t>(text: &'t str, mark: &str) -> Option<&'t str> {
    text.split_once(mark).map(|(_, rest)| rest)
}

fn plan(text: &str, mentions: &Mentions) -> QueryError {
    let failure = QueryError::invalid(sentence(text));
    if let Some(name) = between(text, "Invalid function '", "'") {
        let failure = QueryError::invalid(format!("unknown function `{name}`")).at(mentions.place(name));
        return match mentions.nearest_function(name) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure,
        };
    }
    if let Some(ours) = after(text, "user-defined coercion failed with: External error: ") {
        return QueryError::invalid(ours.split(" No function matches").next().unwrap_or(ours).trim());
    }
    if let Some(name) = between(text, "Field ", " not found in struct") {
        return QueryError::invalid(format!("the value has no field `{name}`"))
            .hint("SELECT the value itself with LIMIT 1: that shows its fields");
    }
    // The engine tells it as a mistake of its own, with each signature.
    if let Some(name) = between(text, "Function '", "' failed to match any signature") {
        return QueryError::invalid(format!("`{name}` does not take values of this type"))
            .at(mentions.place(name))
            .hint("`DESCRIBE <table>` lists the types; CAST(column AS DOUBLE) makes numbers of text");
    }
    if text.starts_with("Projections require unique expression names") {
        return same_name(text, mentions).hint("give one another name with AS");
    }
    if let Some(column) = between(
        text,
        "Column in SELECT must be in GROUP BY or an aggregate function: While expanding wildcard, column \"",
        "\"",
    ) {
        return QueryError::invalid(format!(
            "the column `{column}` is neither grouped by nor inside an aggregate function"
        ))
        .hint(format!("add it to GROUP BY, or write max({column})"));
    }
    failure
}

/// `… the expression "Int64(1) AS a" at position 0 and "count(*) AS a" at position 1 have the same name`: columns are numbered from
/// 1 as in `ORDER BY 1`, and only a name that was given is one that the asker knows.
fn same_name(text: &str, mentions: &Mentions) -> QueryError {
    let positions = text.split("\" at position ").skip(1);
    let mut positions = positions.filter_map(|rest| rest.split(' ').next()?.parse::<usize>().ok());
    let (first, second) = (positions.next().map_or(1, |at| at + 1), positions.next().map_or(2, |at| at + 1));
    let columns = format!("columns {first} and {second} of the answer");
    let expression = between(text, "the expression \"", "\" at position").unwrap_or_default();
    match expression.rsplit_once(" AS ") {
        Some((_, name)) => {
            QueryError::invalid(format!("{columns} would both be named `{name}`")).at(mentions.place(name))
        }
        None => QueryError::invalid(format!("{columns} would have the same name")),
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// The engine's words in our manner: one line, no advice meant for its own developers, lower case, no full stop.
pub fn sentence(text: &str) -> String {
    let cut = [
        "\n\nbacktrace:",
        "\nbacktrace:",
        "\nThis issue was likely caused",
        ".\nThis was likely caused",
        "\nThis was likely",
    ]
    .iter()
    .filter_map(|mark| text.find(mark))
    .min()
    .unwrap_or(text.len());
    let text: String = text.get(..cut).unwrap_or(text).split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = text.as_str();
    for prefix in PREFIXES {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    let text = text.trim_end_matches('.');
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if letters.next().is_none_or(|second| !second.is_uppercase()) => {
            let rest = text.get(first.len_utf8()..).unwrap_or_default();
            format!("{}{rest}", first.to_lowercase())
        }
        _ => text.to_owned(),
    }
}

const PREFIXES: &[&str] = &[
    "External error: ",
    "Arrow error: ",
    "Parquet error: ",
    "Object Store error: ",
    "IO error: ",
    "Execution error: ",
    "Error during planning: ",
    "type_coercion caused by ",
    "Schema error: ",
    "sql parser error: ",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_from_the_end_of_a_sentence() {
        let (text, place) = split_place("Expected: an expression, found: FROM at Line: 2, Column: 8");
        assert_eq!((text, place), ("Expected: an expression, found: FROM", Some(Place { line: 2, column: 8 })));
        assert_eq!(split_place("no place"), ("no place", None));
    }

    #[test]
    fn sentences_lose_what_is_not_for_the_reader() {
        for (text, told) in [
            ("Error during planning: Cannot coerce x.", "cannot coerce x"),
            ("UNNEST is odd", "UNNEST is odd"),
            ("Bad\n\nbacktrace:  0: x", "bad"),
        ] {
            assert_eq!(sentence(text), told);
        }
    }
}
