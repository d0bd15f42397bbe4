//! a sort with a limit over hot rows and segments lets the segments read the likely rows first
//!
//! The engine asks a scan to start where the sort will end (newest row groups first), but not through a union. This asks each part of
//! a union. The sort stays: it only ends sooner.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, SortOrderPushdownResult};
use std::sync::Arc;

/// The rule.
#[derive(Debug)]
pub struct SortThroughUnion;

impl PhysicalOptimizerRule for SortThroughUnion {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_down(|plan| {
            let Some(sort) = plan.downcast_ref::<SortExec>().filter(|sort| sort.fetch().is_some()) else {
                return Ok(Transformed::no(plan));
            };
            match asked(sort.input(), sort.expr())? {
                Some(input) => Ok(Transformed::yes(with_children(&plan, vec![input])?)),
                None => Ok(Transformed::no(plan)),
            }
        })
        .data()
    }

    fn name(&self) -> &str {
        "SortThroughUnion"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The plan with each scan below a union asked for this order, or nothing if there is none.
fn asked(plan: &Arc<dyn ExecutionPlan>, order: &LexOrdering) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if plan.downcast_ref::<UnionExec>().is_some() {
        let children = plan.children().into_iter().map(|child| match child.try_pushdown_sort(order)? {
            SortOrderPushdownResult::Exact { inner } | SortOrderPushdownResult::Inexact { inner } => Ok(inner),
            SortOrderPushdownResult::Unsupported => Ok(child.clone()),
        });
        return Ok(Some(with_children(plan, children.collect::<Result<Vec<_>>>()?)?));
    }
    let passes =
        plan.downcast_ref::<CoalescePartitionsExec>().is_some() || plan.downcast_ref::<RepartitionExec>().is_some();
    match plan.children().as_slice() {
        [child] if passes => match asked(child, order)? {
            Some(child) => Ok(Some(with_children(plan, vec![child])?)),
            None => Ok(None),
        },
        _ => Ok(None),
    }
}

fn with_children(
    plan: &Arc<dyn ExecutionPlan>,
    children: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.clone().replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
}
