//! a column whose values are of several types, each as it came
//!
//! A codec cannot know which type the table wants. So `1` and `"a"` in one column stay what they are until [`super::conform`], and
//! what becomes of them is the same as if they had come one after the other.
//!
//!     x: int64   1 - 3 -    ┐
//!     x: utf8    - a - -    ┘ one sparse union, the parts of which are as long as the column and null where the others are not
//!
//! **Never:** a table or a plugin sees such a column: see [`plain`].

use super::columns::{Type, field};
use super::conform::text;
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, UnionArray};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, is_not_null};
use arrow::datatypes::{DataType, Field, Int64Type, UnionFields};
use std::sync::Arc;

/// The largest integer up to which every integer is also a float.
pub const EXACT_MAX: u64 = 1 << 53;

/// One column of these parts, no two of one type and no two with a value in the same row.
pub fn column(parts: Vec<(Type, ArrayRef)>) -> Result<ArrayRef> {
    let rows = parts.first().map_or(0, |(_, part)| part.len());
    let mut ids = vec![0i8; rows];
    let (mut fields, mut columns): (Vec<(i8, Arc<Field>)>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
    for (id, (r#type, part)) in (0i8..).zip(parts) {
        for (row, place) in ids.iter_mut().enumerate() {
            if part.is_valid(row) {
                *place = id;
            }
        }
        fields.push((id, Arc::new(field(r#type.word(), r#type))));
        columns.push(part);
    }
    let fields: UnionFields = fields.into_iter().collect();
    Ok(Arc::new(UnionArray::try_new(fields, ids.into(), None, columns)?))
}

/// Whether it is such a column.
pub fn is_mixed(column: &ArrayRef) -> bool {
    matches!(column.data_type(), DataType::Union(_, _))
}

/// The parts that have values, by the row of the first one. Integers after the first float are a part of their own: whether
/// a column widens depends on those before it alone.
pub fn parts(column: &ArrayRef) -> Result<Vec<(Type, ArrayRef)>> {
    let DataType::Union(fields, _) = column.data_type() else {
        return Err(Error::internal("a column of one type has no parts"));
    };
    let union = column.as_any().downcast_ref::<UnionArray>();
    let union = union.ok_or_else(|| Error::internal("a union that is none"))?;
    let mut parts = Vec::new();
    for (id, field) in fields.iter() {
        let part = union.child(id);
        if let Some(first) = first(part) {
            parts.push((first, Type::of(field.data_type())?, part.clone()));
        }
    }
    let first_of = |wanted: Type| parts.iter().position(|(_, r#type, _)| *r#type == wanted);
    let float = first_of(Type::Float64).and_then(|at| parts.get(at)).map(|(first, _, _)| *first);
    if let Some((at, float)) = first_of(Type::Int64).zip(float) {
        let (_, _, ints) = parts.swap_remove(at);
        for half in split(&ints, float) {
            parts.extend(first(&half).map(|first| (first, Type::Int64, half)));
        }
    }
    parts.sort_by_key(|(first, _, _)| *first);
    Ok(parts.into_iter().map(|(_, r#type, part)| (r#type, part)).collect())
}

/// Integers before a row, and after it.
fn split(ints: &ArrayRef, at: usize) -> [ArrayRef; 2] {
    let ints = ints.as_primitive::<Int64Type>();
    let half = |wanted: &dyn Fn(usize) -> bool| -> ArrayRef {
        let values = ints.iter().enumerate().map(|(row, value)| value.filter(|_| wanted(row)));
        Arc::new(values.collect::<Int64Array>())
    };
    [half(&|row| row < at), half(&|row| row > at)]
}

fn first(part: &ArrayRef) -> Option<usize> {
    (0..part.len()).find(|row| part.is_valid(*row))
}

/// The column in the narrowest type that holds every value exactly, as plugins get it.
pub fn plain(column: &ArrayRef) -> Result<ArrayRef> {
    let parts = parts(column)?;
    let is_exact = |(r#type, part): &(Type, ArrayRef)| match r#type {
        Type::Float64 => true,
        Type::Int64 => part.as_primitive::<Int64Type>().iter().flatten().all(|value| value.unsigned_abs() <= EXACT_MAX),
        Type::Boolean | Type::Timestamp | Type::Utf8 | Type::Binary | Type::Labels => false,
    };
    let same = parts.windows(2).all(|pair| matches!(pair, [(a, _), (b, _)] if a == b));
    let wanted = match parts.first() {
        Some((r#type, _)) if same => r#type.arrow(),
        Some(_) if parts.iter().all(is_exact) => DataType::Float64,
        Some(_) | None => DataType::Utf8,
    };
    let mut whole = arrow::array::new_null_array(&wanted, column.len());
    for (r#type, part) in parts {
        let part = match wanted {
            DataType::Utf8 => Arc::new(text(&part, r#type)) as ArrayRef,
            _ => cast(&part, &wanted)?,
        };
        whole = zip(&is_not_null(&part)?, &part, &whole)?;
    }
    Ok(whole)
}

/// The values of any column as text.
pub fn texts(column: &ArrayRef) -> Result<ArrayRef> {
    let whole = match column.data_type() {
        DataType::Union(_, _) => plain(column)?,
        DataType::Dictionary(_, values) => cast(column, values)?,
        _ => column.clone(),
    };
    Ok(Arc::new(text(&whole, Type::of(whole.data_type())?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, StringArray};

    fn mixed() -> ArrayRef {
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, None, Some(4)]));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![None, Some(2.5), None, None]));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![None, None, Some("c"), None]));
        column(vec![(Type::Int64, ints), (Type::Float64, floats), (Type::Utf8, texts)]).unwrap()
    }

    #[test]
    fn parts_are_in_the_order_in_which_they_came() {
        let types = |column: &ArrayRef| parts(column).unwrap().iter().map(|(r#type, _)| *r#type).collect::<Vec<_>>();
        assert_eq!(types(&mixed()), [Type::Int64, Type::Float64, Type::Utf8, Type::Int64]);
        assert_eq!(types(&mixed().slice(1, 3)), [Type::Float64, Type::Utf8, Type::Int64]);
        assert_eq!(types(&mixed().slice(2, 2)), [Type::Utf8, Type::Int64]);
    }

    #[test]
    fn plugins_get_one_type() {
        let shown = |column: ArrayRef| {
            let plain = plain(&column).unwrap();
            let text = cast(&plain, &DataType::Utf8).unwrap();
            let text: Vec<String> = text.as_string::<i32>().iter().flatten().map(str::to_owned).collect();
            (plain.data_type().clone(), text.join(" "))
        };
        assert_eq!(shown(mixed()), (DataType::Utf8, "1 2.5 c 4".into()));
        assert_eq!(shown(mixed().slice(0, 2)), (DataType::Float64, "1.0 2.5".into()));
        assert_eq!(shown(mixed().slice(3, 1)), (DataType::Int64, "4".into()));
    }
}
