//! a workload that others run, with a made-up other side

use super::*;
use crate::clock::Clock;
use std::collections::VecDeque;

/// What the other side does and heard.
#[derive(Clone, Default)]
struct Door(Arc<Mutex<Other>>);

#[derive(Default)]
struct Other {
    /// answers to tellings, in turn; afterwards each is acknowledged
    answers: VecDeque<Result<()>>,
    /// a telling takes until this is false
    slow: bool,
    heard: Vec<(String, u32)>,
    looks: bool,
    seen: Option<Seen>,
}

impl Door {
    fn lock(&self) -> MutexGuard<'_, Other> {
        self.0.lock().unwrap()
    }
}

impl Deliver for Door {
    fn deliver<'a>(&'a self, errand: &'a Errand, _: &'a Newer) -> BoxFuture<'a, Result<Delivered>> {
        Box::pin(async move {
            self.lock().heard.push((errand.key.clone(), errand.change.to));
            while self.lock().slow {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            self.lock().answers.pop_front().unwrap_or(Ok(()))?;
            Ok(Delivered::Acknowledged("done".to_owned()))
        })
    }

    fn can_look(&self) -> bool {
        self.lock().looks
    }

    fn look(&self) -> BoxFuture<'_, Result<Seen>> {
        let seen = self.lock().seen.ok_or_else(|| Error::invalid("nobody answers"));
        Box::pin(async move { seen })
    }
}

async fn open(door: &Door) -> Remote<Door> {
    let ground = Ground { workload: "web".to_owned(), clock: Clock::system(), publish: Arc::new(|_| ()) };
    let patience = Patience { observe_every: Duration::from_millis(20), settle: Duration::from_millis(100) };
    Remote::open(door.clone(), ground, patience).await
}

fn change(tick: i64, to: u32) -> Change {
    Change { decision: format!("web/{tick}"), scaler: "web".to_owned(), at: tick, to, ..Change::default() }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_where_nobody_can_look() {
    let door = Door::default();
    let remote = open(&door).await;
    assert_eq!(remote.status(), Status::default());
    assert_eq!(remote.carry_out(&change(1, 3)).await.unwrap(), Outcome { reached: true, words: "done".to_owned() });
    assert_eq!(remote.status(), Status { asked: 3, running: 3, ready: 3, ..Status::default() });
    door.lock().answers.push_back(Err(Error::invalid("no")));
    assert!(remote.carry_out(&change(2, 5)).await.is_err());
    assert_eq!(remote.status().asked, 3);
    remote.carry_out(&change(2, 5)).await.unwrap();
    let heard = door.lock().heard.clone();
    assert_eq!(heard, [("web/1".to_owned(), 3), ("web/2".to_owned(), 5), ("web/2".to_owned(), 5)], "one key each");
}

#[tokio::test]
async fn the_latest_number_is_told_last_and_those_between_not_at_all() {
    let door = Door::default();
    door.lock().slow = true;
    let remote = Arc::new(open(&door).await);
    let ask = |tick, to| {
        let remote = remote.clone();
        tokio::spawn(async move { remote.carry_out(&change(tick, to)).await.unwrap() })
    };
    let first = ask(1, 2);
    while door.lock().heard.is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let second = ask(2, 3);
    while *remote.inner.latest.borrow() < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let third = ask(3, 4);
    let second = second.await.unwrap();
    assert!(!second.reached && second.words.contains("another number was decided meanwhile"), "{}", second.words);
    door.lock().slow = false;
    assert!(first.await.unwrap().reached && third.await.unwrap().reached);
    assert_eq!(door.lock().heard, [("web/1".to_owned(), 2), ("web/3".to_owned(), 4)]);
    assert_eq!(remote.status().asked, 4);
}

#[tokio::test]
async fn what_is_seen_counts_and_what_does_not_last_is_asked_for_again_under_another_key() {
    let door = Door::default();
    (door.lock().looks, door.lock().seen) = (true, Some(Seen { replicas: 7, ready: 6 }));
    let remote = open(&door).await;
    assert_eq!(remote.status(), Status { asked: 7, found: Some(7), running: 7, ready: 6, ..Status::default() });
    let outcome = remote.carry_out(&change(1, 3)).await.unwrap();
    assert!(!outcome.reached && outcome.words.ends_with("7 replicas there, 6 ready"), "{}", outcome.words);
    assert_eq!(remote.status().asked, 7, "so that the next tick asks again");
    door.lock().seen = Some(Seen { replicas: 3, ready: 3 });
    let outcome = remote.carry_out(&change(1, 3)).await.unwrap();
    assert!(outcome.reached && outcome.words.starts_with("done; 3 replicas ready after"), "{}", outcome.words);
    assert_eq!(door.lock().heard, [("web/1".to_owned(), 3), ("web/1/1".to_owned(), 3)]);
    assert_eq!(remote.status().asked, 3);
}

#[tokio::test]
async fn a_workload_that_cannot_be_counted_says_so() {
    let door = Door::default();
    door.lock().looks = true;
    let remote = open(&door).await;
    assert_eq!((remote.status().unknown.as_str(), remote.status().asked), ("nobody answers", 0));
    door.lock().seen = Some(Seen { replicas: 2, ready: 1 });
    while !remote.status().unknown.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((remote.status().asked, remote.status().ready), (2, 1));
    door.lock().seen = None;
    while remote.status().unknown.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(remote.status().asked, 2, "what was last seen");
}
