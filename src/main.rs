//! Flags, run, exit code.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use bootwatch::cli::{self, Cli, Status};
use clap::Parser;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(problem) => {
            let status = if problem.use_stderr() {
                Status::Misused
            } else {
                Status::Fine
            };
            return match problem.print() {
                Ok(()) => ExitCode::from(status as u8),
                Err(_) => ExitCode::from(Status::Misused as u8),
            };
        }
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut err = io::stderr();
    let ended = cli::run(cli, &mut out, &mut err).and_then(|status| {
        out.flush()?;
        Ok(status)
    });
    match ended {
        Ok(status) => ExitCode::from(status as u8),
        // The reader of our output went away (`| head`): nothing is wrong.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            if writeln!(err, "bootwatch: {error:#}").is_err() {
                return ExitCode::from(Status::Misused as u8);
            }
            ExitCode::from(Status::Misused as u8)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
