//! Bounded pipes between threads. What happens when one is full is chosen where it is made, and every drop is counted.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// What a pipe does with a new item when it is full.
pub enum WhenFull<T> {
    /// The sender waits. Nothing is ever dropped; replay uses this everywhere.
    Block,
    /// The oldest item goes.
    DropOldest,
    /// Only the newest of each kind matters: a new item takes the place of a waiting one for which the function says
    /// "same kind", full or not. When there is none and the pipe is full, the oldest goes.
    Latest(fn(&T, &T) -> bool),
}

/// Called with each item that the pipe had to drop, before anyone can receive what took its place. The pipe is locked meanwhile: it must
/// not touch the pipe, nor wait.
pub type OnDrop<T> = Box<dyn Fn(&T) + Send + Sync>;

struct State<T> {
    queue: VecDeque<T>,
    senders: usize,
    /// Threads that wait for a change: without one, nobody is woken, which is a system call.
    waiting: usize,
    /// Nothing more is taken in: the receiver is gone, or the pipe was closed.
    is_shut: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    capacity: usize,
    when_full: WhenFull<T>,
    on_drop: OnDrop<T>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A queue is valid after any panic: no invariant spans two statements below.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an item in, and gives what has to go for it.
    fn put(&self, queue: &mut VecDeque<T>, item: T) -> Option<T> {
        if let WhenFull::Latest(same) = &self.when_full
            && let Some(waiting) = queue.iter_mut().find(|waiting| same(waiting, &item))
        {
            return Some(std::mem::replace(waiting, item));
        }
        let oldest = if queue.len() >= self.capacity { queue.pop_front() } else { None };
        queue.push_back(item);
        oldest
    }

    /// Lets go of the state, which has changed, and wakes whoever waits for that.
    fn announce(&self, state: MutexGuard<'_, State<T>>) {
        let is_awaited = state.waiting > 0;
        drop(state);
        if is_awaited {
            self.changed.notify_all();
        }
    }
}

/// The receiver is gone or the pipe was closed; the item comes back.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed<T>(pub T);

/// What a receiver got.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// The next item.
    Item(T),
    /// Nothing came in time.
    TimedOut,
    /// Every sender is gone, or the pipe was closed, and the queue is empty.
    Closed,
}

/// The sending end; clones share the pipe.
pub struct Sender<T>(Arc<Shared<T>>);

/// The receiving end.
pub struct Receiver<T>(Arc<Shared<T>>);

/// A bounded pipe.
#[must_use]
pub fn bounded<T>(capacity: NonZeroUsize, when_full: WhenFull<T>, on_drop: OnDrop<T>) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            queue: VecDeque::with_capacity(capacity.get()),
            senders: 1,
            waiting: 0,
            is_shut: false,
        }),
        changed: Condvar::new(),
        capacity: capacity.get(),
        when_full,
        on_drop,
    });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

impl<T> Sender<T> {
    /// Puts one item in, as the pipe's policy says.
    ///
    /// # Errors
    /// [`Closed`] with the item when the receiver is gone or the pipe was closed.
    pub fn send(&self, item: T) -> Result<(), Closed<T>> {
        self.send_all([item])
    }

    /// As [`Self::send`] for each, but the receiver is woken only once, if all find room. The pipe is locked while `items` gives them.
    ///
    /// # Errors
    /// [`Closed`] with the first item that was not put in.
    pub fn send_all(&self, items: impl IntoIterator<Item = T>) -> Result<(), Closed<T>> {
        // Freed when the pipe is open again: raw frames take their time.
        let mut gone = Vec::new();
        let mut state = self.0.lock();
        let mut is_untold = false;
        for item in items {
            let must_wait = |state: &State<T>| {
                matches!(self.0.when_full, WhenFull::Block) && state.queue.len() >= self.0.capacity && !state.is_shut
            };
            while must_wait(&state) {
                if std::mem::take(&mut is_untold) && state.waiting > 0 {
                    self.0.changed.notify_all();
                }
                state.waiting += 1;
                state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.waiting -= 1;
            }
            if state.is_shut {
                return Err(Closed(item));
            }
            if let Some(old) = self.0.put(&mut state.queue, item) {
                (self.0.on_drop)(&old);
                gone.push(old);
            }
            is_untold = true;
        }
        self.0.announce(state);
        Ok(())
    }

    /// Whether the receiver is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.lock().is_shut
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.senders -= 1;
        self.0.announce(state);
    }
}

impl<T> Receiver<T> {
    /// Waits up to `timeout` for the next item; with none, only looks.
    pub fn recv(&self, timeout: Duration) -> Received<T> {
        let mut state = self.0.lock();
        let may_come = |state: &State<T>| state.queue.is_empty() && state.senders > 0 && !state.is_shut;
        if may_come(&state) && !timeout.is_zero() {
            state.waiting += 1;
            state = self
                .0
                .changed
                .wait_timeout_while(state, timeout, |state| may_come(state))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            state.waiting -= 1;
        }
        match state.queue.pop_front() {
            Some(item) => {
                self.0.announce(state);
                Received::Item(item)
            }
            None if state.senders == 0 || state.is_shut => Received::Closed,
            None => Received::TimedOut,
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.lock().queue.is_empty()
    }

    /// A gauge and valve of this pipe.
    #[must_use]
    pub fn gauge(&self) -> Gauge<T> {
        Gauge(Arc::downgrade(&self.0))
    }
}

/// Tells how many items wait in a pipe, and can close it, without keeping it open.
pub struct Gauge<T>(Weak<Shared<T>>);

impl<T> Gauge<T> {
    /// How many items wait; 0 once the pipe is gone.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.upgrade().map_or(0, |shared| shared.lock().queue.len())
    }

