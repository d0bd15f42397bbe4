//! the rows of one table: hot batches and segments, read as if they were one
//!
//!     filters ─► segments whose time range can match ─► row groups ─► pages ─► rows
//!     hot batches ─► only the columns asked for, padded and cast ────────────► rows
//!
//! Segments are told to the planner with their row counts and times, so that a count, the newest time, or a time range opens no file
//! that it need not. Texts are read as views, which filters and groups compare without copying.

use crate::event::columns::TIMESTAMP;
use crate::store::{Segment, adapt};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::memory::{DataSourceExec, MemorySourceConfig};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::pruning::PrunableStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DFSchema, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use object_store::ObjectMeta;
use object_store::path::Path;
use std::sync::Arc;

/// A table at one moment, as the planner reads it.
#[derive(Debug)]
pub struct Rows {
    /// the columns, texts and bytes as views
    schema: SchemaRef,
    hot: Vec<RecordBatch>,
    segments: Vec<Arc<Segment>>,
}

impl Rows {
    /// A table of these columns.
    pub fn new(schema: &SchemaRef, hot: Vec<RecordBatch>, segments: Vec<Arc<Segment>>) -> Self {
        Rows { schema: viewed(schema), hot, segments }
    }
}

/// The same columns, texts and bytes as views.
pub fn viewed(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let r#type = match field.data_type() {
            DataType::Utf8 => DataType::Utf8View,
            DataType::Binary => DataType::BinaryView,
            other => other.clone(),
        };
        Field::new(field.name(), r#type, true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

#[async_trait]
impl TableProvider for Rows {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => self.schema.clone(),
        };
        let segments = in_time(session, &self.segments, filters)?;
        let mut parts = Vec::new();
        if !segments.is_empty() {
            parts.push(self.files(session, &schema, &segments, limit)?);
        }
        if !self.hot.is_empty() || parts.is_empty() {
            parts.push(self.memory(session, &schema, limit)?);
        }
        match parts.len() {
            1 => parts.pop().ok_or_else(|| DataFusionError::Internal("a table has no parts".into())),
            _ => UnionExec::try_new(parts),
        }
    }
}

impl Rows {
    fn memory(
        &self,
        session: &dyn Session,
        schema: &SchemaRef,
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let batches = self.hot.iter().map(|batch| fit(batch, schema)).collect::<Result<Vec<_>>>()?;
        let batches = gathered(batches, schema)?;
        let source = MemorySourceConfig::try_new(&[batches], schema.clone(), None)?.with_limit(limit);
        spread(session, DataSourceExec::from_data_source(source))
    }

    fn files(
        &self,
        session: &dyn Session,
        schema: &SchemaRef,
        segments: &[Arc<Segment>],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // A scan of no columns at all (`count(*)`) still reads a file of some.
        let empty = schema.fields().is_empty();
        let read = if empty {
            Arc::new(Schema::new(self.schema.fields().iter().take(1).cloned().collect::<Vec<_>>()))
        } else {
            schema.clone()
        };
        let files = segments.iter().map(|segment| file(segment, &read)).collect::<Result<Vec<_>>>()?;
        let url = ObjectStoreUrl::local_filesystem();
        let store = session.runtime_env().object_store(&url)?;
        let cache = session.runtime_env().cache_manager.get_file_metadata_cache();
        let source = ParquetSource::new(read.clone())
            .with_table_parquet_options(session.table_options().parquet.clone())
            .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(store, cache)))
            .with_pushdown_filters(true)
            .with_reorder_filters(true)
            .with_enable_page_index(true);
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_group(FileGroup::new(files))
            .with_statistics(total(segments, &read))
            .with_limit(limit)
            .with_projection_indices(empty.then(Vec::new))?
            .build();
        spread(session, DataSourceExec::from_data_source(config))
    }
}

/// As many partitions as there are threads, if there is enough to share: a union would not ask for it later.
fn spread(session: &dyn Session, scan: Arc<DataSourceExec>) -> Result<Arc<dyn ExecutionPlan>> {
    let options = session.config_options();
    Ok(scan.repartitioned(options.execution.target_partitions, options)?.unwrap_or(scan))
}

/// A hot batch with exactly these columns.
fn fit(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let plain: Vec<_> =
        schema.fields().iter().map(|field| Field::new(field.name(), unviewed(field.data_type()), true)).collect();
    let told = |error: crate::error::Error| DataFusionError::External(Box::new(super::QueryError::from(error)));
    let batch = adapt(batch, &Arc::new(Schema::new(plain))).map_err(told)?;
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| Ok(cast(column, field.data_type())?)).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

/// Rows of a batch below which many batches cost more than copying them into few.
const SMALL_ROWS: usize = 1024;

