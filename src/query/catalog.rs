//! the tables a query can see: one view of the store, and the tables made when asked for
//!
//! Users' tables stand in the schema `public`, which nobody has to write, and ours in `tidemill`.

use super::SystemTable;
use super::plugin_rows::{self, Through};
use super::rows::Rows;
use crate::event::TableName;
use crate::event::table_name::SYSTEM_SCHEMA;
use crate::store::View;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use std::fmt;
use std::sync::Arc;

/// The catalog's name.
pub const CATALOG: &str = "tidemill";
/// The schema of users' tables.
pub const PUBLIC: &str = "public";

/// What tables there are.
pub trait Shelf: Send + Sync {
    /// their names, in order
    fn names(&self) -> Vec<TableName>;
    /// the columns of one, if there is such a table
    fn columns(&self, name: &TableName) -> Option<SchemaRef>;
    /// the rows of one
    fn table(&self, name: &TableName) -> crate::error::Result<Option<Arc<dyn TableProvider>>>;
}

/// The store at one moment, and the system tables.
pub struct Stored {
    /// the moment
    pub view: Arc<View>,
    /// tables made when asked for
    pub system: Arc<[Arc<dyn SystemTable>]>,
}

impl Stored {
    fn system(&self, name: &TableName) -> Option<&Arc<dyn SystemTable>> {
        let (schema, last) = name.parts();
        schema?;
        self.system.iter().find(|table| table.name() == last)
    }
}

impl Shelf for Stored {
    fn names(&self) -> Vec<TableName> {
        let system = self.system.iter().map(|table| TableName::system(table.name()));
        let mut names: Vec<TableName> = self.view.tables.keys().cloned().chain(system).collect();
        names.sort_by(|a, b| (a.is_system(), a).cmp(&(b.is_system(), b)));
        names.dedup();
        names
    }

    fn columns(&self, name: &TableName) -> Option<SchemaRef> {
        let stored = self.view.tables.get(name).map(|table| table.schema.clone());
        stored.or_else(|| self.system(name).map(|table| table.schema()))
    }

    fn table(&self, name: &TableName) -> crate::error::Result<Option<Arc<dyn TableProvider>>> {
        let stored = self.view.tables.get(name);
        let made = self.system(name).map(|table| table.rows(stored)).transpose()?;
        let Some(schema) = self.columns(name) else { return Ok(None) };
        let (hot, segments) = stored.map(|table| (table.hot.clone(), table.segments.clone())).unwrap_or_default();
        let hot = hot.into_iter().chain(made).collect();
        Ok(Some(Arc::new(Rows::new(&schema, hot, segments))))
    }
}

/// A shelf as the planner's catalog.
#[derive(Clone)]
pub struct Catalog {
    /// the tables there are
    pub shelf: Arc<dyn Shelf>,
    /// tables of this statement alone: rows that go through a plugin
    pub through: Arc<Through>,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Catalog")
    }
}

impl CatalogProviderList for Catalog {
    fn register_catalog(&self, _: String, _: Arc<dyn CatalogProvider>) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.clone()) as _)
    }
}

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        vec![PUBLIC.to_owned(), SYSTEM_SCHEMA.to_owned()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let system = match name {
            PUBLIC => false,
            SYSTEM_SCHEMA => true,
            plugin_rows::SCHEMA => return Some(Arc::new(Own(self.through.clone()))),
            _ => return None,
        };
        Some(Arc::new(Room { shelf: self.shelf.clone(), system }))
    }
}

/// One of the two schemas.
struct Room {
    shelf: Arc<dyn Shelf>,
    system: bool,
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Room {{ system: {} }}", self.system)
    }
}

impl Room {
    fn name(&self, last: &str) -> Option<TableName> {
        match self.system {
            true => Some(TableName::system(last)),
            false => TableName::user(last).ok(),
        }
    }
}

#[async_trait]
impl SchemaProvider for Room {
    fn table_names(&self) -> Vec<String> {
        let names = self.shelf.names().into_iter().filter(|name| name.is_system() == self.system);
        names.map(|name| name.parts().1.to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        match self.name(name) {
            Some(name) => self.shelf.table(&name).map_err(|error| {
                DataFusionError::External(Box::new(super::QueryError::from(error.within(format!("table `{name}`")))))
            }),
            None => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.name(name).is_some_and(|name| self.shelf.columns(&name).is_some())
    }
}

/// The schema of a statement's own tables.
struct Own(Arc<Through>);

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Own")
    }
}

#[async_trait]
impl SchemaProvider for Own {
    fn table_names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.0.get(name).cloned())
    }

    fn table_exist(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}
