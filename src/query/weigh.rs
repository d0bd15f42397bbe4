//! how large a query becomes once its names are replaced by what they stand for
//!
//! The planner writes a subquery's expression wherever its column is named, and a common table expression wherever it is read. A text
//! of ten lines that names each column twice, level by level, becomes a thousand expressions that way, and one of thirty lines a
//! thousand million. Planning cannot be interrupted, so this is counted beforehand, from the inside out.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor, Visit, Visitor,
};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// A query's size when written out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// tables and subqueries read
    pub sources: u64,
    /// expressions
    pub nodes: u64,
    /// of each column of the answer, by name in lower case
    columns: HashMap<String, u64>,
}

/// Weighs a query.
pub fn weigh(query: &Query) -> Weight {
    Scale::default().query(query, &HashMap::new())
}

/// What is known on the way: queries already weighed, by address, and common table expressions by name.
#[derive(Default)]
struct Scale {
    weighed: HashMap<usize, Weight>,
    common: HashMap<String, Weight>,
}

type Columns = HashMap<String, u64>;

impl Scale {
    fn query(&mut self, query: &Query, outer: &Columns) -> Weight {
        let address = std::ptr::from_ref(query) as usize;
        if let Some(weight) = self.weighed.get(&address) {
            return weight.clone();
        }
        let mut sum = Weight::default();
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let weight = self.query(&cte.query, outer);
            self.common.insert(cte.alias.name.value.to_lowercase(), renamed(weight, Some(&cte.alias)));
        }
        let body = self.body(&query.body, outer);
        sum.add(&body);
        let mut order =
            Exprs { scale: self, columns: &body.columns, depth: 0, sealed: 0, again: false, sum: Weight::default() };
        let _ = query.order_by.visit(&mut order);
        let order = order.sum;
        sum.add(&order);
        sum.columns = body.columns;
        self.weighed.insert(address, sum.clone());
        sum
    }

    fn body(&mut self, body: &SetExpr, outer: &Columns) -> Weight {
        match body {
            SetExpr::Select(select) => self.select(select, outer),
            SetExpr::Query(query) => self.query(query, outer),
            SetExpr::SetOperation { left, right, .. } => {
                let (mut sum, right) = (self.body(left, outer), self.body(right, outer));
                sum.add(&right);
                let most = sum.columns.values().chain(right.columns.values()).copied().max().unwrap_or(1);
                sum.columns.values_mut().for_each(|weight| *weight = most);
                sum
            }
            _ => Weight::default(),
        }
    }

    fn select(&mut self, select: &Select, outer: &Columns) -> Weight {
        let mut from = From { scale: self, outer, depth: 0, sum: Weight::default() };
        let _ = select.from.visit(&mut from);
        let mut sum = from.sum;
        let mut scope = outer.clone();
        scope.extend(sum.columns.clone());
        let mut exprs =
            Exprs { scale: self, columns: &scope, depth: 0, sealed: 0, again: false, sum: Weight::default() };
        let _ = select.visit(&mut exprs);
        let exprs = exprs.sum;
        sum.add(&exprs);
        let mut columns = Columns::new();
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(expr) => {
                    columns.insert(name(expr), self.expr(expr, &scope));
                }
                SelectItem::ExprWithAlias { expr, alias } => {
                    columns.insert(alias.value.to_lowercase(), self.expr(expr, &scope));
                }
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => columns.extend(sum.columns.clone()),
                SelectItem::ExprWithAliases { .. } => {}
            }
        }
        sum.columns = columns;
        sum
    }

    /// What one expression weighs where it is named.
    fn expr(&mut self, expr: &Expr, columns: &Columns) -> u64 {
        let mut exprs = Exprs { scale: self, columns, depth: 0, sealed: 0, again: true, sum: Weight::default() };
        let _ = expr.visit(&mut exprs);
        exprs.sum.nodes.max(1)
    }
}

impl Weight {
    fn add(&mut self, other: &Weight) {
        self.sources = self.sources.saturating_add(other.sources);
        self.nodes = self.nodes.saturating_add(other.nodes);
    }
}

/// The name that an expression without alias has as a column.
fn name(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => ident.value.to_lowercase(),
        Expr::CompoundIdentifier(parts) => parts.last().map(|ident| ident.value.to_lowercase()).unwrap_or_default(),
        other => other.to_string().to_lowercase(),
    }
}

/// The same under the names of `AS t (a, b)`.
fn renamed(mut weight: Weight, alias: Option<&TableAlias>) -> Weight {
    let most = weight.columns.values().copied().max().unwrap_or(1);
    let names = alias.iter().flat_map(|alias| &alias.columns).map(|column| column.name.value.to_lowercase());
    weight.columns.extend(names.map(|name| (name, most)));
    weight
}

/// Collects what a FROM reads, not what is inside of it.
struct From<'a> {
    scale: &'a mut Scale,
    outer: &'a Columns,
    depth: usize,
    sum: Weight,
}

