//! How far the sink has come, for those who wait for it.

use crate::{
    log::TopicPartition,
    model::Frontier,
    postgres::{Error, Session},
    sink::checkpoint,
};

/// Whether everything before the frontier is applied in all of these partitions, as published by this generation of the publisher
/// or a later one.
///
/// # Errors
/// [`Error::Statement`] by its cause.
pub(crate) async fn reaches(
    session: &Session,
    partitions: &[TopicPartition],
    generation: u64,
    frontier: Frontier,
) -> Result<bool, Error> {
    let positions = checkpoint::read(session, partitions).await?;
    Ok(positions.iter().all(|position| {
        let current = position.publisher >= Some(generation) && position.seq > 0;
        current && position.watermark.is_some_and(|known| known >= frontier)
    }))
}
