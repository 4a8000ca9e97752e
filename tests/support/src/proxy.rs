//! A loopback proxy that can cut or stall the connections to a server.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What the proxy does with connections, old and new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Passes everything on.
    Open,
    /// Closes them.
    Cut,
    /// Passes nothing on, and closes nothing.
    Stalled,
}

/// A proxy on a port of its own.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    line: watch::Sender<Line>,
}

impl Proxy {
    /// Listens on a free port and passes connections on to `server`.
    pub async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("the proxy runs");
        let address = listener.local_addr().expect("the proxy runs");
        let (line, follow) = watch::channel(Line::Open);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, server.clone(), follow.clone()));
            }
        });
        Self { address, line }
    }

    /// Changes what it does with connections, old and new.
    pub fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

async fn connection(mut client: TcpStream, server: String, mut line: watch::Receiver<Line>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    // A connection lives as long as the line stays as it was.
    let now = *line.borrow_and_update();
    match now {
        Line::Open => {
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
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
