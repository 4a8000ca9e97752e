//! `driftless run`: the daemon.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use clap::{Args, ValueEnum};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{
    Exit,
    dry_run::DryRun,
    setup::{IntoArgs, Setup},
};
use crate::{
    config::Config,
    http,
    log::{Offsets, Watch},
    pipeline::{
        LogLagRole, LogWatchRole, Overview, OverviewRole, OwnMapping, ReconcilerRole, SinkRole, SourceRole,
        applied::AppliedRole,
    },
    reads::{self, Reads},
    status::{Phase, Role, Status},
    supervisor::{self, Supervisor},
    telemetry,
};

/// Run the daemon with all roles, or with some of them.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Run only this role; may be repeated.
    #[arg(long = "role", value_enum)]
    roles: Vec<RoleArg>,
    /// Convert every document and report the result; write nothing.
    #[arg(long, conflicts_with = "roles")]
    dry_run: bool,
    #[command(flatten)]
    rehearsal: DryRun,
    #[command(flatten)]
    into: IntoArgs,
}

/// A role as it is written on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleArg {
    /// Reads MongoDB and writes the log.
    Source,
    /// Reads the log and writes PostgreSQL.
    Sink,
    /// Compares both sides.
    Reconciler,
    /// Answers where the application reads, as every process does, and needs nothing but PostgreSQL.
    Reads,
}

impl RoleArg {
    /// The role of the verdict; `None` for one that proves nothing.
    fn role(self) -> Option<Role> {
        match self {
            Self::Source => Some(Role::Source),
            Self::Sink => Some(Role::Sink),
            Self::Reconciler => Some(Role::Reconciler),
            Self::Reads => None,
        }
    }
}

impl Run {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        let Some(setup) = Setup::load_into(path, &self.into) else { return Ok(Exit::Faults) };
        if self.dry_run {
            return self.rehearsal.execute(&setup).await;
        }
        let roles: Vec<Role> = match &*self.roles {
            // The running migration reads the source for both.
            [] if setup.into.is_some() => vec![Role::Sink, Role::Reconciler],
            [] => Role::ALL.to_vec(),
            roles => roles.iter().filter_map(|role| role.role()).collect(),
        };
        if roles.contains(&Role::Source) {
            setup.only_running("run --role source")?;
        }
        let recorder = telemetry::init_metrics()?;
        let cancel = CancellationToken::new();
        stop_on_signal(cancel.clone())?;
        let mut setup = setup;
        loop {
            // Ends without the process where another mapping is to be taken up.
            let turn = cancel.child_token();
            let exit = serve(setup, &roles, recorder.clone(), turn).await?;
            if cancel.is_cancelled() {
                return Ok(exit);
            }
            let Some(fresh) = Setup::load_into(path, &self.into) else { return Ok(Exit::Faults) };
            setup = fresh;
        }
    }
}

/// Runs the roles until the token is cancelled: from outside, or because another mapping is to be taken up.
async fn serve(
    setup: Setup,
    roles: &[Role],
    recorder: PrometheusHandle,
    cancel: CancellationToken,
) -> anyhow::Result<Exit> {
    let collections = setup.collections();
    let Setup { config, mapping, .. } = setup;
    let own = OwnMapping::new(config.mapping.clone(), &mapping, cancel.clone());
    let (config, mapping) = (Arc::new(config), Arc::new(mapping));
    let listener = tokio::net::TcpListener::bind(config.http.listen).await.with_context(|| {
        let address = config.http.listen;
        format!("listen on {address}; end the process that has this port, or set another address in `http.listen`")
    })?;
    let status = Status::new(roles);
    let overview = Overview::default();
    let mut supervisor = Supervisor::new(cancel);
    let names: Vec<String> = collections.keys().cloned().collect();
    let reads = Reads::new(&config, &names);
    let (answering, applied) = AppliedRole::new(&config, &status);
    supervisor.spawn("applied", |cancel| endless(answering.run(cancel)));
    let token = token(&config)?;
    let page = http::Page {
        recorder,
        migration: http::Whose::of(&config),
        status: status.clone(),
        overview: overview.clone(),
        reads: reads.clone(),
        applied,
        collections: names.as_slice().into(),
        token,
        hosts: config.http.hosts.as_slice().into(),
    };
    supervisor.spawn("http", |cancel| http::serve(listener, page, cancel));
    if let Some(path) = config.reads.file.clone() {
        let file = reads::File::new(reads.clone(), path);
        supervisor.spawn("file of reads", |cancel| endless(file.run(cancel)));
    }
    let watch = reads::Watch::new(&config, &reads, &overview, &status);
    supervisor.spawn("reads", |cancel| endless(watch.run(cancel)));
    let looking = OverviewRole::new(&config, names, overview.clone(), &status, roles, own);
    supervisor.spawn("overview", |cancel| endless(looking.run(cancel)));
    let users: Vec<Role> = roles.iter().copied().filter(|role| *role != Role::Reconciler).collect();
    // If the client library refuses the settings of the log, the roles halt with that reason.
    if let (false, Ok(watch)) = (users.is_empty(), Watch::new(&config.log)) {
        let role = LogWatchRole::new(watch, &status, &users);
        supervisor.spawn("log watch", |cancel| endless(role.run(cancel)));
    }
    if let (true, Ok(offsets)) = (roles.contains(&Role::Sink), Offsets::new(&config.log)) {
        let role = LogLagRole::new(offsets, overview.clone());
        supervisor.spawn("log lag", |cancel| endless(role.run(cancel)));
    }
    for role in roles {
        match role {
            Role::Source => {
                let role = SourceRole {
                    config: config.clone(),
                    collections: collections.clone(),
                    status: status.clone(),
                    overview: overview.clone(),
                };
                supervisor.spawn("source", |cancel| endless(role.run(cancel)));
            }
            Role::Sink => {
                let role = SinkRole::new(config.clone(), mapping.clone(), status.clone(), overview.clone());
                supervisor.spawn("sink", |cancel| endless(role.run(cancel)));
            }
            Role::Reconciler => {
                let role = ReconcilerRole {
                    config: config.clone(),
                    mapping: mapping.clone(),
                    status: status.clone(),
                    overview: overview.clone(),
                };
                supervisor.spawn("reconciler", |cancel| endless(role.run(cancel)));
            }
        }
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        roles = ?roles.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
        http = %config.http.listen,
        "started"
    );
    supervisor.run(config.grace).await?;
    let halted = status.read().roles.values().any(|role| role.phase == Phase::Halted);
    tracing::info!("stopped");
    Ok(if halted { Exit::Halted } else { Exit::Success })
}

/// The token that the answers for applications demand; none unless one is configured.
fn token(config: &Config) -> anyhow::Result<Option<http::Token>> {
    let read = |file: &PathBuf| {
        http::Token::read(file).with_context(|| format!("read the token in {} (http.token_file)", file.display()))
    };
    config.http.token_file.as_ref().map(read).transpose()
}

/// Adapts a role, which ends only when it is cancelled.
async fn endless(role: impl Future<Output = ()>) -> Result<(), supervisor::Never> {
    role.await;
    Ok(())
}

fn stop_on_signal(cancel: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: no more is read, open transactions are finished");
        cancel.cancel();
    });
    Ok(())
}
