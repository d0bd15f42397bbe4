//! end to end: a file through parser and filter into segments, against the same written by hand
//!
//! The product is the program itself, as a child process with its defaults: tail, WAL with fsync, segments. The program by hand
//! reads the file, calls the same plugins' code natively, and writes Parquet with the same settings, synced at the end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "a bench that fails may panic"
)]

use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, StringArray};
use arrow::buffer::{BooleanBuffer, OffsetBuffer};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemill_benches::{access_log, arrow_of, binary, only_tested, print_table, scratch, timed};
use tidemill_plugin::{Filter, Kept, Parsed, Parser, wire};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the filter lets go.
const FILTER: &str = r#"{"field": "status", "at_least": 500}"#;
const BATCH_ROWS: usize = 8192;

fn main() {
    let lines = if only_tested() { 20_000 } else { 3_000_000 };
    let rounds = if only_tested() { 1 } else { 3 };
    let folder = scratch().join("ingest");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let log = folder.join("access.log");
    let text = access_log(lines, 11);
    let bytes = text.len();
    std::fs::write(&log, &text).expect("the log can be written");
    drop(text);

    let mut best: [Option<Run>; 2] = [None, None];
    for _ in 0..rounds {
        for (best, run) in best.iter_mut().zip([product(&folder), by_hand(&folder)]) {
            if best.as_ref().is_none_or(|best| run.cpu < best.cpu) {
                *best = Some(run);
            }
        }
    }
    let [Some(product), Some(hand)] = best else { return };
    assert_eq!(product.rows, hand.rows, "both keep the same rows");
    println!(
        "{lines} lines, {} MB; best of {rounds} rounds, taken in turn; a core is a second of processor time\n",
        bytes / 1_000_000
    );
    let row = |name: &str, run: &Run| {
        let (cpu, wall) = (run.cpu.as_secs_f64(), run.wall.as_secs_f64());
        vec![
            name.to_owned(),
            format!("{cpu:.2} s"),
            format!("{wall:.2} s"),
            format!("{:.0}", lines as f64 / cpu / 1000.0),
            format!("{:.0}", bytes as f64 / cpu / 1e6),
            format!("{:.0}", lines as f64 / wall / 1000.0),
            format!("{}", run.segment_bytes / 1_000_000),
        ]
    };
    print_table(
        &["", "processor", "wall", "k events/s a core", "MB/s a core", "k events/s wall", "MB written as Parquet"],
        &[row("tidemill", &product), row("by hand", &hand)],
    );
    println!("by hand / tidemill, processor time: {:.2}", hand.cpu.as_secs_f64() / product.cpu.as_secs_f64());
    let _ = std::fs::remove_dir_all(&folder);
}

struct Run {
    cpu: Duration,
    wall: Duration,
    rows: u64,
    segment_bytes: u64,
}

/// `tidemill run --once`: it ends when the file is read and everything is in segments.
fn product(folder: &Path) -> Run {
    let data = folder.join("data");
    let _ = std::fs::remove_dir_all(&data);
    let pipeline = folder.join("pipeline.toml");
    let text = format!(
        r#"
[sources.access]
type = "file"
include = ["{}"]

[stages.parsed]
type = "parser"
inputs = ["access"]
plugin = "access-log"

[stages.kept]
type = "filter"
inputs = ["parsed"]
plugin = "drop-where"
settings = {{ field = "status", at_least = 500 }}

[tables.access]
inputs = ["kept"]
"#,
        folder.join("access.log").display()
    );
    std::fs::write(&pipeline, text).expect("the pipeline can be written");
    let (before, began) = (children_time(), Instant::now());
    let mut command = Command::new(binary());
    command.arg("run").arg(&pipeline).args(["--once", "--listen", "127.0.0.1:0"]).arg("--data").arg(&data);
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (wall, cpu) = (began.elapsed(), children_time().saturating_sub(before));
    let (rows, segment_bytes) = segments(&data);
    Run { cpu, wall, rows, segment_bytes }
}

/// Rows and bytes of the segments of the table.
fn segments(data: &Path) -> (u64, u64) {
    let mut waiting = vec![data.to_owned()];
    let (mut rows, mut bytes) = (0, 0);
    while let Some(folder) = waiting.pop() {
        for path in std::fs::read_dir(folder).expect("the data are there").map(|entry| entry.expect("it lists").path())
        {
            let of_table = path.parent().is_some_and(|folder| folder.ends_with("access"));
            if path.is_dir() {
                waiting.push(path);
            } else if of_table && path.extension().is_some_and(|extension| extension == "parquet") {
                let file = File::open(&path).expect("the segment opens");
                bytes += file.metadata().expect("it has a size").len();
                let reader = parquet::file::reader::SerializedFileReader::new(file).expect("it is Parquet");
                let about = parquet::file::reader::FileReader::metadata(&reader).file_metadata();
                rows += about.num_rows() as u64;
            }
        }
    }
    (rows, bytes)
}

/// Processor time of processes that ended, user and system.
fn children_time() -> Duration {
    let stat = procfs::process::Process::myself().and_then(|process| process.stat()).expect("/proc is there");
    let ticks = stat.cutime + stat.cstime;
    Duration::from_millis(ticks as u64 * 1000 / procfs::ticks_per_second())
}

