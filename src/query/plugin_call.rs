//! `plugin_rows(plugin, source, settings, last => '1h')` as it is written

use super::QueryError;
use super::plugins::told;
use crate::units::Span;
use datafusion::error::{DataFusionError, Result};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArgExpr, Ident, ObjectName, TableFunctionArgs, Value,
};
use std::collections::BTreeMap;

/// The function's name.
pub const NAME: &str = "plugin_rows";
/// How it is written.
const USAGE: &str = "write plugin_rows('access-log', raw), or plugin_rows('regex', (SELECT …), '{\"pattern\": \"…\"}'), and last => '1h' behind a table";

/// What is written between the parentheses.
pub struct Written {
    /// the plugin's name
    pub plugin: String,
    /// where rows come from
    pub source: Source,
    /// the plugin's settings, as JSON
    pub settings: Option<String>,
    /// only the rows of so much time
    pub last: Option<Span>,
}

/// Where rows come from.
pub enum Source {
    /// a table by name
    Table(ObjectName),
    /// a query of its own
    Subquery(Box<datafusion::sql::sqlparser::ast::Query>),
}

/// Whether a name in FROM is this function.
pub fn is_called(name: &ObjectName) -> bool {
    matches!(name.0.as_slice(), [one] if one.as_ident().is_some_and(|ident| ident.value.eq_ignore_ascii_case(NAME)))
}

/// The table that a call reads, if it reads one by name.
pub fn table_of(args: &TableFunctionArgs) -> Option<ObjectName> {
    let unnamed = args.args.iter().filter_map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    match unnamed.into_iter().nth(1).map(source)? {
        Some(Source::Table(name)) => Some(name),
        Some(Source::Subquery(_)) | None => None,
    }
}

impl Written {
    /// Reads the arguments; an error says which is wrong, and how they are written.
    pub fn read(args: &TableFunctionArgs) -> Result<Written> {
        let (mut unnamed, mut named) = (Vec::new(), BTreeMap::new());
        for arg in &args.args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => unnamed.push(expr),
                FunctionArg::Named { name, arg: FunctionArgExpr::Expr(expr), .. } => {
                    named.insert(name.value.to_lowercase(), expr);
                }
                FunctionArg::ExprNamed {
                    name: SqlExpr::Identifier(name), arg: FunctionArgExpr::Expr(expr), ..
                } => {
                    named.insert(name.value.to_lowercase(), expr);
                }
                other => return Err(usage(format!("`{other}` is none of its arguments"))),
            }
        }
        if let Some(other) = named.keys().find(|name| !["settings", "last"].contains(&name.as_str())) {
            return Err(usage(format!("it has no argument `{other}`; there are `settings` and `last`")));
        }
        let mut unnamed = unnamed.into_iter();
        let plugin =
            unnamed.next().and_then(text).ok_or_else(|| usage("the plugin's name has to be a text in quotes"))?;
        let source = unnamed.next().and_then(source);
        let source = source.ok_or_else(|| usage("it needs a table, or a subquery in parentheses"))?;
        let mut optional = |name: &str| -> Result<Option<String>> {
            let wrong = || usage(format!("`{name}` has to be a text in quotes"));
            let written = unnamed.next().or_else(|| named.get(name).copied());
            written.map(|expr| text(expr).ok_or_else(wrong)).transpose()
        };
        let (settings, last) = (optional("settings")?, optional("last")?);
        if unnamed.next().is_some() {
            return Err(usage("it has too many arguments"));
        }
        let last =
            last.map(|last| Span::parse(&last).map_err(|error| usage(format!("`last`: {error}")))).transpose()?;
        Ok(Written { plugin, source, settings, last })
    }
}

fn text(expr: &SqlExpr) -> Option<String> {
    let SqlExpr::Value(value) = expr else { return None };
    match &value.value {
        Value::SingleQuotedString(text) => Some(text.clone()),
        Value::DollarQuotedString(text) => Some(text.value.clone()),
        _ => None,
    }
}

fn source(expr: &SqlExpr) -> Option<Source> {
    match expr {
        SqlExpr::Identifier(ident) => Some(Source::Table(ObjectName::from(vec![ident.clone()]))),
        SqlExpr::CompoundIdentifier(parts) => Some(Source::Table(ObjectName::from(parts.clone()))),
        SqlExpr::Subquery(query) => Some(Source::Subquery(query.clone())),
        other => {
            let parts = text(other)?.split('.').map(Ident::new).collect::<Vec<_>>();
            Some(Source::Table(ObjectName::from(parts)))
        }
    }
}

/// An error about the arguments.
pub fn usage(what: impl Into<String>) -> DataFusionError {
    told(QueryError::invalid(format!("plugin_rows: {}", what.into())).hint(USAGE))
}
