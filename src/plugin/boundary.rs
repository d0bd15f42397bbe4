//! the types of `wit/tidemill.wit`: borrowed on the way in, owned on the way out
//!
//! Written by hand instead of generated, so that columns are handed over straight from their Arrow buffers, without a copy of ours.

#![allow(dead_code, reason = "an enum has every case of the interface; wasmtime makes those that come out")]

use wasmtime::component::{ComponentType, Lift, Lower};

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(super) struct VarBytesIn<'a> {
    pub offsets: &'a [u32],
    pub data: &'a [u8],
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(super) struct DictionaryIn<'a> {
    pub indices: &'a [u32],
    pub values: VarBytesIn<'a>,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(super) struct SlicesIn<'a> {
    pub of: &'a str,
    pub spans: &'a [u32],
    pub extra: &'a [u8],
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(variant)]
pub(super) enum ValuesIn<'a> {
    #[component(name = "boolean")]
    Boolean(&'a [u8]),
    #[component(name = "int64")]
    Int64(&'a [i64]),
    #[component(name = "float64")]
    Float64(&'a [f64]),
    #[component(name = "timestamp")]
    Timestamp(&'a [i64]),
    #[component(name = "utf8")]
    Utf8(VarBytesIn<'a>),
    #[component(name = "binary")]
    Binary(VarBytesIn<'a>),
    #[component(name = "dict-utf8")]
    DictUtf8(DictionaryIn<'a>),
    #[component(name = "sliced-utf8")]
    SlicedUtf8(SlicesIn<'a>),
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(super) struct ColumnIn<'a> {
    pub name: &'a str,
    pub values: ValuesIn<'a>,
    pub validity: Option<&'a [u8]>,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(super) struct BatchIn<'a> {
    pub rows: u32,
    pub columns: &'a [ColumnIn<'a>],
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(super) struct ContextIn<'a> {
    pub now: Option<i64>,
    pub state: Option<&'a [u8]>,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct VarBytes {
    pub offsets: Vec<u32>,
    pub data: Vec<u8>,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct Dictionary {
    pub indices: Vec<u32>,
    pub values: VarBytes,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct Slices {
    pub of: String,
    pub spans: Vec<u32>,
    pub extra: Vec<u8>,
}

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
pub(super) enum Values {
    #[component(name = "boolean")]
    Boolean(Vec<u8>),
    #[component(name = "int64")]
    Int64(Vec<i64>),
    #[component(name = "float64")]
    Float64(Vec<f64>),
    #[component(name = "timestamp")]
    Timestamp(Vec<i64>),
    #[component(name = "utf8")]
    Utf8(VarBytes),
    #[component(name = "binary")]
    Binary(VarBytes),
    #[component(name = "dict-utf8")]
    DictUtf8(Dictionary),
    #[component(name = "sliced-utf8")]
    SlicedUtf8(Slices),
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct Column {
    pub name: String,
    pub values: Values,
    pub validity: Option<Vec<u8>>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct RowErrorOut {
    pub row: u32,
    pub message: String,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct Parsed {
    pub rows: u32,
    pub columns: Vec<Column>,
    pub origin: Option<Vec<u32>>,
    pub errors: Vec<RowErrorOut>,
    pub state: Option<Vec<u8>>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct Kept {
    pub keep: Vec<u8>,
    pub errors: Vec<RowErrorOut>,
    pub state: Option<Vec<u8>>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct Enriched {
    pub columns: Vec<Column>,
    pub errors: Vec<RowErrorOut>,
    pub state: Option<Vec<u8>>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct Descriptor {
    pub name: String,
    pub version: String,
    pub about: String,
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(super) enum DataType {
    #[component(name = "boolean")]
    Boolean,
    #[component(name = "int64")]
    Int64,
    #[component(name = "float64")]
    Float64,
    #[component(name = "timestamp")]
    Timestamp,
    #[component(name = "utf8")]
    Utf8,
    #[component(name = "binary")]
    Binary,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct Field {
    pub name: String,
    #[component(name = "data-type")]
    pub data_type: DataType,
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(super) enum EventKind {
    #[component(name = "logs")]
    Logs,
    #[component(name = "metrics")]
    Metrics,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct ContractOut {
    pub reads: Vec<String>,
    pub writes: Vec<Field>,
    #[component(name = "open-schema")]
    pub open_schema: bool,
    #[component(name = "keeps-state")]
    pub keeps_state: bool,
    pub produces: EventKind,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(super) enum FreshnessIn {
    #[component(name = "fresh")]
    Fresh,
    #[component(name = "stale")]
    Stale,
    #[component(name = "missing")]
    Missing,
    #[component(name = "failed")]
    Failed,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(super) struct SignalIn<'a> {
    pub name: &'a str,
    pub freshness: FreshnessIn,
    pub table: BatchIn<'a>,
    pub message: &'a str,
    #[component(name = "caught-up-at")]
    pub caught_up_at: Option<i64>,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(super) struct ReplicaIn<'a> {
    pub name: &'a str,
    pub ready: bool,
    #[component(name = "started-at")]
    pub started_at: i64,
    #[component(name = "changed-at")]
    pub changed_at: i64,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(super) struct DecisionIn<'a> {
    pub at: i64,
    pub replicas: u32,
    pub proposed: Option<u32>,
    pub decided: u32,
    pub reason: &'a str,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(super) struct AdviceIn<'a> {
    pub name: &'a str,
    pub replicas: Option<u32>,
    pub reason: &'a str,
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(super) struct WorkloadIn<'a> {
    pub name: &'a str,
    pub replicas: u32,
    pub ready: u32,
    pub min: u32,
    pub max: u32,
    pub members: &'a [ReplicaIn<'a>],
}

#[derive(ComponentType, Lower, Clone, Copy)]
#[component(record)]
pub(super) struct RequestIn<'a> {
    pub now: i64,
    pub workload: WorkloadIn<'a>,
    pub signals: &'a [SignalIn<'a>],
    pub decisions: &'a [DecisionIn<'a>],
    pub advice: &'a [AdviceIn<'a>],
    pub state: &'a [u8],
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct ProposalOut {
    pub replicas: u32,
    pub reason: String,
    pub state: Vec<u8>,
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
pub(super) enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
}
