//! the promise, tried: every acknowledged row once, none twice, whatever fails and whenever it ends

use super::simulated::{Crash, Fault, Plan, SimulatedDisk};
use super::*;
use crate::error::{Error, ErrorKind};
use crate::event::columns::{TIMESTAMP, Type, field};
use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{Int64Type, Schema, TimestampNanosecondType};
use futures::executor::block_on;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::PageIndexPolicy;
use std::path::Path;

const ROOT: &str = "/data";

fn options(disk: &SimulatedDisk) -> Options {
    let mut options = Options::new(Clock::system());
    options.disk = Arc::new(disk.clone());
    options.retry_every = Duration::from_millis(1);
    options.wal_file_bytes = 3000;
    options
}

fn open(disk: &SimulatedDisk) -> Result<Store> {
    Store::open(Path::new(ROOT), options(disk))
}

fn table(name: &str) -> TableName {
    TableName::parse(name).unwrap()
}

/// A batch with ids; the times go down within an append and up over appends.
fn batch(ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    let ids: Vec<i64> = ids.into_iter().collect();
    let times: Vec<i64> = ids.iter().map(|id| 1_000_000 - id).collect();
    let bodies: Vec<String> = ids.iter().map(|id| format!("line {id}")).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC")),
        Arc::new(BinaryArray::from_iter_values(bodies)),
        Arc::new(Int64Array::from(ids)),
    ];
    let fields = vec![field(TIMESTAMP, Type::Timestamp), field("body", Type::Binary), field("id", Type::Int64)];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// One event into two tables, with the position after it.
fn fan_out(id: i64, patient: bool) -> Append {
    Append {
        tables: vec![(table("a"), Kind::Logs, batch([id])), (table("b"), Kind::Logs, batch([id]))],
        positions: vec![Position { name: "source".into(), value: id.to_string().into_bytes() }],
        key: (id % 2 == 0).then(|| Key { name: format!("key {id}"), digest: [7; 32] }),
        accepted: Accepted { rows: 2, dead: 0, repeated: false },
        patient,
    }
}

/// Every row of a table, hot and in segments.
fn rows(disk: &dyn Disk, view: &View, name: &str) -> Vec<RecordBatch> {
    let Some(table) = view.tables.get(&table(name)) else { return Vec::new() };
    let mut rows: Vec<RecordBatch> = Vec::new();
    for segment in &table.segments {
        let bytes = bytes::Bytes::from(disk.read(&segment.path).unwrap());
        assert_eq!(bytes.len() as u64, segment.bytes);
        // With the page index, as the query engine reads.
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options).unwrap().build().unwrap();
        let read: Vec<RecordBatch> = reader.map(|batch| batch.unwrap()).collect();
        assert_eq!(read.iter().map(|batch| batch.num_rows() as u64).sum::<u64>(), segment.rows);
        let times: Vec<i64> = read.iter().flat_map(times).collect();
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!((times.first(), times.last()), (Some(&segment.time_min), Some(&segment.time_max)));
        rows.extend(read.iter().map(|batch| adapt(batch, &table.schema).unwrap()));
    }
    rows.extend(table.hot.iter().map(|batch| adapt(batch, &table.schema).unwrap()));
    rows
}

fn times(batch: &RecordBatch) -> Vec<i64> {
    batch.column_by_name(TIMESTAMP).unwrap().as_primitive::<TimestampNanosecondType>().values().to_vec()
}

fn ids(disk: &dyn Disk, view: &View, name: &str) -> Vec<i64> {
    let column =
        |batch: &RecordBatch| batch.column_by_name("id").unwrap().as_primitive::<Int64Type>().values().to_vec();
    let mut ids: Vec<i64> = rows(disk, view, name).iter().flat_map(column).collect();
    ids.sort();
    ids
}

