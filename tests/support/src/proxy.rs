//! A loopback proxy that can cut or stall the connections to a server.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::wait::soon;

/// State of the line, for existing and new connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Forwards everything.
    Open,
    /// Closes all connections.
    Cut,
    /// Forwards nothing, and closes nothing.
    Stalled,
}

/// A proxy on its own port.
pub struct Proxy {
    /// Address on which it listens.
    pub address: SocketAddr,
    line: watch::Sender<Line>,
    accepted: watch::Sender<u64>,
    answered: Arc<AtomicU64>,
}

impl Proxy {
    /// Listens on a free port and forwards connections to `server`.
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the proxy runs");
        let address = listener.local_addr().expect("the proxy runs");
        let (line, follow) = watch::channel(Line::Open);
        let accepted = watch::Sender::new(0);
        let (count, answered) = (accepted.clone(), Arc::<AtomicU64>::default());
        let bytes = Arc::clone(&answered);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.send_modify(|accepted| *accepted += 1);
                tokio::spawn(connection(client, server.clone(), follow.clone(), Arc::clone(&bytes)));
            }
        });
        Self { address, line, accepted, answered }
    }

    /// Returns the number of bytes that the server has sent, over all connections.
    pub fn answered_bytes(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until the client has connected `times` more times: its earlier connections are then of no use to it.
    pub async fn connects_again(&self, times: u64) {
        let mut accepted = self.accepted.subscribe();
        let enough = *accepted.borrow_and_update() + times;
        soon("further attempts to connect", accepted.wait_for(|accepted| *accepted >= enough))
            .await
            .expect("the proxy runs");
    }

    /// Changes the state of the line, for existing and new connections.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

async fn connection(mut client: TcpStream, server: String, mut line: watch::Receiver<Line>, answered: Arc<AtomicU64>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    // A connection lives as long as the state of the line does not change.
    let now = *line.borrow_and_update();
    match now {
        Line::Open => {
            tokio::select! {
                _ = pass_on(&mut client, &mut server, &answered) => {}
                _ = line.changed() => {}
            }
        }
        Line::Cut => return,
        Line::Stalled => {}
    }
    while *line.borrow_and_update() == Line::Stalled {
        if line.changed().await.is_err() {
            return;
        }
    }
}

/// Forwards everything, both ways, until either side ends.
async fn pass_on(client: &mut TcpStream, server: &mut TcpStream, answered: &AtomicU64) -> std::io::Result<()> {
    let ((mut asks, mut hears), (mut answers, mut serves)) = (client.split(), server.split());
    let answer = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = answers.read(&mut buffer).await?;
            if read == 0 {
                return hears.shutdown().await;
            }
            answered.fetch_add(read as u64, Ordering::Relaxed);
            hears.write_all(&buffer[..read]).await?;
        }
    };
    tokio::select! {
        copied = copy(&mut asks, &mut serves) => copied.map(drop),
        ended = answer => ended,
    }
}
