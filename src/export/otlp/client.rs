//! The two ways to a collector: gRPC, and protobuf in a POST.
//!
//! Proxy variables of the environment are ignored, redirects are not followed, and headers are marked as sensitive: what
//! is sent goes where it was told to, and its secrets into no log. A request that is not answered in time is given up,
//! and its connection is found dead by the kernel or by HTTP/2's own pings.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use reqwest::{Url, redirect};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};
use tonic_types::StatusExt;

use super::retry::{Answer, by_code, by_status};
use crate::clock;
use crate::config::{Otlp, OtlpCompression, OtlpProtocol};
use crate::core::backoff::{retry_after, within_reason};

const CONNECT: Duration = Duration::from_secs(5);
/// An answer says little.
const ANSWER_BYTES: usize = 64 * 1024;
const PING: Duration = Duration::from_secs(20);
/// Of what a collector says about what it left out.
const WHY: usize = 200;

/// Why nothing can be sent with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("{} cannot be read: {error}; correct {key} or the permissions", path.display())]
    Unread {
        path: PathBuf,
        key: &'static str,
        error: std::io::Error,
    },
    #[error("{} holds no certificate in PEM: {error}; correct otlp.ca_file", path.display())]
    NoCertificate { path: PathBuf, error: String },
    #[error(
        "{} does not hold a certificate and its private key in PEM; correct otlp.client_file",
        path.display()
    )]
    NoIdentity { path: PathBuf },
    #[error("the client for otlp.endpoint cannot be made: {0}")]
    NoClient(String),
}

/// How to reach a collector; nothing is connected yet.
#[derive(Debug)]
pub(super) struct Way {
    timeout: Duration,
    packed: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Grpc {
        endpoint: Box<Endpoint>,
        headers: MetadataMap,
    },
    Http {
        client: reqwest::Client,
        traces: Url,
        metrics: Url,
    },
}

impl Way {
    pub(super) fn open(settings: &Otlp) -> Result<Way, Unusable> {
        let ca = match &settings.ca_file {
            Some(path) => Some(read_pem(path.clone(), "otlp.ca_file")?),
            None => None,
        };
        let ours = match &settings.client_file {
            Some(path) => Some(read_identity(path.clone())?),
            None => None,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            // The configuration has checked them.
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_str(value.expose());
            if let (Ok(name), Ok(mut value)) = (name, value) {
                value.set_sensitive(true);
                headers.append(name, value);
            }
        }
        let kind = match settings.protocol {
            OtlpProtocol::Grpc => grpc(settings, headers, ca, ours)?,
            OtlpProtocol::Http => by_http(settings, headers, ca, ours)?,
        };
        Ok(Way {
            timeout: settings.timeout,
            packed: settings.compression == OtlpCompression::Gzip,
            kind,
        })
    }

    /// Needs the runtime on which it is used; connects when something is sent.
    pub(super) fn client(&self) -> Client {
        let kind = match &self.kind {
            Kind::Grpc { endpoint, headers } => {
                let channel = endpoint.connect_lazy();
                let mut traces = TraceServiceClient::new(channel.clone());
                let mut metrics = MetricsServiceClient::new(channel);
                if self.packed {
                    // Collectors answer packed as they were asked, whether or not one says that one can read that.
                    traces = traces
                        .send_compressed(CompressionEncoding::Gzip)
                        .accept_compressed(CompressionEncoding::Gzip);
                    metrics = metrics
                        .send_compressed(CompressionEncoding::Gzip)
                        .accept_compressed(CompressionEncoding::Gzip);
                }
                Connected::Grpc(Box::new(Grpc {
                    traces,
                    metrics,
                    headers: headers.clone(),
                }))
            }
            Kind::Http {
                client,
                traces,
                metrics,
            } => Connected::Http {
                client: client.clone(),
                traces: traces.clone(),
                metrics: metrics.clone(),
            },
        };
        Client {
            timeout: self.timeout,
            packed: self.packed,
            kind,
        }
    }
}

fn read_pem(path: PathBuf, key: &'static str) -> Result<(PathBuf, Vec<u8>), Unusable> {
    match std::fs::read(&path) {
        Ok(pem) => Ok((path, pem)),
        Err(error) => Err(Unusable::Unread { path, key, error }),
    }
}

/// What a collector is shown that asks who we are, as either client takes it.
struct Ours {
    pem: Vec<u8>,
    identity: reqwest::Identity,
}

