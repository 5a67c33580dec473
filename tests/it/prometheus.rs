//! A real Prometheus that scrapes what is tested, and what it answers.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::ports::free_port;
use crate::program::{Running, last_lines};
use crate::sidecar::get;

const SAID: &str = "prometheus.said";

/// Stopped when dropped.
pub(crate) struct Prometheus {
    pub(crate) address: SocketAddr,
    folder: PathBuf,
    _running: Running,
}

/// Why an expression has no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The server is not there yet, or no longer.
    Unreachable(std::io::Error),
    /// It is not a sound expression.
    Refused(String),
}

impl Prometheus {
    /// Starts the server in a folder that holds its `prometheus.yml`.
    pub(crate) fn start(folder: &Path, further: &[&str]) -> Prometheus {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut arguments = vec![
            "--config.file=prometheus.yml".to_owned(),
            "--storage.tsdb.path=prometheus".to_owned(),
            format!("--web.listen-address={address}"),
        ];
        arguments.extend(further.iter().map(|&one| one.to_owned()));
        Prometheus {
            address,
            folder: folder.to_owned(),
            _running: Running::start("prometheus", &arguments, folder, SAID),
        }
    }

    /// What it last wrote to its standard error.
    pub(crate) fn said(&self) -> String {
        last_lines(&self.folder.join(SAID))
    }

    /// The samples of an expression now: labels and value.
    pub(crate) fn ask(&self, expression: &str) -> Result<Vec<(Value, f64)>, Unanswered> {
        let encoded: String = expression
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
                other => format!("%{other:02X}"),
            })
            .collect();
        let (status, body) = get(self.address, &format!("/api/v1/query?query={encoded}"))
            .map_err(Unanswered::Unreachable)?;
        if status != 200 {
            return Err(Unanswered::Refused(body));
        }
        let answer: Value = serde_json::from_str(&body).expect("Prometheus answers with JSON");
        let samples = answer["data"]["result"].as_array().into_iter().flatten();
        Ok(samples
            .map(|sample| {
                let value = sample["value"][1].as_str().expect("a sample has a value");
                let value = value.parse().expect("a value is a number");
                (sample["metric"].clone(), value)
            })
            .collect())
    }
}
