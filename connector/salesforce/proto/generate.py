"""Generates the Python modules of `pubsub_api.proto`: `python -m connector.salesforce.proto.generate [--check]`.

With `--check` nothing is written, and the exit code is 1 when what is committed differs from what would be generated.
Needs grpcio-tools (the `dev` extra).
"""

import sys
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]
_PROTO = _HERE / "pubsub_api.proto"


def _generate(destination: Path) -> dict[Path, bytes]:
    """The generated files by their committed path. The proto keeps its package path, so that imports are absolute."""
    from grpc_tools import protoc  # noqa: PLC0415 - a dev extra; importing this module must not need it

    arguments = ["protoc", f"-I{_ROOT}", f"-I{files('grpc_tools') / '_proto'}", str(_PROTO)]
    arguments += [f"--{kind}_out={destination}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc refused pubsub_api.proto; see its message above")
    return {_ROOT / path.relative_to(destination): path.read_bytes() for path in sorted(destination.rglob("*_pb2*"))}


def main(arguments: list[str]) -> int:
    with TemporaryDirectory() as folder:
        generated = _generate(Path(folder))
    if "--check" not in arguments:
        for path, content in generated.items():
            path.write_bytes(content)
        return 0
    stale = [path.name for path, content in generated.items() if not path.exists() or path.read_bytes() != content]
    if stale:
        print(f"stale: {', '.join(stale)}; run: python -m connector.salesforce.proto.generate", file=sys.stderr)  # noqa: T201
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
