//! what a text must be before it is planned: small, flat, one statement, and only a question
//!
//! Deep nesting is found on tokens, because the parser, and dropping what it built, go as deep as the text does. What passes here can
//! be planned within a second or two.

use super::fault;
use super::functions::refused;
use super::weigh::weigh;
use super::{Limits, Place, QueryError};
use crate::error::ErrorKind;
use datafusion::sql::parser::{DFParserBuilder, Statement as Parsed};
use datafusion::sql::sqlparser::ast::{
    Expr, ObjectName, Query, SetExpr, ShowStatementOptions, Statement, TableFactor, Value, ValueWithSpan, Visit,
    Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};
use std::ops::ControlFlow;

/// The longest text constant in a query, in bytes: every row of a batch may repeat it.
pub const CONSTANT_BYTES_MAX: usize = 8 << 10;

/// The most tables and subqueries that a query reads, written out: twice as many cost more than twice as much to plan.
pub const SOURCES_MAX: u64 = 100;
/// The most expressions of a query, written out, for each one that may be written.
const WRITTEN_OUT: usize = 10;

/// What was asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// rows: a query, or the explanation of one
    Rows(Box<Parsed>),
    /// which tables there are
    Tables,
    /// which columns a table has
    Columns(ObjectName),
}

/// Reads a text, if it may be asked at all.
pub fn read(sql: &str, limits: &Limits) -> Result<Question, QueryError> {
    if sql.len() > limits.text_bytes_max {
        return Err(limit(format!(
            "the query is {} bytes long; at most {} are allowed",
            sql.len(),
            limits.text_bytes_max
        )));
    }
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().map_err(|error| {
        QueryError::invalid(format!("syntax error: {}", fault::sentence(&error.message))).at(place(error.location))
    })?;
    flat(&tokens, limits)?;
    let parsed = DFParserBuilder::new(tokens)
        .with_dialect(&GenericDialect {})
        .with_recursion_limit(limits.nesting_max.saturating_mul(4).max(50))
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| fault::told(&error, &Default::default()).at(Some(end(sql))))?;
    let mut parsed = parsed.into_iter();
    let statement = match (parsed.next(), parsed.next()) {
        (Some(statement), None) => statement,
        (None, _) => return Err(QueryError::invalid("the query is empty").hint("try: SHOW TABLES")),
        (Some(_), Some(_)) => {
            return Err(QueryError::invalid("more than one statement").hint("send them one at a time"));
        }
    };
    let question = question(statement)?;
    if let Question::Rows(statement) = &question {
        modest(statement, limits)?;
    }
    Ok(question)
}

fn limit(message: impl Into<String>) -> QueryError {
    QueryError::new(ErrorKind::Limit, message)
}

/// A parser's location, if it is one.
pub fn place(location: Location) -> Option<Place> {
    (location.line > 0).then_some(Place { line: location.line, column: location.column })
}

/// The end of the text, where the parser missed something if it names no place.
fn end(sql: &str) -> Place {
    let last = sql.trim_end().rsplit('\n').next().unwrap_or_default();
    let line = sql.trim_end().matches('\n').count() as u64 + 1;
    Place { line, column: last.chars().count() as u64 + 1 }
}

/// Nesting, and how many tokens there are, before anything recursive sees them.
fn flat(tokens: &[TokenWithSpan], limits: &Limits) -> Result<(), QueryError> {
    let (mut depth, mut words) = (0usize, 0usize);
    for token in tokens {
        match &token.token {
            Token::Whitespace(_) | Token::Comma => continue,
            Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
            Token::RParen | Token::RBracket | Token::RBrace => depth = depth.saturating_sub(1),
            Token::Word(word) if word.keyword == Keyword::CASE => depth += 1,
            Token::Word(word) if word.keyword == Keyword::END => depth = depth.saturating_sub(1),
            Token::SingleQuotedString(text) if text.len() > CONSTANT_BYTES_MAX => {
                return Err(limit(format!("a text constant may have at most {CONSTANT_BYTES_MAX} bytes"))
                    .at(place(token.span.start)));
            }
            _ => {}
        }
        words += 1;
        if depth > limits.nesting_max {
            return Err(
                limit(format!("the query is nested more than {} deep", limits.nesting_max)).at(place(token.span.start))
            );
        }
        if words > limits.nodes_max.saturating_mul(8) {
            return Err(too_many(limits).at(place(token.span.start)));
        }
    }
    Ok(())
}

fn too_many(limits: &Limits) -> QueryError {
    limit(format!("the query has more than {} parts", limits.nodes_max))
        .hint("join against VALUES or a subquery instead of listing many values")
}

