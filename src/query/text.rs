//! `text(raw)`: bytes as text, whatever they are
//!
//! Bytes that are not UTF-8 become U+FFFD, as in `body`. Anything else is cast.

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Text {
    signature: Signature,
}

impl Text {
    /// The function.
    #[allow(clippy::new_without_default, reason = "a function is always asked for by name")]
    pub fn new() -> Text {
        Text { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Text {
    fn name(&self) -> &str {
        "text"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [one] if one.is_binary() => Ok(vec![DataType::BinaryView]),
            [_] => Ok(vec![DataType::Utf8View]),
            _ => Err(DataFusionError::Plan("text takes one argument".into())),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let first = args.args.first().ok_or_else(|| DataFusionError::Internal("text takes one argument".into()))?;
        let text = lossy(&first.clone().into_array(rows)?)?;
        match constant {
            true => Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&text, 0)?)),
            false => Ok(ColumnarValue::Array(text)),
        }
    }
}

/// The column as text.
fn lossy(column: &ArrayRef) -> Result<ArrayRef> {
    let Some(bytes) = column.as_binary_view_opt() else {
        return Ok(cast(column, &DataType::Utf8View)?);
    };
    // Valid as a whole is the rule: then nothing is copied.
    if let Ok(text) = bytes.clone().to_string_view() {
        return Ok(Arc::new(text));
    }
    let mut text = StringViewBuilder::with_capacity(bytes.len());
    for value in bytes.iter() {
        text.append_option(value.map(String::from_utf8_lossy));
    }
    Ok(Arc::new(text.finish()))
}
