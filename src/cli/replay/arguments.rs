//! Arguments of a replay as Kafka's own tools write them: files of offsets, topics with partitions, times and durations.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, civil, tz::TimeZone};

use crate::{cli::finding::Finding, log::TopicPartition};

/// A topic, and its partitions; none: all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicArgument {
    pub(super) topic: String,
    pub(super) partitions: Vec<i32>,
}

/// Parses `TOPIC` or `TOPIC:0,2`.
pub(super) fn topic(text: &str) -> Result<TopicArgument, String> {
    let Some((topic, partitions)) = text.split_once(':') else {
        return Ok(TopicArgument { topic: text.to_owned(), partitions: Vec::new() });
    };
    let partitions = partitions.split(',').map(|number| number.trim().parse::<u16>().map(i32::from));
    let partitions = partitions.collect::<Result<_, _>>();
    let partitions =
        partitions.map_err(|_| format!("`{text}` is not TOPIC:PARTITIONS: write for example `orders:0,2`"))?;
    Ok(TopicArgument { topic: topic.to_owned(), partitions })
}

/// Parses lines `topic,partition,offset`; empty lines and comments are skipped.
///
/// # Errors
/// Every fault with its line.
pub(super) fn offsets(text: &str, name: &str) -> Result<BTreeMap<TopicPartition, i64>, Vec<Finding>> {
    let mut offsets = BTreeMap::new();
    let mut faults = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut fault = |what: &str| {
            faults.push(Finding {
                place: format!("{name}:{number}"),
                what: what.to_owned(),
                hint: "write one line `topic,partition,offset` for each partition".to_owned(),
            });
        };
        match offset(line) {
            None => fault("the line is not `topic,partition,offset`"),
            Some((partition, offset)) => {
                if offsets.insert(partition, offset).is_some() {
                    fault("the partition has an offset already");
                }
            }
        }
    }
    if offsets.is_empty() && faults.is_empty() {
        faults.push(Finding {
            place: name.to_owned(),
            what: "the file names no partition".to_owned(),
            hint: "write one line `topic,partition,offset` for each partition".to_owned(),
        });
    }
    if faults.is_empty() { Ok(offsets) } else { Err(faults) }
}

fn offset(line: &str) -> Option<(TopicPartition, i64)> {
    let fields: Vec<&str> = line.split(',').map(|field| field.trim().trim_matches('"')).collect();
    let [topic, partition, offset] = fields[..] else { return None };
    let partition = i32::from(partition.parse::<u16>().ok()?);
    let offset = offset.parse::<i64>().ok().filter(|offset| *offset >= 0)?;
    Some((TopicPartition { topic: topic.into(), partition }, offset))
}

/// Parses a time with its offset, or in UTC without one.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    let utc =
        || text.parse::<civil::DateTime>().and_then(|time| time.to_zoned(TimeZone::UTC)).map(|time| time.timestamp());
    text.parse::<Timestamp>()
        .or_else(|_| utc())
        .map_err(|_| format!("`{text}` is not a time: write for example `2026-03-01T08:30:00Z`"))
}

/// Parses a duration, such as `PT1H30M`, `P2D` or `90m`.
pub(super) fn duration(text: &str) -> Result<SignedDuration, String> {
    let parsed = text.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    parsed
        .ok()
        .filter(SignedDuration::is_positive)
        .ok_or_else(|| format!("`{text}` is not a duration: write for example `PT1H30M`, `P2D` or `90m`"))
}

/// Parses a number of offsets to go back.
pub(super) fn shift(text: &str) -> Result<i64, String> {
    match text.parse::<i64>() {
        Ok(by) if by < 0 => Ok(by),
        Ok(_) => {
            Err("a replay only goes back: skipping records would lose changes; write for example `-1000`".to_owned())
        }
        Err(_) => Err(format!("`{text}` is not a whole number: write for example `-1000`")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a.b.c", "a.b.c", &[])]
    #[case("a.b.c:1", "a.b.c", &[1])]
    #[case("a.b.c:0, 2", "a.b.c", &[0, 2])]
    fn topics_have_partitions(#[case] text: &str, #[case] name: &str, #[case] partitions: &[i32]) {
        assert_eq!(topic(text), Ok(TopicArgument { topic: name.to_owned(), partitions: partitions.to_vec() }));
    }

    #[test]
    fn a_file_has_an_offset_for_each_partition() {
        let read = offsets("# exported\nt,0,5\n\n\"t\", 1 ,7\n", "f.csv").expect("offsets");
        let expected = [(0, 5), (1, 7)].map(|(partition, at)| (TopicPartition { topic: "t".into(), partition }, at));
        assert_eq!(read, expected.into());
    }

    #[rstest]
    #[case::too_few("t,0", "f.csv:1", "not `topic,partition,offset`")]
    #[case::too_many("group,t,0,1", "f.csv:1", "not `topic,partition,offset`")]
    #[case::negative("t,0,-1", "f.csv:1", "not `topic,partition,offset`")]
    #[case::negative_partition("t,-1,1", "f.csv:1", "not `topic,partition,offset`")]
    #[case::twice("t,0,1\nt,0,2", "f.csv:2", "has an offset already")]
    #[case::nothing("# nothing", "f.csv", "names no partition")]
    fn faults_of_a_file_have_their_lines(#[case] text: &str, #[case] place: &str, #[case] what: &str) {
        let faults = offsets(text, "f.csv").expect_err("a fault");
        assert!(faults[0].place == place && faults[0].what.contains(what), "{:?}", faults);
    }

    #[rstest]
    #[case("2026-03-01T08:30:00Z", 1_772_353_800)]
    #[case("2026-03-01T09:30:00+01:00", 1_772_353_800)]
    #[case("2026-03-01T08:30:00.000", 1_772_353_800)]
    #[case("2026-03-01", 1_772_323_200)]
    fn times_are_utc_unless_they_say_otherwise(#[case] text: &str, #[case] second: i64) {
        assert_eq!(time(text).expect("a time").as_second(), second);
    }

    #[rstest]
    #[case("PT1H30M", 5_400)]
    #[case("P2DT1H", 176_400)]
    #[case("P1W", 604_800)]
    #[case("90m", 5_400)]
    fn durations_are_those_of_kafka_and_of_the_configuration(#[case] text: &str, #[case] seconds: i64) {
        assert_eq!(duration(text).expect("a duration").as_secs(), seconds);
    }

    #[test]
    fn what_is_none_says_what_to_write() {
        let refused = [
            topic("t:x").expect_err("refused"),
            time("yesterday").expect_err("refused"),
            duration("-PT1H").expect_err("refused"),
            duration("P1M").expect_err("refused"),
            shift("5").expect_err("refused"),
            shift("x").expect_err("refused"),
        ];
        assert!(refused.iter().all(|text| text.contains("write for example `")), "{refused:?}");
    }
}