fn by_hand(folder: &Path) -> Run {
    let path = folder.join("hand.parquet");
    let ((rows, segment_bytes), wall, cpu) = timed(|| write_by_hand(&folder.join("access.log"), &path));
    Run { cpu, wall, rows, segment_bytes }
}

fn write_by_hand(log: &Path, parquet: &Path) -> (u64, u64) {
    let mut file = File::open(log).expect("the log opens");
    let (mut parser, _) = tidemill_plugin::configure::<access_log::AccessLog>("{}").expect("no settings are fine");
    let (mut filter, _) = tidemill_plugin::configure::<drop_where::DropWhere>(FILTER).expect("the settings are fine");
    let mut writer: Option<ArrowWriter<File>> = None;
    let mut buffer = vec![0; 1 << 20];
    let (mut data, mut offsets) = (Vec::new(), vec![0_u32]);
    loop {
        let read = file.read(&mut buffer).expect("the log can be read");
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &buffer[..read]) {
            data.extend_from_slice(&buffer[start..end]);
            offsets.push(data.len() as u32);
            start = end + 1;
            if offsets.len() > BATCH_ROWS {
                let rows = columns(&mut parser, &mut filter, std::mem::take(&mut offsets), std::mem::take(&mut data));
                offsets.push(0);
                put(&mut writer, parquet, &rows);
            }
        }
        data.extend_from_slice(&buffer[start..read]);
        if read == 0 {
            break;
        }
    }
    if offsets.len() > 1 {
        let rows = columns(&mut parser, &mut filter, offsets, data);
        put(&mut writer, parquet, &rows);
    }
    let mut writer = writer.expect("there were rows");
    let rows = writer.finish().expect("the file ends").file_metadata().num_rows() as u64;
    let file = writer.inner();
    file.sync_all().expect("the file syncs");
    (rows, file.metadata().expect("it has a size").len())
}

fn put(writer: &mut Option<ArrowWriter<File>>, path: &Path, rows: &RecordBatch) {
    let writer = writer.get_or_insert_with(|| {
        let file = File::create(path).expect("the file can be made");
        let mut properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).expect("there is a level 1")))
            .set_column_dictionary_enabled(ColumnPath::from("timestamp"), false)
            .set_column_encoding(ColumnPath::from("timestamp"), Encoding::DELTA_BINARY_PACKED)
            .set_column_statistics_enabled(ColumnPath::from("body"), EnabledStatistics::None);
        // What the store finds out by looking at the values.
        for name in ["body", "bytes", "path"] {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
        }
        ArrowWriter::try_new(file, rows.schema(), Some(properties.build())).expect("the columns can be written")
    });
    writer.write(rows).expect("the rows can be written");
}

/// Parses lines and filters them, natively.
fn columns(
    parser: &mut access_log::AccessLog,
    filter: &mut drop_where::DropWhere,
    offsets: Vec<u32>,
    data: Vec<u8>,
) -> RecordBatch {
    let rows = offsets.len() - 1;
    let column = wire::Column {
        name: "body".into(),
        values: wire::Values::Binary(wire::VarBytes { offsets, data }),
        validity: None,
    };
    let input = tidemill_plugin::Batch::new(rows, vec![column]);
    let mut parsed = Parsed::new(rows);
    parser.parse(&input, &tidemill_plugin::Context::default(), &mut parsed).expect("the lines parse");
    let parsed = parsed.into_wire().expect("the columns are as long as the batch");
    assert!(parsed.errors.is_empty(), "every line parses");

    let mut columns = parsed.columns;
    let at = columns.iter().position(|column| column.name == "status").expect("there is a status");
    let status = tidemill_plugin::Batch::new(rows, vec![columns.swap_remove(at)]);
    let mut kept = Kept::new(rows);
    filter.keep(&status, &tidemill_plugin::Context::default(), &mut kept).expect("the filter answers");
    let (keep, _, _) = kept.into_wire();
    columns.extend(status.columns().map(|column| column.wire().clone()));

    let body = input.bytes("body").expect("there is a body");
    let (offsets, data) = body.plain().expect("it is plain");
    let body = BinaryArray::new(
        OffsetBuffer::new(offsets.iter().map(|offset| *offset as i32).collect()),
        data.to_vec().into(),
        None,
    );
    let (offsets, data, nulls) = body.into_parts();
    let body: ArrayRef = Arc::new(StringArray::try_new(offsets, data, nulls).expect("the lines are UTF-8"));
    let source: ArrayRef = Arc::new(StringArray::new_repeated("access", rows));
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    let named = [("body".to_owned(), body), ("source".to_owned(), source)].into_iter();
    for (name, array) in named.chain(columns.into_iter().map(|column| (column.name.clone(), arrow_of(column, &input))))
    {
        fields.push(Field::new(&name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("the columns are of one length");
    let keep = BooleanBuffer::collect_bool(rows, |row| keep[row] != 0);
    filter_record_batch(&batch, &BooleanArray::new(keep, None)).expect("the mask is as long")
}