fn texts(disk: &dyn Disk, view: &View, name: &str, column: &str) -> Vec<String> {
    let column = |batch: &RecordBatch| batch.column_by_name(column).unwrap().as_string::<i32>().clone();
    let columns: Vec<StringArray> = rows(disk, view, name).iter().map(column).collect();
    columns.iter().flat_map(|column| column.iter().flatten().map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn position(store: &Store) -> i64 {
    store.position("source").map_or(-1, |value| String::from_utf8(value).unwrap().parse().unwrap())
}

/// Everything that must hold, whatever happened: the ids up to the position, all of them, in both tables, once.
fn check(disk: &SimulatedDisk, store: &Store, acked: i64, what: &str) -> i64 {
    let view = store.view();
    let stored = ids(disk, &view, "a");
    assert_eq!(stored, ids(disk, &view, "b"), "{what}: a fan-out is in both tables");
    let last = stored.last().copied().unwrap_or(-1);
    assert_eq!(stored, (0..=last).collect::<Vec<i64>>(), "{what}: every row once, in order of submission");
    assert!(last >= acked, "{what}: {acked} was acknowledged, {last} is there");
    assert_eq!(position(store), last, "{what}: the position is that of the rows");
    for id in (0..=acked).filter(|id| id % 2 == 0) {
        let again = block_on(store.append(fan_out(id, false)));
        assert!(again.as_ref().is_ok_and(|a| a.repeated && a.rows == 2), "{what}: key {id} is remembered: {again:?}");
    }
    last
}

/// Appends from an id on, with flushes between; stops at the first error and says what was acknowledged last.
fn script(store: &Store, from: i64, to: i64) -> (i64, Option<Error>) {
    let mut acked = from - 1;
    for id in from..to {
        match block_on(store.append(fan_out(id, false))) {
            Ok(accepted) => assert_eq!((accepted.rows, accepted.repeated), (2, false)),
            Err(error) => return (acked, Some(error)),
        }
        acked = id;
        if id % 4 == 3
            && let Err(error) = block_on(store.flush())
        {
            return (acked, Some(error));
        }
    }
    (acked, None)
}

#[test]
fn a_crash_at_every_operation_loses_nothing_and_repeats_nothing() {
    let mut finished = false;
    for at in 0.. {
        let disk = SimulatedDisk::default();
        disk.plan(Plan { crash_at: Some(at), ..Plan::default() });
        let mut acked = -1;
        if let Ok(store) = open(&disk) {
            acked = script(&store, 0, 11).0;
            if acked == 10 && block_on(store.close()).is_ok() {
                finished = true;
            }
        }
        let crashes = [Crash::Process, Crash::Power, Crash::Torn(at), Crash::Torn(at + 1000), Crash::Torn(at + 2000)];
        for crash in crashes {
            let what = format!("crash at {at}, {crash:?}");
            let disk = disk.after(crash);
            let store = open(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(store.stats().wal_damaged, 0, "{what}");
            let last = check(&disk, &store, acked, &what);
            // It goes on, and comes up again after another power cut.
            let (acked, error) = script(&store, last + 1, last + 6);
            assert_eq!((acked, error.map(|e| e.to_string())), (last + 5, None), "{what}");
            drop(store);
            let disk = disk.after(Crash::Power);
            let store = open(&disk).unwrap();
            check(&disk, &store, acked, &format!("{what}, again"));
            drop(store);
        }
        // What a killed process left in the page cache only is relied on once it is read, so it must be safe by then.
        let disk = disk.after(Crash::Process);
        let shown = open(&disk).map(|store| check(&disk, &store, acked, "killed")).unwrap();
        for crash in [Crash::Power, Crash::Torn(at)] {
            let what = format!("killed at {at}, started, then {crash:?}");
            let disk = disk.after(crash);
            check(&disk, &open(&disk).unwrap(), shown, &what);
        }
        if finished {
            assert!(at > 60, "{at} operations");
            return;
        }
    }
}

#[test]
fn a_failure_of_any_operation_is_survived() {
    for fault in [Fault::Full, Fault::Broken] {
        for patient in [true, false] {
            for (at, length) in (0..100).step_by(2).flat_map(|at| [(at, 1), (at, 2), (at, 5)]) {
                let what = format!("{fault:?} at {at} for {length}, patient {patient}");
                let disk = SimulatedDisk::default();
                let store = open(&disk).unwrap();
                disk.plan(Plan { fail: Some((at, at + length, fault)), ..Plan::default() });
                for id in 0..9 {
                    let mut answer = block_on(store.append(fan_out(id, patient)));
                    while let Err(error) = answer {
                        assert!(!patient && error.kind() == ErrorKind::Unavailable, "{what}: {error}");
                        std::thread::sleep(Duration::from_millis(2));
                        answer = block_on(store.append(fan_out(id, patient)));
                    }
                    assert!(!answer.unwrap().repeated, "{what}");
                    if id % 4 == 3 {
                        // May fail; the rows stay where they are.
                        let _ = block_on(store.flush());
                    }
                }
                check(&disk, &store, 8, &what);
                drop(store);
                for crash in [Crash::Power, Crash::Process] {
                    let disk = disk.after(crash);
                    let store = open(&disk).unwrap();
                    assert_eq!(store.stats().wal_damaged, 0, "{what}");
                    assert_eq!(check(&disk, &store, 8, &what), 8);
                    block_on(store.close()).unwrap();
                    assert_eq!(store.stats().wal_files, 0, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_the_impatient_and_holds_the_patient_in_order() {
    let disk = SimulatedDisk::default();
    let store = open(&disk).unwrap();
    disk.plan(Plan { capacity_bytes: Some(2000), ..Plan::default() });
    let mut waiting = Vec::new();
    for id in 0..20 {
        let (ack, answer) = crate::event::Ack::new();
        block_on(store.submit(fan_out(id, true), ack));
        waiting.push(answer);
    }
    let refused = block_on(store.append(Append { positions: Vec::new(), ..fan_out(1000, false) })).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(refused.message().contains("the disk is full"), "{refused}");
    assert!(store.stats().last_error.contains("the disk is full"));
    disk.plan(Plan::default());
    for answer in waiting {
        block_on(answer).unwrap().unwrap();
    }
    check(&disk, &store, 19, "room again");
    // The flusher met the full disk too, perhaps, and finds room at its next try.
    let all_is_well = || store.stats().last_error.is_empty();
    for _ in 0..400 {
        if all_is_well() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(store.stats().last_error, "");
}

#[test]
fn a_small_disk_frees_itself_by_flushing() {
    let disk = SimulatedDisk::default();
    let store = open(&disk).unwrap();
    disk.plan(Plan { capacity_bytes: Some(400_000), ..Plan::default() });
    for id in 0..400 {
        block_on(store.append(fan_out(id, true))).unwrap();
    }
    check(&disk, &store, 399, "more than fits into the WAL");
}

#[test]
fn a_newer_format_and_a_directory_in_use_are_refused() {
    let disk = SimulatedDisk::default();
    let store = open(&disk).unwrap();
    let refused = open(&disk).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(refused.message().contains("in use"), "{refused}");
    block_on(store.close()).unwrap();
    let store = open(&disk).unwrap();
    drop(store);
    disk::replace(&disk, &Path::new(ROOT).join("FORMAT"), b"7\n").unwrap();
    let operations = disk.operations();
    let refused = open(&disk).err().unwrap();
    assert!(refused.message().contains("format 7") && refused.message().contains("format 1"), "{refused}");
    assert_eq!(disk.operations(), operations, "nothing was written");
}

#[test]
fn a_real_directory_is_locked_and_says_by_whom() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a/b");
    let store = Store::open(&root, Options::new(Clock::system())).unwrap();
    let refused = Store::open(&root, Options::new(Clock::system())).err().unwrap();
    assert!(refused.message().contains(&std::process::id().to_string()), "{refused}");
    block_on(store.append(fan_out(0, false))).unwrap();
    block_on(store.close()).unwrap();
    assert!(block_on(store.append(fan_out(1, false))).is_err());
    let store = Store::open(&root, Options::new(Clock::system())).unwrap();
    assert_eq!(ids(&disk::RealDisk, &store.view(), "a"), [0]);
}

#[test]
fn keys_outlive_restarts_and_wal_files_until_they_expire() {
    let disk = SimulatedDisk::default();
    let clock = Clock::held(1_000);
    let open = |disk: &SimulatedDisk| {
        let options = Options { clock: clock.clone(), ..options(disk) };
        Store::open(Path::new(ROOT), options).unwrap()
    };
    let store = open(&disk);
    let accepted = block_on(store.append(fan_out(0, false))).unwrap();
    let repeated = Accepted { repeated: true, ..accepted };
    assert_eq!(block_on(store.append(fan_out(0, false))).unwrap(), repeated, "at once");
    drop(store);
    let store = open(&disk);
    assert_eq!(block_on(store.append(fan_out(0, false))).unwrap(), repeated, "from the WAL");
    block_on(store.close()).unwrap();
    assert!(disk.paths().iter().all(|path| path.extension().is_none_or(|e| e != "wal")), "{:?}", disk.paths());
    let store = open(&disk);
    assert_eq!(block_on(store.append(fan_out(0, false))).unwrap(), repeated, "from the file beside it");
    clock.advance(keys::KEEP);
    assert_eq!(block_on(store.append(fan_out(0, false))).unwrap(), accepted, "expired");
    clock.advance(keys::KEEP);
    block_on(store.close()).unwrap();
    assert!(disk.paths().iter().all(|path| path.extension().is_none_or(|e| e != "keys")), "{:?}", disk.paths());
}

#[test]
fn a_key_with_something_else_is_refused_before_and_after_restarts() {
    let disk = SimulatedDisk::default();
    let other = |id: i64| {
        let mut append = fan_out(id, false);
        append.key = Some(Key { name: "key 0".into(), digest: [8; 32] });
        append
    };
    let refused = |store: &Store, when: &str| {
        let error = block_on(store.append(other(1))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{when}");
        assert!(block_on(store.append(fan_out(0, false))).unwrap().repeated, "{when}: the same is a repeat");
        assert_eq!(ids(&disk, &store.view(), "a"), [0], "{when}");
    };
    let store = open(&disk).unwrap();
    let (ack, first) = crate::event::Ack::new();
    block_on(store.submit(fan_out(0, false), ack));
    let (ack, second) = crate::event::Ack::new();
    block_on(store.submit(other(1), ack));
    assert!(!block_on(first).unwrap().unwrap().repeated);
    assert_eq!(block_on(second).unwrap().unwrap_err().kind(), ErrorKind::Conflict, "waiting together");
    refused(&store, "at once");
    drop(store);
    let store = open(&disk).unwrap();
    refused(&store, "from the WAL");
    block_on(store.close()).unwrap();
    let store = open(&disk).unwrap();
    refused(&store, "from the file beside it");
}

#[test]
fn two_of_one_key_waiting_together_are_stored_once() {
    let disk = SimulatedDisk::default();
    let store = open(&disk).unwrap();
    let answers: Vec<_> = (0..50)
        .map(|_| {
            let (ack, answer) = crate::event::Ack::new();
            block_on(store.submit(fan_out(0, false), ack));
            answer
        })
        .collect();
    let fresh = answers.into_iter().map(|answer| block_on(answer).unwrap().unwrap());
    assert_eq!(fresh.filter(|accepted| !accepted.repeated).count(), 1);
    check(&disk, &store, 0, "same key");
}

#[test]
fn drift_is_told_once_over_batches_flushes_and_restarts() {
    let disk = SimulatedDisk::default();
    let text = |value: &str| {
        let columns: Vec<(&str, ArrayRef)> = vec![("id", Arc::new(StringArray::from(vec![value])))];
        Append {
            tables: vec![(table("a"), Kind::Logs, RecordBatch::try_from_iter(columns).unwrap())],
            ..Append::default()
        }
    };
    let store = open(&disk).unwrap();
    block_on(store.append(fan_out(0, false))).unwrap();
    for flush in [false, true, false] {
        block_on(store.append(text("twelve"))).unwrap();
        if flush {
            block_on(store.flush()).unwrap();
        }
    }
    drop(store);
    let store = open(&disk).unwrap();
    block_on(store.append(text("thirteen"))).unwrap();
    block_on(store.close()).unwrap();
    let store = open(&disk).unwrap();
    block_on(store.append(text("fourteen"))).unwrap();
    let view = store.view();
    assert_eq!(texts(&disk, &view, "tidemill.drift", "became"), ["sibling id__utf8"]);
    assert_eq!(texts(&disk, &view, "tidemill.drift", "example"), ["twelve"]);
    let mut found = texts(&disk, &view, "a", "id__utf8");
    found.sort();
    assert_eq!(found, ["fourteen", "thirteen", "twelve", "twelve", "twelve"]);
}

#[test]
fn an_int_column_widens_while_its_rows_are_hot_and_in_segments() {
    let disk = SimulatedDisk::default();
    let store = open(&disk).unwrap();
    let numbers = |column: ArrayRef| Append {
        tables: vec![(table("n"), Kind::Logs, RecordBatch::try_from_iter([("n", column)]).unwrap())],
        ..Append::default()
    };
    block_on(store.append(numbers(Arc::new(Int64Array::from(vec![1, 2]))))).unwrap();
    block_on(store.flush()).unwrap();
    block_on(store.append(numbers(Arc::new(Int64Array::from(vec![3]))))).unwrap();
    block_on(store.append(numbers(Arc::new(arrow::array::Float64Array::from(vec![0.5]))))).unwrap();
    let sum = |store: &Store| -> f64 {
        let column = |batch: &RecordBatch| {
            let column = batch.column_by_name("n").unwrap().clone();
            column.as_primitive::<arrow::datatypes::Float64Type>().values().iter().sum::<f64>()
        };
        rows(&disk, &store.view(), "n").iter().map(column).sum()
    };
    assert_eq!(sum(&store), 6.5);
    drop(store);
    let store = open(&disk).unwrap();
    assert_eq!(sum(&store), 6.5);
    block_on(store.close()).unwrap();
    assert_eq!(sum(&open(&disk).unwrap()), 6.5);
}

#[test]
fn a_view_stays_as_it_was_and_readers_see_what_was_acknowledged() {
    let disk = SimulatedDisk::default();
    let store = open(&disk).unwrap();
    assert!(Arc::ptr_eq(&store.view(), &store.view()));
    let mut views = Vec::new();
    for id in 0..300 {
        block_on(store.append(fan_out(id, false))).unwrap();
        if id % 30 == 0 {
            views.push((id, store.view()));
        }
        if id % 70 == 69 {
            block_on(store.flush()).unwrap();
        }
    }
    for (id, view) in views {
        assert_eq!(ids(&disk, &view, "a"), (0..=id).collect::<Vec<_>>());
        assert_eq!(ids(&disk, &view, "b"), (0..=id).collect::<Vec<_>>());
    }
    block_on(store.close()).unwrap();
    assert!(block_on(store.flush()).is_err(), "nobody flushes any more");
    let store = open(&disk).unwrap();
    for id in 300..330 {
        block_on(store.append(fan_out(id, false))).unwrap();
    }
    drop(store);
    let store = open(&disk).unwrap();
    let view = store.view();
    let hot = &view.tables[&table("a")].hot;
    assert!(hot.len() < 8, "30 hot rows are in {} batches", hot.len());
}

#[test]
fn a_table_without_body_keeps_none_and_empty_appends_are_answered() {
    let disk = SimulatedDisk::default();
    let store = open(&disk).unwrap();
    let options = TableOptions { body: false, columns: None };
    block_on(store.declare(&table("a"), Kind::Logs, options)).unwrap();
    assert!(block_on(store.declare(&table("a"), Kind::Metrics, TableOptions::default())).is_err());
    block_on(store.append(fan_out(0, false))).unwrap();
    block_on(store.append(Append::default())).unwrap();
    let view = store.view();
    assert!(view.tables[&table("a")].schema.index_of("body").is_err());
    assert!(view.tables[&table("b")].schema.index_of("body").is_ok());
    drop(store);
    let store = open(&disk).unwrap();
    block_on(store.append(fan_out(1, false))).unwrap();
    assert!(store.view().tables[&table("a")].schema.index_of("body").is_err());
    check(&disk, &store, 0, "without body");
}

#[test]
fn a_damaged_record_is_told_and_what_follows_is_served() {
    let disk = SimulatedDisk::default();
    let store = open(&disk).unwrap();
    for id in 0..8 {
        block_on(store.append(fan_out(id, false))).unwrap();
    }
    drop(store);
    let files: Vec<_> = disk.paths().into_iter().filter(|path| path.extension().is_some_and(|e| e == "wal")).collect();
    assert!(files.len() > 2, "{files:?}");
    // In the middle of the first record of the first file.
    disk.damage(&files[0], 300);
    let store = open(&disk).unwrap();
    assert_eq!(store.stats().wal_damaged, 1);
    assert_eq!(ids(&disk, &store.view(), "a"), (1..8).collect::<Vec<_>>());
    block_on(store.close()).unwrap();
    assert!(disk.paths().iter().any(|path| path.extension().is_some_and(|e| e == "damaged")));
}

#[test]
fn every_bit_flip_of_the_wal_is_noticed() {
    let disk = SimulatedDisk::default();
    let store = open(&disk).unwrap();
    let total = 6;
    for id in 0..total {
        block_on(store.append(fan_out(id, false))).unwrap();
    }
    drop(store);
    let files: Vec<_> = disk.paths().into_iter().filter(|path| path.extension().is_some_and(|e| e == "wal")).collect();
    let last = files.last().unwrap().clone();
    for path in files {
        let length = disk.read(&path).unwrap().len();
        for at in (0..length).step_by(61) {
            let disk = disk.after(Crash::Process);
            disk.damage(&path, at);
            let store = open(&disk).unwrap();
            let found = ids(&disk, &store.view(), "a");
            let lost = total as usize - found.len();
            assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "none twice");
            assert_eq!(found, ids(&disk, &store.view(), "b"), "fan-out");
            // The end of the last file may as well be torn.
            let told = store.stats().wal_damaged > 0;
            assert!(told || lost == 0 || (path == last && lost <= 2), "{path:?} at {at}: {lost} lost, not told");
        }
    }
}

#[test]
fn a_lost_catalog_takes_segments_in_again() {
    let disk = SimulatedDisk::default();
    let store = open(&disk).unwrap();
    assert_eq!(script(&store, 0, 12).0, 11);
    block_on(store.close()).unwrap();
    disk.damage(&Path::new(ROOT).join("catalog.json"), 100);
    let store = open(&disk).unwrap();
    assert_eq!(ids(&disk, &store.view(), "a"), (0..12).collect::<Vec<_>>());
    assert_eq!(ids(&disk, &store.view(), "b"), (0..12).collect::<Vec<_>>());
}

#[test]
fn appends_of_many_threads_share_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Options::new(Clock::system())).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = store.clone();
            scope.spawn(move || {
                for id in 0..50 {
                    let append = Append {
                        tables: vec![(table("a"), Kind::Logs, batch([thread * 1000 + id]))],
                        ..Append::default()
                    };
                    block_on(store.append(append)).unwrap();
                }
            });
        }
    });
    let found = ids(&disk::RealDisk, &store.view(), "a");
    assert_eq!(found, (0..8).flat_map(|thread| thread * 1000..thread * 1000 + 50).collect::<Vec<_>>());
    let stats = store.stats();
    assert_eq!((stats.appends, stats.rows), (400, 400));
    block_on(store.close()).unwrap();
}

#[test]
fn memory_is_bounded_while_flushing_fails() {
    let disk = SimulatedDisk::default();
    let options = Options { hot_bytes_max: 2000, flush_bytes: 1000, ..options(&disk) };
    let store = Store::open(Path::new(ROOT), options).unwrap();
    disk.plan(Plan { broken: Some(".parquet"), ..Plan::default() });
    let mut acked = -1;
    let refused = loop {
        match block_on(store.append(fan_out(acked + 1, false))) {
            Ok(_) => acked += 1,
            Err(error) => break error,
        }
        assert!(acked < 1000);
    };
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(refused.message().contains("flushing fails"), "{refused}");
    let (ack, answer) = crate::event::Ack::new();
    block_on(store.submit(fan_out(acked + 1, true), ack));
    disk.plan(Plan::default());
    block_on(answer).unwrap().unwrap();
    check(&disk, &store, acked + 1, "flushing again");
}

#[test]
fn rows_go_to_segments_by_themselves() {
    let disk = SimulatedDisk::default();
    let clock = Clock::held(1_000);
    let options = Options { flush_rows: 10, clock: clock.clone(), ..options(&disk) };
    let store = Store::open(Path::new(ROOT), options).unwrap();
    let flushed = |segments: usize| {
        let settled = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            store.view().tables[&table("a")].segments.len() == segments
        });
        assert!(settled, "{segments} segments");
    };
    assert_eq!(script(&store, 0, 3).0, 2);
    clock.advance(Duration::from_secs(301));
    flushed(1);
    let append = Append { tables: vec![(table("a"), Kind::Logs, batch(100..110))], ..Append::default() };
    block_on(store.append(append)).unwrap();
    flushed(2);
    assert!(store.view().tables[&table("a")].hot.is_empty());
}

#[test]
fn readers_see_every_row_once_while_it_moves() {
    let disk = SimulatedDisk::default();
    let store = Store::open(Path::new(ROOT), Options { flush_rows: 40, ..options(&disk) }).unwrap();
    let acked = std::sync::atomic::AtomicI64::new(-1);
    let order = std::sync::atomic::Ordering::SeqCst;
    let total = 600;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for id in 0..total {
                block_on(store.append(fan_out(id, false))).unwrap();
                acked.store(id, order);
            }
        });
        let mut seen = -1;
        while seen < total - 1 {
            let before = acked.load(order);
            let view = store.view();
            let found = ids(&disk, &view, "a");
            assert_eq!(found, ids(&disk, &view, "b"));
            let last = found.last().copied().unwrap_or(-1);
            assert_eq!(found, (0..=last).collect::<Vec<_>>());
            assert!(last >= before && last >= seen, "{last} {before} {seen}");
            seen = last;
        }
    });
    assert!(store.stats().segments_written > 4);
    block_on(store.close()).unwrap();
}

