"""A frozen Wide & Deep network under a head that is refitted every few minutes, on the click stream of the benchmarks.

::

    pip install torch
    python -m benchmarks.clickstream --rows 1000000 --days 7 --seed 1 --out data/clicks
    python docs/examples/frozen_net.py data/clicks data/clicks-net
    gbdtlr train-trees -c docs/examples/frozen_net.toml --as-of 2024-06-06T00:00
    gbdtlr update-lr   -c docs/examples/frozen_net.toml --as-of 2024-06-06T00:15

The network is trained once on the first hours and then frozen. It is run over every file, and each row gets two columns
more: its log-odds, ``net_margin``, and its last hidden layer, ``net_hidden``, a list of 16 numbers. The head takes both
as dense columns, so its last layer is refitted at every update, beside the trees' leaves and the fresh ids. A service
does the same with each request: it runs the network, which needs no fresh weights, and sends the two along.

Embeddings (campaign, site, user) and layers below the last hold over 99% of the network's weights and never change.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NUMBERS = ("hour_of_day", "position", "load_ms", "campaign_age_h", "user_views", "user_clicks", "user_idle_m")
IDS = ("campaign", "site", "user", "device", "format", "campaign_topic", "site_topic")
N_IDS, DIMENSIONS, HIDDEN = 2**16, 8, 16
BATCH, RATE = 512, 1e-3

Inputs = tuple[np.ndarray, np.ndarray]
Net = Callable[[Inputs], tuple[np.ndarray, np.ndarray]]


def inputs_of(table: pa.Table) -> Inputs:
    """Numbers, float32 (n, 7), on scales a network likes, and ids, int64 (n, 7), each hashed into its own rows."""
    numbers = [np.asarray(table.column(name).cast(pa.float64()).fill_null(-1.0)) for name in NUMBERS]
    signed = [np.sign(each) * np.log1p(np.abs(each)) for each in numbers]
    ids = [_hashed(table.column(name), place) for place, name in enumerate(IDS)]
    return np.stack(signed, axis=1).astype(np.float32), np.stack(ids, axis=1)


def with_columns(table: pa.Table, margin: np.ndarray, hidden: np.ndarray) -> pa.Table:
    """The rows with what the network says of them: a number, and a list of ``HIDDEN`` numbers."""
    lists = pa.FixedSizeListArray.from_arrays(pa.array(hidden.astype(np.float32).ravel()), hidden.shape[1])
    return table.append_column("net_margin", pa.array(margin.astype(np.float32))).append_column("net_hidden", lists)


def files_of(folder: Path) -> Iterator[tuple[Path, pa.Table]]:
    """Every file of the log, oldest first; the names of their folders are no columns."""
    for path in sorted(folder.rglob("*.parquet")):
        yield path, pq.ParquetFile(path).read()


def write(source: Path, output: Path, net: Net) -> int:
    """Each file again, with the network's columns; returns how many rows there were."""
    n_rows = 0
    for path, table in files_of(source):
        target = output / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}")  # a name in progress is left alone by whoever reads the folder
        pq.write_table(with_columns(table, *net(inputs_of(table))), temporary)
        temporary.replace(target)
        n_rows += len(table)
    return n_rows


def train(tables: list[pa.Table]) -> Net:
    """A Wide & Deep network (Cheng et al. 2016), trained once and frozen."""
    import torch
    from torch import nn

    class WideDeep(nn.Module):  # type: ignore[misc]  # torch need not be there for types
        def __init__(self) -> None:
            super().__init__()
            self.embeddings = nn.Embedding(N_IDS, DIMENSIONS)
            self.wide = nn.Embedding(N_IDS, 1)
            nn.init.normal_(self.embeddings.weight, std=0.05)
            nn.init.zeros_(self.wide.weight)
            width = len(NUMBERS) + DIMENSIONS * len(IDS)
            self.deep = nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, HIDDEN), nn.ReLU())
            self.last = nn.Linear(HIDDEN, 1)

        def forward(self, numbers: Any, ids: Any) -> tuple[Any, Any]:
            hidden = self.deep(torch.cat([numbers, self.embeddings(ids).flatten(1)], dim=1))
            return (self.last(hidden) + self.wide(ids).sum(dim=1)).squeeze(1), hidden

    torch.manual_seed(1)
    net = WideDeep()
    numbers, ids = (torch.from_numpy(np.concatenate(each)) for each in zip(*map(inputs_of, tables), strict=True))
    label = torch.from_numpy(np.concatenate([np.asarray(table.column("label"), np.float32) for table in tables]))
    optimiser, loss = torch.optim.Adam(net.parameters(), RATE), nn.BCEWithLogitsLoss()
    total = 0.0
    # Once over the rows: the second time, such a network knows the ids of its rows by heart.
    for rows in torch.randperm(len(label)).split(BATCH):
        optimiser.zero_grad()
        found = loss(net(numbers[rows], ids[rows])[0], label[rows])
        found.backward()
        optimiser.step()
        total += found.item() * len(rows)
    print(f"log loss {total / len(label):.4f} on {len(label):,} rows, each before it was learned")
    net.eval()

    def run(inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            margin, hidden = net(*map(torch.from_numpy, inputs))
        return margin.numpy(), hidden.numpy()

    return run


def _hashed(column: Any, place: int) -> np.ndarray:
    """Row of each id among all embeddings: Fibonacci hashing of its bytes, the same in every process."""
    encoded = column.combine_chunks().dictionary_encode() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    texts = [str(value).encode() for value in encoded.dictionary.to_pylist()]
    rows = []
    for text in texts:
        mixed = 0x9E3779B97F4A7C15 * (place + 1)
        for byte in text:
            mixed = ((mixed ^ byte) * 0x100000001B3) % 2**64
        rows.append((mixed * 0x9E3779B97F4A7C15 % 2**64) >> 48)
    return np.array([*rows, 0], np.int64)[np.asarray(encoded.indices.fill_null(len(rows)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder that benchmarks.clickstream wrote")
    parser.add_argument("output", type=Path, help="folder for the same files with two columns more")
    parser.add_argument("--train-hours", type=int, default=72, help="files the network is trained on, from the first")
    asked = parser.parse_args()
    tables = [table for _, (_, table) in zip(range(asked.train_hours), files_of(asked.source), strict=False)]
    print(f"{write(asked.source, asked.output, train(tables)):,} rows written to {asked.output}")


if __name__ == "__main__":
    main()
