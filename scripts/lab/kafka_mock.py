"""Kafka in memory: the mock cluster of librdkafka, with as many brokers as asked for. Prints their addresses on one line,
and ends when its standard input does.

A topic is made by asking for it, with four partitions."""

import sys

from confluent_kafka import Producer

brokers = int(sys.argv[1]) if len(sys.argv) > 1 else 2
# What it says on standard error about being a mock is of no use to anybody.
cluster = Producer({"test.mock.num.brokers": brokers, "bootstrap.servers": "none", "log_level": 0})
found = cluster.list_topics(timeout=10)
print(",".join(f"{broker.host}:{broker.port}" for broker in found.brokers.values()), flush=True)
sys.stdin.read()
