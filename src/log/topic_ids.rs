//! Kafka's ids of topics: a topic that was deleted and made again has its old name and another id.
//!
//! The client library asks for them (`DescribeTopics`), its safe binding does not; so this is the one place that calls it
//! directly. It blocks, and asking never creates a topic. Brokers before 2.8 give no ids; then nothing is known of a topic.

use std::{
    collections::HashMap,
    ffi::{CStr, CString, c_char},
    ptr::{NonNull, null_mut},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rdkafka::{
    admin::AdminClient,
    bindings as raw,
    error::{KafkaError, RDKafkaErrorCode},
    types::{RDKafkaAdminOp, RDKafkaRespErr},
};

use super::{Error, client::Context};

/// The ids of those topics that exist, as Kafka's own tools write them; `None` where the brokers give none.
///
/// # Errors
/// [`Error::Kafka`] and [`Error::Timeout`].
#[expect(unsafe_code, reason = "the binding has no safe call for it")]
pub(super) fn topic_ids(
    admin: &AdminClient<Context>,
    names: &[String],
    timeout: Duration,
) -> Result<HashMap<String, Option<String>>, Error> {
    let object = names.first().map_or("", String::as_str);
    let failed = |code: RDKafkaErrorCode| Error::kafka("ask for the id of", object)(KafkaError::AdminOp(code));
    // A name with a NUL is no topic's, and was refused long before.
    let names = names.iter().filter_map(|name| CString::new(name.as_str()).ok()).collect::<Vec<_>>();
    let mut pointers = names.iter().map(|name| name.as_ptr()).collect::<Vec<*const c_char>>();
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let client = admin.inner().native_ptr();
    // SAFETY: `client` lives as long as `admin`, which is borrowed here. Collection, options and queue are made by these calls
    // and destroyed by their guards, and the library copies the first two; `names` outlives the call that reads the pointers.
    // The queue is this call's own, so that the only event on it is the answer.
    let event = unsafe {
        let topics = raw::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let topics = Owned::new(topics, raw::rd_kafka_TopicCollection_destroy);
        let options = raw::rd_kafka_AdminOptions_new(client, RDKafkaAdminOp::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        let options = Owned::new(options, raw::rd_kafka_AdminOptions_destroy);
        let queue = Owned::new(raw::rd_kafka_queue_new(client), raw::rd_kafka_queue_destroy);
        let (Some(topics), Some(options), Some(queue)) = (topics, options, queue) else {
            return Err(Error::Ended("client library"));
        };
        raw::rd_kafka_AdminOptions_set_request_timeout(options.get(), timeout_ms, null_mut(), 0);
        raw::rd_kafka_DescribeTopics(client, topics.get(), options.get(), queue.get());
        Owned::new(raw::rd_kafka_queue_poll(queue.get(), timeout_ms), raw::rd_kafka_event_destroy)
    };
    let event = event.ok_or_else(|| failed(RDKafkaErrorCode::OperationTimedOut))?;
    let mut ids = HashMap::new();
    // SAFETY: everything that is read belongs to the event, which lives until the end of this function. What is no answer to
    // the question gives a null pointer, which is looked at first.
    unsafe {
        let error = raw::rd_kafka_event_error(event.get());
        if error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(failed(error.into()));
        }
        let Some(result) = raw::rd_kafka_event_DescribeTopics_result(event.get()).as_ref() else {
            return Err(Error::Ended("client library"));
        };
        let mut count = 0;
        let topics = raw::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        for at in 0..if topics.is_null() { 0 } else { count } {
            let topic = *topics.add(at);
            let name = CStr::from_ptr(raw::rd_kafka_TopicDescription_name(topic)).to_string_lossy().into_owned();
            let error = raw::rd_kafka_TopicDescription_error(topic);
            let code = raw::rd_kafka_error_code(error);
            match code {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {
                    let id = raw::rd_kafka_TopicDescription_topic_id(topic);
                    let bits = (!id.is_null()).then(|| {
                        let high = raw::rd_kafka_Uuid_most_significant_bits(id);
                        (high, raw::rd_kafka_Uuid_least_significant_bits(id))
                    });
                    ids.insert(name, bits.and_then(written));
                }
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => {}
                code => return Err(Error::kafka("ask for the id of", name)(KafkaError::AdminOp(code.into()))),
            }
        }
    }
    Ok(ids)
}

/// As Kafka's own tools write it; all zeros means that there is none.
fn written((high, low): (i64, i64)) -> Option<String> {
    let bytes = [high.to_be_bytes(), low.to_be_bytes()].concat();
    ((high, low) != (0, 0)).then(|| URL_SAFE_NO_PAD.encode(bytes))
}

/// Something of the client library's that has to be given back.
struct Owned<T> {
    pointer: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(pointer).map(|pointer| Self { pointer, destroy })
    }

    fn get(&self) -> *mut T {
        self.pointer.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    #[expect(unsafe_code, reason = "the library's own way to give it back")]
    fn drop(&mut self) {
        // SAFETY: `pointer` came from the library, with the function that destroys its kind, and is used by nobody else.
        unsafe { (self.destroy)(self.pointer.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::written;

    #[test]
    fn an_id_is_written_as_kafka_writes_it() {
        assert_eq!(written((0, 1)).as_deref(), Some("AAAAAAAAAAAAAAAAAAAAAQ"));
        assert_eq!(written((0, 0)), None);
    }
}
