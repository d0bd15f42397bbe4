//! plans a query against tables that exist only as columns, to find its mistakes before anything runs

use super::catalog::Shelf;
use super::door::{self, Question};
use super::names::{Mentions, unknown_table, written};
use super::plan::{deep, lend, logical, session};
use super::plugins::{Bench, Plugins};
use super::rows::{Rows, viewed};
use super::{Limits, QueryError, fault, functions, output};
use crate::event::TableName;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A table by its columns.
#[derive(Clone, Debug)]
pub struct Known {
    /// its name
    pub name: TableName,
    /// the columns it is known to have
    pub schema: SchemaRef,
    /// columns may appear that are not known yet
    pub open: bool,
}

/// What a query without mistakes reads and gives.
#[derive(Clone, Debug)]
pub struct Checked {
    /// the tables it reads
    pub tables: Vec<TableName>,
    /// the columns it reads of them
    pub columns: Vec<(TableName, String)>,
    /// the columns of its answer
    pub schema: SchemaRef,
    /// it names columns that nobody knows yet, so that the types in `schema` are guesses
    pub guessed: bool,
}

/// The most columns of open tables that a query may name: each costs another try at planning.
const UNKNOWN_MAX: usize = 64;

/// Finds what is wrong with a query over these tables. A column that none of them has is an error, unless its table is open.
pub fn check(sql: &str, tables: &[Known], plugins: Option<&Arc<dyn Plugins>>) -> Result<Checked, QueryError> {
    deep(|| {
        let limits = Limits::default();
        let schemas = Schemas(tables.to_vec());
        let statement = match door::read(sql, &limits)? {
            Question::Rows(statement) => *statement,
            Question::Tables => {
                return Ok(Checked {
                    tables: vec![],
                    columns: vec![],
                    schema: Arc::new(Schema::empty()),
                    guessed: true,
                });
            }
            Question::Columns(name) => {
                let text = written(&name);
                let table = TableName::parse(&text).ok().filter(|table| schemas.columns(table).is_some());
                let table = table.ok_or_else(|| unknown_table(&text, &name, &schemas))?;
                return Ok(Checked {
                    tables: vec![table],
                    columns: vec![],
                    schema: Arc::new(Schema::empty()),
                    guessed: true,
                });
            }
        };
        let mut state = session(&limits).map_err(|error| fault::told(&error, &Mentions::default()))?;
        let bench = Arc::new(Bench::new(plugins.cloned(), &state.runtime_env().memory_pool));
        lend(&mut state, &bench)?;
        guessed(&statement, &state, schemas, &bench)
    })
}

/// Plans with the known columns; each unknown one of an open table is then tried as every type it could be.
fn guessed(
    statement: &Statement,
    state: &SessionState,
    mut schemas: Schemas,
    bench: &Arc<Bench>,
) -> Result<Checked, QueryError> {
    let mentions = Mentions::of(statement).with_functions(functions::names(state));
    let tables = mentions.tables(&schemas)?;
    let mut unknown: Vec<(TableName, String)> = Vec::new();
    let mut guess = DataType::Utf8;
    for _ in 0..UNKNOWN_MAX + GUESSES.len() {
        let error = match planned(statement, state, &schemas, &tables, bench) {
            Ok(checked) => return Ok(Checked { guessed: !unknown.is_empty(), ..checked }),
            Err(error) => error,
        };
        if let Some((table, column)) = missing(&error, &schemas, &tables, &mentions)
            && unknown.len() < UNKNOWN_MAX
        {
            schemas.set(&table, &column, &guess);
            unknown.push((table, column));
            continue;
        }
        let next = GUESSES.iter().position(|other| *other == word(&guess)).and_then(|at| GUESSES.get(at + 1));
        match next {
            Some(next) if !unknown.is_empty() => {
                guess = arrow_of(next);
                unknown.iter().for_each(|(table, column)| schemas.set(table, column, &guess));
            }
            // No one type does for all of them; which it will be is not known, so nothing is known to be wrong.
            _ if !unknown.is_empty() && !matches!(error.find_root(), DataFusionError::SchemaError(..)) => {
                return Ok(Checked { tables, columns: unknown, schema: Arc::new(Schema::empty()), guessed: true });
            }
            _ => return Err(fault::told(&error, &mentions)),
        }
    }
    Ok(Checked { tables, columns: unknown, schema: Arc::new(Schema::empty()), guessed: true })
}

const GUESSES: &[&str] = &["utf8", "float64", "timestamp", "boolean"];

fn word(r#type: &DataType) -> &'static str {
    match r#type {
        DataType::Float64 => "float64",
        DataType::Timestamp(..) => "timestamp",
        DataType::Boolean => "boolean",
        _ => "utf8",
    }
}

fn arrow_of(word: &str) -> DataType {
    match word {
        "float64" => DataType::Float64,
        "timestamp" => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        "boolean" => DataType::Boolean,
        _ => DataType::Utf8,
    }
}

/// The column that planning did not find, if an open table of the query may get it.
fn missing(
    error: &DataFusionError,
    schemas: &Schemas,
    tables: &[TableName],
    mentions: &Mentions,
) -> Option<(TableName, String)> {
    let DataFusionError::SchemaError(error, _) = error.find_root() else { return None };
    let SchemaError::FieldNotFound { field, .. } = error.as_ref() else { return None };
    let open = |table: &&TableName| schemas.0.iter().any(|known| known.open && known.name == **table);
    let source = field.relation.as_ref().map(|relation| relation.table()).filter(|name| mentions.is_source(name));
    let (table, name) = match source {
        Some(source) => (mentions.table_of(source).filter(|table| open(&table))?, field.name.clone()),
        // No table is named so: `http.status` as a whole is the name. Of several open tables, any may get it.
        None => (tables.iter().find(open)?.clone(), fault::whole(field)),
    };
    schemas.columns(&table)?.field_with_name(&name).is_err().then_some((table, name))
}

