//! A collector over gRPC or HTTP that keeps what it is sent and answers as it is told.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::sidecar::DEADLINE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    Http,
}

impl Protocol {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Protocol::Grpc => "grpc",
            Protocol::Http => "http",
        }
    }
}

/// How a request for traces is answered. Metrics are always taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    Take,
    /// Taken but for so many spans.
    Partly(i64),
    /// A status of HTTP, and its Retry-After.
    Http(u16, Option<&'static str>),
    /// A code of gRPC, and its throttle hint.
    Grpc(Code, Option<Duration>),
}

/// A request for traces as it came.
pub(crate) struct Told {
    pub(crate) message: ExportTraceServiceRequest,
    pub(crate) authorization: Option<String>,
    /// What it was packed with.
    pub(crate) packed: Option<String>,
    /// It was taken.
    pub(crate) taken: bool,
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    protocol: Protocol,
    traces: mpsc::Receiver<Told>,
    metrics: mpsc::Receiver<ExportMetricsServiceRequest>,
    _runtime: tokio::runtime::Runtime,
}

struct Keeper {
    traces: mpsc::Sender<Told>,
    metrics: mpsc::Sender<ExportMetricsServiceRequest>,
    requests: AtomicUsize,
    reply: Box<dyn Fn(usize) -> Reply + Send + Sync>,
}

impl Keeper {
    fn traces(
        &self,
        message: ExportTraceServiceRequest,
        headers: &HeaderMap,
    ) -> (Reply, ExportTraceServiceResponse) {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let reply = (self.reply)(number);
        let rejected_spans = match reply {
            Reply::Partly(spans) => Some(spans),
            Reply::Take | Reply::Http(..) | Reply::Grpc(..) => None,
        };
        let header = |name: &str| {
            let value = headers.get(name)?.to_str();
            value.ok().map(str::to_owned)
        };
        let told = Told {
            message,
            authorization: header("authorization"),
            packed: header("grpc-encoding").or_else(|| header("content-encoding")),
            taken: matches!(reply, Reply::Take | Reply::Partly(_)),
        };
        // A test that has seen enough is not there any more.
        drop(self.traces.send(told));
        let answer = ExportTraceServiceResponse {
            partial_success: rejected_spans.map(|rejected_spans| ExportTracePartialSuccess {
                rejected_spans,
                error_message: "some were too old".to_owned(),
            }),
        };
        (reply, answer)
    }
}

#[derive(Clone)]
struct Service(Arc<Keeper>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        let (reply, answer) = self.0.traces(request.into_inner(), &headers);
        match reply {
            Reply::Grpc(code, Some(wish)) => {
                let details = ErrorDetails::with_retry_info(Some(wish));
                Err(Status::with_error_details(code, "full", details))
            }
            Reply::Grpc(code, None) => Err(Status::new(code, "as told")),
            Reply::Take | Reply::Partly(_) | Reply::Http(..) => Ok(tonic::Response::new(answer)),
        }
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        drop(self.0.metrics.send(request.into_inner()));
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}

fn protobuf(message: &impl Message) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/x-protobuf")];
    (kind, message.encode_to_vec()).into_response()
}

async fn http_traces(
    State(keeper): State<Arc<Keeper>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    assert_eq!(headers[header::CONTENT_TYPE], "application/x-protobuf");
    let message = ExportTraceServiceRequest::decode(&unpacked(&headers, body)[..]).unwrap();
    let (reply, answer) = keeper.traces(message, &headers);
    match reply {
        Reply::Http(status, wish) => {
            let status = StatusCode::from_u16(status).unwrap();
            let wish = wish.map(|wish| [(header::RETRY_AFTER, wish)]);
            match wish {
                Some(wish) => (status, wish).into_response(),
                None => status.into_response(),
            }
        }
        Reply::Take | Reply::Partly(_) | Reply::Grpc(..) => protobuf(&answer),
    }
}

/// As collectors do with what says that it is packed.
fn unpacked(headers: &HeaderMap, body: Bytes) -> Vec<u8> {
    if headers.get(header::CONTENT_ENCODING).is_none() {
        return body.to_vec();
    }
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&body[..])
        .read_to_end(&mut plain)
        .unwrap();
    plain
}

async fn http_metrics(
    State(keeper): State<Arc<Keeper>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let message = ExportMetricsServiceRequest::decode(&unpacked(&headers, body)[..]).unwrap();
    drop(keeper.metrics.send(message));
    protobuf(&ExportMetricsServiceResponse::default())
}

