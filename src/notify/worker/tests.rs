use std::collections::VecDeque;
use std::sync::Mutex;

use jiff::tz::TimeZone;

use super::*;
use crate::core::event::{Failure, VmType};
use crate::notify::error::Fault;
use crate::notify::pace::Pace;
use crate::notify::page::Context;
use crate::notify::{Attempt, Draft, Message, Transport, fixture};

/// How long each try takes, and how it ends: 1 is no answer at all, 2 nothing to be sent, 3 sent to some of many.
type Script = VecDeque<(u64, u16, Option<u64>)>;

/// A receiver in memory that writes down what it was sent, and when.
#[derive(Clone)]
struct Scripted {
    script: Arc<Mutex<Script>>,
    sent: Arc<Mutex<Vec<(u64, String)>>>,
    started: Instant,
    /// Nothing is answered before.
    away_until: Option<Instant>,
    /// What was taken while it may be away: its kind and its text.
    arrived: Arc<Mutex<Vec<(String, String)>>>,
}

impl Transport for Scripted {
    fn render(&self, draft: &Draft<'_>) -> Vec<u8> {
        let first = if draft.page.is_first { "first: " } else { "" };
        format!("{first}{}", draft.page.body()).into_bytes()
    }

    fn send<'a>(&'a self, message: &'a Message) -> Attempt<'a> {
        Box::pin(async move {
            if let Some(until) = self.away_until {
                if Instant::now() < until {
                    return Err(NotifyError::transient(Fault::Network));
                }
                let body = String::from_utf8(message.body.clone()).unwrap();
                let kind = kind_word(message.kind).to_owned();
                self.arrived.lock().unwrap().push((kind, body));
            }
            let (seconds, status, wish) = self
                .script
                .lock()
                .unwrap()
                .pop_front()
                .unwrap_or((0, 200, None));
            let at = self.started.elapsed().as_secs();
            let form = if message.id.ends_with("-reduced") {
                " reduced"
            } else {
                ""
            };
            let what = format!("{}{form} {status}", kind_word(message.kind));
            self.sent.lock().unwrap().push((at, what));
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            match status {
                1 => return Err(NotifyError::transient(Fault::Network)),
                2 => return Err(NotifyError::permanent(Fault::Request)),
                3 => {
                    return Err(NotifyError::Partly {
                        fault: Fault::Replied(450),
                        receipt: "who has it".to_owned(),
                    });
                }
                _ => {}
            }
            NotifyError::of_status(status, wish.map(Duration::from_secs))
                .map_or(Ok(Taken::default()), Err)
        })
    }
}

/// How many waited at each report, and how old the oldest of them was.
type Waits = Vec<(usize, Option<Duration>)>;

/// A worker with a paused clock, and what it did.
struct Trial {
    transport: Scripted,
    sender: Sender,
    into: Option<mpsc::Sender<Notice>>,
    from: Option<mpsc::Receiver<Notice>>,
    outcomes: Arc<Mutex<Vec<&'static str>>>,
    broken: Arc<Mutex<Vec<bool>>>,
    waits: Arc<Mutex<Waits>>,
}

impl Trial {
    fn new(script: &[(u64, u16, Option<u64>)]) -> Trial {
        let transport = Scripted {
            script: Arc::new(Mutex::new(script.iter().copied().collect())),
            sent: Arc::default(),
            started: Instant::now(),
            away_until: None,
            arrived: Arc::default(),
        };
        let (into, from) = mpsc::channel(600);
        let context = Context {
            zone: TimeZone::UTC,
            runbook_base: None,
            dashboard: None,
            pages: None,
        };
        Trial {
            sender: Sender {
                name: "ops".to_owned(),
                context,
                transport: Box::new(transport.clone()),
                pace: Pace {
                    burst: 1000,
                    every: Duration::from_millis(1),
                },
                max_age: Duration::from_secs(6 * 3600),
                takes_notices: true,
            },
            transport,
            into: Some(into),
            from: Some(from),
            outcomes: Arc::default(),
            broken: Arc::default(),
            waits: Arc::default(),
        }
    }

    fn give(&self, notification: &Notification) {
        let into = self.into.as_ref().unwrap();
        into.try_send(Arc::new(notification.clone()).into())
            .unwrap();
    }

