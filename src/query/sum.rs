//! `sum` of whole numbers, which is exact on the way and fails where 64 bits do not hold the result
//!
//! The engine's own wraps around and answers with a wrong number. Here sums are 128 bits wide until the end; any other type is left
//! to the engine.

use super::QueryError;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::compute::{cast, prep_null_mask_filter};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature,
};
use std::mem::size_of;
use std::sync::Arc;

/// What a sum is on the way.
const STATE: DataType = DataType::Decimal128(38, 0);

/// `sum`, around the engine's own.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Sum(pub Arc<AggregateUDF>);

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.0.return_type(types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        match args.return_type() {
            DataType::Int64 if !args.is_distinct => {
                Ok(vec![Arc::new(Field::new(format_state_name(args.name, "sum"), STATE, true))])
            }
            _ => self.0.state_fields(args),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match (args.return_field.data_type(), args.is_distinct) {
            (DataType::Int64, false) => Ok(Box::new(Exact::default())),
            (DataType::Int64, true) => Ok(Box::new(Distinct(self.0.accumulator(args)?))),
            _ => self.0.accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match args.return_field.data_type() {
            DataType::Int64 if !args.is_distinct => Ok(Box::new(Exact::default())),
            _ => self.0.create_sliding_accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match args.return_field.data_type() {
            DataType::Int64 => Ok(Box::new(Groups::default())),
            _ => self.0.create_groups_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn set_monotonicity(&self, r#type: &DataType) -> SetMonotonicity {
        self.0.inner().set_monotonicity(r#type)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.0.documentation()
    }
}

fn whole(sum: i128) -> Result<i64> {
    i64::try_from(sum).map_err(|_| {
        let failure = QueryError::invalid(format!("the sum {sum} is beyond the whole numbers of 64 bits"))
            .hint("sum(CAST(x AS DECIMAL(38, 0))) is exact, sum(CAST(x AS DOUBLE)) is near");
        DataFusionError::External(Box::new(failure))
    })
}

fn ints(values: &[ArrayRef]) -> Result<&Int64Array> {
    let ints = values.first().and_then(|values| values.as_primitive_opt::<Int64Type>());
    ints.ok_or_else(|| DataFusionError::Internal("sum takes one column of whole numbers".into()))
}

fn states(values: &[ArrayRef]) -> Result<&Decimal128Array> {
    let states = values.first().and_then(|values| values.as_primitive_opt::<Decimal128Type>());
    states.ok_or_else(|| DataFusionError::Internal("sum merges one column of sums".into()))
}

/// All values together. High and low halves apart are plain 64-bit sums, which the processor does several at a time.
fn total(values: &Int64Array) -> i128 {
    if values.null_count() > 0 {
        return values.iter().flatten().map(i128::from).sum();
    }
    let parts = values.values().chunks(1 << 20).map(|chunk| {
        let (high, low) =
            chunk.iter().fold((0i64, 0i64), |(high, low), value| (high + (value >> 32), low + (value & 0xffff_ffff)));
        (i128::from(high) << 32) + i128::from(low)
    });
    parts.sum()
}

/// The sum of one group.
#[derive(Debug, Default)]
struct Exact {
    sum: i128,
    /// values that are not null
    values: usize,
}

impl Accumulator for Exact {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = ints(values)?;
        self.sum += total(values);
        self.values += values.len() - values.null_count();
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = ints(values)?;
        self.sum -= total(values);
        self.values -= values.len() - values.null_count();
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let sums = states(values)?;
        self.sum += sums.iter().flatten().sum::<i128>();
        self.values += sums.len() - sums.null_count();
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Decimal128((self.values > 0).then_some(self.sum), 38, 0)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = if self.values > 0 { Some(whole(self.sum)?) } else { None };
        Ok(ScalarValue::Int64(sum))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// The sum of one group's different values, which the engine's own collects.
#[derive(Debug)]
struct Distinct(Box<dyn Accumulator>);

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.0.state()?.first() {
            Some(ScalarValue::List(values)) => {
                let values = cast(values.values(), &DataType::Int64)?;
                let values = ints(std::slice::from_ref(&values))?;
                let sum = if values.null_count() < values.len() { Some(whole(total(values))?) } else { None };
                Ok(ScalarValue::Int64(sum))
            }
            _ => self.0.evaluate(),
        }
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.0.size()
    }
}

/// The sums of many groups.
#[derive(Debug, Default)]
struct Groups {
    sums: Vec<i128>,
    /// by group: whether it had a value that is not null
    seen: Vec<bool>,
    /// groups that had none
    unseen: usize,
}

impl Groups {
    /// Adds each value to its group; null values are none.
    fn add(&mut self, values: impl Iterator<Item = Option<i128>>, groups: &[usize], count: usize) {
        self.sums.resize(count, 0);
        self.unseen += count.saturating_sub(self.seen.len());
        self.seen.resize(count, false);
        for (group, value) in groups.iter().zip(values) {
            let Some(value) = value else { continue };
            if let (Some(sum), Some(seen)) = (self.sums.get_mut(*group), self.seen.get_mut(*group)) {
                *sum += value;
                self.unseen -= usize::from(!*seen);
                *seen = true;
            }
        }
    }

    /// The same where no value is null: a group without a value is a new one, and this batch is why it is there.
    fn add_all(&mut self, values: &[i64], groups: &[usize], count: usize) {
        if self.unseen > 0 {
            return self.add(values.iter().map(|value| Some(i128::from(*value))), groups, count);
        }
        self.sums.resize(count, 0);
        self.seen.resize(count, true);
        for (group, value) in groups.iter().zip(values) {
            if let Some(sum) = self.sums.get_mut(*group) {
                *sum += i128::from(*value);
            }
        }
    }

    fn take(&mut self, emit: EmitTo) -> (Vec<i128>, NullBuffer) {
        let sums = emit.take_needed(&mut self.sums);
        let seen = emit.take_needed(&mut self.seen);
        self.unseen = self.seen.iter().filter(|seen| !**seen).count();
        (sums, NullBuffer::from(seen))
    }
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        let values = ints(values)?;
        match filter {
            None if values.null_count() == 0 => self.add_all(values.values(), groups, count),
            None => self.add(values.iter().map(|value| value.map(i128::from)), groups, count),
            Some(filter) => {
                let passing = values.iter().zip(filter.iter());
                let passing = passing.map(|(value, pass)| value.filter(|_| pass == Some(true)).map(i128::from));
                self.add(passing, groups, count);
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.add(states(values)?.iter(), groups, count);
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let (sums, nulls) = self.take(emit);
        let sums = sums.into_iter().map(whole).collect::<Result<Vec<i64>>>()?;
        Ok(Arc::new(Int64Array::new(sums.into(), Some(nulls))))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let (sums, nulls) = self.take(emit);
        Ok(vec![Arc::new(Decimal128Array::new(sums.into(), Some(nulls)).with_data_type(STATE))])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = ints(values)?;
        let nulls = match filter {
            None => values.nulls().cloned(),
            Some(filter) => {
                let pass = match filter.null_count() {
                    0 => filter.clone(),
                    _ => prep_null_mask_filter(filter),
                };
                NullBuffer::union(values.nulls(), Some(&NullBuffer::new(pass.values().clone())))
            }
        };
        let sums: Vec<i128> = values.values().iter().map(|value| i128::from(*value)).collect();
        Ok(vec![Arc::new(Decimal128Array::new(sums.into(), nulls).with_data_type(STATE))])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.seen.capacity()
    }
}
