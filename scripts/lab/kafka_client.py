"""What the clients of others see of Kafka, by librdkafka.

    kafka_client.py produce BROKERS TOPIC [SETTING=VALUE...]   from lines of JSON: key, value (or base64), headers, partition
    kafka_client.py consume BROKERS TOPIC [SETTING=VALUE...]   everything that is there, as such lines
"""

import base64
import json
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

PATIENCE = 20


def given(settings):
    return dict(pair.split("=", 1) for pair in settings)


def produce(brokers, topic, *settings):
    producer = Producer({"bootstrap.servers": brokers, **given(settings)})
    failed = []
    for line in sys.stdin:
        record = json.loads(line)
        body = base64.b64decode(record["base64"]) if "base64" in record else record.get("value")
        producer.produce(
            topic,
            key=record.get("key"),
            value=body,
            headers=record.get("headers") or {},
            partition=record.get("partition", -1),
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
    left = producer.flush(PATIENCE)
    if left or failed:
        sys.exit(f"{left} messages are left, {failed}")


def consume(brokers, topic, *more):
    settings = {"bootstrap.servers": brokers, "group.id": "lab", "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer({**settings, **given(more)})
    left = set(consumer.list_topics(topic, timeout=PATIENCE).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in left])
    while left:
        message = consumer.poll(PATIENCE)
        if message is None:
            sys.exit(f"nothing comes, and {left} is left")
        if not message.error():
            show(message)
        elif message.error().code() == KafkaError._PARTITION_EOF:
            left.discard(message.partition())
        else:
            raise KafkaException(message.error())
    consumer.close()


def show(message):
    text = lambda value: value.decode() if value is not None else None
    record = {
        "partition": message.partition(),
        "offset": message.offset(),
        "key": text(message.key()),
        "value": text(message.value()),
        "headers": {name: text(value) for name, value in message.headers() or []},
    }
    print(json.dumps(record))


{"produce": produce, "consume": consume}[sys.argv[1]](*sys.argv[2:])
