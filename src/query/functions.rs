//! functions of our own, and those that could make values without end, held to a size
//!
//! The engine's memory limit counts what operators keep, not what a function makes on the way, so `repeat('x', 1e9)` would pass it. Here
//! such functions are asked beforehand how large each value can become; large batches are worked on in slices.

use super::QueryError;
use super::arithmetic::WholePlanner;
use super::concat::{Concat, ConcatPlanner};
use super::sum::Sum;
use super::text::Text;
use crate::error::ErrorKind;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::config::ConfigExtension;
use datafusion::common::extensions_options;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr as SqlExpr, Query, Visitor};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What all such functions of a query may make of one batch.
const QUERY_BYTES_MAX: u64 = 512 << 20;
/// What one of them may make of one batch.
const BATCH_BYTES_MAX: u64 = 256 << 20;
/// What a function works on at a time.
const SLICE_BYTES_MAX: u64 = 32 << 20;
/// How large a value may be that is made of constants only, or by repeating and padding: every row may carry a copy of it.
const VALUE_BYTES_MAX: u64 = 8 << 10;
/// Rows of the largest batch.
const BATCH_ROWS: u64 = 8192;

/// How a function's result grows with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Growth {
    /// the first argument, as often as the second says
    Repeat,
    /// as many characters as the second argument says
    Pad,
    /// anything in the first argument may become the third
    Replace,
    /// all arguments, one after the other
    Join,
    /// the first argument between all others
    JoinWith,
    /// the second argument is a pattern for what is written
    Format,
    /// a byte of the first argument may become three
    Lossy,
}

const CAPPED: &[(&str, Growth)] = &[
    ("repeat", Growth::Repeat),
    ("lpad", Growth::Pad),
    ("rpad", Growth::Pad),
    ("replace", Growth::Replace),
    ("regexp_replace", Growth::Replace),
    ("concat", Growth::Join),
    ("concat_ws", Growth::JoinWith),
    ("overlay", Growth::Join),
    ("to_char", Growth::Format),
    ("text", Growth::Lossy),
];

/// Functions that are not there: lists made of a number, and a cast to types that reserve what their name says.
const REFUSED: &[&str] = &[
    "array_repeat",
    "list_repeat",
    "array_resize",
    "list_resize",
    "array_concat",
    "array_cat",
    "list_concat",
    "list_cat",
    "array_join",
    "list_join",
    "list_to_string",
    "array_to_string",
    "generate_series",
    "range",
    "arrow_cast",
    "arrow_try_cast",
    "gen_series",
];

/// The error for a function that is not there for a reason, by its name in lower case.
pub fn refused(name: &str) -> Option<QueryError> {
    if !REFUSED.contains(&name) {
        return None;
    }
    let failure = QueryError::new(
        ErrorKind::Forbidden,
        format!("the function `{name}` is not available: its result has no limit"),
    );
    Some(match name {
        "generate_series" | "range" => failure.hint(format!("use it as a table: SELECT value FROM {name}(1, 10)")),
        "arrow_cast" | "arrow_try_cast" => failure.hint("use CAST or TRY_CAST"),
        "array_to_string" | "array_join" | "list_to_string" | "list_join" => failure.hint("use string_agg"),
        _ => failure,
    })
}

/// Puts the held functions in the place of the engine's own.
pub fn hold(state: &mut SessionState) -> Result<()> {
    for name in REFUSED {
        state.deregister_udf(name)?;
    }
    state.register_udf(Arc::new(ScalarUDF::new_from_impl(Text::new())))?;
    for (name, growth) in CAPPED {
        let inner = state.udf(name)?;
        state.register_udf(Arc::new(ScalarUDF::new_from_impl(Held { inner, growth: *growth })))?;
    }
    let concat = Arc::new(ScalarUDF::new_from_impl(Concat::new()));
    let concat = Arc::new(ScalarUDF::new_from_impl(Held { inner: concat, growth: Growth::Join }));
    state.register_expr_planner(Arc::new(ConcatPlanner(concat)))?;
    state.register_expr_planner(Arc::new(WholePlanner))?;
    state.register_function_rewrite(Arc::new(WholePlanner))?;
    let sum = Sum(state.udaf("sum")?);
    state.register_udaf(Arc::new(AggregateUDF::new_from_impl(sum)))?;
    Ok(())
}

/// The names of all functions.
pub fn names(state: &SessionState) -> Vec<String> {
    let scalar = state.scalar_functions().keys();
    let mut names: Vec<String> =
        scalar.chain(state.aggregate_functions().keys()).chain(state.window_functions().keys()).cloned().collect();
    names.sort();
    names
}

extensions_options! {
    /// What a query's functions share.
    pub struct Share {
        /// how many functions may grow
        pub functions: u64, default = 1
    }
}

impl ConfigExtension for Share {
    const PREFIX: &'static str = "tidemill";
}

/// Tells the functions of a query how many they are.
pub fn share(state: &mut SessionState, query: &Query) {
    let mut growing = Growing(0);
    let _ = datafusion::sql::sqlparser::ast::Visit::visit(query, &mut growing);
    state.config_mut().options_mut().extensions.insert(Share { functions: growing.0.max(1) });
}

/// Counts functions that may grow.
struct Growing(u64);

impl Visitor for Growing {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<()> {
        let grows = match expr {
            SqlExpr::BinaryOp { op: BinaryOperator::StringConcat, .. } | SqlExpr::Overlay { .. } => true,
            SqlExpr::Function(function) => {
                let name = function.name.0.last().and_then(|part| part.as_ident());
                name.is_some_and(|name| CAPPED.iter().any(|(held, _)| name.value.eq_ignore_ascii_case(held)))
            }
            _ => false,
        };
        self.0 += u64::from(grows);
        ControlFlow::Continue(())
    }
}