impl Visitor for From<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        let weight = match factor {
            TableFactor::Derived { subquery, alias, .. } => {
                renamed(self.scale.query(subquery, self.outer), alias.as_ref())
            }
            TableFactor::Table { name, alias, .. } => match name.0.as_slice() {
                [one] => {
                    let name = one.as_ident().map(|ident| ident.value.to_lowercase()).unwrap_or_default();
                    renamed(self.scale.common.get(&name).cloned().unwrap_or_default(), alias.as_ref())
                }
                _ => Weight::default(),
            },
            _ => Weight::default(),
        };
        self.sum.add(&weight);
        self.sum.sources = self.sum.sources.saturating_add(1);
        for (name, weight) in weight.columns {
            let most = self.sum.columns.entry(name).or_default();
            *most = (*most).max(weight);
        }
        ControlFlow::Continue(())
    }
}

/// Adds up expressions; a subquery among them counts as it was weighed.
struct Exprs<'a> {
    scale: &'a mut Scale,
    columns: &'a Columns,
    depth: usize,
    /// how many aggregates stand around: nothing is written out into them
    sealed: usize,
    /// whether to count what was weighed before: tables of a FROM are counted where they stand
    again: bool,
    sum: Weight,
}

impl Visitor for Exprs<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let known = self.scale.weighed.contains_key(&(std::ptr::from_ref(query) as usize));
        if self.depth == 0 && (self.again || !known) {
            let weight = self.scale.query(query, self.columns);
            self.sum.add(&weight);
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        if self.sealed == 0 {
            let weight = match expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
                    self.columns.get(&name(expr)).copied().unwrap_or(1)
                }
                _ => 1,
            };
            self.sum.nodes = self.sum.nodes.saturating_add(weight);
        }
        if matches!(expr, Expr::Function(function) if seals(function)) {
            self.sealed += 1;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.depth == 0 && matches!(expr, Expr::Function(function) if seals(function)) {
            self.sealed = self.sealed.saturating_sub(1);
        }
        ControlFlow::Continue(())
    }
}

/// Functions whose result is a column of its own in the plan, so that naming it does not write it out again.
fn seals(function: &Function) -> bool {
    const AGGREGATES: &[&str] = &["count", "sum", "avg", "mean", "min", "max", "median", "first_value", "last_value"];
    const FAMILIES: &[&str] = &["approx_", "array_agg", "string_agg", "stddev", "var", "bool_", "bit_", "percentile_"];
    let name = function.name.0.last().and_then(|part| part.as_ident()).map(|ident| ident.value.to_lowercase());
    let aggregate = name.is_some_and(|name| {
        AGGREGATES.contains(&name.as_str()) || FAMILIES.iter().any(|family| name.starts_with(family))
    });
    aggregate || function.over.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::ast::Statement;
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    fn of(sql: &str) -> Weight {
        match Parser::parse_sql(&GenericDialect {}, sql).unwrap().remove(0) {
            Statement::Query(query) => weigh(&query),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn columns_named_twice_double() {
        let nested = |depth: usize, expr: &str| {
            of(&format!(
                "SELECT a FROM ({}SELECT x AS a FROM t{}) WHERE a > 1",
                format!("SELECT {expr} AS a FROM (").repeat(depth),
                ")".repeat(depth)
            ))
        };
        assert!(nested(10, "a").nodes < 40);
        assert!(nested(10, "a + a").nodes > 1 << 10);
        assert!(nested(14, "a + a").nodes > 1 << 14);
        assert!(nested(14, "f(a, a, a)").nodes > 1 << 20);
        assert!(nested(10, "sum(a + a)").nodes < 100);
        assert!(nested(6, "(SELECT a + a)").nodes > 1 << 6);
    }

    #[test]
    fn a_common_table_counts_as_often_as_it_is_read() {
        let text = (1..30).map(|n| format!(", t{n} AS (SELECT x.a FROM t{0} x, t{0} y)", n - 1)).collect::<String>();
        assert!(of(&format!("WITH t0 AS (SELECT 1 AS a){text} SELECT * FROM t29")).sources > 1 << 29);
        let text = (1..30).map(|n| format!(", t{n} AS (SELECT a + a AS a FROM t{})", n - 1)).collect::<String>();
        assert!(of(&format!("WITH t0 AS (SELECT 1 AS a){text} SELECT * FROM t29 WHERE a = 1")).nodes > 1 << 29);
    }

    #[test]
    fn ordinary_queries_weigh_little() {
        let weight = of(
            "WITH m AS (SELECT date_bin(INTERVAL '1 minute', timestamp) AS t, count(*) AS n, avg(took) AS took FROM access \
                         WHERE status >= 500 GROUP BY 1), r AS (SELECT t, n / 60.0 AS rate, took * 1000 AS ms FROM m) \
                         SELECT t, rate, ms, rate - lag(rate) OVER (ORDER BY t) AS change FROM r WHERE rate > 1 ORDER BY t",
        );
        assert!(weight.nodes < 100 && weight.sources < 5, "{weight:?}");
    }
}