/// Fewer, larger batches, where there are many small ones.
fn gathered(batches: Vec<RecordBatch>, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if rows >= batches.len().saturating_mul(SMALL_ROWS) || batches.len() < 8 {
        return Ok(batches);
    }
    let (mut large, mut run, mut rows) = (Vec::new(), Vec::new(), 0);
    for batch in batches {
        rows += batch.num_rows();
        run.push(batch);
        if rows >= SMALL_ROWS * 8 {
            large.push(concat_batches(schema, &std::mem::take(&mut run))?);
            rows = 0;
        }
    }
    if !run.is_empty() {
        large.push(concat_batches(schema, &run)?);
    }
    Ok(large)
}

/// The type without a view.
pub fn unviewed(r#type: &DataType) -> DataType {
    match r#type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

fn file(segment: &Segment, schema: &SchemaRef) -> Result<PartitionedFile> {
    let meta = ObjectMeta {
        location: Path::from_absolute_path(&segment.path)
            .map_err(|error| DataFusionError::ObjectStore(Box::new(error.into())))?,
        // Segments never change, so their age need not be known.
        last_modified: chrono::DateTime::UNIX_EPOCH,
        size: segment.bytes,
        e_tag: None,
        version: None,
    };
    let statistics = known(rows(segment.rows), segment.bytes, Some((segment.time_min, segment.time_max)), schema);
    Ok(PartitionedFile::new_from_meta(meta).with_statistics(Arc::new(statistics)))
}

fn rows(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

/// What is known of some rows without reading them: how many, and their times, which are never null.
fn known(rows: usize, bytes: u64, times: Option<(i64, i64)>, schema: &SchemaRef) -> Statistics {
    let utc = |time: i64| Precision::Exact(ScalarValue::TimestampNanosecond(Some(time), Some("UTC".into())));
    let columns = schema.fields().iter().map(|field| match times {
        Some((min, max)) if is_time(field) => ColumnStatistics {
            null_count: Precision::Exact(0),
            min_value: utc(min),
            max_value: utc(max),
            ..ColumnStatistics::new_unknown()
        },
        _ => ColumnStatistics::new_unknown(),
    });
    Statistics {
        num_rows: Precision::Exact(rows),
        total_byte_size: Precision::Inexact(usize::try_from(bytes).unwrap_or(usize::MAX)),
        column_statistics: columns.collect(),
    }
}

fn is_time(field: &Field) -> bool {
    field.name() == TIMESTAMP
        && matches!(field.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, Some(zone)) if zone.as_ref() == "UTC")
}

fn total(segments: &[Arc<Segment>], schema: &SchemaRef) -> Statistics {
    let times = segments.iter().map(|s| s.time_min).min().zip(segments.iter().map(|s| s.time_max).max());
    let count = segments.iter().map(|segment| segment.rows).sum();
    known(rows(count), segments.iter().map(|segment| segment.bytes).sum(), times, schema)
}

/// The segments that can have rows which pass, by their times.
fn in_time(session: &dyn Session, segments: &[Arc<Segment>], filters: &[Expr]) -> Result<Vec<Arc<Segment>>> {
    let on_time = |expr: &&Expr| {
        let columns = expr.column_refs();
        !columns.is_empty() && columns.iter().all(|column| column.name == TIMESTAMP)
    };
    let field = Field::new(TIMESTAMP, DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())), true);
    let schema = Arc::new(Schema::new(vec![field]));
    let Some(filter) = conjunction(filters.iter().filter(on_time).cloned().map(unqualified)) else {
        return Ok(segments.to_vec());
    };
    let times =
        segments.iter().map(|s| Arc::new(known(rows(s.rows), s.bytes, Some((s.time_min, s.time_max)), &schema)));
    let kept = DFSchema::try_from(schema.clone())
        .and_then(|columns| session.create_physical_expr(filter, &columns))
        .and_then(|filter| PruningPredicateBuilder::new().with_file_schema(schema.clone()).try_build(filter))
        .and_then(|filter| filter.prune(&PrunableStatistics::new(times.collect(), schema.clone())));
    // A filter that cannot be judged this way is judged by rows later.
    match kept {
        Ok(kept) => {
            Ok(segments.iter().zip(kept).filter(|(_, kept)| *kept).map(|(segment, _)| segment.clone()).collect())
        }
        Err(_) => Ok(segments.to_vec()),
    }
}

fn unqualified(expr: Expr) -> Expr {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let rewritten = expr.clone().transform(|expr| match expr {
        Expr::Column(mut column) => {
            column.relation = None;
            Ok(Transformed::yes(Expr::Column(column)))
        }
        other => Ok(Transformed::no(other)),
    });
    rewritten.map_or(expr, |done| done.data)
}
