//! The receiver of pages: takes everything, keeps it in order, and may do something before it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::Value;

/// One request, as it was taken.
#[derive(Clone, Debug)]
pub(super) struct Post {
    /// The header by which a repetition is known.
    pub(super) id: String,
    /// The dedup key.
    pub(super) incident: String,
    pub(super) status: String,
    pub(super) text: String,
    /// How often the program had died before it was started that sent it.
    pub(super) deaths: usize,
}

/// Called with each request once it is kept and before it is answered, and whether its id was seen before.
type Before = Box<dyn Fn(&Post, bool) + Send + Sync>;

struct Shared {
    posts: Mutex<Vec<Post>>,
    before: Before,
}

pub(super) struct Desk {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

impl Desk {
    pub(super) fn start(before: impl Fn(&Post, bool) + Send + Sync + 'static) -> Desk {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            posts: Mutex::default(),
            before: Box::new(before),
        });
        let router = Router::new()
            .route("/page/{deaths}", post(take))
            .with_state(Arc::clone(&shared));
        runtime
            .handle()
            .spawn(async move { axum::serve(listener, router).await });
        Desk {
            address,
            shared,
            _runtime: runtime,
        }
    }

    pub(super) fn posts(&self) -> Vec<Post> {
        let posts = self.shared.posts.lock();
        posts.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many incidents have ended, as far as the receiver was told.
    pub(super) fn resolved(&self) -> usize {
        let posts = self.posts();
        let ended = posts.iter().filter(|post| post.status == "resolved");
        ended
            .map(|post| &post.incident)
            .collect::<BTreeSet<_>>()
            .len()
    }

    pub(super) fn firing(&self) -> usize {
        let posts = self.posts();
        let firing = posts.iter().filter(|post| post.status == "firing");
        firing
            .map(|post| &post.incident)
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// How often each message came, by its id.
    pub(super) fn times(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for post in self.posts() {
            *times.entry(post.id).or_default() += 1;
        }
        times
    }

    /// What is promised to a receiver: of each incident one message that it fires and one that it is over, in this
    /// order, each under an id of its own. A message comes a second time only if the program died after it had sent it
    /// and before it could note that it had arrived: nobody can know that, so it comes again, under the same id, at most
    /// once for each death.
    pub(super) fn assert_exactly_once(&self, incidents: &BTreeSet<String>, what: &str) {
        let posts = self.posts();
        let mut ids: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
        let mut last: BTreeMap<&str, &Post> = BTreeMap::new();
        for post in &posts {
            assert!(
                incidents.contains(&post.incident),
                "{what}: a page of an incident that is not in the store: {post:?}"
            );
            let of = ids.entry((&post.incident, &post.status)).or_default();
            of.insert(&post.id);
            if let Some(before) = last.insert(&post.id, post) {
                assert!(
                    before.deaths < post.deaths,
                    "{what}: {} came twice, and the program had not died in between",
                    post.id
                );
                assert_eq!(
                    (&before.incident, &before.status),
                    (&post.incident, &post.status)
                );
            }
        }
        for incident in incidents {
            for status in ["firing", "resolved"] {
                let of = ids.get(&(incident.as_str(), status));
                assert_eq!(
                    of.map_or(0, BTreeSet::len),
                    1,
                    "{what}: {incident} {status}: {of:?}"
                );
            }
            let first = |status: &str| {
                posts
                    .iter()
                    .position(|post| post.incident == *incident && post.status == status)
            };
            assert!(
                first("firing") < first("resolved"),
                "{what}: the end came first"
            );
        }
    }
}

async fn take(
    State(shared): State<Arc<Shared>>,
    Path(deaths): Path<usize>,
    headers: HeaderMap,
    text: String,
) {
    let body: Value = serde_json::from_str(&text).unwrap();
    let word = |name: &str| body[name].as_str().unwrap().to_owned();
    let id = headers.get("idempotency-key").unwrap();
    let post = Post {
        id: id.to_str().unwrap().to_owned(),
        incident: word("groupKey"),
        status: word("status"),
        deaths,
        text,
    };
    let again = {
        let mut posts = shared.posts.lock().unwrap_or_else(PoisonError::into_inner);
        let again = posts.iter().any(|known| known.id == post.id);
        posts.push(post.clone());
        again
    };
    (shared.before)(&post, again);
}