    /// How many may wait; 0 once the pipe is gone.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.upgrade().map_or(0, |shared| shared.capacity)
    }

    /// Lets nothing more in, whoever still has a sender. What waits is still received.
    pub fn close(&self) {
        let Some(shared) = self.0.upgrade() else { return };
        let mut state = shared.lock();
        state.is_shut = true;
        shared.announce(state);
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_shut = true;
        self.0.announce(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const NOW: Duration = Duration::ZERO;

    type Item = (char, u32);

    fn counted(capacity: usize, when_full: WhenFull<Item>) -> (Sender<Item>, Receiver<Item>, Arc<AtomicUsize>) {
        let drops = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&drops);
        let on_drop = Box::new(move |_: &_| {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let (sender, receiver) = bounded(NonZeroUsize::new(capacity).unwrap(), when_full, on_drop);
        (sender, receiver, drops)
    }

    #[test]
    fn the_oldest_goes_and_is_counted() {
        let (sender, receiver, drops) = counted(2, WhenFull::DropOldest);
        for n in 0..5 {
            sender.send(('a', n)).unwrap();
        }
        assert_eq!(receiver.gauge().depth(), 2);
        assert_eq!(drops.load(Ordering::Relaxed), 3);
        assert_eq!(receiver.recv(NOW), Received::Item(('a', 3)));
        assert_eq!(receiver.recv(NOW), Received::Item(('a', 4)));
        assert_eq!(receiver.recv(NOW), Received::TimedOut);
    }

    #[test]
    fn latest_replaces_its_own_kind_only() {
        let (sender, receiver, drops) = counted(4, WhenFull::Latest(|a, b| a.0 == b.0));
        for item in [('a', 1), ('b', 1), ('a', 2)] {
            sender.send(item).unwrap();
        }
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        assert_eq!(receiver.recv(NOW), Received::Item(('a', 2)));
        assert_eq!(receiver.recv(NOW), Received::Item(('b', 1)));
    }

    #[test]
    fn what_is_dropped_is_told_before_its_successor_is_received() {
        let told = Arc::new(AtomicUsize::new(0));
        let teller = Arc::clone(&told);
        let on_drop = Box::new(move |_: &_| {
            std::thread::yield_now();
            teller.fetch_add(1, Ordering::Relaxed);
        });
        let (sender, receiver) = bounded(NonZeroUsize::MIN, WhenFull::Latest(|_, _| true), on_drop);
        let writer = std::thread::spawn(move || (1..=1_000).for_each(|n: usize| sender.send(n).unwrap()));
        let mut received = 0;
        loop {
            match receiver.recv(NOW) {
                Received::Item(n) => {
                    received += 1;
                    // Each of those before it was received, or dropped and told.
                    assert!(received + told.load(Ordering::Relaxed) >= n, "the {n}th came first");
                }
                Received::TimedOut => std::thread::yield_now(),
                Received::Closed => break,
            }
        }
        writer.join().unwrap();
        assert_eq!(received + told.load(Ordering::Relaxed), 1_000);
    }

    #[test]
    fn a_blocking_pipe_loses_nothing() {
        let (sender, receiver, drops) = counted(1, WhenFull::Block);
        let writer = std::thread::spawn(move || (0..100).for_each(|n| sender.send(('a', n)).unwrap()));
        let mut got = Vec::new();
        while let Received::Item((_, n)) = receiver.recv(Duration::from_secs(5)) {
            got.push(n);
        }
        writer.join().unwrap();
        assert_eq!(got, (0..100).collect::<Vec<_>>());
        assert_eq!(drops.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn of_what_is_sent_together_nothing_is_lost_though_the_pipe_has_less_room() {
        let (sender, receiver, drops) = counted(2, WhenFull::Block);
        let writer = std::thread::spawn(move || sender.send_all((0..100).map(|n| ('a', n))));
        let next = || match receiver.recv(Duration::from_secs(5)) {
            Received::Item((_, n)) => Some(n),
            _ => None,
        };
        assert_eq!(std::iter::from_fn(next).take(50).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
        while receiver.gauge().depth() < 2 {
            std::thread::yield_now();
        }
        receiver.gauge().close();
        assert_eq!(writer.join().unwrap(), Err(Closed(('a', 52))));
        assert!(std::iter::from_fn(next).eq(50..52), "what was put in is there");
        assert_eq!(drops.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn both_ends_see_the_other_go() {
        let (sender, receiver, _) = counted(1, WhenFull::Block);
        assert!(!sender.is_closed());
        drop(receiver);
        assert!(sender.is_closed());
        assert_eq!(sender.send(('a', 1)), Err(Closed(('a', 1))));
        let (sender, receiver, _) = counted(1, WhenFull::Block);
        sender.send(('a', 1)).unwrap();
        drop(sender);
        assert_eq!(receiver.recv(NOW), Received::Item(('a', 1)));
        assert_eq!(receiver.recv(NOW), Received::Closed);
    }

    #[test]
    fn a_closed_pipe_gives_what_waits_and_takes_nothing_more() {
        let (sender, receiver, _) = counted(1, WhenFull::Block);
        sender.send(('a', 1)).unwrap();
        let waiting = sender.clone();
        let waiting = std::thread::spawn(move || waiting.send(('a', 2)));
        receiver.gauge().close();
        assert_eq!(waiting.join().unwrap(), Err(Closed(('a', 2))));
        assert_eq!(sender.send(('a', 3)), Err(Closed(('a', 3))));
        assert_eq!(receiver.recv(NOW), Received::Item(('a', 1)));
        assert_eq!(receiver.recv(Duration::from_secs(60)), Received::Closed);
    }
}
