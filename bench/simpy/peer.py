"""The yardstick of bench/simulator: the same model in SimPy.

Usage: peer.py UNITS RUNS. One server at a time goes through drain, install and check; 1 % of the tries fail and are
repeated; at most 10 servers of a cluster of 100 are down at once; waves double. Durations are lognormal by median and
spread (84th percentile minus median), as in examples/simulator_bench.rs. Prints one figure a line.
"""

import math
import random
import resource
import sys
import time

import simpy

DURATIONS = [(20.0, 5.0), (60.0, 20.0), (10.0, 5.0)]
FAILS = 0.01
CAP = 10
CLUSTER = 100


def server(env, places, chance, laws):
    """One server until it is done."""
    while True:
        with places.request() as place:
            yield place
            for mu, sigma in laws:
                yield env.timeout(chance.lognormvariate(mu, sigma))
        if chance.random() >= FAILS:
            return


def rollout(env, units, chance):
    """Doubling waves, each as many servers as all before plus one."""
    laws = [(math.log(median), math.log1p(spread / median)) for median, spread in DURATIONS]
    clusters = [simpy.Resource(env, CAP) for _ in range((units + CLUSTER - 1) // CLUSTER)]
    begun, size = 0, 1
    while begun < units:
        wave = range(begun, min(begun + size, units))
        yield env.all_of([env.process(server(env, clusters[unit // CLUSTER], chance, laws)) for unit in wave])
        begun, size = wave.stop, size * 2


def main():
    """Runs and prints."""
    units, runs = int(sys.argv[1]), int(sys.argv[2])
    begun = time.process_time()
    spans = []
    for run in range(runs):
        env = simpy.Environment()
        env.run(env.process(rollout(env, units, random.Random(run))))
        spans.append(env.now)
    cpu = time.process_time() - begun
    mean = sum(spans) / runs
    variance = sum((span - mean) ** 2 for span in spans) / max(runs - 1, 1)
    print(f"cpu_seconds {cpu:.3f}")
    print(f"cpu_seconds_per_run {cpu / runs:.4f}")
    print(f"makespan_mean {mean:.1f}")
    print(f"makespan_se {math.sqrt(variance / runs):.2f}")
    print(f"peak_mib {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.1f}")


main()
