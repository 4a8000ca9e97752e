//! Reads Kafka's ids of topics: a topic that was deleted and created again has its old name and a new id.
//!
//! The client library can read them (`DescribeTopics`), but its safe binding cannot, so this file calls the library directly. The
//! call blocks and never creates a topic. Brokers before 2.8 have no ids; a topic is then not identified.

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

/// Returns the ids of the existing topics, in the form of Kafka's own tools; `None` if the brokers have no ids.
///
/// # Errors
/// Fails with [`Error::Kafka`] or [`Error::Timeout`].
#[expect(unsafe_code, reason = "the binding has no safe call for it")]
pub(super) fn topic_ids(
    admin: &AdminClient<Context>,
    names: &[String],
    timeout: Duration,
) -> Result<HashMap<String, Option<String>>, Error> {
    let object = names.first().map_or("", String::as_str);
    let failed = |code: RDKafkaErrorCode| Error::kafka("ask for the id of", object)(KafkaError::AdminOp(code));
    // No topic has a name with a NUL; such a name was refused long before.
    let names = names.iter().filter_map(|name| CString::new(name.as_str()).ok()).collect::<Vec<_>>();
    let mut pointers = names.iter().map(|name| name.as_ptr()).collect::<Vec<*const c_char>>();
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let client = admin.inner().native_ptr();
    // SAFETY: `client` lives as long as `admin`, which is borrowed here. Collection, options and queue are made by these calls
    // and destroyed by their guards, and the library copies the first two; `names` outlives the call that reads the pointers.
    // The queue belongs to this call, so the only event on it is the answer.
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
    // SAFETY: everything that is read belongs to the event, which lives until the end of this function. An event of another
    // kind gives a null pointer, which is checked first.
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

/// Formats an id like Kafka's own tools; all zeros mean that there is none.
fn written((high, low): (i64, i64)) -> Option<String> {
    let bytes = [high.to_be_bytes(), low.to_be_bytes()].concat();
    ((high, low) != (0, 0)).then(|| URL_SAFE_NO_PAD.encode(bytes))
}

/// An object of the client library that must be destroyed.
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
    #[expect(unsafe_code, reason = "the library's way to destroy it")]
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
