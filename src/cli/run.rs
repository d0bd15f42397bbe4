//! `tidemill run FILE…`

use super::check::{environment, tell};
use super::{runtime, stop};
use crate::app::{self, App, Options};
use crate::config;
use crate::error::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Starts the pipelines of these files and a server for questions; changed plugins and settings are taken while they run (at once on SIGHUP); SIGTERM or Ctrl-C stores what was read and ends it.
#[derive(clap::Args)]
pub struct Run {
    /// Pipeline files; several are read as one.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The data directory, instead of the one in [store].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The address to listen on, instead of the one in [server]; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Stop when every file is read to its end (a stream that never ends is read for ever); fails where one could not be read.
    #[arg(long)]
    once: bool,
}

/// What a signal says to `--once`.
const CUT_SHORT: &str = "stopped by a signal before every file was read to its end; the next run reads on from there";

impl Run {
    pub(super) fn run(self, level: &str, json: bool) -> Result<ExitCode> {
        #[allow(clippy::disallowed_methods, reason = "how long a start takes is told, not decided upon")]
        let began = Instant::now();
        let library = super::library()?;
        let system = app::system_schemas()?;
        let checked = app::check(config::read(&self.files, &environment), &library, &system);
        let checked = match checked {
            Ok(checked) => checked,
            Err(mistakes) => return Ok(tell(&mistakes)),
        };
        let once = self.once;
        let options = Options {
            files: self.files,
            variables: Some(environment),
            data: self.data,
            listen: self.listen,
            once: self.once,
            log_level: level.to_owned(),
            log_json: json,
        };
        runtime()?.block_on(async move {
            let stop = stop::on_signals()?;
            let mut hangup = stop::hangups()?;
            let app = App::start(checked, library, options).await?;
            let (url, data) = (app.url(), app.data().display().to_string());
            eprintln!("tidemill is ready after {} ms: {url}, data in {data}", began.elapsed().as_millis());
            let ended = loop {
                tokio::select! {
                    () = stop.cancelled() => break if once { Err(Error::new(ErrorKind::Unavailable, CUT_SHORT)) } else { Ok(()) },
                    ended = app.ended() => break ended,
                    _ = hangup.recv() => app.reload().await,
                }
            };
            let stopped = app.stop().await;
            ended.and(stopped).map_err(|error: Error| error)
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
