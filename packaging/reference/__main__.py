"""reference OPENAPI_YAML OUTDIR: writes what the agent serves of it: openapi.yaml, openapi.json, reference.html."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import page
import yaml


def main(source: Path, outdir: Path) -> None:
    text = source.read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    outdir.mkdir(parents=True, exist_ok=True)
    (outdir / "openapi.yaml").write_text(text, encoding="utf-8")
    (outdir / "openapi.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    (outdir / "reference.html").write_text(page.whole(document), encoding="utf-8")


if len(sys.argv) != 3:
    sys.exit(__doc__)
main(Path(sys.argv[1]), Path(sys.argv[2]))
