"""Strip the published optic-lobe connectome to the file that lobula ships.

    pip download flyvis==1.2.0 --no-deps
    python tools/make_optic_lobe_data.py flyvis-1.2.0-py3-none-any.whl

Writes src/lobula/package_data/optic_lobe.json.gz (types with strides, type pairs with sign and offsets). The output is
reproducible to the byte: the tests compare its digest.
"""

import argparse
import gzip
import hashlib
import json
import zipfile
from pathlib import Path

MEMBER = "flyvis/connectome/fib25-fib19_v2.2.json"
SHA256 = "bfbb0766251ff09e22723d0ebbf7b14793e70b3ae8ad0eea64eac9d28223351a"
TARGET = Path(__file__).resolve().parents[1] / "src" / "lobula" / "package_data" / "optic_lobe.json.gz"


def read_source(path: Path) -> bytes:
    """The connectome JSON out of a wheel, or read as it is; checked against its published digest."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            raw = wheel.read(MEMBER)
    else:
        raw = path.read_bytes()
    digest = hashlib.sha256(raw).hexdigest()
    if digest != SHA256:
        raise SystemExit(f"{path}: got sha256 {digest}, expected {SHA256}; use the wheel flyvis 1.2.0")
    return raw


def strip(raw: bytes) -> bytes:
    """Keep what the tiling needs, one type or pair per line so that the unpacked file reads well."""
    spec = json.loads(raw)
    types = []
    for node in spec["nodes"]:
        pattern, strides = node["pattern"]
        if pattern != "stride":
            raise SystemExit(f"type {node['name']}: got pattern {pattern!r}, expected 'stride'")
        types.append([node["name"], *strides])
    pairs = [
        [edge["src"], edge["tar"], edge["alpha"], [[du, dv, n_syn] for (du, dv), n_syn in edge["offsets"]]]
        for edge in spec["edges"]
    ]
    head = {
        "source": f"flyvis 1.2.0, {MEMBER}",
        "source_sha256": SHA256,
        "licence": "MIT, Copyright (c) 2023 Lappalainen, Tschopp, McGill, Macke, Turaga; see NOTICE_optic_lobe.txt",
        "types_columns": ["name", "stride_u", "stride_v"],
        "pairs_columns": ["source", "target", "sign", "offsets [du, dv, n_syn]"],
    }
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    for key, rows in (("types", types), ("pairs", pairs)):
        body = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
        lines.append(f'"{key}": [\n{body}\n]')
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the wheel, or the JSON file inside it")
    parser.add_argument("--out", type=Path, default=TARGET)
    arguments = parser.parse_args()
    stripped = strip(read_source(arguments.source))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    # mtime=0 and no file name: the archive depends on its content only.
    arguments.out.write_bytes(gzip.compress(stripped, compresslevel=9, mtime=0))
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes, {len(stripped)} unpacked")


if __name__ == "__main__":
    main()
