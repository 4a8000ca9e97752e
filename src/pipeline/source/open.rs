//! Where a term begins: the predecessor is fenced, its state is read, and stream and snapshot are opened from there.

use tokio::sync::{mpsc, watch};

use super::{removal::Removals, repairs::RepairItem, role::SourceRole, snapshots::Snapshots, term::Term};
use crate::{
    control::snapshots::SnapshotRequests,
    log::{Publisher, StreamState, Topics},
    model::Identity,
    pipeline::{Error, identity},
    source::{ChangeStream, Snapshot, Source, Start},
    status::{Phase, Role},
};

/// Begins a term; also the source that it reads.
///
/// # Errors
/// Those of both servers by their class; [`Error::Mismatch`], [`Error::Unsuited`] and [`Error::EpochWentBack`] halt.
pub(super) async fn open<'a>(
    role: &'a SourceRole,
    topics: &Topics,
    identity: &Identity,
    requests: watch::Receiver<SnapshotRequests>,
    repairs: mpsc::Receiver<RepairItem>,
) -> Result<(Term<'a, Publisher, ChangeStream>, Source), Error> {
    let publisher = async { Ok(Publisher::connect(&role.config.log, topics).await?) };
    // At the same time, for the sake of a quick start.
    let (source, (mut publisher, mut stored)) = tokio::try_join!(connect(role), publisher)?;
    failpoint!(LEADERSHIP_TAKE_OVER);
    publisher.identify(identity::of_leader(identity, &mut stored, topics, &role.config.log.prefix)?);
    let epoch = role.config.source.epoch;
    let stream_state = stored.stream.as_ref().filter(|stream| stream.epoch >= epoch);
    if let Some(stream) = stream_state.filter(|stream| stream.epoch > epoch) {
        return Err(Error::EpochWentBack { configured: epoch, stored: stream.epoch });
    }
    // Before anything is read, so that nothing falls between the first read and the stream.
    let now = source.now().await?;
    let start = match stream_state {
        Some(StreamState { token, frontier, held, .. }) => {
            Start::After { token: token.clone(), frontier: *frontier, held: held.clone() }
        }
        None => Start::At(now),
    };
    let began = start.time();
    let generation = publisher.generation();
    let removals = Removals::start(&role.config, &source, topics, generation);
    let reading = Snapshot::start(&source, role.backoff());
    let snapshots = Snapshots::begin(role, (reading, removals), &stored, now, requests);
    let stream = ChangeStream::open(&source, role.scope(snapshots.since()), start, role.backoff());
    let term = Term::begin(role, (publisher, stream), began, snapshots, repairs).await?;
    tracing::info!(
        generation,
        frontier = %term.position().frontier,
        resumed = stream_state.is_some(),
        "leading the source"
    );
    role.status.phase(Role::Source, Phase::Running);
    Ok((term, source))
}

/// A source that can be followed.
async fn connect(role: &SourceRole) -> Result<Source, Error> {
    let source =
        Source::connect(&role.config.source).await?.with_stalls(role.status.stalls(Role::Source, "connection"));
    let faults = source.faults(role.collections.keys().map(String::as_str)).await?;
    if faults.is_empty() { Ok(source) } else { Err(Error::Unsuited(faults)) }
}