    /// The worker; half of each wait's bound is waited.
    async fn work(&mut self, stop: impl Future<Output = Instant>) -> Vec<Unsent> {
        let from = self.from.take().unwrap();
        let outcomes = Arc::clone(&self.outcomes);
        let broken = Arc::clone(&self.broken);
        let waits = Arc::clone(&self.waits);
        let report = |report: Report| {
            let waiting = (report.waiting, report.oldest);
            waits.lock().unwrap().push(waiting);
            outcomes.lock().unwrap().push(report.outcome.as_str());
            broken.lock().unwrap().push(report.broken);
        };
        Worker::new(&self.sender, from, report, || 0.5)
            .run(stop)
            .await
    }

    /// Nothing more comes, and nobody stops it.
    async fn work_to_the_end(&mut self) -> Vec<Unsent> {
        self.into = None;
        self.work(std::future::pending()).await
    }

    fn sent(&self) -> Vec<(u64, String)> {
        self.transport.sent.lock().unwrap().clone()
    }

    fn outcomes(&self) -> Vec<&'static str> {
        self.outcomes.lock().unwrap().clone()
    }
}

/// Firing, update, resolved.
fn story(failure: Failure) -> Vec<Notification> {
    let told = fixture::incident(VmType::Browser, failure);
    let kinds: Vec<Kind> = told.iter().map(|notification| notification.kind).collect();
    assert_eq!(kinds, [Kind::Firing, Kind::Update, Kind::Resolved]);
    told
}

