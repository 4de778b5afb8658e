"""One small encrypted file by `age -d` and by vice, in turn: small.py VICE FOLDER KEY RECIPIENT RUNS

Prints the median wall and processor time of each, and their ratio. Both are started anew each time, from a folder with
nothing else in it.
"""

import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

vice, folder, key, recipient, runs = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
(folder / "config").mkdir(parents=True)
(folder / "vice.toml").write_text(
    'name = "small"\nartifact = "x"\ncommand = ["./x"]\n[env.dev]\n[config]\nlayers = ["config/dev.env.age"]\n'
)
text = "".join(f"NAME_{number}=value-{number}\n" for number in range(10))
sealed = folder / "config" / "dev.env.age"
subprocess.run(["age", "-r", recipient, "-o", str(sealed)], input=text.encode(), check=True)
env = {"PATH": os.environ["PATH"], "HOME": str(folder), "VICE_AGE_IDENTITY_FILE": key, "VICE_CEILING": str(folder)}
commands = {
    "age -d": ["age", "-d", "-i", key, str(sealed)],
    "vice envy": [vice, "envy", "--env", "dev", "--reveal", "--format", "env"],
}


def once(command: list[str]) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1000, used * 1000


times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
for number in range(runs + 3):
    for name, command in commands.items():
        measured = once(command)
        # The first ones make the key of digests and warm the caches.
        if number >= 3:
            times[name].append(measured)
middle = {name: [statistics.median(column) for column in zip(*all_of)] for name, all_of in times.items()}
for name, (wall, used) in middle.items():
    print(f"  {name:10} {wall:6.1f} ms wall, {used:6.1f} ms of processor time")
print(f"  vice takes {middle['vice envy'][0] / middle['age -d'][0]:.2f} times as long as age (aim: at most 2)")