#[test]
#[ignore = "a measurement"]
fn throughput() {
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let store = Store::open(folder.path(), Options::new(Clock::system())).unwrap();
    let size = 8192;
    let (appends, start) = (400, std::time::Instant::now());
    let mut answers = Vec::new();
    for at in 0..appends {
        let (ack, answer) = crate::event::Ack::new();
        let append =
            Append { tables: vec![(table("a"), Kind::Logs, batch(at * size..(at + 1) * size))], ..Append::default() };
        block_on(store.submit(append, ack));
        answers.push(answer);
    }
    answers.into_iter().for_each(|answer| assert!(block_on(answer).unwrap().is_ok()));
    let rate = (appends * size) as f64 / start.elapsed().as_secs_f64();
    println!("{:.1} M rows/s accepted, {:?}", rate / 1e6, store.stats());
    let start = std::time::Instant::now();
    block_on(store.close()).unwrap();
    println!("closed in {:?}, {:?}", start.elapsed(), store.stats());
    let store = Store::open(folder.path(), Options::new(Clock::system())).unwrap();
    let start = std::time::Instant::now();
    for id in 0..200 {
        block_on(store.append(fan_out(id, false))).unwrap();
    }
    println!("an append takes {:?}", start.elapsed() / 200);
}

/// Writes a table of every type to `TIDEMILL_SAMPLE`, for other programs to open.
#[test]
#[ignore = "for other programs"]
fn sample() {
    let root = std::env::var("TIDEMILL_SAMPLE").unwrap();
    let store = Store::open(Path::new(&root), Options::new(Clock::system())).unwrap();
    let mut labels = crate::event::labels::LabelsBuilder::new();
    (0..1000).for_each(|row| labels.push([("job", if row % 2 == 0 { "web" } else { "db" })]).unwrap());
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("timestamp", Arc::new(TimestampNanosecondArray::from_iter_values(0..1000).with_timezone("UTC"))),
        ("name", Arc::new(StringArray::from(vec!["up"; 1000]))),
        ("value", Arc::new(arrow::array::Float64Array::from_iter_values((0..1000).map(|row| row as f64 / 2.0)))),
        ("labels", labels.finish()),
        ("raw", Arc::new(BinaryArray::from_iter_values((0..1000).map(|row| [row as u8])))),
    ];
    let metrics = RecordBatch::try_from_iter(columns).unwrap();
    let append = Append {
        tables: vec![(table("m"), Kind::Metrics, metrics), (table("a"), Kind::Logs, batch(0..1000))],
        ..Append::default()
    };
    block_on(store.append(append)).unwrap();
    block_on(store.close()).unwrap();
}

