//! What the first page keeps between two looks, with an invented clock.

use tokio::sync::watch;

use super::*;
use crate::core::event::Outcome;
use crate::web::Readiness;
use crate::web::tests::{faces, operators};

fn site(live: watch::Receiver<Arc<Live>>) -> Arc<Site> {
    let ready = watch::channel(Readiness::ready()).1;
    Site::new(Faces {
        live,
        public: true,
        ..faces(Arc::new(Vec::new), ready, operators(None).0)
    })
}

#[tokio::test(start_paused = true)]
async fn the_first_page_is_written_once_a_tick_whoever_asks() {
    let now = clock::now();
    let look = |last_boot: Timestamp| {
        Arc::new(Live {
            at: Some(now.plus_ms(HOUR_MS)),
            last_boot: Some(last_boot),
            ..Live::default()
        })
    };
    let (live, shown) = watch::channel(look(now));
    let site = site(shown);
    let (first, public) = (site.first_page().await, site.public_page().await);
    // Nothing ended for two days: the word on both pages is another one.
    live.send_replace(look(now.plus_ms(-2 * DAY_MS)));
    for _ in 0..1_000 {
        assert_eq!(site.first_page().await.tag, first.tag);
        assert_eq!(site.public_page().await.tag, public.tag);
    }
    tokio::time::advance(TICK).await;
    assert_ne!(site.first_page().await.tag, first.tag);
    assert_ne!(site.public_page().await.tag, public.tag);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_stays_as_it_was_and_says_so() {
    let at = clock::monotonic();
    let cell = Cell {
        from: clock::now(),
        vm_type: VmType::Browser,
        outcome: Some(Outcome::Ready),
        failure: None,
        maintained: false,
        boots: 7,
    };
    let unread = || Unread("the disk is busy".to_owned());
    let mut kept = Kept::default();
    let month = Month {
        cells: vec![cell],
        ..Month::default()
    };
    let day = Day {
        cells: vec![cell],
        ..Day::default()
    };
    kept.take_month(at, Ok(month.clone()));
    kept.take_day(at, day.from, Ok(day));
    kept.take_month(at, Err(unread()));
    kept.take_day(at, Timestamp(5), Err(unread()));
    let (Some((_, of_month)), Some((_, of_day))) = (&kept.month, &kept.day) else {
        panic!("nothing is kept")
    };
    assert!(of_month.is_unread && of_month.cells.len() == 1);
    assert!(of_day.unread == Some(unread()) && of_day.cells.len() == 1);
    assert_eq!(
        of_day.from,
        Timestamp(0),
        "of the hours that it was read for"
    );
    let site = site(watch::channel(Arc::default()).1);
    let shown = |month: &Month| site.with_page(|page| now::days(page, month).into_string());
    let says = "These days cannot be read at present. What stands here is older.";
    let (older, newest) = (shown(of_month), shown(&month));
    assert!(
        older.contains(says) && older.contains("0 of 7 failed"),
        "{older}"
    );
    assert!(!newest.contains("at present"), "{newest}");
    kept.take_month(at, Ok(month));
    assert!(kept.month.is_some_and(|(_, month)| !month.is_unread));
}
