//! A TCP gate in front of a broker: it can be cut and shut.

use std::sync::{Arc, Mutex};

use perceptd::publish::BrokerAddress;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) struct Gate {
    address: BrokerAddress,
    /// Number of the cut, and whether connections are let in.
    state: Arc<watch::Sender<(u32, bool)>>,
    openings: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Gate {
    pub(crate) async fn open(broker: BrokerAddress) -> Self {
        Self::new(broker, true).await
    }

    pub(crate) async fn closed(broker: BrokerAddress) -> Self {
        Self::new(broker, false).await
    }

    async fn new(broker: BrokerAddress, is_open: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = BrokerAddress { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
        let state = Arc::new(watch::Sender::new((0, is_open)));
        let openings = Arc::default();
        let task = tokio::spawn(serve(listener, broker, Arc::clone(&state), Arc::clone(&openings)));
        Self { address, state, openings, task }
    }

    pub(crate) fn address(&self) -> BrokerAddress {
        self.address.clone()
    }

    /// The first byte of every connection that was let in.
    pub(crate) fn openings(&self) -> Vec<u8> {
        self.openings.lock().unwrap().clone()
    }

    /// Breaks every connection; new ones are let in.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.0 += 1);
    }

    /// Breaks every connection and lets none in.
    pub(crate) fn shut(&self) {
        self.state.send_modify(|state| *state = (state.0 + 1, false));
    }

    pub(crate) fn reopen(&self) {
        self.state.send_modify(|state| state.1 = true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[expect(clippy::infinite_loop, reason = "ends with its task")]
async fn serve(
    listener: TcpListener,
    broker: BrokerAddress,
    state: Arc<watch::Sender<(u32, bool)>>,
    openings: Arc<Mutex<Vec<u8>>>,
) {
    loop {
        let (inside, _) = listener.accept().await.unwrap();
        let mut watched = state.subscribe();
        let (cuts, is_open) = *watched.borrow();
        if is_open {
            let outside = TcpStream::connect((broker.host.as_str(), broker.port)).await.unwrap();
            let openings = Arc::clone(&openings);
            tokio::spawn(async move {
                let mut first = [0];
                if inside.peek(&mut first).await.is_ok_and(|count| count > 0) {
                    openings.lock().unwrap().push(first[0]);
                }
                let (mut inside, mut outside) = (inside, outside);
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut inside, &mut outside) => {}
                    _ = watched.wait_for(|state| state.0 != cuts) => {}
                }
            });
        }
    }
}
