//! A queue that never makes anyone wait: when it is full, the oldest go.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[derive(Debug)]
pub(super) struct Queue<T> {
    most: usize,
    items: Mutex<VecDeque<T>>,
    filled: Notify,
}

impl<T> Queue<T> {
    pub(super) fn new(most: usize) -> Queue<T> {
        Queue {
            most,
            items: Mutex::new(VecDeque::new()),
            filled: Notify::new(),
        }
    }

    fn items(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts it behind the others; says how many went for it.
    pub(super) fn push(&self, item: T) -> usize {
        let mut items = self.items();
        items.push_back(item);
        let over = items.len().saturating_sub(self.most);
        items.drain(..over);
        drop(items);
        self.filled.notify_one();
        over
    }

    /// Takes the oldest.
    pub(super) fn take(&self, most: usize) -> Vec<T> {
        let mut items = self.items();
        let count = items.len().min(most);
        items.drain(..count).collect()
    }

    /// Puts back what was taken, before the others; says how many of the oldest found no room any more.
    pub(super) fn put_back(&self, taken: Vec<T>) -> usize {
        let mut items = self.items();
        let room = self.most.saturating_sub(items.len());
        let over = taken.len().saturating_sub(room);
        for item in taken.into_iter().skip(over).rev() {
            items.push_front(item);
        }
        over
    }

    pub(super) fn len(&self) -> usize {
        self.items().len()
    }

    /// Completes once there is something to take.
    pub(super) async fn filled(&self) {
        while self.len() == 0 {
            self.filled.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_when_it_is_full() {
        let queue = Queue::new(3);
        let pushed_out: Vec<usize> = (0..5).map(|number| queue.push(number)).collect();
        assert_eq!(pushed_out, [0, 0, 0, 1, 1]);
        assert_eq!(queue.take(2), [2, 3]);
        assert_eq!(queue.take(9), [4]);
        assert_eq!(queue.take(9), Vec::<i32>::new());
    }

    #[test]
    fn what_is_put_back_keeps_its_place_and_what_has_no_room_is_the_oldest() {
        let queue = Queue::new(3);
        for number in 0..3 {
            queue.push(number);
        }
        let taken = queue.take(2);
        queue.push(3);
        assert_eq!(queue.put_back(taken), 1);
        assert_eq!(queue.take(9), [1, 2, 3]);
    }

    #[tokio::test]
    async fn who_waits_for_something_is_woken_by_it() {
        let queue = Queue::new(3);
        tokio::join!(queue.filled(), async { queue.push(1) });
        // What is there already is not waited for.
        queue.filled().await;
    }
}
