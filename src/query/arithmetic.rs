//! `+`, `-`, `*`, `/`, `%` and the sign of whole numbers, which fail where 64 bits do not hold the result
//!
//!     a + b - c ─► one function of a, b and c    a * b / c ─► another
//!
//! The engine's own would wrap around and answer with a wrong number. Floats, times and decimals are left to it.
//!
//! **Never:** functions nest as deep as a sum is long: planning looks at each from every one around it.

use arrow::compute::kernels::numeric::{add, div, mul, rem, sub};
use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};
use datafusion::physical_expr_common::datum::apply;
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// An operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operator {
    Plus,
    Minus,
    Times,
    Over,
    Rest,
}

impl Operator {
    fn of(written: &BinaryOperator) -> Option<Operator> {
        match written {
            BinaryOperator::Plus => Some(Operator::Plus),
            BinaryOperator::Minus => Some(Operator::Minus),
            BinaryOperator::Multiply => Some(Operator::Times),
            BinaryOperator::Divide => Some(Operator::Over),
            BinaryOperator::Modulo => Some(Operator::Rest),
            _ => None,
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Operator::Plus => "+",
            Operator::Minus => "-",
            Operator::Times => "*",
            Operator::Over => "/",
            Operator::Rest => "%",
        }
    }

    /// Whether it is one of a sum, and not of a product.
    fn is_of_sum(self) -> bool {
        matches!(self, Operator::Plus | Operator::Minus)
    }
}

/// Plans them where all sides are whole numbers, signed or unsigned.
#[derive(Debug)]
pub struct WholePlanner;

impl ExprPlanner for WholePlanner {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let Some(operator) = Operator::of(&expr.op) else { return Ok(PlannerResult::Original(expr)) };
        let width = |side: &Expr| width(side, schema);
        if width(&expr.left).is_none_or(|left| Some(left) != width(&expr.right)) {
            return Ok(PlannerResult::Original(expr));
        }
        let (mut operators, mut args) = match expr.left {
            Expr::ScalarFunction(left) => match chain(&left).filter(|chain| chain.goes_on_with(operator)) {
                Some(chain) => (chain.operators.clone(), left.args),
                None => (Vec::new(), vec![Expr::ScalarFunction(left)]),
            },
            left => (Vec::new(), vec![left]),
        };
        operators.push(operator);
        args.push(expr.right);
        let signature = Signature::user_defined(Volatility::Immutable);
        Ok(PlannerResult::Planned(ScalarUDF::new_from_impl(Chain { operators, signature }).call(args)))
    }
}

impl FunctionRewrite for WholePlanner {
    fn name(&self) -> &str {
        "whole numbers"
    }

    /// `-a` as `0 - a`: the smallest has no opposite.
    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        match expr {
            Expr::Negative(side) if width(&side, schema) == Some(DataType::Int64) => {
                let signature = Signature::user_defined(Volatility::Immutable);
                let function = ScalarUDF::new_from_impl(Chain { operators: vec![Operator::Minus], signature });
                Ok(Transformed::yes(function.call(vec![lit(0i64), *side])))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

fn chain(function: &ScalarFunction) -> Option<&Chain> {
    function.func.inner().downcast_ref::<Chain>()
}

/// The widest whole number of the sign of this one; all sides of a chain have the same.
fn width(side: &Expr, schema: &DFSchema) -> Option<DataType> {
    let side = match side {
        Expr::ScalarFunction(function) if chain(function).is_some() => function.args.first()?,
        other => other,
    };
    side.get_type(schema).ok().and_then(|r#type| widest(&r#type))
}

fn widest(r#type: &DataType) -> Option<DataType> {
    match r#type {
        signed if signed.is_signed_integer() => Some(DataType::Int64),
        unsigned if unsigned.is_unsigned_integer() => Some(DataType::UInt64),
        _ => None,
    }
}

/// A sum or a product, from left to right.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Chain {
    /// between the arguments
    operators: Vec<Operator>,
    signature: Signature,
}

impl Chain {
    fn goes_on_with(&self, operator: Operator) -> bool {
        self.operators.first().is_some_and(|first| first.is_of_sum() == operator.is_of_sum())
    }
}

impl ScalarUDFImpl for Chain {
    fn name(&self) -> &str {
        self.operators.first().map_or("", |first| first.sign())
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let mut args = args.iter().map(|arg| arg.schema_name().to_string());
        let mut name = args.next().unwrap_or_default();
        for (operator, arg) in self.operators.iter().zip(args) {
            name.push_str(&format!(" {} {arg}", operator.sign()));
        }
        Ok(name)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        types.iter().map(|r#type| widest(r#type).ok_or_else(|| no_whole_number(r#type))).collect()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let first = types.first().unwrap_or(&DataType::Null);
        widest(first).ok_or_else(|| no_whole_number(first))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut args = args.args.into_iter();
        let first = args.next().ok_or_else(|| no_whole_number(&DataType::Null))?;
        self.operators.iter().zip(args).try_fold(first, |left, (operator, right)| match operator {
            Operator::Plus => apply(&left, &right, add),
            Operator::Minus => apply(&left, &right, sub),
            Operator::Times => apply(&left, &right, mul),
            Operator::Over => apply(&left, &right, div),
            Operator::Rest => apply(&left, &right, rem),
        })
    }
}

fn no_whole_number(r#type: &DataType) -> DataFusionError {
    DataFusionError::Internal(format!("{} is no whole number", r#type))
}