/// On a real, small disk at `TIDEMILL_SMALL_DISK` (a tmpfs of a few MiB): full, refused, freed, accepted again.
#[test]
#[ignore = "needs a small disk"]
fn a_real_full_disk_is_survived() {
    let root = std::path::PathBuf::from(std::env::var("TIDEMILL_SMALL_DISK").unwrap());
    let ballast = root.join("ballast");
    for cycle in 0..3 {
        let store = Store::open(&root.join("data"), Options::new(Clock::system())).unwrap();
        let before = ids(&disk::RealDisk, &store.view(), "a").len() as i64;
        std::fs::write(&ballast, vec![0; 2 << 20]).unwrap();
        let mut id = before;
        let refused = loop {
            let append = Append { tables: vec![(table("a"), Kind::Logs, batch(id..id + 500))], ..Append::default() };
            match block_on(store.append(append)) {
                Ok(_) => id += 500,
                Err(error) => break error,
            }
        };
        println!("cycle {cycle}: {} rows, then: {refused}", id - before);
        assert_eq!(ids(&disk::RealDisk, &store.view(), "a"), (0..id).collect::<Vec<_>>());
        std::fs::remove_file(&ballast).unwrap();
        let waited = (0..100).take_while(|_| {
            std::thread::sleep(Duration::from_millis(50));
            let append = Append { tables: vec![(table("a"), Kind::Logs, batch([id]))], ..Append::default() };
            block_on(store.append(append)).is_err()
        });
        println!("accepted again after {} tries", waited.count());
        assert_eq!(ids(&disk::RealDisk, &store.view(), "a"), (0..=id).collect::<Vec<_>>());
        block_on(store.close()).unwrap();
    }
}
