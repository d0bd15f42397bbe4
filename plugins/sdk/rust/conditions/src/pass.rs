//! the passes over a column: each clears the mask where its condition does not hold

use std::cmp::Ordering;
use std::ops::RangeInclusive;

use memchr::memmem::Finder;
use tidemill_plugin::{BytesColumn, Column};

use crate::condition::{Condition, Literal, Number};

/// Leaves a 1 in `mask` where every condition holds, and clears it elsewhere.
pub fn mark(column: Column<'_>, conditions: &[Condition], mask: &mut [u8]) {
    mask.fill(1);
    for condition in conditions {
        narrow(column, condition, mask);
    }
}

fn narrow(column: Column<'_>, condition: &Condition, mask: &mut [u8]) {
    if let Condition::IsNull(wanted) = condition {
        return narrow_to_null(column.validity(), *wanted, mask);
    }
    narrow_to_null(column.validity(), false, mask);
    let narrowed = if let Some(ints) = column.ints() {
        narrow_ints(ints.values(), condition, mask)
    } else if let Some(timestamps) = column.timestamps() {
        narrow_timestamps(timestamps.values(), condition, mask)
    } else if let Some(floats) = column.floats() {
        narrow_floats(floats.values(), condition, mask)
    } else if let Some(bytes) = column.bytes() {
        narrow_bytes(bytes, condition, mask);
        true
    } else {
        false
    };
    if !narrowed {
        narrow_one_by_one(column, condition, mask);
    }
}

fn narrow_to_null(validity: Option<&[u8]>, null: bool, mask: &mut [u8]) {
    match validity {
        Some(validity) => each(mask, validity, |valid| (valid == 0) == null),
        None if null => mask.fill(0),
        None => {}
    }
}

/// The loop that the compiler turns into vector instructions.
#[inline]
fn each<T: Copy>(mask: &mut [u8], values: &[T], holds: impl Fn(T) -> bool) {
    for (flag, value) in mask.iter_mut().zip(values) {
        *flag &= u8::from(holds(*value));
    }
}

/// Comparisons with numbers become a range of integers; whatever is none is left to the slow way.
fn narrow_ints(values: &[i64], condition: &Condition, mask: &mut [u8]) -> bool {
    match condition {
        Condition::NotEquals(literal) => match number_range(&Condition::Equals(literal.clone())) {
            Some(range) => each(mask, values, |value| !range.contains(&value)),
            None => return false,
        },
        Condition::OneOf(literals) => {
            let ranges: Option<Vec<_>> =
                literals.iter().map(|literal| number_range(&Condition::Equals(literal.clone()))).collect();
            match ranges {
                Some(ranges) => each(mask, values, |value| ranges.iter().any(|range| range.contains(&value))),
                None => return false,
            }
        }
        condition => match number_range(condition) {
            Some(range) => narrow_to_range(values, range, mask),
            None => return false,
        },
    }
    true
}

fn narrow_floats(values: &[f64], condition: &Condition, mask: &mut [u8]) -> bool {
    let number = |literal: &Literal| literal.number.map(Number::as_float);
    match condition {
        Condition::Equals(literal) => number(literal).map(|number| each(mask, values, |value| value == number)),
        Condition::NotEquals(literal) => number(literal).map(|number| each(mask, values, |value| value != number)),
        Condition::LessThan(literal) => number(literal).map(|number| each(mask, values, |value| value < number)),
        Condition::AtMost(literal) => number(literal).map(|number| each(mask, values, |value| value <= number)),
        Condition::GreaterThan(literal) => number(literal).map(|number| each(mask, values, |value| value > number)),
        Condition::AtLeast(literal) => number(literal).map(|number| each(mask, values, |value| value >= number)),
        _ => None,
    }
    .is_some()
}

fn narrow_timestamps(values: &[i64], condition: &Condition, mask: &mut [u8]) -> bool {
    let at = |literal: &Literal| literal.timestamp;
    match condition {
        Condition::Equals(literal) => at(literal).map(|at| each(mask, values, |value| value == at)),
        Condition::NotEquals(literal) => at(literal).map(|at| each(mask, values, |value| value != at)),
        Condition::LessThan(literal) => at(literal).map(|at| each(mask, values, |value| value < at)),
        Condition::AtMost(literal) => at(literal).map(|at| each(mask, values, |value| value <= at)),
        Condition::GreaterThan(literal) => at(literal).map(|at| each(mask, values, |value| value > at)),
        Condition::AtLeast(literal) => at(literal).map(|at| each(mask, values, |value| value >= at)),
        _ => None,
    }
    .is_some()
}

fn narrow_to_range(values: &[i64], range: RangeInclusive<i64>, mask: &mut [u8]) {
    let (lowest, highest) = range.into_inner();
    each(mask, values, |value| (value >= lowest) & (value <= highest));
}