fn words(sent: &[(u64, &str)]) -> Vec<(u64, String)> {
    sent.iter()
        .map(|(at, what)| (*at, (*what).to_owned()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_now_is_tried_again_ever_more_rarely() {
    let mut trial = Trial::new(&[(0, 503, None), (0, 1, None), (0, 503, None), (0, 200, None)]);
    trial.give(&story(Failure::AgentRefused)[0]);
    assert!(trial.work_to_the_end().await.is_empty());
    // Half of 1, 2 and 4 seconds after one another.
    let expected = [
        (0, "firing 503"),
        (0, "firing 1"),
        (1, "firing 503"),
        (3, "firing 200"),
    ];
    assert_eq!(trial.sent(), words(&expected));
    let outcomes = [
        "retrying_server",
        "retrying_network",
        "retrying_server",
        "sent",
    ];
    assert_eq!(trial.outcomes(), outcomes);
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_tried_again_waits_since_it_was_made() {
    let mut trial = Trial::new(&[(2, 503, None), (3, 503, None), (0, 3, None), (0, 200, None)]);
    let mut notice = Notice::from(Arc::new(story(Failure::AgentRefused)[0].clone()));
    // An earlier run owed it.
    notice.age = Duration::from_secs(60);
    trial.into.as_ref().unwrap().try_send(notice).unwrap();
    trial.work_to_the_end().await;
    let waits = trial.waits.lock().unwrap().clone();
    let waits: Vec<_> = waits
        .iter()
        .map(|(waiting, oldest)| (*waiting, oldest.map(|age| age.as_secs())))
        .collect();
    // Waits of 0.5, 1 and 0.5 s lie between the tries.
    let expected = [(1, Some(62)), (1, Some(65)), (1, Some(66)), (0, None)];
    assert_eq!(waits, expected);
}

#[tokio::test(start_paused = true)]
async fn of_all_that_waits_the_oldest_counts() {
    let mut trial = Trial::new(&[(5, 503, Some(60)), (0, 200, None), (0, 200, None)]);
    trial.give(&story(Failure::AgentRefused)[0]);
    let into = trial.into.take().unwrap();
    let later = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let other = fixture::incident(VmType::Browser, Failure::TapFailed)[0].clone();
        into.try_send(Arc::new(other).into()).unwrap();
        drop(into);
        std::future::pending::<Instant>().await
    };
    trial.work(later).await;
    let waits = trial.waits.lock().unwrap().clone();
    let ages: Vec<_> = waits
        .iter()
        .map(|(waiting, oldest)| (*waiting, oldest.map(|age| age.as_secs())))
        .collect();
    assert_eq!(ages, [(2, Some(5)), (1, Some(62)), (0, None)]);
}

#[tokio::test(start_paused = true)]
async fn a_wish_holds_for_the_whole_receiver() {
    let mut trial = Trial::new(&[(0, 429, Some(60)), (0, 200, None)]);
    trial.give(&story(Failure::AgentRefused)[0]);
    trial.give(&fixture::incident(VmType::Browser, Failure::TapFailed)[0]);
    trial.work_to_the_end().await;
    let expected = [(0, "firing 429"), (60, "firing 200"), (60, "firing 200")];
    assert_eq!(trial.sent(), words(&expected));
}

#[tokio::test(start_paused = true)]
async fn a_refused_message_does_not_hold_up_the_next() {
    let mut trial = Trial::new(&[(0, 401, None), (0, 200, None)]);
    trial.give(&story(Failure::AgentRefused)[0]);
    trial.give(&fixture::incident(VmType::Browser, Failure::TapFailed)[0]);
    trial.work_to_the_end().await;
    assert_eq!(trial.sent(), words(&[(0, "firing 401"), (0, "firing 200")]));
    assert_eq!(trial.outcomes(), ["failed_auth", "sent"]);
}

#[tokio::test(start_paused = true)]
async fn who_is_put_off_delays_nobody_else() {
    // The first page is tried for its last recipient after 0.5, 1 and 2 s more; meanwhile another leaves at once.
    let script = [(0, 3, None), (0, 200, None), (0, 3, None), (0, 3, None)];
    let mut trial = Trial::new(&script);
    trial.give(&story(Failure::AgentRefused)[0]);
    trial.give(&fixture::incident(VmType::Browser, Failure::TapFailed)[0]);
    trial.work_to_the_end().await;
    let expected = [
        (0, "firing 3"),
        (0, "firing 200"),
        (0, "firing 3"),
        (1, "firing 3"),
        (3, "firing 200"),
    ];
    assert_eq!(trial.sent(), words(&expected));
    let outcomes = ["partly", "sent", "partly", "partly", "sent"];
    assert_eq!(trial.outcomes(), outcomes);
    assert!(!trial.broken.lock().unwrap().contains(&true));
}

#[tokio::test(start_paused = true)]
async fn who_is_put_off_is_told_the_newer_state_and_never_the_older_one() {
    let mut trial = Trial::new(&[(0, 3, None), (7, 200, None)]);
    let told = story(Failure::AgentRefused);
    trial.give(&told[0]);
    trial.give(&fixture::incident(VmType::Browser, Failure::TapFailed)[0]);
    let into = trial.into.take().unwrap();
    let later = async {
        // While another page is sent the incident ends.
        tokio::time::sleep(Duration::from_secs(3)).await;
        into.try_send(Arc::new(told[2].clone()).into()).unwrap();
        drop(into);
        std::future::pending::<Instant>().await
    };
    trial.work(later).await;
    let expected = [(0, "firing 3"), (0, "firing 200"), (7, "resolved 200")];
    assert_eq!(trial.sent(), words(&expected));
    assert_eq!(trial.outcomes(), ["partly", "replaced", "sent", "sent"]);
}

/// Whoever got it from an earlier run has heard of its beginning.
#[tokio::test(start_paused = true)]
async fn the_end_of_what_some_have_by_an_earlier_run_does_not_say_that_nobody_heard_of_it() {
    for (receipt, unheard) in [(None, true), (Some("who has it".to_owned()), false)] {
        let mut trial = Trial::new(&[]);
        trial.transport.away_until = Some(trial.transport.started + Duration::from_secs(60));
        trial.sender.transport = Box::new(trial.transport.clone());
        let told = story(Failure::AgentRefused);
        let into = trial.into.take().unwrap();
        let first = Notice {
            receipt,
            ..Arc::new(told[0].clone()).into()
        };
        into.try_send(first).unwrap();
        into.try_send(Arc::new(told[2].clone()).into()).unwrap();
        drop(into);
        trial.work(std::future::pending()).await;
        let arrived = trial.transport.arrived.lock().unwrap();
        let texts: Vec<bool> = arrived
            .iter()
            .map(|(_, text)| text.contains("Its beginning was not told here"))
            .collect();
        assert_eq!(texts, [unheard]);
    }
}

/// Of what took the place of an incident's first message, and is owed by an earlier run.
#[tokio::test(start_paused = true)]
async fn what_an_earlier_run_owed_to_who_has_no_word_of_it_is_the_first_there() {
    let told = story(Failure::AgentRefused);
    for begins in [true, false] {
        let mut trial = Trial::new(&[]);
        trial.transport.away_until = Some(trial.transport.started + Duration::from_secs(60));
        trial.sender.transport = Box::new(trial.transport.clone());
        let into = trial.into.take().unwrap();
        let end = Notice {
            begins,
            ..Arc::new(told[2].clone()).into()
        };
        into.try_send(end).unwrap();
        drop(into);
        trial.work(std::future::pending()).await;
        let arrived = trial.transport.arrived.lock().unwrap();
        let texts: Vec<bool> = arrived
            .iter()
            .map(|(_, text)| text.contains("Its beginning was not told here"))
            .collect();
        assert_eq!(texts, [begins]);
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_put_off_is_given_up_in_the_end() {
    let script: Vec<(u64, u16, Option<u64>)> = vec![(0, 3, None); 400];
    let mut trial = Trial::new(&script);
    trial.give(&story(Failure::AgentRefused)[0]);
    trial.work_to_the_end().await;
    assert_eq!(trial.outcomes().last(), Some(&"expired"));
    let last = trial.sent().last().unwrap().0;
    assert!((5 * 3_600..6 * 3_600).contains(&last), "{last}");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_refuses_us_is_broken_until_it_takes_a_message() {
    for status in [401, 403, 404] {
        let mut trial = Trial::new(&[(0, status, None), (0, 503, None), (0, 200, None)]);
        trial.give(&story(Failure::AgentRefused)[0]);
        trial.give(&fixture::incident(VmType::Browser, Failure::TapFailed)[0]);
        trial.work_to_the_end().await;
        let broken = trial.broken.lock().unwrap().clone();
        assert_eq!(broken, [true, true, false], "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_leaves_at_the_providers_pace() {
    let mut trial = Trial::new(&[]);
    trial.sender.pace = Pace {
        burst: 3,
        every: Duration::from_secs(1),
    };
    let told = story(Failure::AgentRefused);
    for n in 0..200 {
        let mut other = told[0].clone();
        other.incident.key = format!("{n:032x}");
        trial.give(&other);
    }
    trial.work_to_the_end().await;
    let at: Vec<u64> = trial.sent().into_iter().map(|(at, _)| at).collect();
    let expected: Vec<u64> = [0, 0].into_iter().chain(0..198).collect();
    assert_eq!(at, expected);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_could_not_be_laid_out_does_not_hold_up_the_next() {
    let mut trial = Trial::new(&[(0, 2, None), (0, 2, None), (0, 200, None)]);
    trial.give(&story(Failure::AgentRefused)[0]);
    trial.give(&fixture::incident(VmType::Browser, Failure::TapFailed)[0]);
    trial.work_to_the_end().await;
    let expected = [(0, "firing 2"), (0, "firing reduced 2"), (0, "firing 200")];
    assert_eq!(trial.sent(), words(&expected));
}

#[tokio::test(start_paused = true)]
async fn a_refused_payload_is_tried_once_more_without_evidence() {
    let mut trial = Trial::new(&[(0, 400, None), (0, 413, None)]);
    trial.give(&story(Failure::AgentRefused)[0]);
    trial.work_to_the_end().await;
    let expected = [(0, "firing 400"), (0, "firing reduced 413")];
    assert_eq!(trial.sent(), words(&expected));
    assert_eq!(trial.outcomes(), ["retrying_client", "failed_client"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_over_before_it_could_be_sent_is_told_as_over_and_pages_nobody() {
    let mut trial = Trial::new(&[(0, 503, Some(30)), (0, 200, None)]);
    for notification in story(Failure::AgentRefused) {
        trial.give(&notification);
    }
    trial.work_to_the_end().await;
    let sent = trial.sent();
    assert_eq!(sent, words(&[(0, "firing 503"), (30, "resolved 200")]));
    assert_eq!(
        trial.outcomes(),
        ["retrying_server", "replaced", "replaced", "sent"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_end_never_overtakes_what_was_sent_before_it() {
    let told = story(Failure::AgentRefused);
    let mut trial = Trial::new(&[(0, 200, None), (0, 503, Some(30)), (0, 200, None)]);
    trial.give(&told[0]);
    let into = trial.into.take().unwrap();
    let later = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        into.send(Arc::new(told[1].clone()).into()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        into.send(Arc::new(told[2].clone()).into()).await.unwrap();
        drop(into);
    };
    let (left, ()) = tokio::join!(trial.work(std::future::pending()), later);
    assert!(left.is_empty());
    let expected = [(0, "firing 200"), (5, "update 503"), (35, "resolved 200")];
    assert_eq!(trial.sent(), words(&expected));
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_any_answer_loses_nothing_and_what_is_late_says_so() {
    let hour = Duration::from_secs(3_600);
    let mut trial = Trial::new(&[]);
    trial.transport.away_until = Some(trial.transport.started + hour);
    trial.sender.transport = Box::new(trial.transport.clone());
    let told = story(Failure::AgentRefused);
    let into = trial.into.take().unwrap();
    let later = async {
        // Five that go on, and five that are over before the hour is.
        for n in 0..10 {
            let mut one = told[0].clone();
            one.incident.key = format!("{n:032x}");
            into.send(Arc::new(one).into()).await.unwrap();
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        for n in 5..10 {
            // With news in between.
            for next in &told[1..] {
                let mut next = next.clone();
                next.incident.key = format!("{n:032x}");
                into.send(Arc::new(next).into()).await.unwrap();
            }
        }
        drop(into);
    };
    let (left, ()) = tokio::join!(trial.work(std::future::pending()), later);
    assert!(left.is_empty());
    let arrived = trial.transport.arrived.lock().unwrap().clone();
    let count = |kind: &str| arrived.iter().filter(|(what, _)| what == kind).count();
    assert_eq!(
        (count("firing"), count("resolved"), arrived.len()),
        (5, 5, 10)
    );
    for (what, body) in &arrived {
        assert!(
            body.contains("late: this channel could not be reached"),
            "{what}: {body}"
        );
        assert!(body.starts_with("first: "), "{what}: {body}");
        let unheard = body.contains("Its beginning was not told here");
        assert_eq!(unheard, what == "resolved", "{body}");
    }
    let outcomes = trial.outcomes();
    assert_eq!(outcomes.iter().filter(|one| **one == "sent").count(), 10);
    assert!(
        !outcomes
            .iter()
            .any(|one| one.starts_with("failed") || *one == "expired")
    );
}

/// An answer to what never came would be looked for in vain.
#[tokio::test(start_paused = true)]
async fn what_takes_the_place_of_an_incidents_first_message_is_its_first_and_the_next_is_not() {
    let told = story(Failure::AgentRefused);
    let mut trial = Trial::new(&[]);
    trial.transport.away_until = Some(Instant::now() + Duration::from_secs(60));
    trial.sender.transport = Box::new(trial.transport.clone());
    trial.give(&told[0]);
    let into = trial.into.take().unwrap();
    let later = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        into.send(Arc::new(told[1].clone()).into()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        into.send(Arc::new(told[2].clone()).into()).await.unwrap();
        drop(into);
    };
    let (left, ()) = tokio::join!(trial.work(std::future::pending()), later);
    assert!(left.is_empty());
    let arrived = trial.transport.arrived.lock().unwrap().clone();
    let first = |(kind, body): &(String, String)| (kind.clone(), body.starts_with("first: "));
    let arrived: Vec<_> = arrived.iter().map(first).collect();
    assert_eq!(
        arrived,
        [("update".to_owned(), true), ("resolved".to_owned(), false)]
    );
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_under_way_is_not_replaced_unless_it_fails() {
    let told = story(Failure::AgentRefused);
    let mut trial = Trial::new(&[(10, 1, None), (0, 200, None)]);
    trial.give(&told[0]);
    let into = trial.into.take().unwrap();
    let later = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        into.send(Arc::new(told[1].clone()).into()).await.unwrap();
        drop(into);
    };
    let (left, ()) = tokio::join!(trial.work(std::future::pending()), later);
    assert!(left.is_empty());
    assert_eq!(trial.sent(), words(&[(0, "firing 1"), (10, "update 200")]));
    assert_eq!(trial.outcomes(), ["retrying_network", "replaced", "sent"]);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_never_arrives_is_given_up_after_six_hours() {
    let mut trial = Trial::new(&[(0, 503, None); 1000]);
    trial.give(&story(Failure::AgentRefused)[0]);
    assert!(trial.work_to_the_end().await.is_empty());
    assert_eq!(trial.outcomes().last(), Some(&"expired"));
    let (last, _) = trial.sent().pop().unwrap();
    assert!((5 * 3600..=6 * 3600).contains(&last), "{last}");
    assert!(trial.sent().len() < 200);
}

#[tokio::test(start_paused = true)]
async fn stopping_tries_what_waits_at_once_and_says_what_was_left() {
    let mut script = vec![(0, 503, None); 9];
    script.push((0, 200, None));
    let mut trial = Trial::new(&script);
    let told = story(Failure::AgentRefused);
    trial.give(&told[0]);
    // The ninth try is 127.5 s after the first, and the tenth would be 128 s later.
    let stop = async {
        tokio::time::sleep(Duration::from_secs(150)).await;
        Instant::now() + Duration::from_secs(10)
    };
    trial.into = None;
    let left = trial.work(stop).await;
    assert_eq!(left, []);
    assert_eq!(trial.sent().last(), Some(&(150, "firing 200".to_owned())));

    let mut trial = Trial::new(&[(0, 503, Some(600)), (0, 200, None)]);
    trial.give(&told[0]);
    trial.give(&told[2]);
    trial.into = None;
    let began = Instant::now();
    let left = trial
        .work(async { Instant::now() + Duration::from_secs(10) })
        .await;
    let kinds: Vec<Kind> = left.iter().map(|unsent| unsent.kind).collect();
    assert_eq!(
        kinds,
        [Kind::Resolved],
        "the receiver asked not to be called"
    );
    assert_eq!(
        began.elapsed(),
        Duration::ZERO,
        "nothing is gained by waiting"
    );
    let mut outcomes = trial.outcomes();
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["replaced", "retrying_server", "unsent"]);
}

#[tokio::test(start_paused = true)]
async fn a_try_that_fails_after_the_stop_is_made_once_more_at_once() {
    let mut script = vec![(0, 503, None); 8];
    script.extend([(5, 503, None), (0, 200, None)]);
    let mut trial = Trial::new(&script);
    trial.give(&story(Failure::AgentRefused)[0]);
    trial.into = None;
    // The ninth try lasts from 127.5 s to 132.5 s.
    let stop = async {
        tokio::time::sleep(Duration::from_secs(130)).await;
        Instant::now() + Duration::from_secs(10)
    };
    assert_eq!(trial.work(stop).await, []);
    assert_eq!(trial.sent().last(), Some(&(132, "firing 200".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_try_without_an_answer_ends_at_the_deadline() {
    let mut trial = Trial::new(&[(3600, 200, None)]);
    trial.give(&story(Failure::AgentRefused)[0]);
    let began = Instant::now();
    let left = trial
        .work(async { Instant::now() + Duration::from_secs(10) })
        .await;
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    assert_eq!(left.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_bounded_and_the_oldest_goes() {
    let mut trial = Trial::new(&[(1, 200, None)]);
    let told = story(Failure::AgentRefused);
    for n in 0..300 {
        let mut other = told[0].clone();
        other.incident.key = format!("{n:032x}");
        trial.give(&other);
    }
    trial.work_to_the_end().await;
    let outcomes = trial.outcomes();
    let count = |outcome| outcomes.iter().filter(|found| **found == outcome).count();
    assert_eq!(count("sent") + count("overflow"), 300);
    assert_eq!(count("overflow"), 300 - 1 - super::super::queue::MOST);
}

#[test]
fn every_outcome_has_its_own_label() {
    let labels: std::collections::BTreeSet<&str> = Outcome::all().map(Outcome::as_str).collect();
    assert_eq!(labels.len(), Outcome::all().count());
}