/// Never with the reason: it might quote the key.
fn read_identity(path: PathBuf) -> Result<Ours, Unusable> {
    let (path, pem) = read_pem(path, "otlp.client_file")?;
    match reqwest::Identity::from_pem(&pem) {
        Ok(identity) => Ok(Ours { pem, identity }),
        Err(_) => Err(Unusable::NoIdentity { path }),
    }
}

fn grpc(
    settings: &Otlp,
    headers: HeaderMap,
    ca: Option<(PathBuf, Vec<u8>)>,
    ours: Option<Ours>,
) -> Result<Kind, Unusable> {
    // Never with the reason where it would quote the URL.
    let unusable = |error: &dyn Error| Unusable::NoClient(chain(error));
    let uri = settings.endpoint.expose().clone();
    let encrypted = uri.scheme_str() == Some("https");
    let mut endpoint = Endpoint::from(uri)
        .user_agent(concat!("bootwatch/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| unusable(&error))?
        .connect_timeout(CONNECT.min(settings.timeout))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(settings.timeout);
    if encrypted {
        let mut tls = ClientTlsConfig::new();
        let has_ca = ca.is_some();
        if let Some((path, pem)) = ca {
            certificates(path, &pem)?;
            tls = tls.ca_certificate(Certificate::from_pem(pem));
        }
        if let Some(Ours { pem, .. }) = ours {
            // Certificates and key are told apart by their PEM labels.
            tls = tls.identity(Identity::from_pem(&pem, &pem));
        }
        let beside = endpoint.clone().tls_config(tls.clone().with_native_roots());
        endpoint = match beside {
            // A machine without authorities of its own, as a bare container is.
            Err(_) if has_ca => endpoint.tls_config(tls),
            beside => beside,
        }
        .map_err(|error| unusable(&error))?;
    }
    Ok(Kind::Grpc {
        endpoint: Box::new(endpoint),
        headers: MetadataMap::from_headers(headers),
    })
}

fn certificates(path: PathBuf, pem: &[u8]) -> Result<Vec<reqwest::Certificate>, Unusable> {
    let read = reqwest::Certificate::from_pem_bundle(pem);
    let problem = match read {
        Ok(certificates) if !certificates.is_empty() => return Ok(certificates),
        Ok(_) => "none was found".to_owned(),
        Err(error) => chain(&error),
    };
    Err(Unusable::NoCertificate {
        path,
        error: problem,
    })
}

fn by_http(
    settings: &Otlp,
    headers: HeaderMap,
    ca: Option<(PathBuf, Vec<u8>)>,
    ours: Option<Ours>,
) -> Result<Kind, Unusable> {
    let whole = settings.endpoint.expose().to_string();
    let url = |path: &str| {
        let whole = format!("{}{path}", whole.trim_end_matches('/'));
        Url::parse(&whole).map_err(|_| Unusable::NoClient("it is not a URL".to_owned()))
    };
    let (traces, metrics) = (url("/v1/traces")?, url("/v1/metrics")?);
    let mut client = reqwest::Client::builder()
        .user_agent(concat!("bootwatch/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT.min(settings.timeout))
        .timeout(settings.timeout)
        .tcp_nodelay(true)
        .pool_max_idle_per_host(2);
    if traces.scheme() == "http" {
        // The machine's certificates are neither needed nor, on a bare one, there.
        client = client.tls_certs_only([]);
    } else {
        if let Some((path, pem)) = ca {
            client = client.tls_certs_merge(certificates(path, &pem)?);
        }
        if let Some(ours) = ours {
            client = client.identity(ours.identity);
        }
    }
    let client = client
        .build()
        .map_err(|error| Unusable::NoClient(chain(&error.without_url())))?;
    Ok(Kind::Http {
        client,
        traces,
        metrics,
    })
}

pub(super) struct Client {
    timeout: Duration,
    /// By gRPC the channel's own business.
    packed: bool,
    kind: Connected,
}

enum Connected {
    Grpc(Box<Grpc>),
    Http {
        client: reqwest::Client,
        traces: Url,
        metrics: Url,
    },
}

struct Grpc {
    traces: TraceServiceClient<Channel>,
    metrics: MetricsServiceClient<Channel>,
    headers: MetadataMap,
}

impl Client {
    pub(super) async fn traces(&self, message: ExportTraceServiceRequest) -> Answer {
        match &self.kind {
            Connected::Grpc(grpc) => {
                let mut traces = grpc.traces.clone();
                let request = self.request(message, &grpc.headers);
                let answer = self.within(traces.export(request)).await;
                answer.map_or_else(of_status, |answer| of_traces(answer.into_inner()))
            }
            Connected::Http { client, traces, .. } => {
                let body = Body::of(&message, self.packed);
                post(client, traces, body, |body| {
                    ExportTraceServiceResponse::decode(body).map(of_traces)
                })
                .await
            }
        }
    }

    pub(super) async fn metrics(&self, message: ExportMetricsServiceRequest) -> Answer {
        match &self.kind {
            Connected::Grpc(grpc) => {
                let mut metrics = grpc.metrics.clone();
                let request = self.request(message, &grpc.headers);
                let answer = self.within(metrics.export(request)).await;
                answer.map_or_else(of_status, |answer| of_metrics(answer.into_inner()))
            }
            Connected::Http {
                client, metrics, ..
            } => {
                let body = Body::of(&message, self.packed);
                post(client, metrics, body, |body| {
                    ExportMetricsServiceResponse::decode(body).map(of_metrics)
                })
                .await
            }
        }
    }

    fn request<M>(&self, message: M, headers: &MetadataMap) -> Request<M> {
        let mut request = Request::new(message);
        *request.metadata_mut() = headers.clone();
        request
    }

    async fn within<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        tokio::time::timeout(self.timeout, call)
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
    }
}

fn of_traces(answer: ExportTraceServiceResponse) -> Answer {
    let part = answer.partial_success.unwrap_or_default();
    taken(part.rejected_spans, &part.error_message)
}

fn of_metrics(answer: ExportMetricsServiceResponse) -> Answer {
    let part = answer.partial_success.unwrap_or_default();
    taken(part.rejected_data_points, &part.error_message)
}

/// What the collector says is somebody else's text: a line of it, cut.
fn taken(rejected: i64, why: &str) -> Answer {
    let said = why.chars().filter(|letter| !letter.is_control());
    Answer::Taken {
        rejected: u64::try_from(rejected).unwrap_or(0),
        why: said.take(WHY).collect(),
    }
}

fn of_status(status: Status) -> Answer {
    let after = status
        .get_details_retry_info()
        .and_then(|wish| wish.retry_delay)
        .map(within_reason);
    // A status of the collector's own has no cause on this side.
    let answer = by_code(status.code(), after, status.source().is_none());
    match (answer, status.source()) {
        (Answer::Later { after, .. }, Some(cause)) => Answer::Later {
            after,
            why: chain(cause),
        },
        (answer, _) => answer,
    }
}

struct Body {
    bytes: Vec<u8>,
    packed: bool,
}

impl Body {
    fn of(message: &impl Message, pack: bool) -> Body {
        let bytes = message.encode_to_vec();
        if !pack {
            return Body {
                bytes,
                packed: false,
            };
        }
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        let packed = packer.write_all(&bytes).and_then(|()| packer.finish());
        // Into memory nothing fails; if it did, the plain bytes are as good.
        match packed {
            Ok(packed) => Body {
                bytes: packed,
                packed: true,
            },
            Err(_) => Body {
                bytes,
                packed: false,
            },
        }
    }
}

async fn post(
    client: &reqwest::Client,
    url: &Url,
    body: Body,
    read: impl FnOnce(&[u8]) -> Result<Answer, prost::DecodeError>,
) -> Answer {
    let mut request = client
        .post(url.clone())
        .header(CONTENT_TYPE, "application/x-protobuf")
        .body(body.bytes);
    if body.packed {
        request = request.header(CONTENT_ENCODING, "gzip");
    }
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => {
            return Answer::Later {
                after: None,
                why: chain(&error.without_url()),
            };
        }
    };
    let after = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| retry_after(value, clock::now()));
    if let Some(answer) = by_status(answer.status().as_u16(), after) {
        return answer;
    }
    // It was taken, whatever the answer's body says, or whether it ends.
    let whole = whole(answer).await;
    let told = whole.and_then(|body| read(&body).ok());
    told.unwrap_or_else(|| taken(0, ""))
}

async fn whole(mut answer: reqwest::Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES {
            return None;
        }
    }
    Some(body)
}

/// An error with its causes, each once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            // Writing into a text cannot fail.
            if write!(text, ": {said}").is_err() {
                break;
            }
        }
        cause = error.source();
    }
    text
}
