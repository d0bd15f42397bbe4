//! work that was given up ends soon, also where the engine would go on by itself
//!
//! The engine lets go of a query when a part of it pauses. A join that finds nothing among billions of pairs never pauses; so each
//! join's condition looks at a flag, and what a join gives out is counted, so that whoever reads it pauses now and then.

use super::QueryError;
use crate::error::ErrorKind;
use arrow::datatypes::{DataType, FieldRef, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, HashJoinExecBuilder, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
};
use datafusion::physical_plan::unnest::UnnestExec;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Set when what looks at it should end.
pub type Flag = Arc<AtomicBool>;

/// Ends one query: by [`Stop::now`], or when it is dropped.
#[derive(Debug, Default)]
pub struct Stop(Mutex<(bool, Vec<Flag>)>);

impl Stop {
    /// Ends it.
    pub fn now(&self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.0 = true;
        held.1.iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
    }

    /// Whether it was ended.
    pub fn is_over(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// Takes over a flag that is not part of a plan.
    pub fn hold(&self, flag: &Flag) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flag.store(held.0, Ordering::Relaxed);
        held.1.push(flag.clone());
    }

    /// Takes over a plan's flags.
    pub fn watch(&self, plan: &Arc<dyn ExecutionPlan>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = plan.apply(|node| {
            let flag = condition(node).and_then(|filter| filter.expression().downcast_ref::<Watched>());
            held.1.extend(flag.map(|watched| watched.flag.clone()));
            Ok(TreeNodeRecursion::Continue)
        });
        if held.0 || found.is_err() {
            held.1.iter().for_each(|flag| flag.store(true, Ordering::Relaxed));
        }
    }
}

/// Ends a query when nobody holds its answer any more.
pub struct StopOnDrop(pub Arc<Stop>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.now();
    }
}

/// The rule that makes joins stoppable.
#[derive(Debug)]
pub struct Stoppable;

impl PhysicalOptimizerRule for Stoppable {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let node: Arc<dyn ExecutionPlan> = match condition(&node).map(watched) {
                Some(filter) => with_condition(node, filter)?,
                None if makes_many(&node) => node,
                None => return Ok(Transformed::no(node)),
            };
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as _))
        })
        .data()
    }

    fn name(&self) -> &str {
        "Stoppable"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn makes_many(node: &Arc<dyn ExecutionPlan>) -> bool {
    node.is::<CrossJoinExec>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<HashJoinExec>()
        || node.is::<UnnestExec>()
}

fn condition(node: &Arc<dyn ExecutionPlan>) -> Option<&JoinFilter> {
    let nested = node.downcast_ref::<NestedLoopJoinExec>().and_then(|join| join.filter());
    nested.or_else(|| node.downcast_ref::<HashJoinExec>().and_then(|join| join.filter()))
}

fn watched(filter: &JoinFilter) -> JoinFilter {
    let watched = Watched { inner: filter.expression().clone(), flag: Flag::default() };
    JoinFilter::new(Arc::new(watched), filter.column_indices().to_vec(), filter.schema().clone())
}

fn with_condition(node: Arc<dyn ExecutionPlan>, filter: JoinFilter) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
        return Ok(Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(Some(filter)).build()?));
    }
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        return Ok(Arc::new(HashJoinExecBuilder::from(join).with_filter(Some(filter)).build()?));
    }
    Ok(node)
}

/// An expression that fails once its query was stopped.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn PhysicalExpr>,
    flag: Flag,
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for Watched {}

impl Hash for Watched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PhysicalExpr for Watched {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn return_field(&self, schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.flag.load(Ordering::Relaxed) {
            let stopped = QueryError::new(ErrorKind::Unavailable, "the query was stopped");
            return Err(DataFusionError::External(Box::new(stopped)));
        }
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let inner = children.into_iter().next().unwrap_or_else(|| self.inner.clone());
        Ok(Arc::new(Watched { inner, flag: self.flag.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
