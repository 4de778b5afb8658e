"""Writes a project of many layers: layers.py FOLDER KEYS LAYERS SECRETS RECIPIENT

Every layer has every key, so that all but the last are overridden. The secrets of the last layer are encrypted one by one
by the `age` of the system, so that nothing here is shared with vice.
"""

import base64
import pathlib
import subprocess
import sys

folder, keys, layers, secrets = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
recipient = sys.argv[5]


def sealed(text: str) -> str:
    done = subprocess.run(["age", "-r", recipient], input=text.encode(), capture_output=True, check=True)
    return "age:v1:" + base64.b64encode(done.stdout).decode()


(folder / "config").mkdir(parents=True)
names = ", ".join(f'"config/{layer}.toml"' for layer in range(layers))
(folder / "vice.toml").write_text(
    f'name = "speed"\nartifact = "x"\ncommand = ["./x"]\n[env.dev]\n[config]\nlayers = [{names}]\n'
)
for layer in range(layers):
    last = layer == layers - 1
    lines = []
    for table in range(100):
        lines.append(f"[t{table}]")
        for key in range(table, keys, 100):
            value = sealed(f"secret-{key}") if last and key < secrets else f"{layer}-{key}"
            lines.append(f'key_{key} = "{value}"')
    (folder / "config" / f"{layer}.toml").write_text("\n".join(lines) + "\n")
