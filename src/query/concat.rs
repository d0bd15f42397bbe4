//! `a || b` of texts

use super::QueryError;
use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ExprSchema};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use std::sync::Arc;

/// `a || b` of texts: null if either is null.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Concat {
    signature: Signature,
}

impl Concat {
    /// The function.
    #[allow(clippy::new_without_default, reason = "a function is always asked for by name")]
    pub fn new() -> Concat {
        Concat { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Concat {
    fn name(&self) -> &str {
        "||"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(vec![DataType::Utf8View; types.len()])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let columns = args.args.iter().map(|arg| arg.clone().into_array(rows)).collect::<Result<Vec<_>>>()?;
        let [left, right] = columns.as_slice() else {
            return Err(DataFusionError::Internal("|| takes two arguments".into()));
        };
        let (left, right) = (left.as_string_view(), right.as_string_view());
        let mut joined = arrow::array::StringViewBuilder::with_capacity(rows);
        let mut text = String::new();
        for (left, right) in left.iter().zip(right.iter()) {
            match (left, right) {
                (Some(left), Some(right)) => {
                    text.clear();
                    text.push_str(left);
                    text.push_str(right);
                    joined.append_value(&text);
                }
                _ => joined.append_null(),
            }
        }
        let joined: ArrayRef = Arc::new(joined.finish());
        match constant {
            true => Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&joined, 0)?)),
            false => Ok(ColumnarValue::Array(joined)),
        }
    }
}

/// Plans `||` as the held function, unless it joins lists.
#[derive(Debug)]
pub struct ConcatPlanner(pub Arc<ScalarUDF>);

impl ExprPlanner for ConcatPlanner {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let listed = |side: &Expr| is_list(side, schema);
        if expr.op != BinaryOperator::StringConcat {
            return Ok(PlannerResult::Original(expr));
        }
        if listed(&expr.left) || listed(&expr.right) {
            let failure = QueryError::invalid("`||` joins texts, not lists");
            return Err(DataFusionError::External(Box::new(failure)));
        }
        Ok(PlannerResult::Planned(self.0.call(vec![expr.left, expr.right])))
    }
}

fn is_list(expr: &Expr, schema: &dyn ExprSchema) -> bool {
    expr.get_type(schema).is_ok_and(|r#type| r#type.is_nested())
}