/// Only what reads.
fn question(statement: Parsed) -> Result<Question, QueryError> {
    match &statement {
        Parsed::Statement(inner) => match inner.as_ref() {
            Statement::Query(_) => Ok(Question::Rows(Box::new(statement))),
            Statement::ShowTables { .. } => Ok(Question::Tables),
            Statement::ShowColumns { show_options, .. } => shown(show_options).map(Question::Columns),
            Statement::ExplainTable { table_name, .. } => Ok(Question::Columns(table_name.clone())),
            other => Err(only_reading(&other.to_string())),
        },
        Parsed::Explain(explain) => match explain.statement.as_ref() {
            Parsed::Statement(inner) if matches!(inner.as_ref(), Statement::Query(_)) => {
                Ok(Question::Rows(Box::new(statement)))
            }
            _ => Err(QueryError::invalid("only a query can be explained")),
        },
        Parsed::CreateExternalTable(_) | Parsed::CopyTo(_) | Parsed::Reset(_) => {
            Err(only_reading(&statement.to_string()))
        }
    }
}

fn shown(options: &ShowStatementOptions) -> Result<ObjectName, QueryError> {
    options
        .show_in
        .as_ref()
        .and_then(|shown| shown.parent_name.clone())
        .ok_or_else(|| QueryError::invalid("SHOW COLUMNS of which table?").hint("write SHOW COLUMNS FROM <table>"))
}

fn only_reading(statement: &str) -> QueryError {
    let verb = statement.split_whitespace().next().unwrap_or_default().to_uppercase();
    QueryError::new(ErrorKind::Forbidden, format!("{verb} is not possible here: queries only read"))
        .hint("rows are written by pipelines and by POST /v1/ingest/<source>")
}

/// How much there is to plan, and nothing in it that writes or grows without end.
fn modest(statement: &Parsed, limits: &Limits) -> Result<(), QueryError> {
    let mut walker = Walker { nodes: 0, limits };
    let found = match query_of(statement) {
        Some(query) => query.visit(&mut walker),
        None => ControlFlow::Continue(()),
    };
    if let ControlFlow::Break(failure) = found {
        return Err(*failure);
    }
    let weight = query_of(statement).map(weigh).unwrap_or_default();
    if weight.sources > SOURCES_MAX {
        return Err(limit(format!(
            "the query reads more than {SOURCES_MAX} tables, counting each as often as it is read"
        )));
    }
    if weight.nodes > limits.nodes_max.saturating_mul(WRITTEN_OUT) as u64 {
        return Err(limit("columns of subqueries are named so often that the query becomes too large")
            .hint("name each column of a subquery once, or group in between"));
    }
    Ok(())
}

/// The query inside a statement that [`read`] let through.
pub fn query_of(statement: &Parsed) -> Option<&Query> {
    match statement {
        Parsed::Statement(inner) => match inner.as_ref() {
            Statement::Query(query) => Some(query),
            _ => None,
        },
        Parsed::Explain(explain) => query_of(&explain.statement),
        _ => None,
    }
}

/// The same, to change it.
pub fn query_of_mut(statement: &mut Parsed) -> Option<&mut Query> {
    match statement {
        Parsed::Statement(inner) => match inner.as_mut() {
            Statement::Query(query) => Some(query),
            _ => None,
        },
        Parsed::Explain(explain) => query_of_mut(&mut explain.statement),
        _ => None,
    }
}

struct Walker<'a> {
    nodes: usize,
    limits: &'a Limits,
}

type Found = ControlFlow<Box<QueryError>>;

impl Walker<'_> {
    fn count(&mut self) -> Found {
        self.nodes += 1;
        if self.nodes > self.limits.nodes_max {
            return ControlFlow::Break(Box::new(too_many(self.limits)));
        }
        ControlFlow::Continue(())
    }
}

/// A part of a query that may write.
fn writes(body: &SetExpr) -> bool {
    match body {
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => true,
        SetExpr::Select(select) => select.into.is_some(),
        SetExpr::SetOperation { left, right, .. } => writes(left) || writes(right),
        SetExpr::Query(_) | SetExpr::Values(_) | SetExpr::Table(_) => false,
    }
}

