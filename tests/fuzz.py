"""Fuzzing of everything that reads what strangers wrote: no crash but our own errors.

    python -m tests.fuzz voc-xml 600         one reader for 600 seconds; needs atheris (pip install atheris)
    python -m tests.fuzz --list              the readers

Each reader gets a small valid data set of which one file holds the fuzzer's bytes. ``InputError`` and ``ConfigError``
are answers; anything else is a crash, and atheris writes its input to the working folder.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

READING = ["backbone", "configs", "detection", "proposals", "json", "xml", "yaml"]
"""What atheris follows branch by branch; the whole of what is loaded is torch as well, which takes 80 seconds."""


def main() -> None:
    """Runs atheris on one reader for some seconds."""
    if sys.argv[1:] == ["--list"]:
        from tests.fuzz_readers import READERS

        print("\n".join(READERS))
        return
    name, seconds = sys.argv[1], int(sys.argv[2])
    import atheris

    with atheris.instrument_imports(include=READING):
        from configs.errors import ConfigError
        from detection.errors import InputError
        from tests.fuzz_readers import READERS

    with TemporaryDirectory(prefix="multibox-fuzz-") as folder:
        root = Path(folder)
        reader = READERS[name](root)
        corpus = root / "corpus"
        corpus.mkdir()
        (corpus / "seed").write_bytes(reader.seed)

        def feed(content: bytes) -> None:
            reader.path.write_bytes(content)
            with suppress(InputError, ConfigError):
                reader.read()

        feed(reader.seed)
        options = [f"-max_total_time={seconds}", "-rss_limit_mb=4096", "-print_final_stats=1"]
        atheris.Setup([name, str(corpus), *options], feed)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
