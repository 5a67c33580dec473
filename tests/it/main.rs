//! One test binary, one module per scenario.

mod simulator;
mod simulator_agents;
mod simulator_habits;
mod simulator_replay;
mod simulator_rotation;
mod simulator_scored;
mod simulator_shapes;
