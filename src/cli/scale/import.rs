//! `tidemill scale import FILE`

use super::hpa::Hpa;
use super::manifest::{Reader, Value, read};
use super::scaled_object::ScaledObject;
use crate::error::{Error, Result};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// The largest manifest that is read, in bytes.
const BYTES_MAX: u64 = 16 << 20;

/// Writes HorizontalPodAutoscalers (autoscaling/v2 or v1) and KEDA's ScaledObjects as scalers of a pipeline file, with the queries left
/// to be filled in.
#[derive(clap::Args)]
pub(super) struct Import {
    /// YAML or JSON, as `kubectl get hpa -A -o yaml` or `kubectl get scaledobjects -A -o yaml` prints it; `-` for standard input.
    file: PathBuf,
    /// Where to write it; standard output if not given. A file that is there already is not overwritten.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What becomes a scaler.
enum Manifest {
    Hpa(Hpa),
    Keda(ScaledObject),
}

impl Manifest {
    fn toml(&self, file: &str, used: &mut BTreeSet<String>) -> (String, String) {
        match self {
            Manifest::Hpa(hpa) => hpa.toml(file, used),
            Manifest::Keda(object) => object.toml(file, used),
        }
    }

    fn to_fill(&self) -> Vec<(u64, &str, &str)> {
        match self {
            Manifest::Hpa(hpa) => hpa.to_fill().collect(),
            Manifest::Keda(object) => object.to_fill().collect(),
        }
    }

    fn left_out(&self) -> Vec<(u64, &str)> {
        match self {
            Manifest::Hpa(_) => Vec::new(),
            Manifest::Keda(object) => object.left_out().collect(),
        }
    }
}

impl Import {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let file = self.file.display().to_string();
        let text = self.text()?;
        let mut reader = Reader::new(&file);
        let (mut found, mut left_out) = (Vec::new(), Vec::new());
        for node in read(&file, &text)? {
            let kind = kind(&node.value);
            match kind.as_deref() {
                Some("HorizontalPodAutoscaler") => found.extend(Hpa::read(&mut reader, &node).map(Manifest::Hpa)),
                Some("ScaledObject") => found.extend(ScaledObject::read(&mut reader, &node).map(Manifest::Keda)),
                Some(kind) => left_out.push(format!("{file}:{}: a {kind} is left out", node.line)),
                None => reader.wrong(node.line, "this is no manifest: it has no `kind`"),
            }
        }
        for line in &left_out {
            eprintln!("{line}");
        }
        if !reader.mistakes.is_empty() {
            for mistake in &reader.mistakes {
                eprintln!("{mistake}");
            }
            let s = if reader.mistakes.len() == 1 { "" } else { "s" };
            eprintln!("{} mistake{s}; nothing was written", reader.mistakes.len());
            return Ok(ExitCode::FAILURE);
        }
        if found.is_empty() {
            return Err(Error::invalid(format!(
                "{file} has no HorizontalPodAutoscaler or ScaledObject; print some by `kubectl get hpa -A -o yaml`"
            )));
        }
        let mut used = BTreeSet::new();
        let mut out = String::new();
        for manifest in &found {
            let (name, toml) = manifest.toml(&file, &mut used);
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&toml);
            for (line, what) in manifest.left_out() {
                eprintln!("{file}:{line}: left out of scalers.{name}: {what}");
            }
            for (line, signal, wanted) in manifest.to_fill() {
                eprintln!("{file}:{line}: fill in scalers.{name}.signals.{signal}: {wanted}");
            }
        }
        self.write(&out)?;
        let s = if found.len() == 1 { "" } else { "s" };
        eprintln!(
            "{} scaler{s} written; fill in the queries, then `tidemill check`. Delete a HorizontalPodAutoscaler or ScaledObject before its \
             scaler runs: two that set one number undo each other",
            found.len()
        );
        Ok(ExitCode::SUCCESS)
    }

    fn text(&self) -> Result<String> {
        let file = self.file.display();
        let failed = |error| Error::io(format!("cannot read {file}"), error);
        let mut bytes = Vec::new();
        let source: Box<dyn Read> = match self.file.to_str() {
            Some("-") => Box::new(std::io::stdin()),
            _ => Box::new(std::fs::File::open(&self.file).map_err(failed)?),
        };
        source.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(Error::invalid(format!("{file} is larger than {} MiB; convert its parts", BYTES_MAX >> 20)));
        }
        String::from_utf8(bytes).map_err(|_| Error::invalid(format!("{file} is no UTF-8 text")))
    }

    fn write(&self, out: &str) -> Result<()> {
        let Some(path) = &self.output else {
            print!("{out}");
            return Ok(());
        };
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Error::invalid(format!("{} is there already; name another file, or take it away", path.display()))
            }
            _ => Error::io(format!("cannot write {}", path.display()), error),
        };
        let mut file = std::fs::File::create_new(path).map_err(failed)?;
        file.write_all(out.as_bytes()).map_err(failed)
    }
}

fn kind(value: &Value) -> Option<String> {
    let Value::Map(fields) = value else { return None };
    match &fields.iter().find(|field| field.name == "kind")?.node.value {
        Value::Text(kind) => Some(kind.clone()),
        _ => None,
    }
}
