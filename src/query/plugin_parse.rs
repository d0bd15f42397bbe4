//! `plugin_parse('access-log', body)['status']`: a plugin on one value a row
//!
//! The answer is a structure: what the plugin makes, `more` where events name columns of their own, and `error`. A filter answers `keep`.
//! A value of which nothing came has nulls; one of which several rows came, or that could not be handled, has an `error`.

use super::QueryError;
use super::plugins::{Bench, Made, Opened, Shape, failed, told};
use crate::event::columns::BODY;
use crate::event::{Kind, arrived};
use crate::plugin::World;
use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, StructArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The function's name.
pub const NAME: &str = "plugin_parse";
/// How it is written.
const USAGE: &str = "write plugin_parse('access-log', body), and settings behind it: plugin_parse('regex', body, '{\"pattern\": \"…\"}')";

/// The function, for one query.
pub struct PluginParse {
    signature: Signature,
    bench: Arc<Bench>,
}

impl PluginParse {
    /// The function over what the query has opened.
    pub fn new(bench: Arc<Bench>) -> PluginParse {
        PluginParse { signature: Signature::user_defined(Volatility::Immutable), bench }
    }

    fn open(&self, name: Option<&ScalarValue>, settings: Option<&Option<&ScalarValue>>) -> Result<Arc<Opened>> {
        let text = |value: &ScalarValue| value.try_as_str().flatten().map(str::to_owned);
        let unnamed = || told(QueryError::invalid("the plugin's name has to be a text in quotes").hint(USAGE));
        let name = name.and_then(text).ok_or_else(unnamed)?;
        let settings = match settings {
            None => None,
            Some(value) => {
                let wrong = || {
                    told(QueryError::invalid("the plugin's settings have to be a JSON object in quotes").hint(USAGE))
                };
                Some(value.and_then(text).ok_or_else(wrong)?)
            }
        };
        let opened = self.bench.open(&name, settings.as_deref())?;
        if opened.plugin.contract().keeps_state {
            let failure =
                QueryError::invalid(format!("plugin `{name}` remembers earlier events, which a value has none of"));
            return Err(told(
                failure.hint(format!("run it over a table: SELECT * FROM plugin_rows('{name}', access)")),
            ));
        }
        Ok(opened)
    }
}

/// The column that a plugin gets the value as: `body` if it reads that, else the only one it reads.
fn column(opened: &Opened) -> Result<String> {
    let reads = &opened.plugin.contract().reads;
    let others: Vec<&String> = reads.iter().filter(|name| *name != "timestamp").collect();
    match others.as_slice() {
        _ if reads.iter().any(|name| name == BODY || name == "*") => Ok(BODY.to_owned()),
        [one] if !one.ends_with('*') => Ok((*one).clone()),
        _ => {
            let (name, reads) = (&opened.name, reads.join(", "));
            let failure = QueryError::invalid(format!("plugin `{name}` reads several columns ({reads})"));
            Err(told(failure.hint(format!("run it over a table: SELECT * FROM plugin_rows('{name}', access)"))))
        }
    }
}

fn is_text(r#type: &DataType) -> bool {
    match r#type {
        DataType::Dictionary(_, of) => is_text(of),
        DataType::Null => true,
        other => other.is_string() || other.is_binary(),
    }
}

/// The fields of the structure.
fn fields(opened: &Opened) -> Fields {
    let shape = Shape::of(opened.plugin.as_ref(), Kind::Logs, &[]);
    match opened.plugin.world() {
        World::Filter => {
            vec![Field::new("keep", DataType::Boolean, true), Field::new(&shape.error, DataType::Utf8, true)].into()
        }
        World::Parser | World::Enricher | World::Autoscaler => shape.fields().into(),
    }
}

