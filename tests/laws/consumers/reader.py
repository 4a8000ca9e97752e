"""Reads a topic to its end as a consumer of Debezium's topics does, and prints the document of each key as JSON."""

import json
import sys

from confluent_kafka import Consumer, KafkaError, TopicPartition

brokers, topic = sys.argv[1:]
consumer = Consumer(
    {
        "bootstrap.servers": brokers,
        "group.id": "reader",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
    }
)
partitions = consumer.list_topics(topic).topics[topic].partitions
consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])

documents = {partition: {} for partition in partitions}
unread = set(partitions)
while unread:
    message = consumer.poll(30)
    if message is None:
        sys.exit("no record and no end within 30 s")
    if message.error():
        if message.error().code() != KafkaError._PARTITION_EOF:
            sys.exit(str(message.error()))
        unread.discard(message.partition())
        continue
    key = json.loads(message.key())["payload"]["id"]
    known = documents[message.partition()]
    change = json.loads(message.value())["payload"] if message.value() else {"op": "d"}
    if change["op"] == "t":
        known.clear()
    elif change["op"] == "d":
        known.pop(key, None)
    else:
        known[key] = json.loads(change["after"])
consumer.close()
json.dump([document for known in documents.values() for document in known.values()], sys.stdout)
