//! the commands
//!
//! Exit codes: 0 all is well; 1 it failed, and standard error says why; 2 the command line was not understood.

/// A line on standard output; whoever has closed it has read enough.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::query::print(&format!("{}\n", format_args!($($text)*))) };
}

mod capture;
mod cases;
mod check;
mod compile_plugin;
mod demo;
mod plugin;
mod query;
mod replay;
mod run;
mod scale;
mod server;
mod stop;
mod tail;
mod test;

use crate::app;
use crate::error::Result;
use crate::plugin::{Compiler, Library};
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

const AFTER: &str = "\
Start here:
  tidemill demo                         a real service, scaled by its own logs, for a minute
  ACCESS_LOG=/var/log/nginx/access.log tidemill run pipelines/quickstart.toml
  tidemill query 'SELECT status, count(*) FROM access GROUP BY status'";

/// What is logged unless somebody says otherwise.
const LEVEL: &str = "warn";

/// Logs and metrics through your WebAssembly plugins into columns, answered with SQL, deciding how many replicas run.
#[derive(Parser)]
#[command(name = "tidemill", version, about, after_help = AFTER, max_term_width = 100)]
struct Arguments {
    /// What is logged on standard error: error, warn, info, debug, trace, or a filter such as `tidemill::store=debug`.
    #[arg(long, global = true, env = "TIDEMILL_LOG", default_value = LEVEL, value_name = "LEVEL")]
    log_level: String,
    /// Log as JSON, a line an event.
    #[arg(long, global = true)]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A service that needs more replicas and gets them: logs, metrics, plugins, SQL and scaling on this machine.
    Demo(demo::Demo),
    /// Run pipelines until they are told to stop.
    Run(run::Run),
    /// Find every mistake in pipeline files, and run nothing.
    Check(check::Check),
    /// Ask a running Tidemill a question in SQL.
    Query(query::Query),
    /// Show the rows of a table as they arrive.
    Tail(tail::Tail),
    /// Have a stage take again what it gave up.
    Replay(replay::Replay),
    /// Write what a stage gets and makes as a case of its plugin.
    Capture(capture::Capture),
    /// Ask scalers why, replay what they did, and tell them what to do.
    Scale(scale::Scale),
    /// Run scaling cases: what scalers have to decide, when the load is so.
    Test(test::Test),
    /// Build plugins.
    Plugin(plugin::Plugin),
    /// The demo's scrypt server.
    #[command(hide = true)]
    DemoServer(demo::DemoServer),
    /// What compiles a plugin within limits.
    #[command(hide = true)]
    CompilePlugin(compile_plugin::CompilePlugin),
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse_from(std::env::args_os().map(shielded));
    let done = match arguments.command {
        Command::Demo(demo) => demo.run(&arguments.log_level, arguments.log_json),
        Command::Run(run) => run.run(&arguments.log_level, arguments.log_json),
        Command::Check(check) => check.run(),
        Command::Query(query) => query.run(),
        Command::Tail(tail) => tail.run(),
        Command::Replay(replay) => replay.run(),
        Command::Capture(capture) => capture.run(),
        Command::Scale(scale) => scale.run(),
        Command::Test(test) => test.run(),
        Command::Plugin(plugin) => plugin.run(),
        Command::DemoServer(server) => server.run(),
        Command::CompilePlugin(compile) => compile.run(),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tidemill: {error}");
            ExitCode::FAILURE
        }
    }
}

/// SQL may start with a comment, `-- newest first`, which no option looks like: a space before it says so.
fn shielded(argument: OsString) -> OsString {
    match argument.as_encoded_bytes() {
        [b'-', b'-', next, ..] if next.is_ascii_whitespace() => {
            let mut text = OsString::from(" ");
            text.push(argument);
            text
        }
        _ => argument,
    }
}

/// The plugins there are, compiled by a child of this program.
fn library() -> Result<Library> {
    app::library_compiled_by(Compiler::own_child(), app::cache_folder().as_deref())
}

/// A runtime for commands that wait for the network; two threads are plenty beside the pipeline's own.
fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("tidemill")
        .enable_all()
        .build()
        .map_err(|error| crate::error::Error::io("cannot start threads", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_no_option_and_a_misspelled_option_is_no_question() {
        let parse = |arguments: &[&str]| {
            let words = ["tidemill", "query"].iter().chain(arguments).map(|word| shielded(OsString::from(word)));
            Arguments::try_parse_from(words).map(|_| ()).map_err(|error| error.to_string())
        };
        for good in
            [&["-- newest\nSELECT 1"][..], &["--format", "csv", "--\nSELECT 1"], &["-"], &["--", "--x\nSELECT 1"]]
        {
            assert_eq!(parse(good), Ok(()), "{good:?}");
        }
        let error = parse(&["--formt", "csv", "SELECT 1"]).unwrap_err();
        assert!(error.contains("'--format'"), "{error}");
    }
}
