"""What a driver needs for millions of photos besides making them: time, memory and bytes.

    python -m benchmarks.manifest --photos 1000000

Makes up that many photos and an outcome for each, and then does to them what a run of
`headsplat generate` does: list them, write their outcomes, read them back and tell what is left to
do, put the parts of the manifest together, write the gallery. Local disk. *time* is CPU time, which
busy neighbours do not change; *peak* is the most memory of the process so far. What it said:
docs/scale.md.
"""

import argparse
import hashlib
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from jobs.compaction import compact
from jobs.listing import Listing, ListingBuilder

from jobs import gallery, manifest, resume
from pipeline.stage import Row
from pipeline.storage import Location, locate

STAGES = ("Load", "Prepare", "LowRes", "HighRes", "Reconstruct", "Judge", "Export")
SCORES = ("identity_cosine", "psnr_db", "lpips")
REJECTED_EVERY = 20
_PRIMES = (7919, 6007, 4001, 9001, 3001, 5003, 2003)


def listing(photos: int) -> Listing:
    """Photos of an object store, with sizes and times."""
    builder = ListingBuilder()
    origin = builder.add_origin({"query": ""})
    for number in range(photos):
        builder.add(source(number), (2_000_000 + number, 1_700_000_000_000_000_000), origin)
    return builder.finish()


def source(number: int) -> str:
    """An address as photo collections have them."""
    return f"s3://collection/photos/{number // 10_000:04}/{_digest(number)}.jpg"


def outcome(number: int) -> Row:
    """One avatar; every so many photos have no face instead."""
    row: Row = {
        "source": source(number),
        "source_bytes": 2_000_000 + number,
        "source_mtime_ns": 1_700_000_000_000_000_000,
        "image_sha256": hashlib.sha256(b"%d" % number).hexdigest(),
        "id": _digest(number)[8:],
        "seed": 0,
        "timings_s": _values(STAGES, number),
    }
    if number % REJECTED_EVERY == 0:
        text = "no face scored 0.5 or more in the 4000x3000 photo; give one with a face"
        reason = {"error_code": "no_face", "error_message": text, "error_stage": "Prepare"}
        return {**row, "outcome": "rejected", **reason}
    scores = _values(SCORES, number)
    facts = {"face_index": 0, "face_count": 1, "gaussian_count": 65_536, "tries": 1}
    return {**row, **facts, "outcome": "ok", "scores": scores, "yaw_deg": number % 61 / 7}


def _values(names: Sequence[str], number: int) -> dict[str, float]:
    return {name: number * prime % 9973 / 1000 for name, prime in zip(names, _PRIMES, strict=False)}


def _digest(number: int) -> str:
    return hashlib.md5(b"photo %d" % number, usedforsecurity=False).hexdigest()


def _measured(name: str, work: Callable[[], object]) -> None:
    started = time.process_time()
    work()
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"| {name} | {time.process_time() - started:.1f} s | {peak_gb:.2f} GiB |", flush=True)


def _write(root: Location, photos: int, stamp: manifest.Stamp) -> None:
    with manifest.Writer(root, stamp) as writer:
        for number in range(photos):
            writer.add(outcome(number))


def main() -> None:
    """Go through the steps and print a row each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=1_000_000)
    photos = parser.parse_args().photos
    stamp = manifest.Stamp(run=manifest.new_run(), recipe="0" * 16, model_hash="0" * 64)
    with tempfile.TemporaryDirectory() as folder:
        root = locate(folder)
        found: list[Listing] = []
        print(f"{photos:,} photos\n\n| step | time | peak |\n| --- | ---: | ---: |")
        _measured("listing to columns", lambda: found.append(listing(photos)))
        _measured("outcomes written", lambda: _write(root, photos, stamp))
        size = sum(size for _, size in manifest.list_parts(root))

        def left() -> None:
            snapshot = manifest.load(root, resume.COLUMNS)
            resume.unfinished(found[0], snapshot, stamp.recipe, 1, root)

        _measured("what is left to do", left)
        _measured("parts put together", lambda: compact(root, stamp.tag))
        snapshot = manifest.load(root, gallery.COLUMNS)
        _measured("gallery", lambda: gallery.write_gallery(root, snapshot))
        pages = list(Path(folder, "gallery").glob("*"))
        print(f"\nmanifest: {size / photos:.0f} bytes a photo; gallery: {len(pages):,} pages")


if __name__ == "__main__":
    main()
