//! Ports of 127.0.0.1 that belong to one test of one process.

use std::{fs::File, net::TcpListener};

/// The ports to choose from, below those that the system uses for outgoing connections.
const FIRST: u16 = 21_000;
const PORTS: u16 = 5_000;

/// A port that nothing listened on when it was taken.
///
/// The lock on a file of the machine keeps every other test process from it, also before the server of this test listens. It ends
/// with this value, or with the process.
#[derive(Debug)]
pub struct Port {
    /// Its number.
    pub number: u16,
    _lock: File,
}

impl Port {
    /// Takes a port.
    pub fn take() -> Self {
        let folder = std::env::temp_dir().join("driftless-test-ports");
        std::fs::create_dir_all(&folder).expect("make the folder of the locks");
        // Processes begin at different places, so that few locks are tried in vain.
        let first = u16::try_from(std::process::id() % u32::from(PORTS)).expect("below the number of ports");
        let taken = (0..PORTS).map(|step| FIRST + (first + step) % PORTS).find_map(|number| {
            let file = File::options().create(true).append(true).open(folder.join(number.to_string()));
            let lock = file.expect("open the lock of a port");
            let free = lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok();
            free.then_some(Self { number, _lock: lock })
        });
        taken.expect("a free port")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_taken_once_although_nothing_listens_on_it() {
        let (one, other) = (Port::take(), Port::take());
        assert_ne!(one.number, other.number);
        let number = one.number;
        drop(one);
        assert_eq!(Port::take().number, number, "it is free again");
    }
}
