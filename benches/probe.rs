//! What a probe costs beside the bare exchange that it makes: `cargo bench --bench probe`.
//!
//! The same request to the same server by a plain blocking socket and by the prober, in turns, so that both meet the
//! same machine; the medians are compared. Ends with status 1 if a probe's total is more than 1.5 times a bare exchange.

#![expect(clippy::print_stdout, reason = "its figures are its output")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use bootwatch::clock::Stopwatch;
use bootwatch::core::probe::{Check, Networks, ProbeResult};
use bootwatch::probe::{Prober, Settings};

const ROUNDS: usize = 4_000;
const LIMIT: f64 = 1.5;

fn main() -> ExitCode {
    let address = serve();
    let network = "127.0.0.0/8".parse().expect("a network");
    let networks = Networks::new(vec![network]).expect("one network");
    let prober = Prober::new(Settings {
        agent_port: address.port(),
        ..Settings::new(networks)
    });
    let vm = prober
        .settings()
        .networks
        .admit(IpAddr::V4(Ipv4Addr::LOCALHOST))
        .expect("it lies in the network");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (mut bare, mut told, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let watch = Stopwatch::start();
        exchange(address);
        let took = watch.elapsed();
        let watch = Stopwatch::start();
        let checked = runtime.block_on(prober.check(vm, Check::Health));
        let wall = watch.elapsed();
        assert_eq!(checked.result, ProbeResult::Ok);
        // The first ones warm up.
        if round >= ROUNDS / 10 {
            bare.push(took);
            told.push(checked.total());
            whole.push(wall);
        }
    }
    let [bare, told, whole] = [bare, told, whole].map(median);
    let ratio = told.as_secs_f64() / bare.as_secs_f64();
    println!("bare exchange     {bare:?}");
    println!("probe, its total  {told:?}  ({ratio:.2} times)");
    println!("probe, wall       {whole:?}");
    match ratio <= LIMIT {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// What the controller's own client and curl do.
fn exchange(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let request = "GET /health HTTP/1.1\r\nHost: vm\r\nConnection: close\r\n\r\n";
    stream
        .write_all(request.as_bytes())
        .expect("the server reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server answers");
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

/// Answers as a healthy agent does, for as long as the process lives.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it has an address");
    let body =
        "{\"status\":\"ok\",\"timestamp\":\"2025-10-18T02:14:07.000Z\",\"activeSessions\":0}";
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = [0; 2048];
            let mut filled = 0;
            while !head[..filled].ends_with(b"\r\n\r\n") {
                match stream.read(&mut head[filled..]) {
                    Ok(read) if read > 0 => filled += read,
                    _ => break,
                }
            }
            // A client that goes away is its own affair.
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    address
}
