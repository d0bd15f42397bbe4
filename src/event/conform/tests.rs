//! no value is ever lost

use super::super::{Kind, labels};
use super::*;
use arrow::array::{BinaryArray, BooleanArray, DictionaryArray, Float64Array, Int64Array, NullArray, StringArray};
use arrow::datatypes::{DataType, Int32Type};

const NOW: i64 = 1_700_000_000_000_000_000;

fn shape(columns: &[(&str, Type)]) -> Arc<Shape> {
    let fields: Vec<Field> = columns.iter().map(|(name, r#type)| columns::field(name, *r#type)).collect();
    Arc::new(Shape::new(&Schema::new(fields), true).unwrap())
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let rows = columns.first().map_or(0, |(_, column)| column.len());
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).unwrap()
}

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn floats(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Every column but the time, as `name:type=value,value`, null as `-`.
fn shown(conformed: &Conformed) -> String {
    let batch = &conformed.columns;
    let mut parts = Vec::new();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if field.name() != TIMESTAMP {
            let r#type = Type::of(field.data_type()).unwrap();
            let values: Vec<String> =
                (0..column.len()).map(|row| text::value(column, r#type, row).unwrap_or("-".into())).collect();
            parts.push(format!("{}:{}={}", field.name(), r#type.word(), values.join(",")));
        }
    }
    parts.join(" ")
}

fn drift(conformed: &Conformed) -> String {
    let told = conformed.drift.iter();
    told.map(|d| format!("{} {}<-{}: {} ({})", d.column, d.was, d.arrived, d.became, d.example))
        .collect::<Vec<_>>()
        .join("; ")
}

#[test]
fn each_meeting_of_types_goes_by_the_rules() {
    let big = (1 << 53) + 1;
    let labels = || {
        let mut builder = labels::LabelsBuilder::new();
        builder.push([("job", "web")]).unwrap();
        builder.finish()
    };
    let time = || -> ArrayRef { Arc::new(TimestampNanosecondArray::from(vec![NOW])) };
    let bytes = |value: &[u8]| -> ArrayRef { Arc::new(BinaryArray::from(vec![value])) };
    for (column, arriving, expected, told) in [
        (Type::Int64, ints(&[1]), "x:int64=1", ""),
        (Type::Float64, ints(&[1]), "x:float64=1.0", ""),
        (
            Type::Float64,
            ints(&[1, big]),
            "x:float64=1.0,- x__int64:int64=-,9007199254740993",
            "x float64<-int64: sibling x__int64 (9007199254740993)",
        ),
        (Type::Int64, floats(&[0.5]), "x:float64=0.5", "x int64<-float64: widened to float64 (0.5)"),
        (Type::Int64, texts(&["a"]), "x__utf8:utf8=a", "x int64<-utf8: sibling x__utf8 (a)"),
        (Type::Utf8, ints(&[-7]), "x:utf8=-7", "x utf8<-int64: text (-7)"),
        (Type::Utf8, floats(&[1e300]), "x:utf8=1e300", "x utf8<-float64: text (1e300)"),
        (Type::Utf8, time(), "x:utf8=2023-11-14T22:13:20Z", "x utf8<-timestamp: text (2023-11-14T22:13:20Z)"),
        (Type::Utf8, labels(), "x:utf8={\"job\":\"web\"}", "x utf8<-labels: text ({\"job\":\"web\"})"),
        (Type::Utf8, bytes(b"ab"), "x:utf8=ab", ""),
        (
            Type::Utf8,
            bytes(b"a\xff"),
            "x:utf8=a\u{fffd} x__binary:binary=a\u{fffd}",
            "x utf8<-binary: sibling x__binary (a\u{fffd})",
        ),
        (Type::Utf8, Arc::new(BooleanArray::from(vec![true])), "x:utf8=true", "x utf8<-boolean: text (true)"),
        (
            Type::Boolean,
            labels(),
            "x__labels:labels={\"job\":\"web\"}",
            "x boolean<-labels: sibling x__labels ({\"job\":\"web\"})",
        ),
        (Type::Timestamp, bytes(b"ab"), "x__binary:binary=ab", "x timestamp<-binary: sibling x__binary (ab)"),
        (Type::Int64, Arc::new(StringArray::new_null(2)), "", ""),
        (Type::Int64, Arc::new(NullArray::new(2)), "", ""),
    ] {
        let what = format!("{column:?} <- {:?}", arriving.data_type());
        let table = shape(&[("x", column)]);
        let conformed = conform(&table, &batch(vec![("x", arriving.clone())]), NOW).unwrap();
        assert_eq!(shown(&conformed), expected, "{what}");
        assert_eq!(drift(&conformed), told, "{what}");
        let again = conform(&conformed.shape, &batch(vec![("x", arriving)]), NOW).unwrap();
        assert_eq!(drift(&again), "", "{what}: told once");
    }
}

#[test]
fn an_int_column_with_a_large_integer_never_widens() {
    let table = conform(&shape(&[("x", Type::Int64)]), &batch(vec![("x", ints(&[i64::MAX]))]), NOW).unwrap().shape;
    let conformed = conform(&table, &batch(vec![("x", floats(&[2.0, 0.5, f64::NAN, -0.0, 9.3e18]))]), NOW).unwrap();
    assert_eq!(shown(&conformed), "x:int64=2,-,-,-,- x__float64:float64=-,0.5,NaN,-0.0,9.3e18");
}

#[test]
fn new_columns_come_at_the_end_with_their_own_names() {
    let table = Arc::new(Shape::new(&Kind::Logs.base(), true).unwrap());
    let dictionary: DictionaryArray<Int32Type> = vec!["GET", "PUT"].into_iter().collect();
    let arriving = batch(vec![
        ("Status", ints(&[1, 2])),
        ("status", Arc::new(dictionary)),
        ("", texts(&["a", "b"])),
        (RAW, texts(&["r", "r"])),
        (BODY, Arc::new(BinaryArray::from(vec![&b"x"[..], b"y"]))),
    ]);
    let conformed = conform(&table, &arriving, NOW).unwrap();
    assert_eq!(shown(&conformed), "body:utf8=x,y Status:int64=1,2 status:utf8=GET,PUT __empty:utf8=a,b");
    assert_eq!(conformed.columns.column(0).as_primitive::<TimestampNanosecondType>().values(), &[NOW, NOW]);
    let fields: Vec<&str> = conformed.shape.schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(fields, ["timestamp", "body", "source", "Status", "status", "__empty"]);
}

#[test]
fn names_that_are_taken_lead_on() {
    // The sibling has a column of the user's own in the table, in the batch, or both.
    let table = shape(&[("x", Type::Int64), ("x__utf8", Type::Boolean)]);
    let conformed = conform(&table, &batch(vec![("x", texts(&["a"])), ("x", texts(&["b"]))]), NOW).unwrap();
    assert_eq!(shown(&conformed), "x__utf8__utf8:utf8=a x__utf8__utf8__utf8:utf8=b");
    let table = shape(&[("x", Type::Int64)]);
    let conformed = conform(&table, &batch(vec![("x", texts(&["a"])), ("x__utf8", texts(&["b"]))]), NOW).unwrap();
    assert_eq!(shown(&conformed), "x__utf8__utf8:utf8=a x__utf8:utf8=b");
    let conformed = conform(&table, &batch(vec![("x", ints(&[1])), ("x", ints(&[2]))]), NOW).unwrap();
    assert_eq!(shown(&conformed), "x:int64=1 x__int64:int64=2");
}

#[test]
fn a_full_table_keeps_further_columns_as_json() {
    let names: Vec<String> = (0..COLUMNS_MAX + 5).map(|at| format!("c{at}")).collect();
    let wide = batch(names.iter().map(|name| (name.as_str(), ints(&[7]))).collect());
    let conformed = conform(&shape(&[]), &wide, NOW).unwrap();
    assert_eq!(conformed.shape.schema.fields().len(), COLUMNS_MAX);
    let more = conformed.columns.column_by_name(MORE).unwrap().as_string::<i32>().value(0);
    let more: serde_json::Value = serde_json::from_str(more).unwrap();
    assert_eq!(more.as_object().unwrap().len(), 7, "{more}");
    assert_eq!(conformed.drift.len(), 1);
    let again = batch(vec![
        ("c1", texts(&["a", "b"])),
        ("later", Arc::new(BinaryArray::from(vec![&b"\xff"[..], b"text"]))),
        ("nothing", Arc::new(NullArray::new(2))),
    ]);
    let again = conform(&conformed.shape, &again, NOW).unwrap();
    let expected = r#"{"c1__utf8":"a","later":{"hex":"ff"}},{"c1__utf8":"b","later":"text"}"#;
    assert_eq!(shown(&again), format!("__more:utf8={expected}"));
}

#[test]
fn long_names_are_cut_and_stay_apart() {
    let long = |end: &str| format!("{}{end}", "ä".repeat(300));
    let (a, b) = (long("a"), long("b"));
    let conformed = conform(&shape(&[]), &batch(vec![(&a, ints(&[1])), (&b, ints(&[2]))]), NOW).unwrap();
    let names: Vec<&String> = conformed.shape.schema.fields().iter().skip(1).map(|field| field.name()).collect();
    assert!(names.iter().all(|name| name.len() <= NAME_BYTES_MAX) && names[0] != names[1], "{names:?}");
}

#[test]
fn text_is_not_copied_even_of_a_slice() {
    let body = BinaryArray::from(vec![&b"one"[..], b"two", b"\xff", b"three"]);
    let table = Arc::new(Shape::new(&Kind::Logs.base(), true).unwrap());
    for (from, length, expected) in [(0, 2, "one,two"), (1, 1, "two"), (3, 1, "three")] {
        let slice = body.slice(from, length);
        let conformed = conform(&table, &batch(vec![(BODY, Arc::new(slice.clone()))]), NOW).unwrap();
        assert_eq!(shown(&conformed), format!("body:utf8={expected}"));
        let text = conformed.columns.column_by_name(BODY).unwrap().as_string::<i32>();
        assert_eq!(text.value(0).as_ptr(), slice.value(0).as_ptr());
    }
}

#[test]
fn equal_columns_pass_as_they_are() {
    let table = shape(&[("x", Type::Int64), ("y", Type::Utf8)]);
    let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1]).with_timezone("UTC"));
    let arriving = batch(vec![(TIMESTAMP, times), ("x", ints(&[5])), ("y", texts(&["a"]))]);
    let first = conform(&table, &arriving, NOW).unwrap();
    let second = conform(&first.shape, &arriving, NOW).unwrap();
    assert!(Arc::ptr_eq(&first.shape, &second.shape), "nothing changes");
    assert!(Arc::ptr_eq(second.columns.schema_ref(), &second.shape.schema));
    assert_eq!(second.columns.columns(), arriving.columns());
}

#[test]
fn columns_of_no_type_of_ours_are_refused_or_made_ours() {
    let conformed = conform(&shape(&[]), &batch(vec![("x", Arc::new(arrow::array::Int32Array::from(vec![3])))]), NOW);
    assert_eq!(shown(&conformed.unwrap()), "x:int64=3");
    let large = Arc::new(arrow::array::UInt64Array::from(vec![u64::MAX]));
    let conformed = conform(&shape(&[]), &batch(vec![("x", large)]), NOW).unwrap();
    assert_eq!(shown(&conformed), "x:utf8=18446744073709551615");
    let list = arrow::array::new_null_array(&DataType::new_list(DataType::Int64, true), 1);
    assert!(conform(&shape(&[]), &batch(vec![("x", list)]), NOW).is_err());
}

/// Random batches against one table: each value is found in its row, in the column or a sibling or the rest.
#[test]
fn whatever_comes_is_found_again() {
    let mut seed = 42u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for _ in 0..60 {
        let mut table = shape(&[("a", Type::Int64), ("b", Type::Float64), ("c", Type::Utf8)]);
        for _ in 0..20 {
            let mut arriving: Vec<(&str, ArrayRef)> = Vec::new();
            for name in ["a", "b", "c", "a__utf8", "d", "c__binary", "a"] {
                if random(2) == 0 {
                    arriving.push((name, column(&mut random)));
                }
            }
            if arriving.is_empty() {
                continue;
            }
            let arriving = batch(arriving);
            let before = table.clone();
            let conformed = conform(&table, &arriving, NOW).unwrap();
            table = conformed.shape.clone();
            for row in 0..arriving.num_rows() {
                let found = values(&conformed.columns, row);
                for (field, value) in arriving.schema_ref().fields().iter().zip(values_of(&arriving, row)) {
                    if let Some(value) = value {
                        let told = format!("{} {value:?} of {arriving:?} in {found:?} of {before:?}", field.name());
                        assert!(
                            found.iter().any(|(name, found)| name.starts_with(field.name()) && same(&value, found)),
                            "{told}"
                        );
                    }
                }
            }
            for (name, (min, max)) in table.bounds() {
                assert!(min <= max, "{name}");
            }
        }
    }
}

type Found = (Type, Vec<u8>);

fn values(batch: &RecordBatch, row: usize) -> Vec<(String, Found)> {
    let fields = batch.schema_ref().fields().iter().zip(values_of(batch, row));
    fields.filter_map(|(field, value)| Some((field.name().clone(), value?))).collect()
}

/// Values with their types, exact: bytes as they are, others as text.
fn values_of(batch: &RecordBatch, row: usize) -> Vec<Option<Found>> {
    let exact = |column: &ArrayRef| {
        let r#type = Type::of(column.data_type()).unwrap();
        match column.as_binary_opt::<i32>() {
            Some(bytes) => bytes.is_valid(row).then(|| (r#type, bytes.value(row).to_vec())),
            None => text::value(column, r#type, row).map(|text| (r#type, text.into_bytes())),
        }
    };
    batch.columns().iter().map(exact).collect()
}

/// Whether it is the same value: a number may have become another type, but not another number.
fn same((arrived, value): &Found, (stored, found): &Found) -> bool {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    match (arrived, stored) {
        (Type::Int64, Type::Float64) | (Type::Float64, Type::Int64) => {
            let number = |bytes: &Vec<u8>| text(bytes).parse::<f64>().unwrap();
            let exact = |bytes: &Vec<u8>| text(bytes).parse::<i64>().is_ok_and(|int| int.unsigned_abs() > 1 << 53);
            number(value) == number(found) && !(*arrived == Type::Int64 && exact(value))
        }
        _ => value == found,
    }
}

fn column(random: &mut impl FnMut(u64) -> u64) -> ArrayRef {
    let rows = 4;
    let some = |random: &mut dyn FnMut(u64) -> u64| random(4) != 0;
    match random(6) {
        0 => Arc::new((0..rows).map(|_| some(random).then(|| random(100) as i64)).collect::<Int64Array>()),
        1 => {
            Arc::new((0..rows).map(|_| some(random).then(|| i64::MAX - random(1 << 40) as i64)).collect::<Int64Array>())
        }
        2 => Arc::new((0..rows).map(|_| some(random).then(|| random(100) as f64 / 4.0)).collect::<Float64Array>()),
        3 => Arc::new((0..rows).map(|_| some(random).then(|| format!("t{}", random(100)))).collect::<StringArray>()),
        4 => Arc::new((0..rows).map(|_| some(random).then(|| random(2) == 0)).collect::<BooleanArray>()),
        _ => Arc::new((0..rows).map(|_| some(random).then(|| vec![b'a', random(256) as u8])).collect::<BinaryArray>()),
    }
}

/// Values of one column, one event after the other or all in one batch: the same table, the same rows, the same drift.
#[test]
fn mixed_batches_become_what_single_events_become() {
    let big: ArrayRef = ints(&[(1 << 53) + 1]);
    let (one, half, a, yes) =
        (ints(&[1]), floats(&[0.5]), texts(&["a"]), Arc::new(BooleanArray::from(vec![true])) as ArrayRef);
    let tables = [
        vec![],
        vec![("x", Type::Int64)],
        vec![("x", Type::Float64)],
        vec![("x", Type::Utf8)],
        vec![("x", Type::Boolean)],
    ];
    let values = [&one, &half, &a, &yes, &big];
    let mut orders: Vec<Vec<&ArrayRef>> =
        vec![vec![&one, &half, &big], vec![&one, &big, &half, &one], vec![&half, &big, &one]];
    for first in values {
        for second in values {
            orders.extend(values.map(|third| vec![first, second, third, first]));
        }
    }
    for table in &tables {
        for order in &orders {
            let what = format!("{order:?} into {table:?}");
            let (mut shape_one, mut drift_one, mut rows_one) = (shape(table), Vec::new(), Vec::new());
            for value in order {
                let conformed = conform(&shape_one, &batch(vec![("x", (*value).clone())]), NOW).unwrap();
                shape_one = conformed.shape;
                drift_one.extend(conformed.drift);
                rows_one.push(conformed.columns);
            }
            let all = conform(&shape(table), &batch(vec![("x", mixture(order))]), NOW).unwrap();
            let told =
                |drift: &[Drift]| drift.iter().map(|d| format!("{d:?}")).collect::<std::collections::BTreeSet<_>>();
            assert_eq!(told(&all.drift), told(&drift_one), "{what}");
            let fields = |shape: &Shape| {
                let named = shape.schema.fields().iter().map(|field| format!("{}:{}", field.name(), field.data_type()));
                named.collect::<std::collections::BTreeSet<String>>()
            };
            assert_eq!(fields(&all.shape), fields(&shape_one), "{what}");
            for (row, single) in rows_one.iter().enumerate() {
                for field in all.shape.schema.fields() {
                    let find = |batch: &RecordBatch| match batch.column_by_name(field.name()) {
                        Some(column) => cast(column, field.data_type()).unwrap(),
                        None => arrow::array::new_null_array(field.data_type(), batch.num_rows()),
                    };
                    let (single, whole) = (find(single), find(&all.columns).slice(row, 1));
                    assert_eq!(&single, &whole, "{what}: row {row} of {}", field.name());
                }
            }
        }
    }
}

/// Single values as one mixed column.
fn mixture(values: &[&ArrayRef]) -> ArrayRef {
    let mut parts: Vec<(Type, ArrayRef)> = Vec::new();
    for value in values {
        let r#type = Type::of(value.data_type()).unwrap();
        if parts.iter().all(|(known, _)| *known != r#type) {
            let nothing = arrow::array::new_null_array(value.data_type(), 1);
            let column: Vec<&dyn Array> = values
                .iter()
                .map(|other| if other.data_type() == value.data_type() { other.as_ref() } else { nothing.as_ref() })
                .collect();
            parts.push((r#type, arrow::compute::concat(&column).unwrap()));
        }
    }
    mixed::column(parts).unwrap()
}
