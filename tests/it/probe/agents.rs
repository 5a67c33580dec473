//! Every fate of the simulator's agents, as a probe sees it.

use std::net::Ipv4Addr;
use std::time::Duration;

use bootwatch::core::probe::{Answerer, Check, Phase, ProbeResult};
use bootwatch::simulator::Agents;
use bootwatch::simulator::fate::Agent;

use super::{check, settings};

const IP: Ipv4Addr = Ipv4Addr::new(127, 88, 1, 2);

#[test]
fn each_fate_of_an_agent_has_its_result() {
    let table = [
        (Agent::Healthy, ProbeResult::Ok, None),
        (Agent::Slow, ProbeResult::Ok, None),
        (Agent::Resets, ProbeResult::Reset, Some(Phase::Processing)),
        (
            Agent::CrashLoops,
            ProbeResult::Reset,
            Some(Phase::Processing),
        ),
        (
            Agent::Status(500),
            ProbeResult::ServerError,
            Some(Phase::Transfer),
        ),
        (
            Agent::Status(404),
            ProbeResult::ClientError,
            Some(Phase::Transfer),
        ),
        (
            Agent::StartsThenHealthy,
            ProbeResult::ServerError,
            Some(Phase::Transfer),
        ),
        (Agent::Garbage, ProbeResult::NotHttp, Some(Phase::Transfer)),
        (Agent::Hangs, ProbeResult::Timeout, Some(Phase::Processing)),
        (
            Agent::HangsThenHealthy,
            ProbeResult::Timeout,
            Some(Phase::Processing),
        ),
        (Agent::HalfBody, ProbeResult::Timeout, Some(Phase::Transfer)),
    ];
    let mut agents = Agents::new(0);
    for (agent, result, failed_in) in table {
        let at = agents.up(IP, agent).expect("an agent");
        let mut settings = settings(at.port());
        if result == ProbeResult::Timeout {
            settings.timeout = Duration::from_millis(300);
        }
        let checked = check(settings, IP, Check::Health);
        assert_eq!(
            (checked.result, checked.failed_in),
            (result, failed_in),
            "{agent:?}"
        );
        let is_agent = result == ProbeResult::Ok;
        assert_eq!(checked.answerer.is_some(), is_agent, "{agent:?}");
    }
}

#[test]
fn a_healthy_agent_is_known_by_its_body_and_keeps_our_time() {
    let mut agents = Agents::new(0);
    let at = agents.up(IP, Agent::Healthy).expect("an agent");
    let checked = check(settings(at.port()), IP, Check::Health);
    assert_eq!(checked.answerer, Some(Answerer::Agent));
    let skew = checked.skew.expect("it tells its time");
    assert!(skew.ms.abs() <= skew.within_ms + 1, "{skew:?}");
    let begun: Vec<Phase> = checked.course().map(|(phase, ..)| phase).collect();
    assert_eq!(begun, [Phase::Connect, Phase::Processing, Phase::Transfer]);
}

#[test]
fn a_vm_without_an_agent_refuses() {
    let mut agents = Agents::new(0);
    let at = agents.up(IP, Agent::Healthy).expect("an agent");
    agents.down(IP);
    for one in [Check::Connect, Check::Health] {
        let checked = check(settings(at.port()), IP, one);
        assert_eq!(checked.result, ProbeResult::Refused);
        assert_eq!(checked.failed_in, Some(Phase::Connect));
    }
}
