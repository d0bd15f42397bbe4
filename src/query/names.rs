//! names in a query: which table and column each means, and where it stands
//!
//! Names are matched as they are written. Where that finds nothing, an unquoted name may still mean one thing only: `http.status` is the
//! column of that whole name where no table is called `http`, and `STATUS` is the one column that differs in case alone.

use super::catalog::Shelf;
use super::door::{place, query_of, query_of_mut};
use super::fault;
use super::plugin_call;
use super::{Place, QueryError};
use crate::error::{ErrorKind, did_you_mean, nearest};
use crate::event::TableName;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Ident, ObjectName, ObjectNamePart, Query, Select, SelectItem, TableAlias, TableFactor, Visit,
    VisitMut, Visitor, VisitorMut,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

/// Every name of a query and where it first stands.
#[derive(Clone, Debug, Default)]
pub struct Mentions {
    places: HashMap<String, Place>,
    double_quoted: BTreeSet<String>,
    /// tables, aliases of tables and names of common table expressions
    sources: BTreeSet<String>,
    /// names that the query gives to columns
    aliases: BTreeSet<String>,
    ctes: BTreeSet<String>,
    /// tables as they were written
    tables: Vec<ObjectName>,
    /// which table each alias means
    aliased: HashMap<String, String>,
    /// the functions there are, for suggestions
    functions: Vec<String>,
}

/// What a written table name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// one of ours
    Table(TableName),
    /// `information_schema.x`
    Information,
    /// a common table expression of the query
    Local,
    /// none of these
    Unknown(String),
}

impl Mentions {
    /// Collects them.
    pub fn of(statement: &Statement) -> Self {
        let mut mentions = Mentions::default();
        if let Some(query) = query_of(statement) {
            let _ = query.visit(&mut mentions);
        }
        mentions
    }

    /// Where a name first stands.
    pub fn place(&self, name: &str) -> Option<Place> {
        self.places.get(name).or_else(|| self.places.get(&name.to_lowercase())).copied()
    }

    /// Whether the query reads something of this name.
    pub fn is_source(&self, name: &str) -> bool {
        self.sources.contains(name)
    }

    /// The table that a source of the query is, as it stands in the catalog.
    pub fn table_of(&self, source: &str) -> Option<TableName> {
        TableName::parse(self.aliased.get(source)?).ok()
    }

    /// With the functions there are, to suggest one from.
    pub fn with_functions(mut self, names: Vec<String>) -> Self {
        self.functions = names;
        self
    }

    /// The function whose name is nearest.
    pub fn nearest_function(&self, name: &str) -> Option<&str> {
        nearest(name, self.functions.iter().map(String::as_str))
    }

    /// Whether it was written in double quotes.
    pub fn is_double_quoted(&self, name: &str) -> bool {
        self.double_quoted.contains(name)
    }

    fn note(&mut self, ident: &Ident) {
        if let Some(place) = place(ident.span.start) {
            self.places.entry(ident.value.clone()).or_insert(place);
            self.places.entry(ident.value.to_lowercase()).or_insert(place);
        }
        if ident.quote_style == Some('"') {
            self.double_quoted.insert(ident.value.clone());
        }
    }

    fn alias(&mut self, alias: &TableAlias) {
        self.sources.insert(alias.name.value.clone());
        self.aliases.extend(alias.columns.iter().map(|column| column.name.value.clone()));
    }

    /// The tables of ours that the query reads, each once; an unknown one is an error with what there is.
    pub fn tables(&self, shelf: &dyn Shelf) -> Result<Vec<TableName>, QueryError> {
        let mut tables = BTreeSet::new();
        for name in &self.tables {
            match self.source(name, shelf) {
                Source::Table(table) => {
                    tables.insert(table);
                }
                Source::Information | Source::Local => {}
                Source::Unknown(written) => return Err(unknown_table(&written, name, shelf)),
            }
        }
        Ok(tables.into_iter().collect())
    }

    /// The tables that the query names, whether they exist or not.
    pub fn tables_written(&self) -> Vec<TableName> {
        let written = self.tables.iter().filter(|name| !self.is_local(name)).map(written);
        let tables: BTreeSet<_> = written.filter_map(|name| TableName::parse(&name).ok()).collect();
        tables.into_iter().collect()
    }

    fn is_local(&self, name: &ObjectName) -> bool {
        matches!(name.0.as_slice(), [part] if part.as_ident().is_some_and(|ident| self.ctes.contains(&ident.value)))
    }