/// The integers that meet a condition on a number, exact also where the number has a fraction.
fn number_range(condition: &Condition) -> Option<RangeInclusive<i64>> {
    let floor = |literal: &Literal| literal.number.map(|number| rounded(number, f64::floor));
    let ceil = |literal: &Literal| literal.number.map(|number| rounded(number, f64::ceil));
    let (lowest, highest) = match condition {
        Condition::Equals(literal) => (ceil(literal)?, floor(literal)?),
        Condition::LessThan(literal) => (i128::MIN, ceil(literal)? - 1),
        Condition::AtMost(literal) => (i128::MIN, floor(literal)?),
        Condition::GreaterThan(literal) => (floor(literal)? + 1, i128::MAX),
        Condition::AtLeast(literal) => (ceil(literal)?, i128::MAX),
        _ => return None,
    };
    let (least, most) = (i128::from(i64::MIN), i128::from(i64::MAX));
    if lowest > most || highest < least {
        return Some(RangeInclusive::new(i64::MAX, i64::MIN));
    }
    Some(lowest.max(least) as i64..=highest.min(most) as i64)
}

fn rounded(number: Number, round: fn(f64) -> f64) -> i128 {
    match number {
        Number::Int(value) => i128::from(value),
        // Kept a step inside i128, so that adding 1 stays possible.
        Number::Float(value) => (round(value) as i128).clamp(i128::MIN + 1, i128::MAX - 1),
    }
}

fn narrow_bytes(column: BytesColumn<'_>, condition: &Condition, mask: &mut [u8]) {
    if let Some((indices, distinct)) = column.dictionary() {
        let holds: Vec<u8> = distinct.map(|value| u8::from(bytes_hold(value, condition))).collect();
        return each(mask, indices, |index| holds.get(index as usize) == Some(&1));
    }
    if let (Condition::Contains(finder), Some((offsets, data))) = (condition, column.plain())
        && !finder.needle().is_empty()
    {
        return narrow_to_containing(finder, offsets, data, mask);
    }
    for (flag, value) in mask.iter_mut().zip(column.iter()) {
        *flag &= u8::from(value.is_some_and(|value| bytes_hold(value, condition)));
    }
}

/// One search over the whole column: what lies between two finds is passed over at the speed of memory.
fn narrow_to_containing(finder: &Finder<'_>, offsets: &[u32], data: &[u8], mask: &mut [u8]) {
    let mut row = 0;
    let mut from = 0;
    while let Some(found) = data.get(from..).and_then(|rest| finder.find(rest)) {
        let (start, end) = (from + found, from + found + finder.needle().len());
        // Rows that end before the find do not contain it.
        while row < mask.len() && offsets.get(row + 1).is_some_and(|row_end| *row_end as usize <= start) {
            mask[row] = 0;
            row += 1;
        }
        let Some(row_end) = offsets.get(row + 1).map(|row_end| *row_end as usize) else { break };
        if end <= row_end {
            row += 1;
            from = row_end;
        } else {
            from = start + 1;
        }
    }
    mask.iter_mut().skip(row).for_each(|flag| *flag = 0);
}

fn narrow_one_by_one(column: Column<'_>, condition: &Condition, mask: &mut [u8]) {
    let booleans = column.booleans();
    for (row, flag) in mask.iter_mut().enumerate() {
        if *flag == 0 {
            continue;
        }
        let boolean = booleans.and_then(|booleans| booleans.get(row)).map(|value| value != 0);
        let holds = match (condition, boolean) {
            (Condition::Equals(Literal { boolean: Some(wanted), .. }), Some(value)) => value == *wanted,
            (Condition::NotEquals(Literal { boolean: Some(wanted), .. }), Some(value)) => value != *wanted,
            _ => column.text_of(row).is_some_and(|text| bytes_hold(&text, condition)),
        };
        *flag = u8::from(holds);
    }
}

/// Whether a value, written as text, meets a condition.
fn bytes_hold(value: &[u8], condition: &Condition) -> bool {
    match condition {
        Condition::Equals(literal) => equal(value, literal),
        Condition::NotEquals(literal) => !equal(value, literal),
        Condition::OneOf(literals) => literals.iter().any(|literal| equal(value, literal)),
        Condition::StartsWith(text) => value.starts_with(text),
        Condition::EndsWith(text) => value.ends_with(text),
        Condition::Contains(finder) => finder.find(value).is_some(),
        Condition::LessThan(literal) => order(value, literal) == Some(Ordering::Less),
        Condition::GreaterThan(literal) => order(value, literal) == Some(Ordering::Greater),
        Condition::AtLeast(literal) => order(value, literal).is_some_and(Ordering::is_ge),
        Condition::AtMost(literal) => order(value, literal).is_some_and(Ordering::is_le),
        Condition::IsNull(null) => !null,
    }
}

fn equal(value: &[u8], literal: &Literal) -> bool {
    value == literal.text || literal.number.is_some() && order(value, literal) == Some(Ordering::Equal)
}

/// As numbers where the setting is one, as text where it is text, else not at all.
fn order(value: &[u8], literal: &Literal) -> Option<Ordering> {
    let Some(number) = literal.number else {
        return literal.is_text.then(|| value.cmp(&literal.text));
    };
    let text = std::str::from_utf8(value).ok()?;
    match (text.parse::<i64>(), number) {
        (Ok(value), Number::Int(number)) => Some(value.cmp(&number)),
        _ => text.parse::<f64>().ok()?.partial_cmp(&number.as_float()),
    }
}
