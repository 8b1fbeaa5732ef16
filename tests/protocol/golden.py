"""Read and write golden vectors: the frames of a message in a file, and its meaning beside it.

``python -m tests.protocol.golden`` writes the vectors of messages that have none yet; it never changes one that is
there, because peers in the field rely on these bytes.
"""

import json
from pathlib import Path

from overpaint_protocol import codec, framing
from overpaint_protocol.version import MAJOR, MINOR

FOLDER = Path(__file__).parents[2] / "protocol" / "golden" / f"{MAJOR}.{MINOR}"


def frames_of(message, payload):
    return [bytes(frame) for frame in framing.encode(message, id="m-1", re="m-0", payload=payload)]


def write(name, message, payload):
    frames = frames_of(message, payload)
    data = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)
    (FOLDER / f"{name}.bin").write_bytes(data)
    meaning = {
        "header": {"t": name.split("-")[0], "id": "m-1", "re": "m-0"},
        "body": codec.to_plain(message),
        "payload": [frame.hex() for frame in payload],
    }
    (FOLDER / f"{name}.json").write_text(json.dumps(meaning, indent=1) + "\n", encoding="utf-8")


def read(name):
    data = (FOLDER / f"{name}.bin").read_bytes()
    frames = []
    while data:
        size = int.from_bytes(data[:4], "big")
        frames.append(data[4 : 4 + size])
        data = data[4 + size :]
    return frames, json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    from tests.protocol.examples import EXAMPLES

    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, (message, payload) in EXAMPLES.items():
        if not (FOLDER / f"{name}.bin").exists():
            write(name, message, payload)
            print(f"wrote {name}")