impl Visitor for Walker<'_> {
    type Break = Box<QueryError>;

    fn pre_visit_query(&mut self, query: &Query) -> Found {
        if writes(&query.body) || !query.locks.is_empty() {
            return ControlFlow::Break(Box::new(only_reading("writing")));
        }
        if query.with.as_ref().is_some_and(|with| with.recursive) {
            let failure = QueryError::invalid("WITH RECURSIVE is not supported, because it need not end");
            return ControlFlow::Break(Box::new(failure));
        }
        self.count()
    }

    fn pre_visit_select(&mut self, _: &datafusion::sql::sqlparser::ast::Select) -> Found {
        self.count()
    }

    fn pre_visit_table_factor(&mut self, _: &TableFactor) -> Found {
        self.count()
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> Found {
        if let Value::DollarQuotedString(text) = &value.value
            && text.value.len() > CONSTANT_BYTES_MAX
        {
            let failure = limit(format!("a text constant may have at most {CONSTANT_BYTES_MAX} bytes"));
            return ControlFlow::Break(Box::new(failure.at(place(value.span.start))));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Found {
        if let Expr::Function(function) = expr
            && let Some(name) = function.name.0.last().and_then(|part| part.as_ident())
            && let Some(failure) = refused(&name.value.to_lowercase())
        {
            return ControlFlow::Break(Box::new(failure.at(place(name.span.start))));
        }
        self.count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refusal(sql: &str, word: &str) {
        match read(sql, &Limits::default()) {
            Ok(_) => panic!("let through: {sql}"),
            Err(error) => assert!(error.to_string().contains(word), "{error}"),
        }
    }

    #[test]
    fn what_writes_is_refused() {
        for sql in [
            "INSERT INTO t VALUES (1)",
            "DELETE FROM t",
            "UPDATE t SET a = 1",
            "CREATE TABLE t (a INT)",
            "DROP TABLE t",
            "COPY t TO 'x.parquet'",
            "SET a = 1",
            "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'x'",
            "RESET x",
            "CREATE VIEW v AS SELECT 1",
            "TRUNCATE TABLE t",
            "COPY (SELECT 1) TO 'x'",
            "BEGIN",
            "PREPARE p AS SELECT 1",
        ] {
            match read(sql, &Limits::default()) {
                Ok(_) => panic!("let through: {sql}"),
                Err(error) => {
                    assert!(error.kind == ErrorKind::Forbidden || error.message.contains("syntax"), "{sql}: {error}")
                }
            }
        }
        refusal("EXPLAIN INSERT INTO t VALUES (1)", "explained");
        refusal("SELECT 1; SELECT 2", "one");
        refusal("", "empty");
        refusal("SELECT a INTO b FROM t", "only read");
        refusal("WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM t) SELECT * FROM t", "RECURSIVE");
    }

    #[test]
    fn what_is_too_much_is_refused_without_falling_over() {
        refusal(&"x".repeat(70_000), "bytes long");
        refusal(&format!("SELECT {}1{}", "(".repeat(60), ")".repeat(60)), "nested");
        refusal(&format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(60), " END".repeat(60)), "nested");
        refusal(&format!("SELECT 1{}", "+1".repeat(20_000)), "parts");
        refusal(&format!("SELECT 1{}", "+1".repeat(2_000)), "parts");
        refusal(&format!("SELECT {} 1", "-+".repeat(3_000)), "nested");
        refusal(&format!("SELECT a IN ({}1)", "1,".repeat(2_000)), "parts");
        refusal(&format!("{}SELECT 1", "SELECT 1 UNION ALL ".repeat(1_500)), "parts");
        refusal(&format!("{}SELECT 1", "SELECT 1 UNION ALL ".repeat(3_000)), "parts");
        refusal(&format!("SELECT '{}'", "x".repeat(10_000)), "constant");
        refusal(&format!("SELECT 1 FROM t{}", ", t".repeat(150)), "tables");
        let doubling = "SELECT a + a AS a FROM (".repeat(40);
        refusal(&format!("{doubling}SELECT 1 AS a{}", ")".repeat(40)), "too large");
        refusal("SELECT range(1, 1000000000)", "range");
        refusal("SELECT array_repeat(1, 1000000000)", "array_repeat");
    }

    #[test]
    fn what_reads_passes() {
        for sql in [
            "SELECT 1;",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "EXPLAIN SELECT 1",
            "EXPLAIN ANALYZE SELECT 1",
            "SHOW TABLES",
            "SHOW COLUMNS FROM t",
            "DESCRIBE t",
            "VALUES (1)",
            "SELECT * FROM generate_series(1, 10)",
            "SELECT labels['job'] FROM m",
            "(SELECT 1) UNION ALL (SELECT 2)",
        ] {
            if let Err(error) = read(sql, &Limits::default()) {
                panic!("{sql}: {error}");
            }
        }
    }

    #[test]
    fn a_mistake_has_a_place() {
        let error = read("SELECT a,\n  FROM t WHERE", &Limits::default()).map(|_| ()).unwrap_err();
        assert_eq!(error.place.map(|place| place.line), Some(2), "{error}");
        let error = read("SELEC 1", &Limits::default()).map(|_| ()).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("did you mean `SELECT`?"), "{error}");
    }
}
