//! One test binary, one module per scenario.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, like the tests"
)]

mod alerts_page;
mod analyze_told;
mod architecture;
mod check_fleet;
mod compose;
mod config;
mod dashboards;
mod database;
mod demo;
mod detection;
mod diagnosis;
mod mailserver;
mod metrics;
mod notify_test;
mod operators;
mod otlp;
mod packaging;
mod pages;
mod ports;
mod postgres;
mod tree;

mod analyze_later_versions;
mod analyze_sample;
mod fuzz;
mod hostile;
mod image;
mod program;
mod prometheus;

mod simulator;
mod simulator_agents;
mod simulator_api;
mod simulator_consoles;
mod simulator_databases;
mod simulator_habits;
mod simulator_replay;
mod simulator_rotation;
mod simulator_sample;
mod simulator_scored;
mod simulator_shapes;
mod simulator_tables;

mod probe;

mod fleet;
mod fleet_parity;
mod fleet_real;

mod winston;

mod report;
mod report_fleet;
mod rows_sample;

mod run_conditions;
mod run_database;
mod run_ends;
mod run_evidence;
mod run_keeps;
mod run_pages;
mod sidecar;

mod store;
mod store_fleet;
mod store_survives;

mod synthetic;
mod torture;