impl ScalarUDFImpl for PluginParse {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if !(2..=3).contains(&types.len()) {
            return Err(told(
                QueryError::invalid("plugin_parse takes a plugin, a value, and perhaps settings").hint(USAGE),
            ));
        }
        let at = |(at, r#type): (usize, &DataType)| match (at, r#type) {
            (1, DataType::Null) => DataType::Utf8,
            (1, r#type) => r#type.clone(),
            _ => DataType::Utf8,
        };
        Ok(types.iter().enumerate().map(at).collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Err(told(QueryError::invalid("the plugin's name has to be a text in quotes").hint(USAGE)))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let name = args.scalar_arguments.first().copied().flatten();
        let opened = self.open(name, args.scalar_arguments.get(2))?;
        let column = column(&opened)?;
        match args.arg_fields.get(1).map(|field| field.data_type()) {
            Some(r#type) if column == BODY && !is_text(r#type) => {
                let what = format!("the value for plugin `{}` has to be text or bytes", opened.name);
                return Err(told(QueryError::invalid(what).hint("write CAST(… AS TEXT) around it")));
            }
            _ => (),
        }
        Ok(Arc::new(Field::new(NAME, DataType::Struct(fields(&opened)), true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let scalar = |at: usize| match args.args.get(at) {
            Some(ColumnarValue::Scalar(scalar)) => Some(scalar),
            Some(ColumnarValue::Array(_)) | None => None,
        };
        let settings = (args.args.len() > 2).then(|| scalar(2));
        let opened = self.open(scalar(0), settings.as_ref())?;
        let value = args.args.get(1).ok_or_else(|| told(QueryError::invalid(USAGE)))?.clone().into_array(rows)?;
        if !constant && let Some(answer) = opened.recall(&value) {
            return Ok(ColumnarValue::Array(answer));
        }
        let events = RecordBatch::try_from_iter_with_nullable([(column(&opened)?, value.clone(), true)])?;
        let made = self.bench.run(&opened, arrived(&events).map_err(failed)?)?;
        let answer: ArrayRef = Arc::new(answer(&opened, &made, rows)?);
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?)),
            false => {
                opened.remember(&value, &answer);
                Ok(ColumnarValue::Array(answer))
            }
        }
    }
}

/// What came of each row.
fn answer(opened: &Opened, made: &Made, rows: usize) -> Result<StructArray> {
    let (mut first, mut counts) = (vec![None; rows], vec![0u32; rows]);
    for (at, origin) in (0u32..).zip(made.origins()) {
        if let (Some(first), Some(count)) = (first.get_mut(origin as usize), counts.get_mut(origin as usize)) {
            first.get_or_insert(at);
            *count += 1;
        }
    }
    let mut errors: BTreeMap<usize, String> =
        made.errors.iter().map(|(row, error)| (*row as usize, error.clone())).collect();
    for (row, count) in counts.iter().enumerate().filter(|(_, count)| **count > 1) {
        let name = &opened.name;
        errors.insert(row, format!("{count} rows come of it: SELECT * FROM plugin_rows('{name}', …) has them"));
        if let Some(first) = first.get_mut(row) {
            *first = None;
        }
    }
    let fields = fields(opened);
    let error: ArrayRef = Arc::new(StringArray::from_iter((0..rows).map(|row| errors.get(&row))));
    if opened.plugin.world() == World::Filter {
        let keep =
            (0..rows).map(|row| (!errors.contains_key(&row)).then(|| first.get(row).is_some_and(Option::is_some)));
        let keep: ArrayRef = Arc::new(BooleanArray::from_iter(keep));
        return Ok(StructArray::try_new(fields, vec![keep, error], None)?);
    }
    let shape = Shape::of(opened.plugin.as_ref(), Kind::Logs, &[]);
    let indices = UInt32Array::from(first);
    let mut columns = Vec::with_capacity(fields.len());
    for field in &shape.columns {
        columns.push(take(&made.column(field.name(), field.data_type())?, &indices, None)?);
    }
    if shape.more.is_some() {
        let known: Vec<&str> = shape.columns.iter().map(|field| field.name().as_str()).collect();
        let value = column(opened)?;
        // An open enricher may have changed the value itself: then that is the answer.
        let changed = opened.plugin.world() == World::Enricher;
        let known: Vec<&str> = known.into_iter().chain((!changed).then_some(value.as_str())).collect();
        columns.push(take(&made.more(&known)?, &indices, None)?);
    }
    columns.push(error);
    Ok(StructArray::try_new(fields, columns, None)?)
}

impl fmt::Debug for PluginParse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAME)
    }
}

impl PartialEq for PluginParse {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bench, &other.bench)
    }
}

impl Eq for PluginParse {}

impl Hash for PluginParse {
    fn hash<H: Hasher>(&self, state: &mut H) {
        NAME.hash(state);
    }
}