/// A function that refuses to grow beyond its size.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Held {
    inner: Arc<ScalarUDF>,
    growth: Growth,
}

impl ScalarUDFImpl for Held {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<arrow::datatypes::FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let functions = args.config_options.extensions.get::<Share>().map_or(1, |share| share.functions.max(1));
        let most = (QUERY_BYTES_MAX / functions).min(BATCH_BYTES_MAX);
        let value_most = (most / BATCH_ROWS).min(VALUE_BYTES_MAX);
        let sizes = Sizes::of(&args.args)?;
        let per_value = constant || matches!(self.growth, Growth::Repeat | Growth::Pad);
        let (mut slices, mut start, mut bytes) = (Vec::new(), 0, 0u64);
        for row in 0..rows {
            let size = sizes.grown(self.growth, row);
            if size > most || (per_value && size > value_most) {
                return Err(too_large(self.name()));
            }
            if bytes + size > SLICE_BYTES_MAX.min(most) && row > start {
                slices.push((start, row - start));
                (start, bytes) = (row, 0);
            }
            bytes += size;
        }
        if slices.is_empty() {
            return self.inner.invoke_with_args(args);
        }
        slices.push((start, rows - start));
        self.sliced(&args, &slices, most)
    }
}

impl Held {
    /// The same by parts, as long as the parts together stay within bounds.
    fn sliced(&self, args: &ScalarFunctionArgs, slices: &[(usize, usize)], most: u64) -> Result<ColumnarValue> {
        let (mut parts, mut bytes) = (Vec::<ArrayRef>::new(), 0u64);
        for (start, rows) in slices {
            let part = args.args.iter().map(|arg| match arg {
                ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(*start, *rows)),
                ColumnarValue::Scalar(scalar) => ColumnarValue::Scalar(scalar.clone()),
            });
            let part = ScalarFunctionArgs { args: part.collect(), number_rows: *rows, ..args.clone() };
            let array = self.inner.invoke_with_args(part)?.into_array(*rows)?;
            bytes += array.get_array_memory_size() as u64;
            if bytes > most {
                return Err(too_large(self.name()));
            }
            parts.push(array);
        }
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&parts)?))
    }
}

fn too_large(name: &str) -> DataFusionError {
    let failure = QueryError::new(ErrorKind::Limit, format!("`{name}` would make values that are too large")).hint(
        format!("a constant or a repeated text may have {} KiB, and fewer where there are many", VALUE_BYTES_MAX >> 10),
    );
    DataFusionError::External(Box::new(failure))
}

/// What the arguments come to in each row: bytes of texts, values of numbers.
struct Sizes(Vec<Vec<u64>>);

impl Sizes {
    fn of(args: &[ColumnarValue]) -> Result<Self> {
        let sizes = args.iter().map(|arg| match arg {
            ColumnarValue::Array(array) => measured(array),
            // One value that counts for all rows.
            ColumnarValue::Scalar(scalar) => measured(&scalar.to_array()?),
        });
        Ok(Sizes(sizes.collect::<Result<_>>()?))
    }

    fn arg(&self, arg: usize, row: usize) -> u64 {
        self.0.get(arg).map_or(0, |sizes| sizes.get(row).or(sizes.first()).copied().unwrap_or(0))
    }

    fn grown(&self, growth: Growth, row: usize) -> u64 {
        let all = (0..self.0.len()).fold(0u64, |sum, arg| sum.saturating_add(self.arg(arg, row)));
        match growth {
            Growth::Repeat => self.arg(0, row).saturating_mul(self.arg(1, row)),
            Growth::Pad => self.arg(1, row).saturating_mul(4),
            Growth::Replace => (self.arg(0, row) + 1).saturating_mul(self.arg(2, row) + 1),
            Growth::Join => all,
            Growth::JoinWith => all.saturating_add(self.arg(0, row).saturating_mul(self.0.len() as u64)),
            Growth::Format => self.arg(1, row).saturating_mul(16),
            Growth::Lossy => self.arg(0, row).saturating_mul(3),
        }
    }
}

fn measured(array: &ArrayRef) -> Result<Vec<u64>> {
    let rows = 0..array.len();
    Ok(match array.data_type() {
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            rows.map(|row| if texts.is_null(row) { 0 } else { texts.value(row).len() as u64 }).collect()
        }
        DataType::LargeUtf8 => {
            let texts = array.as_string::<i64>();
            rows.map(|row| if texts.is_null(row) { 0 } else { texts.value(row).len() as u64 }).collect()
        }
        DataType::Utf8View => {
            let texts = array.as_string_view();
            rows.map(|row| if texts.is_null(row) { 0 } else { texts.value(row).len() as u64 }).collect()
        }
        DataType::BinaryView => {
            let bytes = array.as_binary_view();
            rows.map(|row| if bytes.is_null(row) { 0 } else { bytes.value(row).len() as u64 }).collect()
        }
        DataType::Dictionary(_, value) => return measured(&cast(array, value)?),
        number if number.is_integer() => {
            let numbers = cast(array, &DataType::Int64)?;
            let numbers = numbers.as_primitive::<Int64Type>();
            let value = |row| if numbers.is_null(row) { 0 } else { u64::try_from(numbers.value(row)).unwrap_or(0) };
            rows.map(value).collect()
        }
        _ => vec![32; array.len()],
    })
}