    fn source(&self, name: &ObjectName, shelf: &dyn Shelf) -> Source {
        if self.is_local(name) {
            return Source::Local;
        }
        let written = written(name);
        if written.starts_with("information_schema.") {
            return Source::Information;
        }
        match TableName::parse(&written) {
            Ok(table) if shelf.columns(&table).is_some() => Source::Table(table),
            _ => Source::Unknown(written),
        }
    }
}

/// A table's name as it stands in the catalog: unquoted parts in lower case, `public.` left out.
pub fn written(name: &ObjectName) -> String {
    let parts: Vec<String> = name
        .0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) if ident.quote_style.is_none() => ident.value.to_lowercase(),
            ObjectNamePart::Identifier(ident) => ident.value.clone(),
            ObjectNamePart::Function(function) => function.name.value.clone(),
        })
        .collect();
    let whole = parts.join(".");
    match whole.strip_prefix("public.") {
        Some(rest) => rest.to_owned(),
        None => whole,
    }
}

/// The error for a table that is not there.
pub fn unknown_table(written: &str, name: &ObjectName, shelf: &dyn Shelf) -> QueryError {
    let at = name.0.first().and_then(|part| part.as_ident()).and_then(|ident| place(ident.span.start));
    let names = shelf.names();
    let known: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    let failure = QueryError::new(ErrorKind::Missing, format!("unknown table `{written}`")).at(at);
    let near = did_you_mean(written, known.iter().copied());
    if let Some(near) = near.strip_prefix("; ") {
        return failure.hint(near);
    }
    let system = format!("tidemill.{written}");
    if known.contains(&system.as_str()) {
        return failure.hint(format!("did you mean `{system}`?"));
    }
    match known.len() {
        0 => failure.hint("there is no table yet: a table appears with its first row"),
        1..=20 => failure.hint(format!("the tables are {}", fault::list(&known))),
        _ => failure.hint("SHOW TABLES lists them"),
    }
}

