//! The files of `deploy/`, validated without a server, a cluster or a Docker engine: schemas and linters by packages that
//! `requirements.txt` pins, settings and commands by the daemon itself. Each test also breaks a copy and must notice it.
//! `docs/deploy.md` names what cannot be run here.

#![allow(clippy::print_stderr, reason = "a check that is impossible here belongs on the terminal")]

mod compose;
mod dependencies;
mod dockerfile;
mod docs;
mod helm;
mod kubernetes;
mod roles;
mod settings;
mod systemd;
mod tools;