/// As servers in Go answer: packed where the request was, whether or not the client says that it reads that.
fn packed_as_asked(mut request: Request<()>) -> Result<Request<()>, Status> {
    let packed = request.metadata().get("grpc-encoding").cloned();
    if let Some(packed) = packed {
        let headers = request.metadata_mut();
        headers.insert("grpc-accept-encoding", packed);
    }
    Ok(request)
}

fn identity(keys: &Path) -> Identity {
    let file = |name: &str| std::fs::read(keys.join(name)).unwrap();
    Identity::from_pem(file("server.pem"), file("server.key"))
}

impl Receiver {
    pub(crate) fn start(protocol: Protocol) -> Receiver {
        Receiver::answering(protocol, |_| Reply::Take)
    }

    /// `reply` says how the nth request for traces (from 0) is answered.
    pub(crate) fn answering(
        protocol: Protocol,
        reply: impl Fn(usize) -> Reply + Send + Sync + 'static,
    ) -> Receiver {
        Receiver::serving(protocol, None, reply)
    }

    /// Over gRPC and TLS, with a certificate and its key in that folder.
    pub(crate) fn encrypted(keys: &Path) -> Receiver {
        let tls = ServerTlsConfig::new().identity(identity(keys));
        Receiver::serving(Protocol::Grpc, Some(tls), |_| Reply::Take)
    }

    /// And only for those who show that very certificate themselves.
    pub(crate) fn encrypted_both_ways(keys: &Path) -> Receiver {
        let known = Certificate::from_pem(std::fs::read(keys.join("server.pem")).unwrap());
        let tls = ServerTlsConfig::new()
            .identity(identity(keys))
            .client_ca_root(known);
        Receiver::serving(Protocol::Grpc, Some(tls), |_| Reply::Take)
    }

    fn serving(
        protocol: Protocol,
        tls: Option<ServerTlsConfig>,
        reply: impl Fn(usize) -> Reply + Send + Sync + 'static,
    ) -> Receiver {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (traces_tx, traces) = mpsc::channel();
        let (metrics_tx, metrics) = mpsc::channel();
        let keeper = Arc::new(Keeper {
            traces: traces_tx,
            metrics: metrics_tx,
            requests: AtomicUsize::new(0),
            reply: Box::new(reply),
        });
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        match protocol {
            Protocol::Grpc => {
                let service = Service(keeper);
                let mut server = Server::builder();
                if let Some(tls) = tls {
                    bootwatch::notify::install_tls();
                    server = server.tls_config(tls).unwrap();
                }
                let server = server
                    .add_service(InterceptedService::new(
                        TraceServiceServer::new(service.clone())
                            .accept_compressed(CompressionEncoding::Gzip)
                            .send_compressed(CompressionEncoding::Gzip),
                        packed_as_asked,
                    ))
                    .add_service(InterceptedService::new(
                        MetricsServiceServer::new(service)
                            .accept_compressed(CompressionEncoding::Gzip)
                            .send_compressed(CompressionEncoding::Gzip),
                        packed_as_asked,
                    ));
                runtime
                    .handle()
                    .spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
            }
            Protocol::Http => {
                let router = Router::new()
                    .route("/v1/traces", post(http_traces))
                    .route("/v1/metrics", post(http_metrics))
                    .with_state(keeper);
                runtime
                    .handle()
                    .spawn(async move { axum::serve(listener, router).await });
            }
        }
        Receiver {
            address,
            protocol,
            traces,
            metrics,
            _runtime: runtime,
        }
    }

    /// What makes a sidecar send here.
    pub(crate) fn settings(&self) -> String {
        format!(
            "[otlp]\nendpoint = \"http://{}\"\nprotocol = \"{}\"\ninterval = \"1s\"\nenvironment = \"test\"\n",
            self.address,
            self.protocol.as_str()
        )
    }

    /// The next request for traces.
    pub(crate) fn traces(&self) -> Told {
        let told = self.traces.recv_timeout(DEADLINE);
        told.expect("traces in time")
    }

    pub(crate) fn so_far(&self) -> Vec<Told> {
        self.traces.try_iter().collect()
    }

    pub(crate) fn metrics(&self) -> ExportMetricsServiceRequest {
        let told = self.metrics.recv_timeout(DEADLINE);
        told.expect("metrics in time")
    }
}