impl Visitor for Mentions {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            self.ctes.insert(cte.alias.name.value.clone());
            self.alias(&cte.alias);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        for item in &select.projection {
            match item {
                SelectItem::ExprWithAlias { alias, .. } => {
                    self.aliases.insert(alias.value.clone());
                }
                SelectItem::ExprWithAliases { aliases, .. } => {
                    self.aliases.extend(aliases.iter().map(|alias| alias.value.clone()));
                }
                SelectItem::UnnamedExpr(_) | SelectItem::QualifiedWildcard(..) | SelectItem::Wildcard(_) => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table { name, alias, args, .. } => {
                for ident in name.0.iter().filter_map(|part| part.as_ident()) {
                    self.note(ident);
                }
                if let Some(alias) = alias {
                    self.alias(alias);
                    self.aliased.insert(alias.name.value.clone(), written(name));
                } else if let Some(ident) = name.0.last().and_then(|part| part.as_ident()) {
                    let quoted = ident.quote_style.is_some();
                    let source = if quoted { ident.value.clone() } else { ident.value.to_lowercase() };
                    self.aliased.insert(source.clone(), written(name));
                    self.sources.insert(source);
                }
                match args {
                    None => self.tables.push(name.clone()),
                    Some(args) if plugin_call::is_called(name) => self.tables.extend(plugin_call::table_of(args)),
                    Some(_) => (),
                }
            }
            TableFactor::Derived { alias: Some(alias), .. }
            | TableFactor::TableFunction { alias: Some(alias), .. }
            | TableFactor::Function { alias: Some(alias), .. }
            | TableFactor::UNNEST { alias: Some(alias), .. }
            | TableFactor::NestedJoin { alias: Some(alias), .. } => self.alias(alias),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.note(ident),
            Expr::CompoundIdentifier(parts) => {
                parts.iter().rev().for_each(|ident| self.note(ident));
                let whole = parts.iter().map(|ident| ident.value.as_str()).collect::<Vec<_>>().join(".");
                if let Some(place) = parts.first().and_then(|ident| place(ident.span.start)) {
                    self.places.entry(whole).or_insert(place);
                }
            }
            Expr::Function(function) => {
                for ident in function.name.0.iter().filter_map(|part| part.as_ident()) {
                    self.note(ident);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Makes every name the one that is meant. `extra` columns count as known too.
pub fn settle(statement: &mut Statement, mentions: &Mentions, columns: &BTreeSet<String>) {
    let mut by_lower: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for name in columns.iter().chain(&mentions.aliases) {
        by_lower.entry(name.to_lowercase()).or_default().insert(name);
    }
    let mut settler = Settler { mentions, columns, by_lower };
    if let Some(query) = query_of_mut(statement) {
        let _ = VisitMut::visit(query, &mut settler);
    }
}

struct Settler<'a> {
    mentions: &'a Mentions,
    columns: &'a BTreeSet<String>,
    by_lower: BTreeMap<String, BTreeSet<&'a str>>,
}

impl Settler<'_> {
    /// The column that a name means: itself, or the only one that differs in case.
    fn column(&self, written: &str) -> Option<String> {
        if self.columns.contains(written) || self.mentions.aliases.contains(written) {
            return Some(written.to_owned());
        }
        let candidates = self.by_lower.get(&written.to_lowercase())?;
        match candidates.len() {
            1 => candidates.first().map(|name| (*name).to_owned()),
            _ => None,
        }
    }

    /// The source that a qualifier means.
    fn source(&self, ident: &Ident) -> Option<String> {
        if self.mentions.sources.contains(&ident.value) {
            return Some(ident.value.clone());
        }
        let lower = ident.value.to_lowercase();
        (ident.quote_style.is_none() && self.mentions.sources.contains(&lower)).then_some(lower)
    }

    fn fix(&self, ident: &mut Ident) {
        if ident.quote_style.is_none()
            && let Some(name) = self.column(&ident.value)
        {
            ident.value = name;
            ident.quote_style = Some('"');
        }
    }

    fn compound(&self, parts: &[Ident]) -> Option<Expr> {
        let unquoted = parts.iter().all(|part| part.quote_style.is_none());
        let (first, rest) = parts.split_first()?;
        let schema = matches!(first.value.to_lowercase().as_str(), "tidemill" | "public" | "information_schema");
        if schema && rest.len() >= 2 && self.source(rest.first()?).is_some() {
            let mut fixed = vec![first.clone()];
            match self.compound(rest)? {
                Expr::CompoundIdentifier(parts) => fixed.extend(parts),
                _ => return None,
            }
            return Some(Expr::CompoundIdentifier(fixed));
        }
        if let Some(source) = self.source(first) {
            let joined = rest.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".");
            let quoted = rest.iter().any(|part| part.quote_style.is_some());
            let column = if quoted { None } else { self.column(&joined) };
            let source = Ident { value: source, ..first.clone() };
            let mut fixed = vec![source];
            match column {
                Some(column) => fixed.push(Ident { value: column, quote_style: Some('"'), span: rest.first()?.span }),
                None => fixed.extend(rest.iter().cloned()),
            }
            return Some(Expr::CompoundIdentifier(fixed));
        }
        let joined = parts.iter().map(|part| part.value.as_str()).collect::<Vec<_>>().join(".");
        let column = unquoted.then(|| self.column(&joined)).flatten()?;
        Some(Expr::Identifier(Ident { value: column, quote_style: Some('"'), span: first.span }))
    }
}

impl VisitorMut for Settler<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, args: None, .. } = factor
            && !self.mentions.is_local(name)
        {
            for part in &mut name.0 {
                if let ObjectNamePart::Identifier(ident) = part
                    && ident.quote_style.is_none()
                {
                    ident.value = ident.value.to_lowercase();
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.fix(ident),
            Expr::CompoundIdentifier(parts) => {
                if let Some(fixed) = self.compound(parts) {
                    *expr = fixed;
                }
            }
            Expr::CompoundFieldAccess { root, access_chain } => self.labels(root, access_chain),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl Settler<'_> {
    /// `t.labels['job']`: the dot belongs to the name.
    fn labels(&self, root: &mut Box<Expr>, chain: &mut Vec<AccessExpr>) {
        let Expr::Identifier(first) = root.as_ref() else { return };
        let mut parts = vec![first.clone()];
        let dots = chain.iter().take_while(|access| matches!(access, AccessExpr::Dot(Expr::Identifier(_)))).count();
        for access in chain.iter().take(dots) {
            if let AccessExpr::Dot(Expr::Identifier(ident)) = access {
                parts.push(ident.clone());
            }
        }
        if dots > 0
            && let Some(fixed) = self.compound(&parts)
        {
            chain.drain(..dots);
            **root = fixed;
        }
    }
}