fn planned(
    statement: &Statement,
    state: &SessionState,
    schemas: &Schemas,
    tables: &[TableName],
    bench: &Arc<Bench>,
) -> Result<Checked, DataFusionError> {
    let mut state = state.clone();
    let options = state.config().options().clone();
    state.execution_props_mut().mark_start_execution(options);
    let shelf: Arc<dyn Shelf> = Arc::new(schemas.clone());
    let plan = logical(statement.clone(), &state, &shelf, bench)?;
    let schema = output::schema(DFSchema::as_arrow(plan.schema()));
    let plan = state.optimize(&plan)?;
    Ok(Checked { tables: tables.to_vec(), columns: read(&plan)?, schema, guessed: false })
}

/// The columns that a plan reads.
fn read(plan: &LogicalPlan) -> Result<Vec<(TableName, String)>, DataFusionError> {
    let mut columns = BTreeSet::new();
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan {
            let name = match scan.table_name.schema() {
                Some(schema) if schema != super::catalog::PUBLIC => format!("{schema}.{}", scan.table_name.table()),
                _ => scan.table_name.table().to_owned(),
            };
            if let Ok(table) = TableName::parse(&name) {
                columns
                    .extend(scan.projected_schema.fields().iter().map(|field| (table.clone(), field.name().clone())));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(columns.into_iter().collect())
}

/// Tables as columns only.
#[derive(Clone)]
struct Schemas(Vec<Known>);

impl Schemas {
    /// Gives a table a column, or another type for one it was given.
    fn set(&mut self, table: &TableName, column: &str, r#type: &DataType) {
        for known in self.0.iter_mut().filter(|known| known.name == *table) {
            let others = known.schema.fields().iter().filter(|field| field.name() != column);
            let mut fields: Vec<Arc<Field>> = others.cloned().collect();
            fields.push(Arc::new(Field::new(column, r#type.clone(), true)));
            known.schema = Arc::new(Schema::new(fields));
        }
    }
}

impl Shelf for Schemas {
    fn names(&self) -> Vec<TableName> {
        self.0.iter().map(|known| known.name.clone()).collect()
    }

    fn columns(&self, name: &TableName) -> Option<SchemaRef> {
        self.0.iter().find(|known| known.name == *name).map(|known| known.schema.clone())
    }

    fn table(&self, name: &TableName) -> crate::error::Result<Option<Arc<dyn TableProvider>>> {
        let columns = self.columns(name);
        Ok(columns.map(|schema| Arc::new(Rows::new(&viewed(&schema), Vec::new(), Vec::new())) as _))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Kind, columns::Type, columns::field};

    fn known(open: bool) -> Vec<Known> {
        let mut fields: Vec<Field> = Kind::Logs.base().fields().iter().map(|field| field.as_ref().clone()).collect();
        fields.extend([field("status", Type::Int64), field("http.path", Type::Utf8)]);
        let name = TableName::user("access").unwrap();
        vec![Known { name, schema: Arc::new(Schema::new(fields)), open }]
    }

    #[track_caller]
    fn wrong(sql: &str, word: &str) {
        let error = check(sql, &known(false), None).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(word), "{sql}: {error}");
    }

    #[test]
    fn mistakes_are_found_with_what_to_write() {
        wrong("SELECT statsu FROM access", "did you mean `status`?");
        wrong("SELECT status FROM acess", "did you mean `access`?");
        wrong("SELECT http.paht FROM access", "did you mean `http.path`?");
        wrong("SELECT nothing_like_it FROM access", "unknown column `nothing_like_it`");
        wrong("SELECT cuont(*) FROM access", "count");
        wrong("SELECT a.nope FROM access a", "unknown column `nope`");
        wrong("SELECT status FROM access GROUP BY source", "status");
        wrong("SELECT", "syntax");
    }

    #[test]
    fn what_is_read_is_told() {
        let sql = "SELECT count(*) / 60.0 AS value FROM access WHERE timestamp > now() - INTERVAL '1 minute' AND http.path = '/'";
        let checked = check(sql, &known(false), None).unwrap();
        let columns: Vec<&str> = checked.columns.iter().map(|(_, column)| column.as_str()).collect();
        assert_eq!(columns, ["http.path", "timestamp"]);
        assert_eq!(checked.tables, [TableName::user("access").unwrap()]);
        assert_eq!(checked.schema.field(0).name(), "value");
    }

    #[test]
    fn an_open_table_may_have_any_column() {
        for sql in [
            "SELECT user_id FROM access",
            "SELECT avg(latency), max(size) FROM access WHERE region = 'eu' GROUP BY host",
            "SELECT k8s.pod.name FROM access",
            "SELECT a.k8s FROM access a WHERE a.k8s > 5",
            "SELECT date_bin(INTERVAL '1 minute', seen) FROM access",
        ] {
            if let Err(error) = check(sql, &known(true), None) {
                panic!("{sql}: {error}");
            }
        }
        assert!(check("SELECT x FROM acess", &known(true), None).is_err());
    }
}
